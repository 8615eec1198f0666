//! Changes that the core requests of a host, and what a host reports about a body.

/// A new value for a part of a head other than its headers, for
/// [`LocalHost::change_head`](crate::LocalHost::change_head). The exchange has checked that it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadChange<'a> {
    /// The request's method, a token.
    Method(&'a [u8]),
    /// The request's path and query in origin form, or `*`. Scheme and authority stay as they are.
    Uri(&'a [u8]),
    /// The request's host and optional port, as in `example.com:8080`. It replaces the `host` header and the URI's
    /// authority, whichever of them the server has.
    Authority(&'a [u8]),
    /// The response's status, 200 to 999.
    Status(u16),
}

/// How much of the unread part of a body has arrived, for [`LocalHost::body_state`](crate::LocalHost::body_state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// There is no more: [`poll_body`](crate::LocalHost::poll_body) returns `None` at once.
    Ended,
    /// The whole rest has arrived: `poll_body` returns at once until it has returned `None`.
    Buffered,
    /// The rest may still have to arrive, or it isn't known whether there is more.
    Arriving,
}
