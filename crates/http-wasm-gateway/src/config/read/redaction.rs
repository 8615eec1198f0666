//! Strings in which references were replaced, and messages that don't show with what.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A string in which references were replaced.
#[derive(Debug)]
pub(in crate::config) struct Replaced {
    pub(in crate::config) at: Range<usize>,
    /// The string as it is written.
    pub(in crate::config) written: Arc<str>,
    /// The references in it, and their values.
    pub(in crate::config) values: Vec<(String, Hidden)>,
}

/// A value that nothing shows.
pub(in crate::config) struct Hidden(pub(in crate::config) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The text with references in place of their values. Values of less than four characters say nothing unless the text
/// is about their own string, `at`.
pub(in crate::config) fn redacted(text: String, at: &Range<usize>, replaced: &[Replaced]) -> String {
    let mut text = text;
    for string in replaced {
        let is_own = string.at.start <= at.start && at.end <= string.at.end;
        for (reference, Hidden(value)) in &string.values {
            if value.is_empty() || !is_own && value.chars().count() < 4 {
                continue;
            }
            let quoted = format!("{value:?}");
            for form in [value, quoted.trim_matches('"')] {
                text = without(&text, form, reference);
            }
        }
    }
    text
}

/// The text with each occurrence of `value`, in any case, replaced with `reference`.
fn without(text: &str, value: &str, reference: &str) -> String {
    let (lower, wanted) = (text.to_ascii_lowercase(), value.to_ascii_lowercase());
    let (mut result, mut done) = (String::with_capacity(text.len()), 0);
    while let Some(found) = lower[done..].find(&wanted) {
        // Inserted references aren't searched.
        result += &text[done..done + found];
        result += reference;
        done += found + wanted.len();
    }
    result + &text[done..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_values_are_redacted_in_messages_in_any_case() {
        let replaced = [Replaced {
            at: 10..20,
            written: "${T}".into(),
            values: vec![
                ("${T}".to_owned(), Hidden("s\"ecret".to_owned())),
                ("${U}".to_owned(), Hidden("ab".into())),
            ],
        }];
        let shown = |text: &str, at| redacted(text.to_owned(), &at, &replaced);
        assert_eq!(shown("not S\"ECRET or \"s\\\"ecret\"", 50..60), "not ${T} or \"${T}\"");
        assert_eq!(shown("ab", 50..60), "ab");
        assert_eq!(shown("ab", 10..20), "${U}");
        assert_eq!(format!("{replaced:?}").matches("ecret").count(), 0);
    }
}
