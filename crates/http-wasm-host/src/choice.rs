//! Closed enums whose values have names in configuration files and flags, and what a misspelt name was meant to be.

use std::fmt;

/// Returns the known name that is closest to `written`, if it is close enough that it was probably meant.
///
/// Case, `-`, `_` and `.` are ignored: `getMethod` is the same as `get_method`.
///
/// ```
/// let settings = ["listen", "routes"];
/// assert_eq!(http_wasm_host::nearest("listn", settings), Some("listen"));
/// assert_eq!(http_wasm_host::nearest("upstream", settings), None);
/// ```
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No known name is anywhere near this length, and the comparison is quadratic.
    const MAX_LEN: usize = 80;
    const CLOSE: f64 = 0.84;
    if written.len() > MAX_LEN {
        return None;
    }
    let plain = normalised(written);
    let close = known.into_iter().map(|name| (strsim::jaro_winkler(&plain, &normalised(name)), name));
    // If several are equally close, the first.
    let best = close.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.filter(|(likeness, _)| *likeness > CLOSE).map(|(_, name)| name)
}

fn normalised(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).flat_map(char::to_lowercase).collect()
}

/// A closed enum whose values have names in configuration files and flags. [`choices!`](crate::choices) implements it.
pub trait Choice: Copy + Sized + 'static {
    /// All values with their names, in the order in which they are listed to users.
    const CHOICES: &'static [(&'static str, Self)];

    /// Returns the value with this name.
    ///
    /// # Errors
    /// If no value has it.
    fn choose(name: &str) -> Result<Self, UnknownName> {
        let found = Self::CHOICES.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value).ok_or_else(|| UnknownName {
            written: name.to_owned(),
            names: Self::CHOICES.iter().map(|(name, _)| *name).collect(),
        })
    }

    /// Returns the list of names for messages, such as `"closed" or "open"`.
    fn expected() -> String {
        listed(Self::CHOICES.iter().map(|(name, _)| *name))
    }
}

/// The error for a name that no value of a closed enum has.
///
/// Its message lists the valid names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    written: String,
    names: Vec<&'static str>,
}

impl UnknownName {
    /// Returns the name that was probably meant.
    pub fn nearest(&self) -> Option<&'static str> {
        nearest(&self.written, self.names.iter().copied())
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown value {:?}; expected {}", self.written, listed(self.names.iter().copied()))
    }
}

impl std::error::Error for UnknownName {}

fn listed(names: impl Iterator<Item = &'static str>) -> String {
    let mut names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// Defines the names of a closed enum's values in configuration files and flags: implements [`Choice`], `Display`,
/// `FromStr` and a method `name`. It doesn't compile if a value has no name.
///
/// ```
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// pub enum Colour {
///     Green,
///     Red,
/// }
///
/// http_wasm_host::choices!(Colour { Green = "green", Red = "red" });
///
/// assert_eq!("red".parse(), Ok(Colour::Red));
/// assert_eq!(Colour::Green.to_string(), "green");
/// let error = "gren".parse::<Colour>().unwrap_err();
/// assert_eq!(error.to_string(), r#"unknown value "gren"; expected "green" or "red""#);
/// assert_eq!(error.nearest(), Some("green"));
/// ```
#[macro_export]
macro_rules! choices {
    ($choice:ty { $($value:ident = $name:literal),+ $(,)? }) => {
        impl $crate::Choice for $choice {
            const CHOICES: &'static [(&'static str, Self)] = &[$(($name, Self::$value)),+];
        }

        impl $choice {
            /// Returns the name in configuration files and flags.
            #[allow(unreachable_pub, reason = "the enum may be private")]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }

        impl ::std::fmt::Display for $choice {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl ::std::str::FromStr for $choice {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                <Self as $crate::Choice>::choose(name)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["get_method", "set_method", "get_header_values", "log", "memory_bytes"];

    #[test]
    fn a_typo_or_another_naming_convention_gets_a_suggestion() {
        for (found, meant) in [
            ("get_metod", "get_method"),
            ("setMethod", "set_method"),
            ("get-header-value", "get_header_values"),
            ("Log", "log"),
            ("memory", "memory_bytes"),
        ] {
            assert_eq!(nearest(found, NAMES), Some(meant), "{found}");
        }
    }

    #[test]
    fn a_name_like_no_other_gets_no_suggestion() {
        for found in ["lug", "frobnicate", "", &"get_method".repeat(100)] {
            assert_eq!(nearest(found, NAMES), None, "{found}");
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Colour {
        Red,
        Green,
        DarkBlue,
    }

    choices! { Colour { Red = "red", Green = "green", DarkBlue = "dark-blue" } }

    #[test]
    fn a_value_parses_from_its_displayed_name() {
        for (name, value) in Colour::CHOICES {
            assert_eq!((value.to_string().as_str(), name.parse()), (*name, Ok(*value)));
        }
    }

    #[test]
    fn an_unknown_name_is_reported_with_the_known_ones() {
        let error = "gren".parse::<Colour>().unwrap_err();
        assert_eq!(error.to_string(), "unknown value \"gren\"; expected \"red\", \"green\" or \"dark-blue\"");
        assert_eq!(error.nearest(), Some("green"));
        assert_eq!("x".parse::<Colour>().unwrap_err().nearest(), None);
    }
}
