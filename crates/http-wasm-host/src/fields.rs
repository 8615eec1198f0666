//! An ordered list of header or trailer fields, for what the core itself keeps.

use bytes::Bytes;

/// Header or trailer fields in the order received. Names are lower case; values are bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    entries: Vec<(Bytes, Bytes)>,
}

impl Fields {
    /// An empty list.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The fields, in order, repeated names repeated.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// The values under `name`, compared without case.
    pub fn values<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether there is a field under `name`.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.values(name).next().is_some()
    }

    /// Each name once, in order of first appearance.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().enumerate().filter_map(|(at, (name, _))| {
            let repeated = self.entries[..at].iter().any(|(earlier, _)| earlier == name);
            (!repeated).then_some(&name[..])
        })
    }

    /// Adds a field, beside others of the same name.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let name = Bytes::from(name.to_ascii_lowercase());
        self.entries.push((name, Bytes::copy_from_slice(value)));
    }

    /// Sets `name` to the one `value`; it keeps the place of the first field it replaces.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.entries.iter().position(|(other, _)| other.eq_ignore_ascii_case(name)) {
            Some(at) => {
                self.entries[at].1 = Bytes::copy_from_slice(value);
                let mut index = 0;
                self.entries.retain(|(other, _)| {
                    index += 1;
                    index <= at + 1 || !other.eq_ignore_ascii_case(name)
                });
            }
            None => self.add(name, value),
        }
    }

    /// Removes all fields under `name`.
    pub fn remove(&mut self, name: &[u8]) {
        self.entries.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }
}

impl<'a> FromIterator<(&'a [u8], &'a [u8])> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a [u8], &'a [u8])>>(fields: I) -> Self {
        let mut all = Self::new();
        fields.into_iter().for_each(|(name, value)| all.add(name, value));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_replaces_every_value_in_the_place_of_the_first() {
        let mut fields: Fields = [(&b"a"[..], &b"1"[..]), (b"B", b"2"), (b"A", b"3")].into_iter().collect();
        fields.set(b"a", b"4");
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b"a"[..], &b"4"[..]), (b"b", b"2")]);
    }

    #[test]
    fn names_come_once_in_order_of_first_appearance() {
        let fields: Fields = [(&b"x"[..], &b"1"[..]), (b"a", b"2"), (b"X", b"3")].into_iter().collect();
        assert_eq!(fields.names().collect::<Vec<_>>(), [&b"x"[..], b"a"]);
        assert_eq!(fields.values(b"X").collect::<Vec<_>>(), [b"1", b"3"]);
    }
}
