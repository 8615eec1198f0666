//! Trailers: what a guest reads of them, and what it does to them before they have arrived.

use super::{Fields, HeaderChange};

/// The trailers of one message: those that have arrived, and the guest's changes to those that haven't.
///
/// A [host](crate::LocalHost) gets them with an [`Outgoing`](crate::Outgoing) body. At the end of that body, it sends
/// what [`finish`](Self::finish) returns:
///
/// ```
/// use http_wasm_host::{Fields, Outgoing, Trailers};
///
/// /// The fields that end a body, given those that arrived after the current body's rest.
/// fn last(trailers: Trailers, arrived: Option<Fields>) -> Fields {
///     if trailers.is_untouched() { arrived.unwrap_or_default() } else { trailers.finish(arrived) }
/// }
///
/// assert!(last(Outgoing::default().trailers, None).is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Trailers(
    /// Boxed, because most messages have none and few guests ask for them.
    Option<Box<Known>>,
);

/// What is known of trailers, and what a guest did to them.
#[derive(Clone, Debug, Default)]
struct Known {
    /// As received, as far as known.
    arrived: Fields,
    /// To be applied to what arrives.
    edits: Vec<Edit>,
    /// What has arrived with the edits applied, once there are any.
    edited: Option<Fields>,
    /// Whether an edit also replaces fields whose names differ in `-` and `_` alone.
    folds_underscores: bool,
}

#[derive(Clone, Debug)]
enum Edit {
    Set(Box<[u8]>, Box<[u8]>),
    Add(Box<[u8]>, Box<[u8]>),
    Remove(Box<[u8]>),
}

/// Trailers of which nothing is known.
pub(crate) static UNKNOWN: Trailers = Trailers(None);

static NO_FIELDS: Fields = Fields::new();

impl Trailers {
    /// Makes a trailer that a guest sets, adds or removes also replace those whose names differ only in `-` and `_`.
    pub(crate) fn fold_underscores(&mut self) {
        if let Some(known) = &mut self.0
            && !known.edits.is_empty()
        {
            known.folds_underscores = true;
            known.edited = Some(known.edit_all());
        }
    }

    /// Returns the trailers to send once the body has ended. `arrived` are those that came with its unread rest.
    pub fn finish(mut self, arrived: Option<Fields>) -> Fields {
        if let Some(fields) = arrived {
            self.arrive(fields);
        }
        self.0.map_or_else(Fields::new, |known| known.edited.unwrap_or(known.arrived))
    }

    /// The same without the edits.
    pub(crate) fn into_original(self) -> Self {
        let arrived = self.0.map_or_else(Fields::new, |known| known.arrived);
        let known = (!arrived.is_empty()).then(|| Box::new(Known { arrived, ..Known::default() }));
        Self(known)
    }

    /// Returns whether the trailers that arrive are sent unchanged, because the guest has changed nothing and none have
    /// arrived yet.
    pub fn is_untouched(&self) -> bool {
        self.0.as_ref().is_none_or(|known| known.edits.is_empty() && known.arrived.is_empty())
    }

    /// Whether none have arrived, and none were changed or asked for.
    #[inline]
    pub(crate) fn is_unknown(&self) -> bool {
        self.0.is_none()
    }

    /// Lets `later` edits follow these.
    pub(crate) fn append(&mut self, later: Self) {
        // What the later guest has seen arrive has gone through these edits already.
        later.0.into_iter().flat_map(|known| known.edits).for_each(|edit| self.edit(edit));
    }

    /// The trailers that are known to go out.
    pub(crate) fn current(&self) -> &Fields {
        self.0.as_ref().map_or(&NO_FIELDS, |known| known.edited.as_ref().unwrap_or(&known.arrived))
    }

    /// Whether a trailer of this name that arrives is removed.
    pub(crate) fn removes(&self, name: &[u8]) -> bool {
        let removes =
            |edit: &Edit| matches!(edit, Edit::Remove(removed) if removed.eq_ignore_ascii_case(name));
        self.0.as_ref().is_some_and(|known| known.edits.iter().any(removes))
    }

