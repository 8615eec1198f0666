//! Host functions that break a rule; see [`crate::mutation`].

use wasmtime::Linker;

use crate::host::Host;
use crate::mutation::Mutation;
use crate::run::state::State;

/// Puts a broken function in the place of the one that is registered.
macro_rules! replace {
    ($linker:ident, $name:ident, |$memory:ident, $state:ident $(, $arg:ident: $ty:ty)*| -> $result:ty $body:block) => {
        $linker.func_wrap(
            MODULE,
            stringify!($name),
            move |mut caller: Caller<'_, State<H>> $(, $arg: $ty)*| -> wasmtime::Result<$result> {
                let answer = memory::split(&mut caller).and_then(|($memory, $state)| $body);
                Answer::finish(answer, stringify!($name), &mut caller)
            },
        )?
    };
}

/// The same for `get_header_values`.
macro_rules! replace_values {
    ($linker:ident, |$memory:ident, $state:ident, $kind:ident, $name:ident, $len:ident, $buf:ident, $limit:ident| $body:block) => {
        replace!($linker, get_header_values, |$memory, $state, $kind: u32, $name: u32, $len: u32, $buf: u32, $limit: u32| -> u64 $body)
    };
}

/// The value if it is there; waits with the caller if not.
macro_rules! arrived {
    ($poll:expr) => {
        match $poll? {
            Poll::Ready(value) => value,
            Poll::Pending => return Ok(Poll::Pending),
        }
    };
}

// They use the macros, and so come after them.
mod bodies;
mod fields;
mod head;
mod instance;
mod lists;
mod traps;
mod values;

/// Replaces what `mutation` breaks, if that is a matter of host functions.
pub(crate) fn replace_imports<H: Host>(
    linker: &mut Linker<State<H>>,
    mutation: Mutation,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    traps::replace(linker, mutation)?;
    values::replace(linker, mutation)?;
    lists::replace(linker, mutation)?;
    head::replace(linker, mutation)?;
    fields::replace(linker, mutation)?;
    instance::replace(linker, mutation)?;
    bodies::replace(linker, mutation)
}
