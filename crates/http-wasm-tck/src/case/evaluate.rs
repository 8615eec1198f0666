//! Checks the results of an exchange.

use std::io::Read as _;
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use super::check::{Check, Phase, Values};
use super::compare::{body, fields, require, same};
use super::exchange::Exchange;
use super::observed::{Mismatch, Observed};
use super::report;
use crate::client::NO_RESPONSE;
use crate::text::{hash, latin1, shown};

impl Exchange {
    /// Checks that everything is as expected. `instead` replaces the exchange's own checks.
    pub(crate) fn evaluate(
        &self,
        observed: &Observed<'_>,
        instead: Option<&[Check]>,
    ) -> Result<(), Mismatch> {
        let checks = instead.unwrap_or(&self.checks);
        if !checks.iter().any(Check::determines_status) {
            let expected = if self.stops.is_some() { 200 } else { self.reply.status };
            Check::Status(expected).evaluate(observed)?;
        }
        checks.iter().try_for_each(|check| check.evaluate(observed))?;
        if checks.iter().any(Check::fails) || instead.is_some() {
            return Ok(());
        }
        let response = observed.response()?;
        whole(response.broken.as_deref(), "a whole response")?;
        if self.stops.is_none() && !self.reply.closes() {
            whole(observed.seen()?.broken.as_deref(), "a whole request at the backend")?;
        }
        let before = self.before.expected();
        if !before.is_empty() {
            let reports = match self.reports_in_response() {
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

impl Check {
    /// Whether it determines which status the client gets.
    fn determines_status(&self) -> bool {
        matches!(self, Self::Status(_)) || self.fails()
    }

    /// Whether the exchange fails.
    fn fails(&self) -> bool {
        match self {
            Self::Traps(_) | Self::Dropped | Self::Aborted | Self::StatusWithin(..) => true,
            Self::AnyOf(checks) => checks.iter().all(Self::fails),
            _ => false,
        }
    }

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
                require(observed.response.is_err(), || "no response".to_owned(), || "a response".to_owned())
            }
            Self::Aborted => match observed.response {
                Ok(response) if response.broken.is_some() || response.status >= 500 => Ok(()),
                Ok(_) => {
                    Err(Mismatch::new("a response that is aborted", "one that ends as if it were whole"))
                }
                Err(reason) => require(
                    !reason.starts_with(NO_RESPONSE),
                    || "a response that is aborted".to_owned(),
                    || reason.to_owned(),
                ),
            },
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
            Self::Decodes(expected) => {
                let response = observed.response()?;
                let decoded = match &response.header("content-encoding")[..] {
                    [] => response.body.clone(),
                    [coding] if coding == b"gzip" => gunzip(&response.body)?,
                    others => return Err(Mismatch::new("gzip or no coding", format!("{others:?}"))),
                };
                body(decoded.len(), hash(&decoded), &decoded, expected, "at the client, once decoded")
            }
            Self::Streams(least) => streams(observed.response()?.streamed, *least, "the client"),
            Self::BackendStreams(least) => {
                streams(Duration::from_millis(observed.seen()?.streamed_ms), *least, "the backend")
            }
            Self::BackendAborted => require(
                observed.seen()?.broken.is_some(),
                || "a request that is aborted at the backend".to_owned(),
                || "one that ends as if it were whole".to_owned(),
            ),
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

fn streams(seen: Duration, least: Duration, receiver: &str) -> Result<(), Mismatch> {
    require(
        seen >= least,
        || format!("the first bytes at {receiver} well before the last ones"),
        || format!("{} ms between them", seen.as_millis()),
    )
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Mismatch> {
    let mut decoded = Vec::new();
    match MultiGzDecoder::new(bytes).read_to_end(&mut decoded) {
        Ok(_) => Ok(decoded),
        Err(error) => Err(Mismatch::new("a body coded with gzip", error.to_string())),
    }
}

/// Words that reveal the guest's internals.
const DETAILS: [&str; 7] =
    ["wasm", "unreachable", "handle_re", "http_handler", "backtrace", "stack", "memory"];

fn trapped(phase: Phase, observed: &Observed<'_>) -> Result<(), Mismatch> {
    const EXPECTED: &str = "500 without details at the client";
    if observed.lenient && phase == Phase::Response && observed.response.is_err() {
        return Ok(());
    }
    let response = observed.response()?;
    if response.status != 500 {
        return Err(Mismatch::new(EXPECTED, format!("status {}", response.status)));
    }
    let text = latin1(&response.body).to_ascii_lowercase();
    if !observed.lenient && DETAILS.iter().any(|word| text.contains(word)) {
        return Err(Mismatch::new(EXPECTED, shown(&response.body)));
    }
    if phase == Phase::Request { Check::NotReached.evaluate(observed) } else { Ok(()) }
}
