//! Modules import in one direction: no two of them import each other, directly or indirectly, and those of the core
//! only import lower layers.
//!
//! This is checked in the sources: `use` lines, and paths such as `crate::text::printable` in code. Code under
//! `cfg(test)` is ignored. An import counts for the module that defines the item, however many re-exports are in
//! between. Within each folder, its files, its subfolders as units and its own `mod.rs` must have an order. If the
//! children of a module use its definitions, the module must therefore not use theirs, except to re-export them with
//! `pub use`. Definitions that both need go to a separate file.

mod graph;
mod source;

use std::path::Path;

use self::graph::Crate;

/// The folders of the crates that are checked.
const CRATES: &[&str] = &[
    "http-wasm-host",
    "http-wasm-tower",
    "http-wasm-gateway",
    "http-wasm-envoy",
    "http-wasm-cli",
    "http-wasm-tck",
    "http-wasm-fuzz",
];

/// The core's layers, lowest first; each imports only those above it in this list.
#[rustfmt::skip]
const LAYERS: &[&str] = &[
    // Constants and vocabulary.
    "choice", "abi", "bodies", "coding", "text", "limits", "fault", "warning", "symbols", "error", "report",
    "failure", "stats", "observer", "trace", "rule",
    // Background work, and the logs of guests.
    "runtime", "log",
    // The parts of messages, and their hosts.
    "message", "host",
    // The rules.
    "exchange",
    // Compiled code, and what runs it.
    "engine", "run", "load", "pool", "guest", "replay",
];

#[test]
fn the_core_imports_downwards_only() {
    let upward = read("http-wasm-host").upward(LAYERS);
    assert!(upward.is_empty(), "\n{}", upward.join("\n"));
}

#[test]
fn no_crate_has_import_cycles_between_modules() {
    for name in CRATES {
        let cycles = read(name).cycles();
        assert!(cycles.is_empty(), "{name}:\n{}", cycles.join("\n"));
    }
}

fn read(name: &str) -> Crate {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf);
    Crate::read(&crates.unwrap_or_default().join(name).join("src"))
}

/// The imports of a crate with these modules, as "a -> b".
fn imports(texts: &[(&str, &str)]) -> Vec<String> {
    let name = |path: &Vec<String>| if path.is_empty() { "root".to_owned() } else { path.join("::") };
    let imports = Crate::of(texts).imports();
    imports.keys().map(|(from, to)| format!("{} -> {}", name(from), name(to))).collect()
}

#[test]
fn an_import_counts_for_the_module_that_defines_the_item() {
    let texts = [
        ("", "mod a; mod b; mod user; pub use self::b::Renamed as Root;"),
        ("a", "mod inner; pub use self::inner::{Item, other as Renamed};"),
        ("a::inner", "pub struct Item; pub fn other() {}"),
        ("b", "pub use crate::a::Renamed;"),
        ("user", "use crate::{a::Item, Root};"),
    ];
    assert_eq!(imports(&texts), ["user -> a::inner"]);
}

#[test]
fn a_parent_that_uses_its_own_re_export_imports_the_child() {
    let uses = [("", "mod a;"), ("a", "mod b; pub use self::b::B; struct A(B);"), ("a::b", "use super::A;")];
    assert_eq!(imports(&uses), ["a -> a::b", "a::b -> a"]);
    let cycles = Crate::of(&uses).cycles();
    assert!(cycles.len() == 1 && cycles[0].starts_with("in a: b, mod import each other"), "{cycles:?}");
    let hands_on = [("", "mod a;"), ("a", "mod b; pub use self::b::B; struct A;"), ("a::b", "use super::A;")];
    assert_eq!(Crate::of(&hands_on).cycles(), [""; 0]);
}

#[test]
fn folders_are_compared_as_units() {
    let texts = [
        ("", "mod a; mod b;"),
        ("a", "mod x; mod y;"),
        ("a::x", "use crate::b::z::Z;"),
        ("a::y", "pub struct Y;"),
        ("b", "pub mod z; mod w;"),
        ("b::w", "use crate::a::y::Y;"),
        ("b::z", "pub struct Z;"),
    ];
    let cycles = Crate::of(&texts).cycles();
    assert!(cycles.len() == 1 && cycles[0].starts_with("in the root: a, b import each other"), "{cycles:?}");
    assert!(cycles[0].contains("a::x imports crate::b::z::Z of b::z"), "{cycles:?}");
}

#[test]
fn imports_of_a_higher_layer_and_modules_without_a_layer_are_reported() {
    let texts = [("", "mod a; mod b; mod c;"), ("a", "use crate::b::B;"), ("b", "pub struct B;"), ("c", "")];
    let upward = Crate::of(&texts).upward(&["a", "b"]);
    assert_eq!(upward, ["c is in no layer", "a imports crate::b::B of b, a higher layer"]);
    assert_eq!(Crate::of(&texts).upward(&["b", "a", "c"]), [""; 0]);
}

#[test]
fn paths_in_code_are_imports_and_text_is_not() {
    let texts = [
        ("", "mod a; mod b;"),
        ("b", "pub fn f() {} pub struct S;"),
        (
            "a",
            r##"
            //! [`crate::b::S`]
            /* crate::b::f() /* crate::b::f() */ */
            const TEXT: &str = "\" crate::b::f()";
            const RAW: &[u8] = br#"" crate::b::f()"#;
            const QUOTE: char = '"';
            fn f<'a>(_: &'a str) -> char { '\'' }
            pub(in crate::b) struct P;
            "##,
        ),
    ];
    assert_eq!(imports(&texts), [""; 0]);
    for code in ["fn f() { crate::b::f() }", "fn f() { super::b::f() }", "use crate::b; fn f() { b::f() }"] {
        assert_eq!(imports(&[texts[0], texts[1], ("a", code)]), ["a -> b"], "{code}");
    }
}

#[test]
fn imports_under_cfg_test_are_ignored() {
    let a = "#[cfg(test)] use crate::b::{S, f}; #[cfg(test)] mod tests { use crate::b::S; } #[cfg(test)] mod more;";
    assert_eq!(imports(&[("", "mod a; mod b;"), ("b", "pub struct S;"), ("a", a)]), [""; 0]);
}

#[test]
fn super_in_an_inline_module_means_the_modules_parent() {
    let a = "mod inline { use super::X; mod deeper { use super::super::super::b::S; } } struct X;";
    assert_eq!(imports(&[("", "mod a; mod b;"), ("b", "pub struct S;"), ("a", a)]), ["a -> b"]);
}

#[test]
fn an_item_takes_precedence_over_an_import_of_the_same_name_for_other_modules() {
    let texts = [
        ("", "mod a; mod log; mod c;"),
        ("a", "use crate::log; pub fn log() {}"),
        ("log", ""),
        ("c", "use crate::a; fn f() { a::log() }"),
    ];
    assert_eq!(imports(&texts), ["a -> log", "c -> a"]);
}
