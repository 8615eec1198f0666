//! Replaces each host function with a test's function.

use std::any::Any;
use std::task::Poll;

use wasmtime::{Caller, Linker};

use super::{Answer, ToBits, write_streamed};
use crate::abi::{MODULE, functions};
use crate::error::Reason;
use crate::host::Host;
use crate::run::intercept::{HostCall, Intercept, Intercepted, Target, Trap};
use crate::run::memory;
use crate::run::state::State;

/// A 64-bit return value as its type.
trait FromBits: Sized {
    fn finish<H: Host>(
        answer: Result<Poll<u64>, Reason>,
        function: &'static str,
        caller: &mut Caller<'_, State<H>>,
    ) -> wasmtime::Result<Self>;
}

macro_rules! narrow {
    ($($ty:ty, |$value:ident| $narrow:expr;)*) => {$(
        impl FromBits for $ty {
            fn finish<H: Host>(
                answer: Result<Poll<u64>, Reason>,
                function: &'static str,
                caller: &mut Caller<'_, State<H>>,
            ) -> wasmtime::Result<Self> {
                let $value = <Poll<u64> as Answer<u64>>::finish(answer, function, caller)?;
                Ok($narrow)
            }
        }
    )*};
}

narrow! {
    (), |_value| ();
    u32, |value| value as u32;
    u64, |value| value;
}

macro_rules! intercepted {
    ($($name:ident ( $($arg:ident : $ty:ty),* ) -> $result:ty,
        memory: $memory:tt, reads_request: $reads_request:tt, may_wait: $may_wait:ident,
        access: $access:ident;)*) => {
        impl<H: Host> Target for State<H> {
            fn call(&mut self, memory: &mut [u8], function: &str, args: &[u32]) -> Intercepted {
                let mut args = args.iter().copied();
                let mut next = || args.next().unwrap_or_default();
                if function == WRITE_BODY {
                    return write_streamed(memory, self, next(), next(), next()).map_err(Trap);
                }
                match function {
                    $(stringify!($name) => {
                        $(let $arg = next() as $ty;)*
                        let answer = on!($memory $name(memory, self $(, $arg)*));
                        answer.map(ToBits::widen).map_err(Trap)
                    })*
                    _ => Err(Trap::unfounded()),
                }
            }

            fn host(&mut self) -> Option<&mut dyn Any> {
                let exchange = self.exchange.ongoing_mut()?;
                Some(&mut *exchange.host)
            }
        }

        /// Registers the ABI with `intercept` in place of each function.
        pub(crate) fn add_to_linker<H: Host>(
            linker: &mut Linker<State<H>>,
            intercept: &Intercept,
            pauses_writes: bool,
        ) -> wasmtime::Result<()> {
            $({
                let intercept = intercept.clone();
                linker.func_wrap(
                    MODULE,
                    stringify!($name),
                    move |mut caller: Caller<'_, State<H>> $(, $arg: $ty)*| -> wasmtime::Result<$result> {
                        let answer = memory::split(&mut caller).and_then(|(memory, target)| {
                            let args: &[u32] = &[$($arg as u32),*];
                            let function = stringify!($name);
                            let mut call = HostCall { function, args, memory, target };
                            intercept(&mut call).map_err(|Trap(reason)| reason)
                        });
                        <$result as FromBits>::finish(answer, stringify!($name), &mut caller)
                    },
                )?;
            })*
            if pauses_writes { add_pausing_write(linker, intercept.clone()) } else { Ok(()) }
        }
    };
}

const WRITE_BODY: &str = "write_body";

/// The same for the `write_body` of a guest that may have to wait in it.
fn add_pausing_write<H: Host>(linker: &mut Linker<State<H>>, intercept: Intercept) -> wasmtime::Result<()> {
    let write = move |mut caller: Caller<'_, State<H>>, kind: u32, body: u32, body_len: u32| {
        let written = memory::split(&mut caller).and_then(|(memory, target)| {
            let args: &[u32] = &[kind, body, body_len];
            let mut call = HostCall { function: WRITE_BODY, args, memory, target };
            intercept(&mut call).map_err(|Trap(reason)| reason)
        });
        <Poll<u64> as Answer<u64>>::finish(written, WRITE_BODY, &mut caller).map(|answer| answer as u32)
    };
    linker.allow_shadowing(true);
    linker.func_wrap(MODULE, WRITE_BODY, write)?;
    linker.allow_shadowing(false);
    Ok(())
}

macro_rules! on {
    (true $name:ident($memory:ident, $state:ident $(, $arg:ident)*)) => { super::$name($memory, $state $(, $arg)*) };
    (false $name:ident($memory:ident, $state:ident $(, $arg:ident)*)) => { super::$name($state $(, $arg)*) };
}

functions!(intercepted);
