//! The numbers and packed values of the http-wasm HTTP handler ABI.
//!
//! Source: <https://http-wasm.io/http-handler-abi/>. Nothing here touches a guest's memory.

use std::fmt;
use std::ops::BitOr;

/// The module name under which a guest imports the ABI.
pub(crate) const MODULE: &str = "http_handler";

/// The module name of WASI preview 1.
pub(crate) const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// What a host function that suspends its guest returns in place of an answer; see [`crate::run::suspend`].
/// No packed result can take this value: an EOF flag is 0 or 1, and a count has at most 32 bits
/// beside a length that would have to be 4 GiB - 1.
pub(crate) const PENDING: u64 = u64::MAX;

/// Optional behaviour that a guest asks for with `enable_features`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(u32);

impl Features {
    /// No optional behaviour.
    pub const NONE: Self = Self(0);
    /// The next handler gets the whole request body, whatever part of it the guest has read.
    pub const BUFFER_REQUEST: Self = Self(1);
    /// The guest may read and change the next handler's response.
    pub const BUFFER_RESPONSE: Self = Self(2);
    /// The guest may use trailers.
    pub const TRAILERS: Self = Self(4);
    /// All that this host supports.
    pub const SUPPORTED: Self = Self(7);

    /// The known features among `bits`; unknown bits are left out, as a newer guest may try them.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::SUPPORTED.0)
    }

    /// The ABI's bit set.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all features of `group` are enabled.
    pub const fn contains(self, group: Self) -> bool {
        self.0 & group.0 == group.0
    }

    /// The ABI's names of the enabled features.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::BUFFER_REQUEST, "buffer_request"),
            (Self::BUFFER_RESPONSE, "buffer_response"),
            (Self::TRAILERS, "trailers"),
        ]
        .into_iter()
        .filter(move |(feature, _)| self.contains(*feature))
        .map(|(_, name)| name)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// One of the two messages of an exchange: the ABI's body kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// The request.
    Request,
    /// The response.
    Response,
}

impl BodyKind {
    pub(crate) const fn from_abi(kind: u32) -> Option<Self> {
        match kind {
            0 => Some(Self::Request),
            1 => Some(Self::Response),
            _ => None,
        }
    }

    /// "request" or "response", for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// A set of fields of an exchange: the ABI's header kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderKind {
    /// Headers of the request.
    Request,
    /// Headers of the response.
    Response,
    /// Trailers of the request.
    RequestTrailers,
    /// Trailers of the response.
    ResponseTrailers,
}

impl HeaderKind {
    pub(crate) const fn from_abi(kind: u32) -> Option<Self> {
        match kind {
            0 => Some(Self::Request),
            1 => Some(Self::Response),
            2 => Some(Self::RequestTrailers),
            3 => Some(Self::ResponseTrailers),
            _ => None,
        }
    }

    /// The message whose fields these are.
    pub const fn message(self) -> BodyKind {
        match self {
            Self::Request | Self::RequestTrailers => BodyKind::Request,
            Self::Response | Self::ResponseTrailers => BodyKind::Response,
        }
    }

    /// Whether these are trailers.
    pub const fn is_trailers(self) -> bool {
        matches!(self, Self::RequestTrailers | Self::ResponseTrailers)
    }
}

/// A severity that a guest gives to `log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// `None` for the ABI's "none" and for every level it doesn't know: such messages go nowhere.
    pub(crate) const fn from_abi(level: i32) -> Option<Self> {
        match level {
            -1 => Some(Self::Debug),
            0 => Some(Self::Info),
            1 => Some(Self::Warn),
            2 => Some(Self::Error),
            _ => None,
        }
    }
}

/// The packed result of `handle_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CtxNext {
    pub(crate) proceed: bool,
    pub(crate) req_ctx: u32,
}

impl CtxNext {
    pub(crate) const fn unpack(packed: u64) -> Self {
        Self { proceed: packed as u32 != 0, req_ctx: (packed >> 32) as u32 }
    }
}

/// The packed result of `get_header_names` and `get_header_values`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CountLen {
    pub(crate) count: u32,
    /// With one NUL per value.
    pub(crate) len: u32,
}

impl CountLen {
    pub(crate) const fn pack(self) -> u64 {
        (self.count as u64) << 32 | self.len as u64
    }
}

/// The packed result of `read_body`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EofLen {
    pub(crate) eof: bool,
    pub(crate) len: u32,
}

impl EofLen {
    pub(crate) const fn pack(self) -> u64 {
        (self.eof as u64) << 32 | self.len as u64
    }
}

/// Which of the guest's two functions runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// `handle_request`: before the next handler.
    Request,
    /// `handle_response`: after the next handler.
    Response,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "handle_request",
            Self::Response => "handle_response",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctx_next_keeps_every_bit_of_req_ctx_and_treats_any_non_zero_next_as_proceed() {
        for req_ctx in [0, 1, 1 << 31, u32::MAX] {
            let packed = u64::from(req_ctx) << 32;
            assert_eq!(CtxNext::unpack(packed), CtxNext { proceed: false, req_ctx });
            assert_eq!(CtxNext::unpack(packed | 0x8000_0000), CtxNext { proceed: true, req_ctx });
        }
    }

    #[test]
    fn unknown_feature_bits_are_not_enabled() {
        assert_eq!(Features::from_bits(0xff), Features::SUPPORTED);
        assert_eq!(Features::from_bits(8), Features::NONE);
        let both = Features::BUFFER_REQUEST | Features::TRAILERS;
        assert!(both.contains(Features::TRAILERS));
        assert!(!both.contains(Features::SUPPORTED));
    }
}