    pub(crate) fn arrive(&mut self, fields: Fields) {
        let known = self.0.get_or_insert_default();
        known.arrived = fields;
        known.edited = (!known.edits.is_empty()).then(|| known.edit_all());
    }

    pub(crate) fn change(&mut self, name: &[u8], change: HeaderChange<'_>) {
        self.edit(match change {
            HeaderChange::Set(value) => Edit::Set(name.into(), value.into()),
            HeaderChange::Add(value) => Edit::Add(name.into(), value.into()),
            HeaderChange::Remove => Edit::Remove(name.into()),
        });
    }

    fn edit(&mut self, edit: Edit) {
        let known = self.0.get_or_insert_default();
        edit.apply(known.edited.get_or_insert_with(|| known.arrived.clone()));
        known.edits.push(edit);
    }
}

impl Known {
    /// What has arrived with the edits applied.
    fn edit_all(&self) -> Fields {
        let mut fields = self.arrived.clone();
        for edit in &self.edits {
            if self.folds_underscores {
                edit.remove_variants(&mut fields);
            }
            edit.apply(&mut fields);
        }
        fields
    }
}

impl Edit {
    fn remove_variants(&self, fields: &mut Fields) {
        let (Self::Set(name, _) | Self::Add(name, _) | Self::Remove(name)) = self;
        let variants: Vec<Box<[u8]>> =
            fields.names().filter(|other| is_variant(other, name)).map(Into::into).collect();
        variants.iter().for_each(|variant| fields.remove(variant));
    }

    fn apply(&self, fields: &mut Fields) {
        match self {
            Self::Set(name, value) => fields.set(name, value),
            Self::Add(name, value) => fields.add(name, value),
            Self::Remove(name) => fields.remove(name),
        }
    }
}

/// Whether two names differ in `-` and `_`, and in nothing else but case.
#[inline]
pub(crate) fn is_variant(one: &[u8], other: &[u8]) -> bool {
    // Most names that aren't variants have another length, or are the same.
    one != other && is_same_or_variant(one, other) && !one.eq_ignore_ascii_case(other)
}

/// Whether two names are the same, or differ only in `-` and `_`.
#[inline]
pub(crate) fn is_same_or_variant(one: &[u8], other: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().zip(other).all(|(&one, &other)| fold(one) == fold(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_made_before_the_trailers_arrive_are_applied_to_them() {
        let mut trailers = Trailers::default();
        trailers.change(b"a", HeaderChange::Set(b"1"));
        trailers.change(b"b", HeaderChange::Add(b"2"));
        trailers.change(b"c", HeaderChange::Remove);
        let arrived = [(&b"a"[..], &b"9"[..]), (b"b", b"9"), (b"c", b"9"), (b"d", b"9")];
        let sent = trailers.finish(Some(arrived.into_iter().collect()));
        let sent: Vec<_> = sent.iter().collect();
        assert_eq!(sent, [(&b"a"[..], &b"1"[..]), (b"b", b"9"), (b"d", b"9"), (b"b", b"2")]);
    }

    #[test]
    fn an_edit_replaces_names_with_underscores_where_these_are_folded() {
        let mut trailers = Trailers::default();
        trailers.change(b"x-a", HeaderChange::Set(b"1"));
        trailers.change(b"x-b", HeaderChange::Remove);
        trailers.change(b"X_C", HeaderChange::Add(b"1"));
        let arrived = ["x_a", "X-A", "x_b", "x-c", "x_d"].map(|name| (name.as_bytes(), &b"9"[..]));
        let plain = trailers.clone().finish(Some(arrived.into_iter().collect()));
        assert_eq!(plain.names().count(), 6, "{plain:?}");
        trailers.fold_underscores();
        let sent = trailers.finish(Some(arrived.into_iter().collect()));
        let sent: Vec<_> =
            sent.iter().map(|(name, value)| (String::from_utf8_lossy(name).to_lowercase(), value)).collect();
        let one = |name: &str, value: &'static [u8]| (name.to_owned(), value);
        assert_eq!(sent, [one("x-a", b"1"), one("x_d", b"9"), one("x_c", b"1")]);
    }
}
