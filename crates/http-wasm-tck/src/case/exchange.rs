//! One request with its scripts, the backend's response to it, and the expected results.

use std::time::Duration;

use super::check::Check;
use crate::backend::{ANSWER, ID, Reply, Timing};
use crate::client::Request;
use crate::guest::{Capabilities, Function};
use crate::payload::Payload;
use crate::script::{AFTER_HEADER, BEFORE_HEADER, Mode, Script, script};
use crate::text::to_hex;
use crate::wire::Framing;

/// One request and everything that belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    request: Request,
    pub(super) reply: Reply,
    pub(super) before: Script,
    pub(super) after: Script,
    /// The guest responds itself, with this `req_ctx`.
    pub(super) stops: Option<u32>,
    features: u32,
    reports_after: bool,
    /// `handle_request` reports in a response header even though it proceeds, because it has sent the request's head.
    sends_request: bool,
    pub(super) checks: Vec<Check>,
}

/// An exchange as it is sent.
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) request: Request,
}

/// The `req_ctx` of a request that the guest answers, unless a case is about it. Guests need not return it.
const STOPPED: u32 = 7;

/// Where the guest reports its results.
const IN_REQUEST: u32 = 0;
const IN_RESPONSE: u32 = 1;
const IN_LATE_RESPONSE: u32 = 2;

impl Exchange {
    /// Creates a GET request.
    pub fn get(target: &str) -> Self {
        Self::default().method("GET").target(target)
    }

    /// Creates a POST request with a body.
    pub fn post(body: impl Into<Payload>, framing: Framing) -> Self {
        let mut exchange = Self::default().method("POST");
        (exchange.request.body, exchange.request.framing) = (body.into(), framing);
        exchange
    }

    /// Sets the method.
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.request.method);
        self
    }

    /// Sets the target.
    pub fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.request.target);
        self
    }

    /// Sets the `host` header.
    pub fn host(mut self, host: &str) -> Self {
        self.request.host = Some(host.to_owned());
        self
    }

    /// Sends the request in HTTP/1.0.
    pub fn http10(mut self) -> Self {
        self.request.version = "HTTP/1.0";
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.request.fields.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Adds a trailer. The body must be chunked.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.request.trailers.push((name.into(), value.into()));
        self
    }

    /// Sends the request in pieces of this many bytes, with a pause between them.
    pub fn slowly(mut self, piece: usize, pause_ms: u64) -> Self {
        (self.request.piece, self.request.pause) = (piece, Duration::from_millis(pause_ms));
        self
    }

    /// Sets the backend's response. If it has trailers, the client declares that it accepts them.
    pub fn reply(mut self, reply: Reply) -> Self {
        if !reply.trailers.is_empty() {
            self = self.takes_trailers();
        }
        self.reply = reply;
        self
    }

    /// Makes the client declare that it accepts trailers.
    pub fn takes_trailers(self) -> Self {
        self.header("te", "trailers")
    }

    /// Makes the client abort the request instead of ending it. The body must be chunked.
    pub fn cut(mut self) -> Self {
        self.request.is_cut = true;
        self
    }

    /// Sets what the guest does in `handle_request`, in which it streams the request.
    pub fn sends(mut self, script: Script) -> Self {
        self.sends_request = true;
        self.before(script)
    }

    /// Sets what the guest does in `handle_request`.
    pub fn before(mut self, script: Script) -> Self {
        self.before = script;
        self
    }

    /// Makes the guest respond itself.
    pub fn stops(self) -> Self {
        self.stops_with(STOPPED)
    }

    /// Makes the guest respond itself and return this `req_ctx`, which is ignored.
    pub fn stops_with(mut self, req_ctx: u32) -> Self {
        self.stops = Some(req_ctx);
        self
    }

    /// Sets what the guest does in `handle_response`.
    pub fn after(mut self, script: Script) -> Self {
        self.after = script;
        self
    }

    /// Makes the guest enable these features first.
    pub fn features(mut self, features: u32) -> Self {
        self.features |= features;
        self.reports_after |= features & 2 != 0;
        self
    }

    /// Makes the instance enable `buffer_response` at start-up.
    pub fn buffers_from_start(mut self) -> Self {
        self.reports_after = true;
        self
    }

    /// Adds an expected result.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Whether the last results may come after the response.
    pub(crate) fn outlasts_response(&self) -> bool {
        self.reply.timing != Timing::Last
            || self.checks.iter().any(|check| matches!(check, Check::Logged(_) | Check::BackendAborted))
    }

    /// What a guest needs in order to take part.
    pub(super) fn needs(&self) -> Capabilities {
        let needs = self.before.needs() | self.after.needs();
        match self.stops {
            None | Some(STOPPED) => needs,
            Some(_) => needs | Capabilities::RESULTS,
        }
    }

    pub(super) fn scripts(&self) -> (&Script, &Script) {
        (&self.before, &self.after)
    }

    /// Whether the guest reports its results in `handle_response`. Otherwise, it compares them itself, and traps on a
    /// difference.
    pub(super) fn reports_after(&self) -> bool {
        self.reports_after && !self.after.expected().is_empty()
    }

    /// Whether `handle_request` reports its results in a response header.
    pub(super) fn reports_in_response(&self) -> bool {
        self.stops.is_some() || self.sends_request
    }

    /// The exchange as it is sent, under this ID.
    pub(crate) fn prepare(&self, case: &str, id: String) -> Sent {
        let mut before = script();
        if self.features != 0 {
            before = before.call(Function::EnableFeatures, [self.features.into()]);
        }
        before = before.then(self.before.clone());
        if !self.before.expected().is_empty() {
            before = before.deliver(if self.reports_in_response() { IN_RESPONSE } else { IN_REQUEST });
        }
        if let Some(req_ctx) = self.stops {
            before = before.proceed(0, req_ctx);
        }
        let after = if self.reports_after() {
            self.after.clone().deliver(IN_LATE_RESPONSE).compile(Mode::Report)
        } else {
            self.after.compile(Mode::Expect)
        };

        let mut request = self.request.clone();
        let mut header = |name: &str, value: String| {
            if !value.is_empty() {
                request.fields.push((name.into(), value.into_bytes()));
            }
        };
        header("x-tck-case", case.to_owned());
        header(ID, id.clone());
        header(BEFORE_HEADER, to_hex(&before.compile(Mode::Report)));
        header(AFTER_HEADER, to_hex(&after));
        if self.reply != Reply::default() {
            header(ANSWER, self.reply.encode());
        }
        Sent { id, request }
    }
}
