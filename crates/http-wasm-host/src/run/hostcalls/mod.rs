//! The 19 functions of the ABI: decode the arguments, ask the exchange, encode the result.

mod body;
#[cfg(feature = "mutations")]
pub(crate) mod broken;
mod fields;
mod head;
mod instance;

use std::task::Poll;

use wasmtime::{Caller, Linker};

use crate::abi::{MODULE, PENDING};
use crate::error::{CallError, Reason};
use crate::host::Host;
use crate::run::hook::OnHostCall;
use crate::run::memory;
use crate::run::state::State;
use crate::run::suspend;

/// The functions that may have to wait; their imports get a shim (see [`crate::run::suspend`]).
pub(crate) const SUSPENDING: [(&str, &str); 3] =
    [(MODULE, "get_header_names"), (MODULE, "get_header_values"), (MODULE, "read_body")];

/// Registers a host function under its ABI name: `linker, hook, name(parameters) -> result`, for the function of that
/// name. Finding the guest's memory costs as much as a small function does, so those that need none don't look for it.
macro_rules! define {
    ($linker:ident, $hook:ident, without memory $module:ident :: $name:ident ( $($arg:ident : $ty:ty),* ) -> $result:ty) => {
        define!(@ $linker, $hook, $name($($arg: $ty),*) -> $result, |caller| {
            $module::$name(caller.data_mut() $(, $arg)*)
        });
    };
    ($linker:ident, $hook:ident, $module:ident :: $name:ident ( $($arg:ident : $ty:ty),* ) -> $result:ty) => {
        define!(@ $linker, $hook, $name($($arg: $ty),*) -> $result, |caller| {
            memory::split(&mut caller).and_then(|(memory, state)| $module::$name(memory, state $(, $arg)*))
        });
    };
    (@ $linker:ident, $hook:ident, $name:ident ( $($arg:ident : $ty:ty),* ) -> $result:ty, |$caller:ident| $answer:expr) => {
        let hook = $hook.clone();
        $linker.func_wrap(
            MODULE,
            stringify!($name),
            move |mut $caller: Caller<'_, State<H>> $(, $arg: $ty)*| -> wasmtime::Result<$result> {
                hook.called(stringify!($name));
                let answer = $answer;
                Answer::finish(answer, stringify!($name), &mut $caller)
            },
        )?;
    };
}

/// Registers the ABI.
pub(crate) fn add_to_linker<H: Host>(
    linker: &mut Linker<State<H>>,
    hook: impl OnHostCall,
) -> wasmtime::Result<()> {
    define!(linker, hook, without memory instance::enable_features(features: u32) -> u32);
    define!(linker, hook, instance::get_config(buf: u32, buf_limit: u32) -> u32);
    define!(linker, hook, instance::log(level: i32, message: u32, message_len: u32) -> ());
    define!(linker, hook, without memory instance::log_enabled(level: i32) -> u32);
    define!(linker, hook, head::get_method(buf: u32, buf_limit: u32) -> u32);
    define!(linker, hook, head::set_method(method: u32, method_len: u32) -> ());
    define!(linker, hook, head::get_uri(buf: u32, buf_limit: u32) -> u32);
    define!(linker, hook, head::set_uri(uri: u32, uri_len: u32) -> ());
    define!(linker, hook, head::get_protocol_version(buf: u32, buf_limit: u32) -> u32);
    define!(linker, hook, head::get_source_addr(buf: u32, buf_limit: u32) -> u32);
    define!(linker, hook, without memory head::get_status_code() -> u32);
    define!(linker, hook, without memory head::set_status_code(status: u32) -> ());
    define!(linker, hook, fields::get_header_names(kind: u32, buf: u32, buf_limit: u32) -> u64);
    define!(linker, hook, fields::get_header_values(kind: u32, name: u32, name_len: u32, buf: u32, buf_limit: u32) -> u64);
    define!(linker, hook, fields::set_header_value(kind: u32, name: u32, name_len: u32, value: u32, value_len: u32) -> ());
    define!(linker, hook, fields::add_header_value(kind: u32, name: u32, name_len: u32, value: u32, value_len: u32) -> ());
    define!(linker, hook, fields::remove_header(kind: u32, name: u32, name_len: u32) -> ());
    define!(linker, hook, body::read_body(kind: u32, buf: u32, buf_limit: u32) -> u64);
    define!(linker, hook, body::write_body(kind: u32, body: u32, body_len: u32) -> ());
    Ok(())
}

/// What a host function answers: a value, or one that the guest may have to wait for.
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
                suspend::wait(caller);
                Ok(PENDING)
            }
            Poll::Pending => {
                let reason = Reason::Internal("a body that had ended made the guest wait");
                Err(CallError { function, reason }.into())
            }
        }
    }
}
