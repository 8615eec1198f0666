//! The numbers and packed values of the http-wasm HTTP handler ABI.
//!
//! Source: <https://http-wasm.io/http-handler-abi/>. This module doesn't access guest memory.

use std::fmt;
use std::ops::BitOr;

/// The module name under which a guest imports the ABI.
pub(crate) const MODULE: &str = "http_handler";

/// The module name of WASI preview 1.
pub(crate) const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// The type of a parameter or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// `i32`
    I32,
    /// `i64`
    I64,
}

/// What a call of a function may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MayWait {
    /// Nothing.
    No,
    /// Bytes of a body.
    ForBody,
    /// Trailers, and the body before them.
    ForTrailers,
}

/// What a function does that is allowed only in some phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Nothing: it is allowed in all phases.
    Unrestricted,
    /// It changes the request.
    ChangesRequest,
    /// It changes the response.
    ChangesResponse,
    /// It changes the message that its first argument selects.
    ChangesMessage,
    /// It reads the body of the message that its first argument selects.
    ReadsBody,
}

/// A function that guests import from `http_handler`. [`FUNCTIONS`] lists all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Function {
    /// The function's name.
    pub name: &'static str,
    /// The types of the parameters.
    pub params: &'static [ValueType],
    /// The names of the parameters.
    pub param_names: &'static [&'static str],
    /// The type of the result, if there is one.
    pub results: &'static [ValueType],
    /// Whether a guest can read the head of the request through it.
    pub reads_request: bool,
    /// What a call may wait for.
    pub may_wait: MayWait,
    /// What it does that is allowed only in some phases.
    pub access: Access,
}

/// The only table of the ABI's functions: `functions!(with)` passes it to the macro `with`. Registration, the check of
/// a guest's imports and everything else are derived from it: a row without its function in `hostcalls`, or with a
/// different type, doesn't compile. `memory` is whether a function touches the guest's memory, whose lookup costs as
/// much as a small function.
macro_rules! functions {
    ($with:ident) => {
        $with! {
            enable_features(features: u32) -> u32,
                memory: false, reads_request: false, may_wait: No, access: Unrestricted;
            get_config(buf: u32, buf_limit: u32) -> u32,
                memory: true, reads_request: false, may_wait: No, access: Unrestricted;
            log(level: i32, message: u32, message_len: u32) -> (),
                memory: true, reads_request: false, may_wait: No, access: Unrestricted;
            log_enabled(level: i32) -> u32,
                memory: false, reads_request: false, may_wait: No, access: Unrestricted;
            get_method(buf: u32, buf_limit: u32) -> u32,
                memory: true, reads_request: true, may_wait: No, access: Unrestricted;
            set_method(method: u32, method_len: u32) -> (),
                memory: true, reads_request: false, may_wait: No, access: ChangesRequest;
            get_uri(buf: u32, buf_limit: u32) -> u32,
                memory: true, reads_request: true, may_wait: No, access: Unrestricted;
            set_uri(uri: u32, uri_len: u32) -> (),
                memory: true, reads_request: false, may_wait: No, access: ChangesRequest;
            get_protocol_version(buf: u32, buf_limit: u32) -> u32,
                memory: true, reads_request: false, may_wait: No, access: Unrestricted;
            get_source_addr(buf: u32, buf_limit: u32) -> u32,
                memory: true, reads_request: false, may_wait: No, access: Unrestricted;
            get_header_names(kind: u32, buf: u32, buf_limit: u32) -> u64,
                memory: true, reads_request: true, may_wait: ForTrailers, access: Unrestricted;
            get_header_values(kind: u32, name: u32, name_len: u32, buf: u32, buf_limit: u32) -> u64,
                memory: true, reads_request: true, may_wait: ForTrailers, access: Unrestricted;
            set_header_value(kind: u32, name: u32, name_len: u32, value: u32, value_len: u32) -> (),
                memory: true, reads_request: false, may_wait: No, access: ChangesMessage;
            add_header_value(kind: u32, name: u32, name_len: u32, value: u32, value_len: u32) -> (),
                memory: true, reads_request: false, may_wait: No, access: ChangesMessage;
            remove_header(kind: u32, name: u32, name_len: u32) -> (),
                memory: true, reads_request: false, may_wait: No, access: ChangesMessage;
            read_body(kind: u32, buf: u32, buf_limit: u32) -> u64,
                memory: true, reads_request: false, may_wait: ForBody, access: ReadsBody;
            write_body(kind: u32, body: u32, body_len: u32) -> (),
                memory: true, reads_request: false, may_wait: No, access: ChangesMessage;
            get_status_code() -> u32,
                memory: false, reads_request: false, may_wait: No, access: Unrestricted;
            set_status_code(status: u32) -> (),
                memory: false, reads_request: false, may_wait: No, access: ChangesResponse;
        }
    };
}
pub(crate) use functions;

