//! Takes one request from Envoy, and its response, through the guests.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use http::header::UPGRADE;
use http::{Method, Request, Response, StatusCode, Version};
use http_wasm_tower::is_bodyless;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Status, Streaming};

use super::body::{BodySender, BodyTransfer, End, ReceivedBody};
use super::head;
use super::output::{Direction, Output, Rest, cut, replacement_of_kept};
use super::processor::Processor;
use super::wire::{BodySendMode, Event, HttpHeaders, ProcessingRequest, ProtocolConfiguration, Struct};
use crate::body::BoxBody;
use crate::exchange::{plain_text, too_large};

/// The deadline while guests process a head. `None` if there is no limit, or while they wait for Envoy.
struct Turn(Mutex<Option<Instant>>);

impl Turn {
    fn new(deadline: Option<Instant>) -> Self {
        Self(deadline.into())
    }

    fn set(&self, deadline: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn deadline(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Completes when the guests' deadline has passed. Poll it after the guests, since they change the deadline.
struct Timer<'a> {
    turn: &'a Turn,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.turn.deadline() else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

/// A response as received from Envoy.
type Received = (Response<()>, ReceivedBody, BodyTransfer);

/// The outcome of an exchange.
#[derive(PartialEq, Eq)]
enum Done {
    /// The gateway sent the response in place of Envoy.
    Answered,
    /// The upstream's response has passed through the guests.
    Passed,
}

/// Takes an exchange through the guests. `max_body` limits the bytes of the request's body.
///
/// # Errors
/// When Envoy's filter is misconfigured, or the exchange ends prematurely. Envoy then fails the request.
pub(super) async fn run(
    processor: &Processor,
    mut messages: Streaming<ProcessingRequest>,
    max_body: Option<u64>,
    output: Output,
) -> Result<(), Status> {
    let Some(first) = messages.message().await? else { return Ok(()) };
    let modes = Modes::of(&first)?;
    let headers = match first.event {
        Some(Event::RequestHeaders(headers)) => headers,
        Some(Event::ResponseHeaders(headers)) => {
            return pass(processor, headers, messages, modes, output).await;
        }
        _ => return Err(Status::invalid_argument("the first message has no header fields")),
    };
    processor.has_request();
    let request = match head::request(&headers) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!("{error}; the request gets 400");
            return output.immediate(plain_text(StatusCode::BAD_REQUEST, "bad request\n")).await;
        }
    };

    let is_connect = request.method() == Method::CONNECT;
    let is_tunnel = is_connect || request.headers().contains_key(UPGRADE);
    let max_body = max_body.filter(|_| !is_tunnel).unwrap_or(u64::MAX);
    if head::length(request.headers()).is_some_and(|length| length > max_body) {
        return output.immediate(too_large()).await;
    }
    let (sender, body, transfer) = modes.body(Direction::Request, &headers, is_tunnel);
    let (respond, response) = oneshot::channel();
    let (forward, forwarded) = oneshot::channel();
    let turn = Turn::new(processor.deadline());
    let mut timer = Timer { turn: &turn, sleep: None };
    let client = Client::of(&first.attributes);

    let mut exchange = pin!(through_guests(
        processor,
        (request, body, transfer),
        client,
        response,
        forward,
        &turn,
        output.clone()
    ));
    let senders = BodySenders { request: sender, response: None, respond: Some(respond), left: max_body };
    let mut receive = pin!(receive(messages, senders, modes, is_connect));
    let mut rest = pin!(async {
        match forwarded.await {
            Ok((body, end)) => output.rest(Direction::Request, body, end).await,
            Err(_) => Ok(()),
        }
    });
    let (mut receives, mut sends, mut is_passed) = (true, true, false);
    while !is_passed || sends {
        tokio::select! {
            biased;
            done = &mut exchange, if !is_passed => match done? {
                Done::Answered => return Ok(()),
                Done::Passed => is_passed = true,
            },
            sent = &mut rest, if sends => {
                sent?;
                sends = false;
            }
            received = &mut receive, if receives => match received? {
                Incoming::Complete => receives = false,
                Incoming::TooLarge => return output.immediate(too_large()).await,
            },
            () = poll_fn(|cx| timer.poll(cx)), if !is_passed => {
                return output.immediate(plain_text(StatusCode::GATEWAY_TIMEOUT, "gateway timeout\n")).await;
            }
        }
    }
    Ok(())
}

/// Runs the guests. The caller enforces their timeout, using the deadline in `turn`.
async fn through_guests(
    processor: &Processor,
    (request, body, transfer): (Request<()>, ReceivedBody, BodyTransfer),
    client: Client,
    response: oneshot::Receiver<Received>,
    forward: oneshot::Sender<(BoxBody, End)>,
    turn: &Turn,
    output: Output,
) -> Result<Done, Status> {
    let old = request;
    let mut request = old.clone().map(|()| body);
    *request.version_mut() = client.version;
    let kept = Mutex::new(None);
    let to_envoy = output.clone();
    let keep = &kept;
    let next = |request: Request<BoxBody>| async move {
        let (new, body) = request.into_parts();
        let mut body = body;
        if let BodyTransfer::Kept(is_passed) = &transfer
            && replacement_of_kept(is_passed, std::mem::take(&mut body)).await?.is_some()
        {
            let fix = "`processing_mode.request_body_mode` must be FULL_DUPLEX_STREAMED";
            return Err(misconfigured("a guest writes a request body, but Envoy accepts none", fix));
        }
        let (changes, reroutes) = head::request_changes(&old, &new);
        let reroutes = reroutes && processor.reselects_route;
        let rest: Rest = to_envoy.head(Direction::Request, changes, reroutes, body, transfer).await?;
        if let Some(rest) = rest {
            let _ended = forward.send(rest);
        }
        turn.set(None);
        let (response, body, transfer) = response.await.map_err(|_| cut())?;
        turn.set(processor.deadline());
        *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some((response.clone(), transfer));
        Ok::<_, Status>(response.map(|()| body))
    };
    let response = processor.chain.call_observed(request, client.addr, (), next).await?;
    let Some((old, transfer)) = kept.into_inner().unwrap_or_else(PoisonError::into_inner) else {
        output.immediate(response).await?;
        return Ok(Done::Answered);
    };
    let (new, body) = response.into_parts();
    // If guests have set a status that allows no body, the body is dropped as it arrives.
    let mut body = if is_bodyless(new.status.as_u16()) { BoxBody::empty() } else { body };
    if let BodyTransfer::Kept(is_passed) = &transfer
        && let Some(made) = replacement_of_kept(is_passed, std::mem::take(&mut body)).await?
    {
        output.immediate(Response::from_parts(new, BoxBody::from(made))).await?;
        return Ok(Done::Answered);
    }
    let changes = head::response_changes(&old, &new);
    let rest = output.head(Direction::Response, changes, false, body, transfer).await?;
    turn.set(None);
    if let Some((body, end)) = rest {
        output.rest(Direction::Response, body, end).await?;
    }
    Ok(Done::Passed)
}

/// The senders that pass on the bodies that Envoy sends.
struct BodySenders {
    request: Option<BodySender>,
    response: Option<BodySender>,
    /// Sends the response's head. `None` once it has arrived.
    respond: Option<oneshot::Sender<Received>>,
    /// How many more bytes the request's body may have.
    left: u64,
}

/// How reading Envoy's messages ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Incoming {
    /// Envoy has ended the stream.
    Complete,
    /// The request body is too large.
    TooLarge,
}

