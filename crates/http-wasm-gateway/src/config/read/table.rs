//! Tables: their keys, required ones, and unknown ones.

use std::ops::Range;

use http_wasm_tower::nearest;
use toml::de::{DeTable, DeValue};

use super::context::{Context, Node, Value};
use crate::config::fault::Fault;

/// A table that is read key by key, and remembers the keys that were read.
pub(in crate::config) struct Table<'a, 'i> {
    entries: &'a DeTable<'i>,
    at: Range<usize>,
    known: Vec<&'static str>,
    context: &'a mut Context,
}

impl<'a, 'i> Table<'a, 'i> {
    /// The node as a table, which may have these keys.
    pub(in crate::config) fn of(
        node: &'a Node<'i>,
        keys: &[&'static str],
        context: &'a mut Context,
    ) -> Option<Self> {
        let DeValue::Table(entries) = node.get_ref() else {
            let first = keys.first().unwrap_or(&"");
            let help = format!("write a table, as in {{ {first} = … }}; its settings: {}", keys.join(", "));
            context.fault(Fault::unexpected("a table", node).help(help));
            return None;
        };
        Some(Self { entries, at: node.span(), known: Vec::new(), context })
    }

    /// Reads the value of `key` into `slot`, which stays unchanged if the key is absent.
    pub(in crate::config) fn read<T: Value>(&mut self, key: &'static str, slot: &mut T) {
        self.known.push(key);
        let found = self.entries.iter().find(|(name, _)| name.get_ref() == key);
        if let Some(value) = found.and_then(|(_, node)| T::read(node, self.context)) {
            *slot = value;
        }
    }

    /// Reports each of these keys that is absent, with an example of how it is written.
    pub(in crate::config) fn need(&mut self, keys: &[(&'static str, &'static str)]) {
        for (key, example) in keys {
            if self.has(key) || self.is_misspelt(key) {
                continue;
            }
            let fault = Fault::new(self.at.clone(), format!("missing setting `{key}`"));
            self.context.fault(fault.help(format!("as in {example}")));
        }
    }

    /// Reports an error unless exactly one of these keys is present.
    pub(in crate::config) fn one_of(&mut self, keys: &[&'static str]) {
        if self.present(keys).is_empty() {
            self.context.at(self.at.clone(), format!("one of {} is required", quoted(keys)));
        }
        self.at_most_one_of(keys);
    }

    /// Reports an error if more than one of these keys is present.
    pub(in crate::config) fn at_most_one_of(&mut self, keys: &[&'static str]) {
        if let [first, second, ..] = &self.present(keys)[..] {
            let fault = Fault::new(second.clone(), format!("only one of {} is allowed", quoted(keys)));
            self.context.fault(fault.related(first.clone(), "the other one"));
        }
    }

    /// Reports the unknown keys.
    pub(in crate::config) fn finish(self) {
        for (name, _) in self.entries.iter().filter(|(name, _)| !self.known.contains(&&**name.get_ref())) {
            let key = name.get_ref();
            let help = suggestion(key, self.known.iter().copied())
                .unwrap_or_else(|| format!("known settings: {}", self.known.join(", ")));
            self.context.fault(Fault::new(name.span(), format!("unknown setting `{key}`")).help(help));
        }
    }

    fn has(&self, key: &str) -> bool {
        self.entries.keys().any(|name| name.get_ref() == key)
    }

    /// Whether an unknown key is probably meant to be this one, so that one error is enough.
    fn is_misspelt(&self, key: &str) -> bool {
        let mut unknown = self.entries.keys().filter(|name| !self.known.contains(&&**name.get_ref()));
        unknown.any(|name| nearest(name.get_ref(), self.known.iter().copied()) == Some(key))
    }

    /// The positions of those of these keys that are present, in the order of the file.
    fn present(&self, keys: &[&'static str]) -> Vec<Range<usize>> {
        let names = self.entries.keys().filter(|name| keys.contains(&&**name.get_ref()));
        let mut places: Vec<_> = names.map(toml::Spanned::span).collect();
        places.sort_by_key(|place| place.start);
        places
    }
}

fn quoted(keys: &[&str]) -> String {
    let quoted: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    match &quoted[..] {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        all => all.concat(),
    }
}

/// "did you mean", if a known name is similar to what was written.
pub(in crate::config) fn suggestion<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean `{name}`?"))
}

/// Makes a struct a table of the configuration: each field is a key of the same name, and its default is the struct's
/// default. Leaving out a field doesn't compile, unless it is named as one `besides` the table.
macro_rules! section {
    (
        $section:ty { $($field:ident),* $(,)? }
        $(besides $besides:ident)? $(need $needed:tt)? $(one_of $one:tt)? $(at_most_one_of $most:tt)?
    ) => {
        impl crate::config::read::Value for $section {
            const IS_SECTION: bool = true;

            fn read(
                node: &crate::config::read::Node<'_>,
                context: &mut crate::config::read::Context,
            ) -> Option<Self> {
                let mut section = Self::default();
                let mut table = crate::config::read::Table::of(node, &[$(stringify!($field)),*], context)?;
                let Self { $($field,)* $($besides: _)? } = &mut section;
                $(table.read(stringify!($field), $field);)*
                $(table.need(&$needed);)?
                $(table.one_of(&$one);)?
                $(table.at_most_one_of(&$most);)?
                table.finish();
                Some(section)
            }
        }
    };
}
pub(in crate::config) use section;

/// Makes types texts in the configuration: they are shown as they are written.
macro_rules! as_text {
    ($($type:ty),* $(,)?) => {$(
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": "string" })
            }
        }
    )*};
}
pub(in crate::config) use as_text;
