//! What must come of an exchange at the client, the backend and in the log.

use std::time::Duration;

use super::compare::{Values, body, fields, require, same, trapped};
use super::{Exchange, Mismatch, report};
use crate::backend::Seen;
use crate::client::Response;
use crate::payload::Payload;
use crate::text::{hash, latin1, shown};
use crate::wire::Framing;

/// When a guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// While an instance is made.
    Start,
    /// In `handle_request`.
    Request,
    /// In `handle_response`.
    Response,
}

/// One thing that must come of an exchange.
#[derive(Clone, Debug)]
pub enum Check {
    /// The client gets this status.
    Status(u16),
    /// The guest traps: the client gets 500 without detail, and the backend nothing if that was before it.
    Traps(Phase),
    /// The client gets a status from here to there.
    StatusWithin(u16, u16),
    /// The connection ends without an answer.
    Dropped,
    /// The client gets this header with these values, or not at all.
    Header(&'static str, Values),
    /// The client gets this body.
    Body(Payload),
    /// The client gets this `content-length`, or none.
    Length(Option<usize>),
    /// The client gets these values of a trailer.
    Trailer(&'static str, Values),
    /// Time passes between the body's first byte and its end.
    Streams(Duration),
    /// Neither client nor backend gets this header with this text in its value.
    Nowhere(&'static str, &'static str),
    /// The backend gets no request.
    NotReached,
    /// The backend gets this method.
    Method(&'static str),
    /// The backend gets this target.
    Target(String),
    /// The backend gets this header with these values, or not at all.
    BackendHeader(&'static str, Values),
    /// The backend gets this body.
    BackendBody(Payload),
    /// The backend gets this framing; `None` when there is neither length nor chunks.
    BackendFraming(Framing),
    /// The backend gets these values of a trailer.
    BackendTrailer(&'static str, Values),
    /// The log has a line with this text.
    Logged(&'static str),
    /// One of these.
    AnyOf(Vec<Check>),
}

/// What came of an exchange.
pub(crate) struct Observed<'a> {
    pub(crate) response: Result<&'a Response, &'a str>,
    /// What the backend got: one request as a rule.
    pub(crate) backend: &'a [Seen],
    /// The host's log, where it is known.
    pub(crate) log: Option<&'a str>,
    /// Whether the reference host's handling of traps will do.
    pub(crate) lenient: bool,
}

impl Exchange {
    /// Whether all is as it must be; `instead` takes the place of the exchange's own checks.
    pub(crate) fn evaluate(
        &self,
        observed: &Observed<'_>,
        instead: Option<&[Check]>,
    ) -> Result<(), Mismatch> {
        let checks = instead.unwrap_or(&self.checks);
        let says_status = |check: &Check| {
            use Check::{Dropped, Status, StatusWithin, Traps};
            matches!(check, Status(_) | StatusWithin(..) | Traps(_) | Dropped)
        };
        if !checks.iter().any(says_status) {
            let expected = if self.stops.is_some() { 200 } else { self.reply.status };
            Check::Status(expected).evaluate(observed)?;
        }
        checks.iter().try_for_each(|check| check.evaluate(observed))?;
        let fails =
            |check: &Check| matches!(check, Check::Traps(_) | Check::Dropped | Check::StatusWithin(..));
        if checks.iter().any(fails) || instead.is_some() {
            return Ok(());
        }
        let response = observed.response()?;
        whole(response.broken.as_deref(), "a whole response")?;
        if self.stops.is_none() {
            whole(observed.seen()?.broken.as_deref(), "a whole request at the backend")?;
        }
        let before = self.before.expected();
        if !before.is_empty() {
            let reports = match self.stops.is_some() {
                true => response.header("x-tck-report"),
                false => observed.seen()?.header("x-tck-report"),
            };
            compare(&reports, &before, "handle_request")?;
        }
        if self.reports_after() {
            compare(&response.header("x-tck-report-r"), &self.after.expected(), "handle_response")?;
        }
        Ok(())
    }
}

fn compare(reports: &Values, expected: &[crate::script::Expected], phase: &str) -> Result<(), Mismatch> {
    match &reports[..] {
        [report] => report::compare(report, expected),
        reports => Err(Mismatch::new(format!("a report from {phase}"), format!("{} of them", reports.len()))),
    }
}

fn whole(broken: Option<&str>, what: &str) -> Result<(), Mismatch> {
    broken.map_or(Ok(()), |reason| Err(Mismatch::new(what, reason)))
}

impl Observed<'_> {
    pub(super) fn response(&self) -> Result<&Response, Mismatch> {
        self.response.map_err(|error| Mismatch::new("a response", format!("none: {error}")))
    }

    pub(super) fn seen(&self) -> Result<&Seen, Mismatch> {
        match self.backend {
            [seen] => Ok(seen),
            all => Err(Mismatch::new("one request at the backend", format!("{} requests", all.len()))),
        }
    }
}

impl Check {
    pub(super) fn evaluate(&self, observed: &Observed<'_>) -> Result<(), Mismatch> {
        match self {
            Self::Status(status) => {
                let seen = observed.response()?.status;
                same(&seen, status, || format!("status {status} at the client"), |seen| seen.to_string())
            }
            Self::StatusWithin(from, to) => {
                let seen = observed.response()?.status;
                let within = (*from..=*to).contains(&seen);
                require(within, || format!("a status from {from} to {to} at the client"), || seen.to_string())
            }
            Self::Traps(phase) => trapped(*phase, observed),
            Self::Dropped => {
                require(observed.response.is_err(), || "no answer".to_owned(), || "an answer".to_owned())
            }
            Self::Header(name, expected) => {
                fields(&observed.response()?.header(name), expected, || format!("{name} at the client"))
            }
            Self::Body(expected) => {
                let seen = &observed.response()?.body;
                body(seen.len(), hash(seen), seen, expected, "at the client")
            }
            Self::Length(expected) => {
                let expected: Values = expected.iter().map(|len| len.to_string().into_bytes()).collect();
                let seen = observed.response()?.header("content-length");
                fields(&seen, &expected, || "content-length at the client".to_owned())
            }
            Self::Trailer(name, expected) => {
                let seen = observed.response()?.trailer(name);
                fields(&seen, expected, || format!("trailer {name} at the client"))
            }
            Self::Streams(least) => {
                let seen = observed.response()?.streamed;
                require(
                    seen >= *least,
                    || "the first bytes long before the last ones".to_owned(),
                    || format!("{} ms between them", seen.as_millis()),
                )
            }
            Self::Nowhere(name, text) => {
                let mut all = observed.response()?.header(name);
                all.extend(observed.backend.iter().flat_map(|seen| seen.header(name)));
                let found = all.into_iter().find(|value| latin1(value).contains(text));
                require(
                    found.is_none(),
                    || format!("no {name} with {text:?}"),
                    || shown(found.as_deref().unwrap_or_default()),
                )
            }
            Self::NotReached => require(
                observed.backend.is_empty(),
                || "no request at the backend".to_owned(),
                || observed.backend.len().to_string(),
            ),
            Self::Method(expected) => {
                let seen = &observed.seen()?.method;
                same(
                    &&seen[..],
                    expected,
                    || format!("method {expected} at the backend"),
                    |s| (*s).to_owned(),
                )
            }
            Self::Target(expected) => {
                let seen = &observed.seen()?.target;
                same(seen, expected, || format!("target {expected} at the backend"), Clone::clone)
            }
            Self::BackendHeader(name, expected) => {
                fields(&observed.seen()?.header(name), expected, || format!("{name} at the backend"))
            }
            Self::BackendBody(expected) => {
                let seen = observed.seen()?;
                whole(seen.broken.as_deref(), "a whole request at the backend")?;
                let bytes = crate::text::from_latin1(&seen.body);
                body(seen.body_len, seen.body_hash, &bytes, expected, "at the backend")
            }
            Self::BackendFraming(expected) => {
                let seen = observed.seen()?.framing;
                same(&seen, expected, || format!("framing {expected:?} at the backend"), |s| format!("{s:?}"))
            }
            Self::BackendTrailer(name, expected) => {
                let seen = observed.seen()?.trailer(name);
                fields(&seen, expected, || format!("trailer {name} at the backend"))
            }
            Self::Logged(text) => require(
                observed.log.is_some_and(|log| log.contains(text)),
                || format!("{text:?} in the log"),
                || if observed.log.is_some() { "none" } else { "no log file" }.to_owned(),
            ),
            Self::AnyOf(checks) => {
                let mut failed = Vec::new();
                for check in checks {
                    match check.evaluate(observed) {
                        Ok(()) => return Ok(()),
                        Err(mismatch) => failed.push(mismatch),
                    }
                }
                let expected: Vec<String> = failed.iter().map(|m| m.expected.clone()).collect();
                let seen = failed.into_iter().next().map(|m| m.seen).unwrap_or_default();
                Err(Mismatch::new(expected.join(", or "), seen))
            }
        }
    }
}
