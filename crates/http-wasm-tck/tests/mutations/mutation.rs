//! The rules that can be broken.

macro_rules! mutations {
    ($($(#[doc = $says:literal])+ $name:ident,)*) => {
        /// A broken rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Mutation {
            $($(#[doc = $says])+ $name,)*
        }

        impl Mutation {
            /// All mutations.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

mutations! {
    // Missing traps: the call has no effect instead.
    /// Memory out of bounds for a write is ignored.
    WriteFaultIgnored,
    /// Memory out of bounds for a read is ignored.
    ReadFaultIgnored,
    /// An empty method is ignored.
    EmptyMethodIgnored,
    /// An invalid method is ignored.
    InvalidMethodIgnored,
    /// An empty header name is ignored.
    EmptyNameIgnored,
    /// An invalid header name is ignored.
    InvalidNameIgnored,
    /// Looking up an empty or invalid header name traps.
    InvalidLookupTraps,
    /// Removing an empty or invalid header name traps.
    InvalidRemovalTraps,
    /// An invalid header value is ignored.
    InvalidValueIgnored,
    /// An invalid URI is ignored.
    InvalidUriIgnored,
    /// An unknown header kind is ignored.
    HeaderKindIgnored,
    /// An unknown body kind is ignored.
    BodyKindIgnored,
    /// `read_body` without room returns EOF.
    NoRoomIgnored,
    /// A status outside 100..=999 is ignored.
    StatusRangeIgnored,
    /// A guest's own 101 is ignored.
    SwitchingIgnored,
    /// Removing `host` is ignored.
    HostRemovalIgnored,
    /// Changing the request in `handle_response` is ignored.
    LateRequestChangeIgnored,
    /// Changing the response without `buffer_response` is ignored.
    UnbufferedResponseChangeIgnored,
    /// Reading the request body in `handle_response` without `buffer_request` returns EOF.
    LateRequestReadIgnored,
    /// Reading the response body without `buffer_response` returns EOF.
    UnbufferedResponseReadIgnored,

    // Single values.
    /// A value longer than `buf_limit` is written partially.
    ValueTruncated,
    /// The returned length is never more than `buf_limit`.
    ValueLengthClamped,
    /// A NUL follows the value if there is room.
    ValueTerminated,
    /// A value exactly as long as `buf_limit` isn't written.
    ValueExactFitRefused,
    /// All of `buf..buf+buf_limit` must be in bounds.
    ValueBufferChecked,

    // Lists.
    /// A list longer than `buf_limit` is written partially.
    ListTruncated,
    /// NULs are between values, rather than after each.
    ListSeparated,
    /// The length doesn't include NULs.
    ListLengthWithoutNuls,
    /// The count is 1 whatever the number of values.
    ListCountIsOne,
    /// A list exactly as long as `buf_limit` isn't written.
    ListExactFitRefused,
    /// All of `buf..buf+buf_limit` must be in bounds.
    ListBufferChecked,
    /// Names are capitalised.
    NamesCapitalised,
    /// Names are sorted.
    NamesSorted,
    /// Names are listed once for each value.
    NamesRepeated,
    /// `host` isn't among the names.
    NamesWithoutHost,
    /// Names match case-sensitively.
    NamesCaseSensitive,
    /// Only the first value is returned.
    ValuesFirstOnly,
    /// Values are joined by commas.
    ValuesJoined,
    /// Values are decoded as UTF-8.
    ValuesLossy,
    /// A header with an empty value is treated as absent.
    ValuesEmptyIsNone,
    /// An absent header is treated as one with an empty value.
    ValuesNoneIsEmpty,

    // The request's head.
    /// `get_uri` decodes escapes.
    UriDecoded,
    /// `get_uri` omits the query.
    UriWithoutQuery,
    /// `set_uri` keeps the old query.
    UriQueryKept,
    /// `set_uri` with an empty URI does nothing.
    UriEmptyIgnored,
    /// `set_uri` merges a double slash.
    UriSlashesMerged,
    /// `set_method` converts methods to upper case.
    MethodUpperCased,
    /// `get_protocol_version` omits `HTTP/`.
    ProtocolWithoutName,
    /// `get_source_addr` omits the port.
    SourceAddrWithoutPort,

    // Changing headers.
    /// `set_header_value` adds.
    SetAdds,
    /// `add_header_value` sets.
    AddSets,
    /// `remove_header` removes the first value.
    RemovesFirstOnly,
    /// Setting `host` has no effect.
    HostIgnored,
    /// Connection-level headers are sent.
    ConnectionHeadersPass,
    /// `content-length: 0` doesn't empty the body.
    LengthZeroIgnored,
    /// `add_header_value` sets trailers.
    TrailerAddSets,
    /// Trailers can't be changed.
    TrailerChangesIgnored,
    /// Trailers read as empty.
    TrailersUnread,

    // Status, features, log.
    /// `get_status_code` returns 200.
    StatusIs200,
    /// `get_status_code` traps without `buffer_response`.
    StatusNeedsBuffering,
    /// An informational status traps.
    InformationalTraps,
    /// `enable_features` echoes its argument.
    FeaturesEchoed,
    /// `enable_features` doesn't enable anything.
    FeaturesIgnored,
    /// Features enabled for one request stay.
    FeaturesStick,
    /// `enable_features` works in `handle_response`.
    FeaturesLate,
    /// An unknown log level traps.
    LogLevelTraps,
    /// `log_enabled` returns 2.
    LogEnabledIsTwo,

    // Bodies.
    /// EOF is never reported.
    EofNever,
    /// EOF is reported with every read.
    EofEarly,
    /// EOF is only reported by a separate read.
    EofLate,
    /// Reads don't fill the buffer.
    ReadShort,
    /// `read_body` reads only what fits into memory.
    ReadClamped,
    /// Each write replaces the previous one.
    WriteReplaces,
    /// An empty write does nothing.
    EmptyWriteIgnored,
    /// With `buffer_request`, the part of the request that was read is consumed.
    RequestConsumed,
    /// With a buffering feature, the next handler or client gets only the last read of what was read.
    LastReadOnly,
    /// A changed body keeps the old Content-Length.
    LengthKept,
    /// A response to HEAD has no Content-Length.
    HeadLengthDropped,
    /// Trailers aren't sent if the guest has touched the message.
    TrailersLost,
    /// Trailers are dropped with a body that was replaced unread.
    ReplacedBodyTrailersLost,
    /// The `trailer` header stays as received.
    AnnouncementKept,
    /// A response body that a guest writes gets a content-type.
    ContentTypeInvented,
    /// A status set after a write to the response body is lost.
    StatusAfterWriteLost,
    /// Response headers set after a write to the response body are lost.
    HeadersAfterWriteLost,
    /// Response headers set after the status are lost.
    HeadersAfterStatusLost,

    // Before and after the next handler.
    /// The status set before next wins.
    EarlyStatusWins,
    /// Headers set before next win.
    EarlyHeadersWin,
    /// Headers set before next are lost.
    EarlyHeadersLost,
    /// Cookies set before next are lost if the next handler sets some.
    EarlyCookiesReplaced,
    /// Cookies set before next come last.
    EarlyCookiesLast,
    /// The body written before next is lost.
    EarlyBodyLost,

    // Calls and instances.
    /// Only a `next` of 1 proceeds.
    NextIsOne,
    /// `next` 0 proceeds.
    StopIgnored,
    /// `req_ctx` loses its highest bit.
    ReqCtxTruncated,
    /// `handle_response` gets 0 for `req_ctx`.
    ReqCtxZero,
    /// Another instance handles the response.
    InstanceSwapped,
    /// `handle_response` isn't called.
    ResponsePhaseSkipped,
    /// A trapped instance continues to serve.
    TrappedInstanceKept,
}
