//! An ordered list of header or trailer fields, for what the core itself keeps.

use std::fmt;
use std::ops::Range;

/// Header or trailer fields in the order received. Names are in lower case; values are bytes.
///
/// ```
/// use http_wasm_host::{Fields, HeaderChange};
///
/// let mut fields = Fields::new();
/// fields.add(b"Accept", b"text/html");
/// fields.add(b"accept", b"*/*");
/// fields.change(b"x-tenant", HeaderChange::Set(b"a"));
/// assert!(fields.names().eq([&b"accept"[..], b"x-tenant"]));
/// assert!(fields.values(b"ACCEPT").eq([&b"text/html"[..], b"*/*"]));
/// ```
///
/// It is intended for the fields of one message: replaced and removed fields use memory as long as the list exists.
#[derive(Clone, Default)]
pub struct Fields {
    entries: Vec<Entry>,
    /// Names and values, one after the other: there are few fields as a rule, and two allocations hold them all. What
    /// was replaced or removed stays here; what a guest may set is limited.
    text: Vec<u8>,
}

/// A change to the fields with one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderChange<'a> {
    /// This one value replaces all others.
    Set(&'a [u8]),
    /// This value follows the others.
    Add(&'a [u8]),
    /// All values are removed.
    Remove,
}

/// The position of a field in the text.
#[derive(Clone)]
struct Entry {
    name: Range<usize>,
    value: Range<usize>,
}

impl Fields {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), text: Vec::new() }
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Iterates over the fields in order, including those with the same name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| (self.name(entry), &self.text[entry.value.clone()]))
    }

    /// Iterates over the values of the fields named `name`, ignoring case.
    pub fn values<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Returns whether there is a field named `name`.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.values(name).next().is_some()
    }

    /// Iterates over the names, each once, in order of first appearance.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().enumerate().filter_map(|(at, entry)| {
            let name = self.name(entry);
            let repeated = self.entries[..at].iter().any(|earlier| self.name(earlier) == name);
            (!repeated).then_some(name)
        })
    }

    /// Sets, adds or removes fields named `name`.
    pub fn change(&mut self, name: &[u8], change: HeaderChange<'_>) {
        match change {
            HeaderChange::Set(value) => self.set(name, value),
            HeaderChange::Add(value) => self.add(name, value),
            HeaderChange::Remove => self.remove(name),
        }
    }

    /// Adds a field, in addition to others of the same name.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.text.reserve(name.len() + value.len());
        let name = self.write(name);
        self.text[name.clone()].make_ascii_lowercase();
        let value = self.write(value);
        self.entries.push(Entry { name, value });
    }

    /// Replaces all fields named `name` with one, which takes the place of the first.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let Self { entries, text } = self;
        let has_name = |entry: &Entry| text[entry.name.clone()].eq_ignore_ascii_case(name);
        let Some(at) = entries.iter().position(has_name) else { return self.add(name, value) };
        let mut index = 0;
        entries.retain(|entry| {
            index += 1;
            index <= at + 1 || !has_name(entry)
        });
        self.entries[at].value = self.write(value);
    }

    /// Removes all fields named `name`.
    pub fn remove(&mut self, name: &[u8]) {
        let Self { entries, text } = self;
        entries.retain(|entry| !text[entry.name.clone()].eq_ignore_ascii_case(name));
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.name.clone()]
    }

    fn write(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        start..self.text.len()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        f.debug_list().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
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
    fn set_replaces_all_values_at_the_position_of_the_first() {
        let mut fields: Fields = [(&b"a"[..], &b"1"[..]), (b"B", b"2"), (b"A", b"3")].into_iter().collect();
        fields.set(b"a", b"4");
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b"a"[..], &b"4"[..]), (b"b", b"2")]);
    }

    #[test]
    fn debug_output_shows_the_fields() {
        let fields: Fields = [(&b"A"[..], &b"1\xff"[..])].into_iter().collect();
        assert_eq!(format!("{fields:?}"), r#"[("a", "1\\xff")]"#);
    }

    #[test]
    fn names_are_listed_once_in_order_of_first_appearance() {
        let fields: Fields = [(&b"x"[..], &b"1"[..]), (b"a", b"2"), (b"X", b"3")].into_iter().collect();
        assert_eq!(fields.names().collect::<Vec<_>>(), [&b"x"[..], b"a"]);
        assert_eq!(fields.values(b"X").collect::<Vec<_>>(), [b"1", b"3"]);
    }
}
