//! The host functions of the ABI. Each decodes its arguments, calls the exchange, and encodes the result.

mod body;
mod effect;
mod fields;
mod head;
mod instance;
#[cfg(feature = "mutations")]
mod intercepted;
mod traced;

use std::task::Poll;

use wasmtime::{Caller, Linker};

#[cfg(feature = "mutations")]
pub(crate) use self::intercepted::add_to_linker as add_intercepted;

use self::body::{read_body, write_body, write_streamed};
use self::fields::{add_header_value, get_header_names, get_header_values, remove_header, set_header_value};
use self::head::{
    get_method, get_protocol_version, get_source_addr, get_status_code, get_uri, set_method, set_status_code,
    set_uri,
};
use self::instance::{enable_features, get_config, log, log_enabled};
use self::traced::OnHostCall;
use crate::abi::{MODULE, PENDING, functions};
use crate::error::{CallError, Reason};
use crate::host::Host;
use crate::run::memory;
use crate::run::state::State;
use crate::run::suspend::{self, WaitsFor};

/// Defines `add_to_linker` from the ABI's table. Each function has the same name in one of the submodules.
macro_rules! linker {
    ($($name:ident ( $($arg:ident : $ty:ty),* ) -> $result:ty,
        memory: $memory:tt, reads_request: $reads_request:tt, may_wait: $may_wait:ident,
        access: $access:ident;)*) => {
        /// Registers the ABI.
        pub(crate) fn add_to_linker<H: Host>(
            linker: &mut Linker<State<H>>,
            hook: impl OnHostCall,
            pauses_writes: bool,
        ) -> wasmtime::Result<()> {
            $({
                let hook = hook.clone();
                linker.func_wrap(
                    MODULE,
                    stringify!($name),
                    move |mut caller: Caller<'_, State<H>> $(, $arg: $ty)*| -> wasmtime::Result<$result> {
                        let args: &[u32] = &[$($arg as u32),*];
                        let start = hook.begin(&mut caller, stringify!($name), args);
                        let answer: Result<answer!($may_wait $result), Reason> =
                            call!($memory $name(caller $(, $arg)*));
                        let seen = answer.as_ref().map(|answer| answer.widen());
                        hook.end(&mut caller, start, stringify!($name), args, seen);
                        Answer::finish(answer, stringify!($name), &mut caller)
                    },
                )?;
            })*
            if pauses_writes { add_pausing_write(linker, hook) } else { Ok(()) }
        }
    };
}

/// Registers the `write_body` of a guest that may have to wait in it, in place of the other: the shim around its import
/// expects a result.
fn add_pausing_write<H: Host>(linker: &mut Linker<State<H>>, hook: impl OnHostCall) -> wasmtime::Result<()> {
    const WRITE_BODY: &str = "write_body";
    let write = move |mut caller: Caller<'_, State<H>>, kind: u32, body: u32, body_len: u32| {
        let args: &[u32] = &[kind, body, body_len];
        let start = hook.begin(&mut caller, WRITE_BODY, args);
        let written = memory::split(&mut caller)
            .and_then(|(memory, state)| write_streamed(memory, state, kind, body, body_len));
        let seen = written.as_ref().map(|written| *written);
        hook.end(&mut caller, start, WRITE_BODY, args, seen);
        // All that the shim needs is "not yet".
        <Poll<u64> as Answer<u64>>::finish(written, WRITE_BODY, &mut caller).map(|answer| answer as u32)
    };
    linker.allow_shadowing(true);
    linker.func_wrap(MODULE, WRITE_BODY, write)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The type of a result, depending on whether the guest may have to wait for it.
macro_rules! answer {
    (No $result:ty) => { $result };
    ($waits:ident $result:ty) => { Poll<$result> };
}

/// Calls a function with what it needs: the guest's memory, or only the store's data.
macro_rules! call {
    (true $name:ident($caller:ident $(, $arg:ident)*)) => {
        memory::split(&mut $caller).and_then(|(memory, state)| $name(memory, state $(, $arg)*))
    };
    (false $name:ident($caller:ident $(, $arg:ident)*)) => { $name($caller.data_mut() $(, $arg)*) };
}

functions!(linker);

/// A return value as 64 bits.
trait ToBits: Copy {
    fn widen(self) -> Poll<u64>;
}

impl ToBits for () {
    #[inline]
    fn widen(self) -> Poll<u64> {
        Poll::Ready(0)
    }
}

impl ToBits for u32 {
    #[inline]
    fn widen(self) -> Poll<u64> {
        Poll::Ready(self.into())
    }
}

impl ToBits for Poll<u64> {
    #[inline]
    fn widen(self) -> Self {
        self
    }
}

/// The result of a host function: a value, or one that the guest may have to wait for.
trait Answer<R>: Sized {
    fn finish<H: Host>(
        answer: Result<Self, Reason>,
        function: &'static str,
        caller: &mut Caller<'_, State<H>>,
    ) -> wasmtime::Result<R>;
}

impl<R> Answer<R> for R {
    fn finish<H: Host>(
        answer: Result<R, Reason>,
        function: &'static str,
        _: &mut Caller<'_, State<H>>,
    ) -> wasmtime::Result<R> {
        answer.map_err(|reason| CallError { function, reason }.into())
    }
}

impl Answer<u64> for Poll<u64> {
    fn finish<H: Host>(
        answer: Result<Self, Reason>,
        function: &'static str,
        caller: &mut Caller<'_, State<H>>,
    ) -> wasmtime::Result<u64> {
        match answer.map_err(|reason| CallError { function, reason })? {
            Poll::Ready(value) => Ok(value),
            Poll::Pending if caller.data().suspension.can_wait() => {
                suspend::wait(caller, WaitsFor::Message);
                Ok(PENDING)
            }
            Poll::Pending => {
                let reason = Reason::Internal("a body that had ended made the guest wait");
                Err(CallError { function, reason }.into())
            }
        }
    }
}
