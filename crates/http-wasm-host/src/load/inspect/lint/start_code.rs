//! Detects code that should run before the first request but is never called.

use super::go_functions::GoFunctions;
use super::verdict::Verdict;
use crate::abi::MODULE;
use crate::load::inspect::graph::{Graph, Reachable};
use crate::load::inspect::producers::Producer;
use crate::warning::{Lint, Warning};

/// The start code of a module, and which parts of it run before the first request.
#[derive(Clone, Debug, Default)]
pub(super) struct StartCode {
    /// The name of start code that is never called.
    uncalled: Option<Uncalled>,
    /// Whether the handlers call through a table.
    dispatches: bool,
    runs_at_start: bool,
    /// Whether this is a library without function names, in which start code that is never called can't be found.
    is_nameless_library: bool,
    imports_host: bool,
    toolchain: Toolchain,
}

#[derive(Clone, Debug)]
struct Uncalled {
    name: String,
    /// Whether the name is only used for start code.
    is_certain: bool,
}

/// The toolchain that built the module, if it affects the advice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Toolchain {
    Rust,
    Go,
    Clang,
    #[default]
    Other,
}

impl Toolchain {
    fn of(graph: &Graph<'_>, producers: &[Producer]) -> Self {
        let made = |field: &str, name: &str| producers.iter().any(|p| p.field == field && p.name == name);
        let named = |name: &str| graph.names().any(|(found, _)| found == name);
        // Rust's C library is recorded too, so C comes last.
        if made("language", "Rust") {
            Self::Rust
        } else if made("language", "Go") || named(GO_MAIN) {
            Self::Go
        } else if producers.iter().any(|p| p.field == "processed-by" && p.name.contains("clang")) {
            Self::Clang
        } else {
            Self::Other
        }
    }
}

const GO_MAIN: &str = "main.main";

/// Whether compilers and linkers use this name only for start code.
fn is_start_code(name: &str) -> bool {
    matches!(
        name,
        "main"
            | "__main_void"
            | "__main_argc_argv"
            | "__original_main"
            | "__wasm_call_ctors"
            | "_initialize"
            | "_start"
    ) || name.starts_with("_GLOBAL__sub_I_")
        || name.starts_with("__cxx_global_var_init")
}

/// Whether an export with this name may be start code: common arguments of `asc --exportStart`, and conventions of
/// other hosts.
fn may_be_start_code(name: &str) -> bool {
    matches!(name, "start" | "__start" | "init" | "_init" | "initialize" | "setup" | "register" | "_main")
}

/// Whether this is Rust's `main`, mangled by either scheme or not at all.
fn is_rust_main(name: &str) -> bool {
    name.contains("4main17h") || name.starts_with("_R") && name.ends_with("4main") || name.ends_with("::main")
}

impl StartCode {
    /// `handlers` are the functions that the two handlers may call.
    pub(super) fn of(graph: &Graph<'_>, handlers: &Reachable, producers: &[Producer]) -> Self {
        let start = [graph.start, graph.exported("_initialize"), graph.exported("_start")];
        let start: Vec<u32> = start.into_iter().flatten().collect();
        let toolchain = Toolchain::of(graph, producers);
        let runs = graph.reached(start.iter().copied());
        let is_called = |function| handlers.contains(function) || runs.contains(function);
        let is_nameless = !graph.has_names();
        let go_functions =
            (is_nameless && toolchain == Toolchain::Go).then(|| GoFunctions::of(graph)).flatten();
        Self {
            uncalled: uncalled(graph, toolchain, go_functions.as_ref(), is_called),
            dispatches: handlers.indirectly,
            runs_at_start: !start.is_empty(),
            is_nameless_library: is_nameless
                && go_functions.is_none()
                && graph.exported("_initialize").is_some()
                && graph.exported("_start").is_none(),
            imports_host: graph.imports.iter().any(|import| import.module == MODULE),
            toolchain,
        }
    }

    /// Whether the guest may do nothing.
    pub(super) fn is_suspicious(&self) -> bool {
        let is_plain = self.runs_at_start && self.imports_host && !self.is_nameless_library;
        self.uncalled.is_some() || self.dispatches && !is_plain
    }

