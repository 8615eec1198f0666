//! Changes that the core requests of a host, and what a host reports about a body.

/// A new value for a part of the request's head, for [`LocalHost::change_request`](crate::LocalHost::change_request).
/// The exchange has checked that it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestChange<'a> {
    /// The method, a token.
    Method(&'a [u8]),
    /// Path and query in origin form, or `*`. Scheme and authority stay as they are.
    Uri(&'a [u8]),
    /// The host and optional port, as in `example.com:8080`. It replaces the `host` header and the URI's authority,
    /// whichever of them the server has.
    Authority(&'a [u8]),
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
