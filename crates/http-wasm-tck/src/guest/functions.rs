//! The signatures of the 19 functions, for the guest and its scripts.

/// The meaning of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// Features to enable.
    Features,
    /// A log level.
    Level,
    /// A status code.
    Status,
    /// The kind of headers or trailers.
    HeaderKind,
    /// The kind of body.
    BodyKind,
    /// Where the host writes; its limit follows.
    Buf,
    /// The size of the buffer before it.
    BufLimit,
    /// Bytes for the host to read; their length follows.
    In(&'static str),
    /// The length of the bytes before it.
    InLen,
}

/// The type of a function's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    None,
    /// One 32-bit number.
    I32,
    /// Two numbers, packed.
    I64,
}

macro_rules! functions {
    ($($variant:ident $name:literal ($($param:expr),*) $answer:ident;)*) => {
        /// A function that guests import from `http_handler`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Function {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Function {
            /// All functions.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in the ABI.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Its parameters, all of type i32.
            pub fn params(self) -> &'static [Param] {
                use Param::*;
                match self { $(Self::$variant => &[$($param),*]),* }
            }

            /// The type of its result.
            pub fn answer(self) -> Answer {
                match self { $(Self::$variant => Answer::$answer),* }
            }
        }
    };
}

functions! {
    EnableFeatures "enable_features" (Features) I32;
    GetConfig "get_config" (Buf, BufLimit) I32;
    Log "log" (Level, In("message"), InLen) None;
    LogEnabled "log_enabled" (Level) I32;
    GetMethod "get_method" (Buf, BufLimit) I32;
    SetMethod "set_method" (In("method"), InLen) None;
    GetUri "get_uri" (Buf, BufLimit) I32;
    SetUri "set_uri" (In("uri"), InLen) None;
    GetProtocolVersion "get_protocol_version" (Buf, BufLimit) I32;
    GetSourceAddr "get_source_addr" (Buf, BufLimit) I32;
    GetHeaderNames "get_header_names" (HeaderKind, Buf, BufLimit) I64;
    GetHeaderValues "get_header_values" (HeaderKind, In("name"), InLen, Buf, BufLimit) I64;
    SetHeaderValue "set_header_value" (HeaderKind, In("name"), InLen, In("value"), InLen) None;
    AddHeaderValue "add_header_value" (HeaderKind, In("name"), InLen, In("value"), InLen) None;
    RemoveHeader "remove_header" (HeaderKind, In("name"), InLen) None;
    ReadBody "read_body" (BodyKind, Buf, BufLimit) I64;
    WriteBody "write_body" (BodyKind, In("body"), InLen) None;
    GetStatusCode "get_status_code" () I32;
    SetStatusCode "set_status_code" (Status) None;
}

impl Function {
    /// The number of the operation that calls it.
    pub(crate) fn op(self) -> u8 {
        self as u8 + 1
    }

    /// Whether it may be called while an instance is created.
    pub fn works_at_start(self) -> bool {
        matches!(self, Self::EnableFeatures | Self::GetConfig | Self::Log | Self::LogEnabled)
    }

    /// Its name with hyphens, as in case IDs.
    pub fn slug(self) -> String {
        self.name().replace('_', "-")
    }
}