    /// `silent` says that the guest made no host call when it got a request.
    pub(super) fn judge(&self, silent: bool, verdict: &mut Verdict) {
        const NOTHING: &str = "the guest does nothing: it handles a request without calling the host";
        match &self.uncalled {
            Some(uncalled) if silent => {
                let what = format!(
                    "{NOTHING}, and `{}`, which looks like its start-up code, is never called",
                    uncalled.name
                );
                verdict.refusals.push(self.warning(what));
            }
            Some(uncalled) if uncalled.is_certain => {
                let what =
                    format!("`{}` looks like the guest's start-up code, but is never called", uncalled.name);
                verdict.warnings.push(self.warning(what));
            }
            Some(_) => {}
            None if silent && self.dispatches && !self.runs_at_start => {
                let what = format!(
                    "{NOTHING}; its handlers call functions that are registered at start-up, but none of its \
                     code runs then"
                );
                verdict.refusals.push(self.warning(what));
            }
            None if silent && self.dispatches && self.is_nameless_library => {
                let what = format!(
                    "{NOTHING}; perhaps its handlers are registered in a `main`, which doesn't run in a \
                     library (the module has no function names, so this can't be checked)"
                );
                verdict.warnings.push(self.warning(what));
            }
            None if silent && self.dispatches && !self.imports_host => {
                let what = format!(
                    "{NOTHING}, and imports none of its functions: perhaps its handlers are never registered"
                );
                verdict.warnings.push(self.warning(what));
            }
            None => {}
        }
    }

    fn warning(&self, what: String) -> Warning {
        Warning::new(Lint::Unregistered, what, self.toolchain.help())
    }
}

/// Start code that is never called, most significant first.
fn uncalled(
    graph: &Graph<'_>,
    toolchain: Toolchain,
    go_functions: Option<&GoFunctions>,
    is_called: impl Fn(u32) -> bool,
) -> Option<Uncalled> {
    if toolchain == Toolchain::Go {
        return go_main(graph, go_functions);
    }
    let idle = |function: u32| !is_called(function) && graph.does_something(function);
    let certain =
        graph.exports().chain(graph.names()).find(|(name, function)| is_start_code(name) && idle(*function));
    if let Some((name, _)) = certain {
        // A program for wasm32-unknown-unknown exports its `main`, and the compiler requires one even if it is empty.
        let is_certain = toolchain != Toolchain::Rust || {
            let mut mains = graph.names().filter(|(name, _)| is_rust_main(name)).peekable();
            let known = mains.peek().is_some();
            if known && mains.all(|(_, main)| !graph.does_something(main)) {
                return None;
            }
            known
        };
        return Some(Uncalled { name: name.to_owned(), is_certain });
    }
    let (name, _) = graph.exports().find(|(name, function)| may_be_start_code(name) && idle(*function))?;
    Some(Uncalled { name: name.to_owned(), is_certain: false })
}

/// Go links `main` into a library too, but only calls it in a program. Each function is in a table, so calls reveal
/// nothing.
fn go_main(graph: &Graph<'_>, functions: Option<&GoFunctions>) -> Option<Uncalled> {
    if graph.exported("_start").is_some() {
        return None;
    }
    let named = graph.names().find(|(name, _)| *name == GO_MAIN).map(|(_, main)| main);
    let main = named.or_else(|| functions?.find(graph, GO_MAIN))?;
    graph.does_something(main).then(|| Uncalled { name: GO_MAIN.to_owned(), is_certain: true })
}

impl Toolchain {
    fn help(self) -> &'static str {
        match self {
            Self::Rust => {
                "`main` runs only in WASI programs: build one (`src/main.rs`, not a `cdylib`) with \
                 `--target wasm32-wasip1`, or move the code of `main` into a function `#[unsafe(no_mangle)] \
                 pub extern \"C\" fn _initialize()`"
            }
            Self::Go => {
                "`main` doesn't run in a guest built with `-buildmode=c-shared`: move its code into `func \
                 init()`, and leave `main` empty"
            }
            Self::Clang => {
                "link with `-mexec-model=reactor` and without `-nostartfiles` and `-nostdlib`, so that \
                 constructors run once for each instance, and move the code of `main` into a constructor \
                 (`__attribute__((constructor))`) or an exported `_initialize`"
            }
            Self::Other => {
                "the host runs the start section and the exports `_initialize` and `_start`: export the code \
                 that sets the guest up under one of these names (clang, wasi-sdk and Zig: \
                 `-mexec-model=reactor`; AssemblyScript: `--exportStart _initialize`; TinyGo and Go: use \
                 `func init()`)"
            }
        }
    }
}
