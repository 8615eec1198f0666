//! Lets tests replace host functions: the test's function is called in place of each.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use crate::error::Reason;
use crate::host::Host;

/// The result of a host function: a value, or that the guest must wait.
pub type Intercepted = Result<Poll<u64>, Trap>;

/// Called in place of each host function.
pub(crate) type Intercept = Arc<dyn Fn(&mut HostCall<'_>) -> Intercepted + Send + Sync>;

/// An error of a host function, which traps the guest. It displays as its reason.
#[derive(Debug)]
pub struct Trap(pub(crate) Reason);

impl Trap {
    /// An error that no rule requires.
    pub fn unfounded() -> Self {
        Self(Reason::Internal("a trap that no rule asks for"))
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A call of a host function.
pub struct HostCall<'a> {
    /// The function's name.
    pub function: &'static str,
    /// Its arguments, of 32 bits each.
    pub args: &'a [u32],
    /// The guest's memory.
    pub memory: &'a mut [u8],
    pub(crate) target: &'a mut dyn Target,
}

impl HostCall<'_> {
    /// Calls the function itself.
    ///
    /// # Errors
    /// The function's error, which traps the guest.
    pub fn proceed(&mut self) -> Intercepted {
        self.target.call(self.memory, self.function, self.args)
    }

    /// Calls another host function, with the guest's memory.
    ///
    /// # Errors
    /// The function's error, which traps the guest.
    pub fn call(&mut self, function: &str, args: &[u32]) -> Intercepted {
        self.target.call(self.memory, function, args)
    }

    /// Calls a host function with another memory.
    ///
    /// # Errors
    /// The function's error, which traps the guest.
    pub fn call_on(&mut self, memory: &mut [u8], function: &str, args: &[u32]) -> Intercepted {
        self.target.call(memory, function, args)
    }

    /// The request's host. `None` during start-up.
    pub fn host<H: Host>(&mut self) -> Option<&mut H> {
        self.target.host()?.downcast_mut()
    }
}

/// The data of a store, whatever its host type.
pub(crate) trait Target {
    fn call(&mut self, memory: &mut [u8], function: &str, args: &[u32]) -> Intercepted;

    fn host(&mut self) -> Option<&mut dyn Any>;
}
