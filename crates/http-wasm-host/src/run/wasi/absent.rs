//! Functions that have nothing to operate on in a guest without files.

use wasmtime::{Caller, FuncType, Linker, Val, ValType};

use super::errno::Errno;
use super::state::HasWasi;
use super::traced;
use crate::abi::WASI_MODULE as MODULE;

/// A function's parameters (`i` is an i32, `l` an i64), the first of which is a file descriptor, and its result if that
/// is 0, 1 or 2. Other descriptors don't exist: `fd_prestat_get` then returns the error by which a C library knows that
/// it has seen all preopened directories.
type Absent = (&'static str, &'static str, Errno);

const ABSENT: &[Absent] = &[
    ("fd_advise", "illi", Errno::BADF),
    ("fd_allocate", "ill", Errno::BADF),
    ("fd_datasync", "i", Errno::BADF),
    ("fd_fdstat_set_rights", "ill", Errno::BADF),
    ("fd_filestat_set_size", "il", Errno::BADF),
    ("fd_filestat_set_times", "illi", Errno::BADF),
    ("fd_pread", "iiili", Errno::SPIPE),
    ("fd_prestat_dir_name", "iii", Errno::BADF),
    ("fd_prestat_get", "ii", Errno::BADF),
    ("fd_pwrite", "iiili", Errno::SPIPE),
    ("fd_readdir", "iiili", Errno::BADF),
    ("fd_renumber", "ii", Errno::BADF),
    ("fd_seek", "ilii", Errno::SPIPE),
    ("fd_sync", "i", Errno::BADF),
    ("fd_tell", "ii", Errno::SPIPE),
    ("path_create_directory", "iii", Errno::BADF),
    ("path_filestat_get", "iiiii", Errno::BADF),
    ("path_filestat_set_times", "iiiilli", Errno::BADF),
    ("path_link", "iiiiiii", Errno::BADF),
    ("path_open", "iiiiillii", Errno::BADF),
    ("path_readlink", "iiiiii", Errno::BADF),
    ("path_remove_directory", "iii", Errno::BADF),
    ("path_rename", "iiiiii", Errno::BADF),
    // Only here is the first parameter not a descriptor. The result is the same for all values.
    ("path_symlink", "iiiii", Errno::BADF),
    ("path_unlink_file", "iii", Errno::BADF),
    ("sock_accept", "iii", Errno::NOTSOCK),
    ("sock_recv", "iiiiii", Errno::NOTSOCK),
    ("sock_send", "iiiii", Errno::NOTSOCK),
    ("sock_shutdown", "ii", Errno::NOTSOCK),
];

pub(super) fn add_to_linker<T: HasWasi>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    for &(name, params, for_standard_streams) in ABSENT {
        let params = params.chars().map(|letter| if letter == 'l' { ValType::I64 } else { ValType::I32 });
        let ty = FuncType::new(linker.engine(), params, [ValType::I32]);
        linker.func_new(MODULE, name, ty, move |mut caller: Caller<'_, T>, params, results| {
            let errno = match params.first() {
                Some(Val::I32(0..=2)) => for_standard_streams,
                _ => Errno::BADF,
            };
            if let Some(result) = results.first_mut() {
                *result = Val::I32(errno.code().into());
            }
            if caller.data().traced().is_some() {
                let args: Vec<_> = params.iter().map(bits).collect();
                traced::returned(&mut caller, name, &args, &Ok(errno.code().into()));
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn bits(value: &Val) -> u64 {
    match *value {
        Val::I32(value) => value.cast_unsigned().into(),
        Val::I64(value) => value.cast_unsigned(),
        _ => 0,
    }
}
