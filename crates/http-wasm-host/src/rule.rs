//! Rules that a test can break, to see whether a conformance kit detects it.
//!
//! These are only the rules that can't be broken from outside, with a [`Host`](crate::Host) or around host functions.
//! Without the feature `mutations`, which no build for users enables, none can be broken, and the compiler removes the
//! checks.

/// A rule of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The guest proceeds with any `next` other than 0. If broken, only with 1.
    AnyNextProceeds,
    /// The guest stops with a `next` of 0. If broken, it proceeds.
    ZeroStops,
    /// `handle_response` gets all bits of `req_ctx`. If broken, the highest is lost.
    ReqCtxWhole,
    /// `handle_response` gets `req_ctx`. If broken, it gets 0.
    ReqCtxPassed,
    /// The instance that handled the request handles the response. If broken, another one does, if one is idle.
    SameInstance,
    /// `handle_response` is called.
    ResponseHandled,
    /// An instance that trapped serves no other request.
    TrappedDropped,
}

/// The rule that is broken for a guest, if any.
#[cfg(feature = "mutations")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Broken(pub(crate) Option<Rule>);

#[cfg(feature = "mutations")]
impl Broken {
    pub(crate) fn is(self, rule: Rule) -> bool {
        self.0 == Some(rule)
    }
}

/// No rule is broken.
#[cfg(not(feature = "mutations"))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Broken;

#[cfg(not(feature = "mutations"))]
impl Broken {
    #[inline]
    pub(crate) const fn is(self, _: Rule) -> bool {
        false
    }
}
