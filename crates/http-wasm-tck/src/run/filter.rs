//! Which cases to run.

/// A substring of case IDs, or, with `*`, a pattern for entire IDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// Parses a filter.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether this case is selected.
    pub fn matches(&self, id: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(last) = parts.next_back() else { return id.contains(first) };
        let Some(mut rest) = id.strip_prefix(first) else { return false };
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn a_substring_or_a_pattern_selects_cases() {
        let id = "limits/get-uri/zero";
        for yes in ["", "uri", "limits/", "limits/*", "*/zero", "l*get*ze*o", "*", "limits/get-uri/zero"] {
            assert!(Filter::new(yes).matches(id), "{yes}");
        }
        for no in ["status", "uri*", "*uri", "limits/*/one", "l*get*get*"] {
            assert!(!Filter::new(no).matches(id), "{no}");
        }
    }
}
