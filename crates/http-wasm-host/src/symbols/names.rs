//! Names from a module, for display.

use std::borrow::Cow;
use std::fmt::{self, Write};

use cpp_demangle::DemangleOptions;

use crate::text::printable;

/// The longest name that is shown, in bytes. C++ and Rust names may have any length, and demangled names may be far
/// longer than mangled ones.
const MAX_LEN: usize = 300;

/// The longest name that is demangled.
const MAX_MANGLED_LEN: usize = 4096;

/// The name of a function as its author wrote it, if the compiler has mangled it as Rust's and C++'s do.
pub(super) fn demangled(name: &str) -> String {
    let mut text = Bounded(String::new());
    // An error means that the name is longer than what is shown.
    let shown = if name.len() > MAX_MANGLED_LEN {
        Cow::Borrowed(name)
    } else if let Ok(rust) = rustc_demangle::try_demangle(name) {
        let _ = write!(text, "{rust:#}");
        Cow::Owned(text.0)
    } else if name.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::Symbol::new(name)
    {
        let _ = symbol.structured_demangle(&mut text, &DemangleOptions::new());
        Cow::Owned(text.0)
    } else {
        Cow::Borrowed(name)
    };
    printable(shown.as_bytes(), MAX_LEN).into_owned()
}

/// The path of a source file.
pub(super) fn path(path: &str) -> Cow<'_, str> {
    printable(path.as_bytes(), MAX_LEN)
}

/// Text that stops soon after the maximum length.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() > MAX_LEN { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_and_cpp_are_demangled_and_others_unchanged() {
        for (name, shown) in [
            ("_ZN5guest4deny17h0123456789abcdefE", "guest::deny"),
            ("_RNvCs1234_5guest4deny", "guest::deny"),
            ("_ZN5State4nextEi", "State::next(int)"),
            ("main.handleRequest", "main.handleRequest"),
            ("~lib/rt/__new", "~lib/rt/__new"),
            ("_Z?", "_Z?"),
        ] {
            assert_eq!(demangled(name), shown);
        }
    }

    #[test]
    fn control_characters_in_names_are_escaped_and_long_names_shortened() {
        assert_eq!(demangled("a\n\x1b[2Jb"), "a\\n\\u{1b}[2Jb");
        assert!(demangled(&"n".repeat(10_000)).len() < 400);
        let nested = format!("_ZN{}E", "9namespace".repeat(300));
        assert!(demangled(&nested).len() < 400);
        // Each parameter is a pair of the previous one.
        let pairs: String = ('0'..='9').map(|n| format!("4pairIS{n}_S{n}_E")).collect();
        assert!(demangled(&format!("_Z1fi4pairIiiE{pairs}")).len() < 400);
        assert_eq!(path("src/a\nb.c"), "src/a\\nb.c");
    }
}
