//! The functions that a guest may import, with their signatures.

use std::fmt;
use wasmparser::types::{EntityType, TypesRef};
use wasmparser::{CompositeInnerType, FuncType, ValType};

use crate::abi::{FUNCTIONS, Function, ValueType};

/// The import module of the http-wasm functions.
pub(crate) use crate::abi::MODULE as HANDLER;
/// The import module of WASI preview 1.
pub(crate) use crate::abi::WASI_MODULE as WASI;

/// A function signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    params: Vec<ValType>,
    results: Vec<ValType>,
}

impl Signature {
    /// Each letter is the type of a value: `i` for i32, `l` for i64.
    pub(super) fn new(params: &str, results: &str) -> Self {
        let types = |letters: &str| {
            letters.chars().map(|letter| if letter == 'l' { ValType::I64 } else { ValType::I32 }).collect()
        };
        Self { params: types(params), results: types(results) }
    }

    pub(super) fn matches(&self, found: &FuncType) -> bool {
        self.params == found.params() && self.results == found.results()
    }
}

impl From<&Function> for Signature {
    fn from(function: &Function) -> Self {
        let types = |types: &[ValueType]| {
            let types = types.iter().map(|ty| match ty {
                ValueType::I32 => ValType::I32,
                ValueType::I64 => ValType::I64,
            });
            types.collect()
        };
        Self { params: types(function.params), results: types(function.results) }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&arrow(&self.params, &self.results))
    }
}

/// The type of an import or export, if it is a function.
pub(super) fn func_type(types: TypesRef<'_>, entity: EntityType) -> Option<&FuncType> {
    match entity {
        EntityType::Func(id) | EntityType::FuncExact(id) => match &types.get(id)?.composite_type.inner {
            CompositeInnerType::Func(ty) => Some(ty),
            _ => None,
        },
        _ => None,
    }
}

/// A signature as found in a module, formatted for messages.
pub(super) fn describe(found: &FuncType) -> String {
    arrow(found.params(), found.results())
}

fn arrow(params: &[ValType], results: &[ValType]) -> String {
    // The rest is omitted: a module may declare a thousand parameters.
    const MAX_SHOWN: usize = 16;
    let list = |types: &[ValType]| {
        let mut names: Vec<String> = types.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
        if types.len() > MAX_SHOWN {
            names.push(format!("… {} in all", types.len()));
        }
        names.join(", ")
    };
    match results {
        [one] => format!("({}) -> {one}", list(params)),
        _ => format!("({}) -> ({})", list(params), list(results)),
    }
}

/// The signature of the `http_handler` function with this name, if there is one.
pub(super) fn handler(name: &str) -> Option<Signature> {
    FUNCTIONS.iter().find(|function| function.name == name).map(Signature::from)
}

/// The signature of the WASI preview 1 function with this name, if there is one.
pub(super) fn wasi(name: &str) -> Option<Signature> {
    WASI_FUNCTIONS.iter().find(|f| f.0 == name).map(|(_, params, results)| Signature::new(params, results))
}

pub(super) fn handler_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

pub(super) fn wasi_names() -> impl Iterator<Item = &'static str> {
    WASI_FUNCTIONS.iter().map(|f| f.0)
}

/// Name, parameters and result.
type Row = (&'static str, &'static str, &'static str);

// `sock_accept` was added later than the others. Today, all hosts of preview 1 have it.
const WASI_FUNCTIONS: &[Row] = &[
    ("args_get", "ii", "i"),
    ("args_sizes_get", "ii", "i"),
    ("environ_get", "ii", "i"),
    ("environ_sizes_get", "ii", "i"),
    ("clock_res_get", "ii", "i"),
    ("clock_time_get", "ili", "i"),
    ("fd_advise", "illi", "i"),
    ("fd_allocate", "ill", "i"),
    ("fd_close", "i", "i"),
    ("fd_datasync", "i", "i"),
    ("fd_fdstat_get", "ii", "i"),
    ("fd_fdstat_set_flags", "ii", "i"),
    ("fd_fdstat_set_rights", "ill", "i"),
    ("fd_filestat_get", "ii", "i"),
    ("fd_filestat_set_size", "il", "i"),
    ("fd_filestat_set_times", "illi", "i"),
    ("fd_pread", "iiili", "i"),
    ("fd_prestat_get", "ii", "i"),
    ("fd_prestat_dir_name", "iii", "i"),
    ("fd_pwrite", "iiili", "i"),
    ("fd_read", "iiii", "i"),
    ("fd_readdir", "iiili", "i"),
    ("fd_renumber", "ii", "i"),
    ("fd_seek", "ilii", "i"),
    ("fd_sync", "i", "i"),
    ("fd_tell", "ii", "i"),
    ("fd_write", "iiii", "i"),
    ("path_create_directory", "iii", "i"),
    ("path_filestat_get", "iiiii", "i"),
    ("path_filestat_set_times", "iiiilli", "i"),
    ("path_link", "iiiiiii", "i"),
    ("path_open", "iiiiillii", "i"),
    ("path_readlink", "iiiiii", "i"),
    ("path_remove_directory", "iii", "i"),
    ("path_rename", "iiiiii", "i"),
    ("path_symlink", "iiiii", "i"),
    ("path_unlink_file", "iii", "i"),
    ("poll_oneoff", "iiii", "i"),
    ("proc_exit", "i", ""),
    ("proc_raise", "i", "i"),
    ("sched_yield", "", "i"),
    ("random_get", "ii", "i"),
    ("sock_accept", "iii", "i"),
    ("sock_recv", "iiiiii", "i"),
    ("sock_send", "iiiii", "i"),
    ("sock_shutdown", "ii", "i"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wasi_table_is_complete_and_knows_each_name_once() {
        let names: std::collections::BTreeSet<_> = WASI_FUNCTIONS.iter().map(|f| f.0).collect();
        assert_eq!((WASI_FUNCTIONS.len(), names.len()), (46, 46));
    }

    #[test]
    fn the_wasi_table_agrees_with_wasmtimes_own_definitions() {
        use wasmtime::{Engine, Linker, Store};
        let engine = Engine::default();
        let mut linker: Linker<wasmtime_wasi::p1::WasiP1Ctx> = Linker::new(&engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut linker, |ctx| ctx).unwrap();
        let mut store = Store::new(&engine, wasmtime_wasi::WasiCtxBuilder::new().build_p1());
        for (name, ..) in WASI_FUNCTIONS {
            let func = linker.get(&mut store, WASI, name).ok().and_then(wasmtime::Extern::into_func);
            let ty = func.expect(name).ty(&store);
            let letters = |types: Vec<wasmtime::ValType>| -> String {
                types.iter().map(|t| if t.is_i64() { 'l' } else { 'i' }).collect()
            };
            let found = Signature::new(&letters(ty.params().collect()), &letters(ty.results().collect()));
            assert_eq!(wasi(name).unwrap(), found, "{name}");
        }
    }

    #[test]
    fn signatures_read_like_wasm_types() {
        assert_eq!(handler("read_body").unwrap().to_string(), "(i32, i32, i32) -> i64");
        assert_eq!(handler("set_status_code").unwrap().to_string(), "(i32) -> ()");
        assert_eq!(handler("get_status_code").unwrap().to_string(), "() -> i32");
    }
}