/// Dispatches Envoy's messages until it ends the stream.
async fn receive(
    mut messages: Streaming<ProcessingRequest>,
    mut senders: BodySenders,
    modes: Modes,
    is_connect: bool,
) -> Result<Incoming, Status> {
    while let Some(message) = messages.message().await? {
        let (sender, trailers) = match message.event {
            Some(Event::ResponseHeaders(headers)) => {
                let respond = senders.respond.take();
                let respond = respond.ok_or_else(|| Status::invalid_argument("a second response"))?;
                let head = head::response(&headers).map_err(invalid)?;
                let status = head.status();
                let is_tunnel =
                    status == StatusCode::SWITCHING_PROTOCOLS || is_connect && status.is_success();
                let (sender, body, transfer) = modes.body(Direction::Response, &headers, is_tunnel);
                senders.response = sender;
                let _ended = respond.send((head, body, transfer));
                continue;
            }
            Some(Event::RequestBody(body)) => {
                let size = body.body.len() as u64;
                let Some(left) = senders.left.checked_sub(size) else { return Ok(Incoming::TooLarge) };
                senders.left = left;
                if let Some(request) = &mut senders.request {
                    request.data(body.body).await;
                }
                (body.end_of_stream.then_some(&mut senders.request), None)
            }
            Some(Event::ResponseBody(body)) => {
                if let Some(response) = &mut senders.response {
                    response.data(body.body).await;
                }
                (body.end_of_stream.then_some(&mut senders.response), None)
            }
            Some(Event::RequestTrailers(trailers)) => (Some(&mut senders.request), Some(trailers)),
            Some(Event::ResponseTrailers(trailers)) => (Some(&mut senders.response), Some(trailers)),
            Some(Event::RequestHeaders(_)) => return Err(Status::invalid_argument("a second request")),
            // A message that a later version of the protocol has added.
            None => continue,
        };
        if let Some(Some(sender)) = sender {
            let trailers = trailers.map(|trailers| head::trailers(&trailers)).transpose().map_err(invalid)?;
            sender.end(trailers).await;
        }
    }
    Ok(Incoming::Complete)
}