macro_rules! table {
    ($($name:ident ( $($arg:ident : $ty:ty),* ) -> $result:ty,
        memory: $memory:tt, reads_request: $reads_request:tt, may_wait: $may_wait:ident, access: $access:ident;)*) => {
        /// The functions that guests import from `http_handler`.
        pub const FUNCTIONS: &[Function] = &[$(Function {
            name: stringify!($name),
            params: &[$(<$ty as Param>::TYPE),*],
            param_names: &[$(stringify!($arg)),*],
            results: <$result as Results>::TYPES,
            reads_request: $reads_request,
            may_wait: MayWait::$may_wait,
            access: Access::$access,
        }),*];
    };
}

functions!(table);

/// A Rust type of a parameter.
trait Param {
    const TYPE: ValueType;
}

impl Param for u32 {
    const TYPE: ValueType = ValueType::I32;
}

impl Param for i32 {
    const TYPE: ValueType = ValueType::I32;
}

/// A Rust type of what is returned.
trait Results {
    const TYPES: &'static [ValueType];
}

impl Results for () {
    const TYPES: &'static [ValueType] = &[];
}

impl Results for u32 {
    const TYPES: &'static [ValueType] = &[ValueType::I32];
}

impl Results for u64 {
    const TYPES: &'static [ValueType] = &[ValueType::I64];
}

/// What a host function that suspends its guest returns instead of a result; see [`crate::run::suspend`]. No packed
/// result can have this value: an EOF flag is 0 or 1, and next to a count, which has at most 32 bits, the length would
/// have to be 4 GiB - 1.
pub(crate) const PENDING: u64 = u64::MAX;

/// Optional behaviour that a guest enables with `enable_features`.
///
/// ```
/// use http_wasm_host::Features;
///
/// let features = Features::BUFFER_REQUEST | Features::TRAILERS;
/// assert_eq!(features.bits(), 5);
/// assert!(features.contains(Features::TRAILERS));
/// assert!(features.names().eq(["buffer_request", "trailers"]));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(u32);

impl Features {
    /// No optional behaviour.
    pub const NONE: Self = Self(0);
    /// The next handler gets the whole request body, however much of it the guest has read.
    pub const BUFFER_REQUEST: Self = Self(1);
    /// The guest may read and change the next handler's response.
    pub const BUFFER_RESPONSE: Self = Self(2);
    /// The guest may use trailers.
    pub const TRAILERS: Self = Self(4);
    /// Everything that this host supports.
    pub const SUPPORTED: Self = Self(7);

    /// The feature that lets a guest use all of a message, and keeps what it reads for the next recipient.
    pub(crate) const fn buffering(message: BodyKind) -> Self {
        match message {
            BodyKind::Request => Self::BUFFER_REQUEST,
            BodyKind::Response => Self::BUFFER_RESPONSE,
        }
    }

    /// Returns the known features in `bits`. Unknown bits are ignored, because a newer guest may try them.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::SUPPORTED.0)
    }

    /// Returns the bits defined by the ABI.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns whether all features in `group` are enabled.
    pub const fn contains(self, group: Self) -> bool {
        self.0 & group.0 == group.0
    }

    /// Returns the ABI's names of the enabled features.
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

    /// Returns "request" or "response", for messages.
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

    /// Returns the message that the fields belong to.
    pub const fn message(self) -> BodyKind {
        match self {
            Self::Request | Self::RequestTrailers => BodyKind::Request,
            Self::Response | Self::ResponseTrailers => BodyKind::Response,
        }
    }

    /// Returns "request headers", "response trailers" and so on, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request headers",
            Self::Response => "response headers",
            Self::RequestTrailers => "request trailers",
            Self::ResponseTrailers => "response trailers",
        }
    }

    /// Returns whether the fields are trailers.
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
    /// `None` for the ABI's "none" and for unknown levels: such messages are discarded.
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
    /// Includes one NUL per value.
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

/// Which of the guest's two functions is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// `handle_request`: before the next handler.
    Request,
    /// `handle_response`: after the next handler.
    Response,
}

impl Phase {
    /// The message that the guest handles in it.
    #[inline]
    pub(crate) fn message(self) -> BodyKind {
        match self {
            Self::Request => BodyKind::Request,
            Self::Response => BodyKind::Response,
        }
    }
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
    fn the_abi_has_19_functions_of_different_names() {
        let names: std::collections::BTreeSet<_> = FUNCTIONS.iter().map(|function| function.name).collect();
        assert_eq!((FUNCTIONS.len(), names.len()), (19, 19));
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
