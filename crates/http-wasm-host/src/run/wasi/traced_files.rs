//! wasmtime-wasi's functions for files, as its `add_to_linker` defines them, except that a tracer sees their calls.

use wasmtime::{AsContextMut as _, Caller, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as preview1;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::GuestMemory;

use super::state::{HasWasi, files_of};
use super::traced;
use crate::abi::WASI_MODULE as MODULE;
use crate::error::CallError;
use crate::run::memory;

/// An argument as it is traced.
trait Bits {
    fn bits(self) -> u64;
}

impl Bits for i32 {
    fn bits(self) -> u64 {
        self.cast_unsigned().into()
    }
}

impl Bits for i64 {
    fn bits(self) -> u64 {
        self.cast_unsigned()
    }
}

/// Calls wasmtime-wasi's function of this name, and traces the call.
macro_rules! call {
    ($caller:ident, $name:ident ( $($arg:ident),* ) $($await:tt)*) => {{
        let function = stringify!($name);
        let fuel = $caller.as_context_mut().hostcall_fuel();
        let split = memory::split(&mut $caller);
        let (memory, data) = split.map_err(|reason| CallError { function, reason })?;
        let files = files_of(data);
        files.set_hostcall_fuel(fuel);
        let mut memory = GuestMemory::Unshared(memory);
        let answer = preview1::$name(files, &mut memory $(, $arg)*) $($await)*;
        let answer = answer.map(i32::cast_unsigned);
        traced::returned(&mut $caller, function, &[$($arg.bits()),*], &answer);
        answer.map(u32::cast_signed)
    }};
}

/// Registers functions under their own names.
macro_rules! define {
    ($linker:ident; $(async $name:ident ( $($arg:ident : $ty:ty),* );)*) => {$(
        $linker.func_wrap_async(
            MODULE,
            stringify!($name),
            |mut caller: Caller<'_, T>, ($($arg,)*): ($($ty,)*)| {
                Box::new(async move { call!(caller, $name($($arg),*) .await) })
            },
        )?;
    )*};
    ($linker:ident; $($name:ident ( $($arg:ident : $ty:ty),* );)*) => {$(
        $linker.func_wrap(
            MODULE,
            stringify!($name),
            |mut caller: Caller<'_, T> $(, $arg: $ty)*| -> wasmtime::Result<i32> {
                call!(caller, $name($($arg),*))
            },
        )?;
    )*};
}

pub(super) fn add_to_linker<T: HasWasi>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    define! { linker;
        async fd_advise(fd: i32, offset: i64, len: i64, advice: i32);
        async fd_close(fd: i32);
        async fd_datasync(fd: i32);
        async fd_fdstat_get(fd: i32, stat: i32);
        async fd_filestat_get(fd: i32, stat: i32);
        async fd_filestat_set_size(fd: i32, size: i64);
        async fd_filestat_set_times(fd: i32, atim: i64, mtim: i64, set: i32);
        async fd_pread(fd: i32, iovs: i32, iovs_len: i32, offset: i64, nread: i32);
        async fd_pwrite(fd: i32, iovs: i32, iovs_len: i32, offset: i64, nwritten: i32);
        async fd_read(fd: i32, iovs: i32, iovs_len: i32, nread: i32);
        async fd_readdir(fd: i32, buf: i32, buf_len: i32, cookie: i64, used: i32);
        async fd_renumber(fd: i32, to: i32);
        async fd_seek(fd: i32, offset: i64, whence: i32, position: i32);
        async fd_sync(fd: i32);
        async fd_write(fd: i32, iovs: i32, iovs_len: i32, nwritten: i32);
        async path_create_directory(fd: i32, path: i32, len: i32);
        async path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, stat: i32);
        async path_filestat_set_times(
            fd: i32, flags: i32, path: i32, len: i32, atim: i64, mtim: i64, set: i32
        );
        async path_link(fd: i32, flags: i32, path: i32, len: i32, to_fd: i32, to: i32, to_len: i32);
        async path_open(
            fd: i32, dirflags: i32, path: i32, len: i32, oflags: i32, rights: i64, inheriting: i64,
            fdflags: i32, opened: i32
        );
        async path_readlink(fd: i32, path: i32, len: i32, buf: i32, buf_len: i32, used: i32);
        async path_remove_directory(fd: i32, path: i32, len: i32);
        async path_rename(fd: i32, path: i32, len: i32, to_fd: i32, to: i32, to_len: i32);
        async path_symlink(target: i32, target_len: i32, fd: i32, path: i32, len: i32);
        async path_unlink_file(fd: i32, path: i32, len: i32);
    }
    define! { linker;
        fd_allocate(fd: i32, offset: i64, len: i64);
        fd_fdstat_set_flags(fd: i32, flags: i32);
        fd_fdstat_set_rights(fd: i32, rights: i64, inheriting: i64);
        fd_prestat_dir_name(fd: i32, path: i32, len: i32);
        fd_prestat_get(fd: i32, stat: i32);
        fd_tell(fd: i32, position: i32);
        sock_accept(fd: i32, flags: i32, accepted: i32);
        sock_recv(fd: i32, iovs: i32, iovs_len: i32, flags: i32, nread: i32, out_flags: i32);
        sock_send(fd: i32, iovs: i32, iovs_len: i32, flags: i32, nwritten: i32);
        sock_shutdown(fd: i32, how: i32);
    }
    Ok(())
}