/// Passes a response whose request was never sent here, because an earlier filter answered it. If no request has ever
/// been sent, Envoy's filter is configured to leave requests out, which would bypass the guests.
async fn pass(
    processor: &Processor,
    headers: HttpHeaders,
    messages: Streaming<ProcessingRequest>,
    modes: Modes,
    output: Output,
) -> Result<(), Status> {
    if !processor.sees_requests() {
        return Err(misconfigured(
            "Envoy sends responses without their requests",
            "`request_header_mode` must be SEND",
        ));
    }
    let (response, body, transfer) = modes.body(Direction::Response, &headers, false);
    let rest =
        output.head(Direction::Response, Default::default(), false, BoxBody::new(body), transfer).await?;
    let Some((body, end)) = rest else { return Ok(()) };
    let senders = BodySenders { request: None, response, respond: None, left: 0 };
    tokio::try_join!(output.rest(Direction::Response, body, end), receive(messages, senders, modes, false))
        .map(|_| ())
}

fn invalid(error: head::InvalidHead) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Logs an error in the configuration of Envoy's filter, and returns the status that Envoy logs.
fn misconfigured(what: &str, fix: &str) -> Status {
    tracing::error!("{what}: in the configuration of Envoy's filter, {fix}; the request fails");
    Status::failed_precondition(format!("{what}: {fix}"))
}

/// How Envoy sends bodies.
#[derive(Clone, Copy)]
struct Modes {
    request: BodySendMode,
    response: BodySendMode,
}

impl Modes {
    fn of(first: &ProcessingRequest) -> Result<Self, Status> {
        if first.observability_mode {
            return Err(misconfigured("Envoy doesn't wait for guests", "`observability_mode` must be off"));
        }
        let duplex = BodySendMode::FullDuplexStreamed.into();
        let default = ProtocolConfiguration { request_body_mode: duplex, response_body_mode: duplex };
        let modes = first.protocol_config.as_ref().unwrap_or(&default);
        let mode = |mode, setting| match BodySendMode::try_from(mode) {
            Ok(mode @ (BodySendMode::None | BodySendMode::FullDuplexStreamed)) => Ok(mode),
            _ => {
                let fix = format!("`processing_mode.{setting}` must be FULL_DUPLEX_STREAMED or NONE");
                Err(misconfigured("Envoy sends bodies in a mode that isn't supported", &fix))
            }
        };
        Ok(Self {
            request: mode(modes.request_body_mode, "request_body_mode")?,
            response: mode(modes.response_body_mode, "response_body_mode")?,
        })
    }

    /// A message's body, and its sender if Envoy sends pieces.
    fn body(
        self,
        direction: Direction,
        headers: &HttpHeaders,
        is_tunnel: bool,
    ) -> (Option<BodySender>, ReceivedBody, BodyTransfer) {
        let mode = match direction {
            Direction::Request => self.request,
            Direction::Response => self.response,
        };
        match (headers.end_of_stream, mode == BodySendMode::None) {
            (true, _) => (None, ReceivedBody::none(), BodyTransfer::WithHead),
            (false, true) if is_tunnel => (None, ReceivedBody::none(), BodyTransfer::KeptTunnel),
            (false, true) => {
                let (body, transfer) = ReceivedBody::kept();
                (None, body, transfer)
            }
            (false, false) => {
                let (sender, body, end) = ReceivedBody::channel();
                match is_tunnel {
                    // To the guests the body is empty, and what they write isn't sent.
                    true => (Some(sender), ReceivedBody::none(), BodyTransfer::Tunnel(body, end)),
                    false => (Some(sender), body, BodyTransfer::Streamed(end)),
                }
            }
        }
    }
}

/// What Envoy's filter reports about the client with `request_attributes`.
struct Client {
    addr: Option<SocketAddr>,
    version: Version,
}

impl Client {
    fn of(attributes: &HashMap<String, Struct>) -> Self {
        let find = |name: &str| {
            let value = attributes.values().find_map(|attributes| attributes.fields.get(name));
            value.and_then(|value| value.string_value.as_deref())
        };
        let version = match find("request.protocol") {
            Some("HTTP/1.0") => Version::HTTP_10,
            Some("HTTP/2") => Version::HTTP_2,
            Some("HTTP/3") => Version::HTTP_3,
            _ => Version::HTTP_11,
        };
        Self { addr: find("source.address").and_then(|addr| addr.parse().ok()), version }
    }
}
