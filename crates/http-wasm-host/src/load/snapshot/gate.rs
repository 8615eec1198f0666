//! Restricts what a guest may call while its snapshot is created.
//!
//! WASI calls that have the same result in each instance are allowed: arguments, environment, output, and the absence
//! of files. Of the `http_handler` functions, only those work before a request that may be part of a snapshot, and
//! `log_enabled`: the enabled levels may differ later, so it returns 1 for all of them. A guest that remembers this
//! only logs messages that are then dropped.

use wasmtime::{ExternType, Linker, Module};

use super::Snapshot;
use crate::abi::{LogLevel, MODULE, WASI_MODULE as WASI};
use crate::run::wasi::WasiConfig;

/// A guest called a function that isn't allowed in a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("it called `{function}` during initialisation: {reason}")]
pub(super) struct Refusal {
    function: String,
    reason: &'static str,
}

const RANDOM: &str = "all of its instances would share these random bytes. Choose `shared-seed` for its \
                      snapshot if it derives nothing secret or unique from them";
const TIME: &str = "all of its instances would see the time of the snapshot. Choose `shared-seed` for its \
                    snapshot if that is acceptable; random bytes drawn at start-up are then shared too, so \
                    it must derive nothing secret or unique from them";
const FILES: &str = "a snapshot can't contain open files, and reads and writes of mounted directories \
                     wouldn't be repeated for other instances. Use files only while handling requests";

/// Replaces each function that `module` imports and that a snapshot doesn't allow with one that fails.
pub(super) fn close<T: 'static>(
    linker: &mut Linker<T>,
    module: &Module,
    snapshot: Snapshot,
    wasi: &WasiConfig,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    for import in module.imports().filter(|import| import.module() == WASI) {
        if let (Some(reason), ExternType::Func(ty)) = (forbidden(import.name(), snapshot, wasi), import.ty())
        {
            let function = import.name().to_owned();
            linker.func_new(WASI, import.name(), ty, move |_, _, _| {
                Err(Refusal { function: function.clone(), reason }.into())
            })?;
        }
    }
    linker.func_wrap(MODULE, "log_enabled", |level: i32| u32::from(LogLevel::from_abi(level).is_some()))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The reason why the WASI function isn't allowed, if it isn't.
fn forbidden(function: &str, snapshot: Snapshot, wasi: &WasiConfig) -> Option<&'static str> {
    let shared_seed = snapshot == Snapshot::SharedSeed;
    match function {
        "random_get" => (!shared_seed).then_some(RANDOM),
        "clock_time_get" | "poll_oneoff" => (!shared_seed).then_some(TIME),
        "args_get" | "args_sizes_get" | "environ_get" | "environ_sizes_get" | "clock_res_get"
        | "sched_yield" | "proc_exit" | "proc_raise" => None,
        // While no file can be open, these are only standard input, which is empty, and output. Directories are opened
        // separately for each instance, with the same descriptors.
        "fd_read"
        | "fd_write"
        | "fd_fdstat_get"
        | "fd_fdstat_set_flags"
        | "fd_prestat_get"
        | "fd_prestat_dir_name" => None,
        _ => (!wasi.mounts.is_empty()).then_some(FILES),
    }
}
