//! What a test needs to change host functions from outside: it is called in place of each.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use crate::error::Reason;
use crate::host::Host;

/// What a host function answers to its guest: a value, or that it has to wait.
pub type Intercepted = Result<Poll<u64>, Trap>;

/// What is called in place of each host function.
pub(crate) type Intercept = Arc<dyn Fn(&mut HostCall<'_>) -> Intercepted + Send + Sync>;

/// A refusal, which traps the guest. It displays as its reason.
#[derive(Debug)]
pub struct Trap(pub(crate) Reason);

impl Trap {
    /// One that no rule asks for.
    pub fn unfounded() -> Self {
        Self(Reason::Internal("a trap that no rule asks for"))
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A guest's call of a host function.
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
    /// What the function answers.
    ///
    /// # Errors
    /// The function's refusal.
    pub fn proceed(&mut self) -> Intercepted {
        self.target.call(self.memory, self.function, self.args)
    }

    /// Calls a function on the guest's memory.
    ///
    /// # Errors
    /// The function's refusal.
    pub fn call(&mut self, function: &str, args: &[u32]) -> Intercepted {
        self.target.call(self.memory, function, args)
    }

    /// Calls a function on another memory.
    ///
    /// # Errors
    /// The function's refusal.
    pub fn call_on(&mut self, memory: &mut [u8], function: &str, args: &[u32]) -> Intercepted {
        self.target.call(memory, function, args)
    }

    /// The request's host; `None` while an instance is made.
    pub fn host<H: Host>(&mut self) -> Option<&mut H> {
        self.target.host()?.downcast_mut()
    }
}

/// A store's data, whatever its host.
pub(crate) trait Target {
    fn call(&mut self, memory: &mut [u8], function: &str, args: &[u32]) -> Intercepted;

    fn host(&mut self) -> Option<&mut dyn Any>;
}
