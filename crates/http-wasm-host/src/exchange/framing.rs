//! Framing: what `content-length`, `transfer-encoding` and `trailer` say about the outgoing body.
//!
//! Source: RFC 9110, sections 6.4.1, 6.5 and 8.6; RFC 9112, section 6.

use super::Exchange;
use crate::abi::BodyKind;
use crate::host::{BodyState, Host};
use crate::message::{Discard, HeaderChange, Outgoing, Rest};
use crate::runtime::Background;
use crate::text::is_bodyless;

/// Turns the host's request into the one for the next handler.
#[inline]
pub(super) fn frame_request<H: Host>(exchange: &mut Exchange<H>, background: &Background) {
    if exchange.request.is_touched() {
        frame_touched_request(exchange, background);
    }
}

fn frame_touched_request<H: Host>(exchange: &mut Exchange<H>, background: &Background) {
    const REQUEST: BodyKind = BodyKind::Request;
    if exchange.streaming.is_some() && exchange.finish_stream(REQUEST) {
        return;
    }
    let changed = exchange.request.is_changed();
    exchange.remove_digest_trailers(REQUEST);
    let (rest, has_trailers) = frame_trailers(exchange, REQUEST, background);
    let ratio = exchange.budget.decoded_ratio;
    let Some(mut body) = exchange.request.take_outgoing(rest, ratio) else { return };
    if changed {
        exchange.describe_changed(REQUEST, Some(&mut body));
    }
    if has_trailers {
        set_length(&mut *exchange.host, REQUEST, None);
    } else if changed {
        let len = length(&*exchange.host, REQUEST, &body);
        // A request with a method like GET needs no length for an empty body.
        let silent =
            len == Some(0) && !is_framed(&*exchange.host, REQUEST) && !expects_body(exchange.host.method());
        set_length(&mut *exchange.host, REQUEST, len.filter(|_| !silent));
    } else {
        confirm_length(&mut *exchange.host, REQUEST, &body);
    }
    exchange.host.set_body(REQUEST, body);
}

/// Turns the host's response into the one for the client.
#[inline]
pub(super) fn frame_response<H: Host>(exchange: &mut Exchange<H>, background: &Background) {
    let status = exchange.host.status();
    let has_usual_body = !exchange.client_sent_head && !exchange.next_was_bodyless && !is_bodyless(status);
    // The common case: the next handler's response with an untouched body.
    let is_as_it_came = exchange.answered && has_usual_body && !exchange.response.is_touched();
    if !is_as_it_came {
        frame_other_response(exchange, status, background);
    }
}

fn frame_other_response<H: Host>(exchange: &mut Exchange<H>, status: u16, background: &Background) {
    const RESPONSE: BodyKind = BodyKind::Response;
    if exchange.is_upgrade() {
        return;
    }
    if exchange.client_sent_head || is_bodyless(status) {
        return finish_bodyless(exchange, status);
    }
    // The common case of a guest that responds itself: nothing of the head depends on the body.
    if H::SENDER_DECLARES_LENGTH
        && !exchange.answered
        && !exchange.is_decoding()
        && let Some(first) = exchange.response.take_written()
    {
        return exchange.host.set_body(RESPONSE, Outgoing { first, ..Outgoing::default() });
    }
    let changed = exchange.response.is_changed() || exchange.next_was_bodyless || !exchange.answered;
    let is_rewritten = exchange.response.is_changed();
    exchange.remove_digest_trailers(RESPONSE);
    let (rest, has_trailers) = frame_trailers(exchange, RESPONSE, background);
    // A response made by the guest has no such header: the ones that the guest sets are ignored, and those of an
    // earlier response have been removed.
    let is_declared = H::SENDER_DECLARES_LENGTH && !exchange.answered;
    let ratio = exchange.budget.decoded_ratio;
    match exchange.response.take_outgoing(rest, ratio) {
        Some(mut body) => {
            if is_rewritten {
                exchange.describe_changed(RESPONSE, Some(&mut body));
            }
            if has_trailers {
                set_length(&mut *exchange.host, RESPONSE, None);
            } else if changed && !is_declared {
                let len = length(&*exchange.host, RESPONSE, &body);
                set_length(&mut *exchange.host, RESPONSE, len);
            } else if !changed {
                confirm_length(&mut *exchange.host, RESPONSE, &body);
            }
            exchange.host.set_body(RESPONSE, body);
        }
        None if changed && !is_declared => {
            let len = exchange.host.body_remaining(RESPONSE);
            set_length(&mut *exchange.host, RESPONSE, len);
        }
        None => {}
    }
}

/// Makes the head final of a message that is sent while the guest writes it. Returns what happens to the rest of the
/// original when the guest has returned.
pub(super) fn frame_streamed<H: Host>(
    exchange: &mut Exchange<H>,
    message: BodyKind,
    body: &mut Outgoing,
    background: &Background,
) -> Rest {
    exchange.remove_digest_trailers(message);
    let (rest, _) = frame_trailers(exchange, message, background);
    exchange.describe_changed(message, Some(body));
    if let Some(encode) = &mut body.encode {
        encode.flush_each_piece();
    }
    set_length(&mut *exchange.host, message, None);
    rest
}

/// HEAD, 204 and 304: the head is sent without a body, whatever was written.
fn finish_bodyless<H: Host>(exchange: &mut Exchange<H>, status: u16) {
    const RESPONSE: BodyKind = BodyKind::Response;
    let changed = exchange.response.is_changed();
    // A response without a body has no trailers.
    exchange.response.drop_trailers();
    let ratio = exchange.budget.decoded_ratio;
    let outgoing = exchange.response.take_outgoing(Rest::Dropped, ratio);
    if changed && exchange.answered && exchange.is_decoding() && !is_bodyless(status) {
        // The headers describe the response to GET, whose length isn't known.
        exchange.describe_changed(RESPONSE, None);
        set_length(&mut *exchange.host, RESPONSE, None);
    }
    if status == 204 {
        set_length(&mut *exchange.host, RESPONSE, None);
    } else if !exchange.answered && !is_bodyless(status) {
        // The guest responds to HEAD itself: declares the length that its response to GET would have.
        let len = outgoing.as_ref().map_or(0, |body| body.first.len() as u64);
        set_length(&mut *exchange.host, RESPONSE, Some(len));
    }
    if changed || is_bodyless(status) {
        exchange.host.set_body(RESPONSE, Outgoing::default());
    } else if let Some(read) = outgoing {
        // If the server declares lengths, it still needs a body that the guest has only read.
        exchange.host.set_body(RESPONSE, read);
    }
}

/// Removes the headers that frame the host's response, which is discarded and replaced.
pub(super) fn forget_framing<H: Host>(exchange: &mut Exchange<H>) {
    set_length(&mut *exchange.host, BodyKind::Response, None);
    remove_announcement(&mut *exchange.host, BodyKind::Response);
}

/// Announces the outgoing trailers. Returns how to treat the rest of a body that the guest has replaced, and whether
/// trailers have arrived, have been set, or are awaited. In that case, the body must not declare a length.
fn frame_trailers<H: Host>(
    exchange: &mut Exchange<H>,
    message: BodyKind,
    background: &Background,
) -> (Rest, bool) {
    let is_original = message == BodyKind::Request || exchange.answered;
    if !is_original && !exchange.state_mut(message).has_trailers() {
        // The guest makes this response, and can't set the header that announces trailers.
        return (Rest::Dropped, false);
    }
    if exchange.host.protocol_version() == "HTTP/1.0" {
        // HTTP/1.0 has no trailers.
        exchange.state_mut(message).drop_trailers();
        remove_announcement(&mut *exchange.host, message);
        return (Rest::Dropped, false);
    }
    let may_arrive = is_original
        && !exchange.state_mut(message).has_ended()
        && exchange.host.body_state(message) != BodyState::Ended;
    let is_replaced = exchange.state_mut(message).is_written();
    let has_trailers = exchange.state_mut(message).has_trailers();
    let is_cut_off = is_replaced && may_arrive;
    // The common case.
    if !has_trailers && !is_cut_off && !has(&*exchange.host, message, b"trailer") {
        return (Rest::Dropped, false);
    }
    let announced = announced_trailers(&*exchange.host, message);
    let is_promised = || !announced.is_empty() || is_grpc(&*exchange.host, message);
    let rest = match is_cut_off && is_promised() {
        true => Rest::Discarded(Box::new(Discard::new(
            background.clone(),
            exchange.budget.replay_bytes,
            exchange.budget.total,
        ))),
        false => Rest::Dropped,
    };
    let is_discarded = matches!(rest, Rest::Discarded(_));
    if has_trailers || !announced.is_empty() {
        announce_trailers(exchange, message, &announced, is_discarded || may_arrive && !is_replaced);
    }
    (rest, is_discarded || has_trailers)
}

/// Whether the message is gRPC's, whose trailers are important enough to wait for after its body was replaced.
fn is_grpc<H: Host>(host: &H, message: BodyKind) -> bool {
    let mut is_grpc = false;
    host.header_values(message, b"content-type", |value| {
        let kind = value.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
        // This excludes gRPC-Web, which sends its trailers in the body.
        is_grpc |= kind && matches!(value.get(GRPC.len()), None | Some(b'+' | b';' | b' ' | b'\t'));
    });
    is_grpc
}

const GRPC: &[u8] = b"application/grpc";

/// The names in the message's `trailer` header, empty ones included.
fn announced_trailers<H: Host>(host: &H, message: BodyKind) -> Vec<Vec<u8>> {
    let mut announced = Vec::new();
    host.header_values(message, b"trailer", |value| {
        announced
            .extend(value.split(|&byte| byte == b',').map(|name| name.trim_ascii().to_ascii_lowercase()));
    });
    announced
}

/// Sets the message's `trailer` header to the trailers that will be sent: the known ones, and those that were announced
/// and may still arrive.
fn announce_trailers<H: Host>(
    exchange: &mut Exchange<H>,
    message: BodyKind,
    announced: &[Vec<u8>],
    more_may_arrive: bool,
) {
    let trailers = exchange.state_mut(message).known_trailers();
    let is_sent =
        |name: &[u8]| trailers.current().contains(name) || more_may_arrive && !trailers.removes(name);
    let mut names: Vec<_> =
        announced.iter().filter(|name| !name.is_empty() && is_sent(name)).cloned().collect();
    for name in trailers.current().names() {
        if !names.iter().any(|listed| listed == name) {
            names.push(name.to_vec());
        }
    }
    if names == announced {
        return;
    }
    let list = names.join(&b", "[..]);
    if list.is_empty() {
        return remove_announcement(&mut *exchange.host, message);
    }
    // If the server has no room for the header, the trailers aren't announced.
    let _fits = exchange.host.change_header(message, b"trailer", HeaderChange::Set(&list));
}

fn remove_announcement<H: Host>(host: &mut H, message: BodyKind) {
    remove(host, message, b"trailer");
}

/// The length of an outgoing body, if it is known.
fn length<H: Host>(host: &H, message: BodyKind, body: &Outgoing) -> Option<u64> {
    if body.decode.is_some() || body.encode.is_some() {
        return None;
    }
    let rest = match body.rest {
        Rest::Dropped => 0,
        Rest::Follows => host.body_remaining(message)?,
        Rest::Discarded(_) | Rest::Streamed(_) => return None,
    };
    (body.first.len() as u64).checked_add(rest)
}

/// Corrects the declared length of a body that the guest has only read. Such a body is sent unchanged but framed again.
/// With a transfer coding, the declared length may have been wrong.
fn confirm_length<H: Host>(host: &mut H, message: BodyKind, body: &Outgoing) {
    let (mut declared, mut count) = (None, 0);
    host.header_values(message, b"content-length", |value| {
        declared = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        count += 1;
    });
    if count == 0 {
        return;
    }
    let coded = has(host, message, b"transfer-encoding");
    let len = length(host, message, body);
    let is_right = count == 1 && !coded && (len.is_none() || len == declared);
    if !is_right {
        set_length(host, message, len);
    }
}

fn set_length<H: Host>(host: &mut H, message: BodyKind, len: Option<u64>) {
    remove(host, message, b"transfer-encoding");
    match len {
        Some(len) => {
            let mut digits = itoa::Buffer::new();
            // This replaces the only header that would be removed otherwise.
            let length = HeaderChange::Set(digits.format(len).as_bytes());
            let _fits = host.change_header(message, b"content-length", length);
        }
        None => remove(host, message, b"content-length"),
    }
}

fn remove<H: Host>(host: &mut H, message: BodyKind, name: &[u8]) {
    // Removing a header can't exceed the server's capacity.
    let _fits = host.change_header(message, name, HeaderChange::Remove);
}

fn is_framed<H: Host>(host: &H, message: BodyKind) -> bool {
    has(host, message, b"content-length") || has(host, message, b"transfer-encoding")
}

#[inline]
fn has<H: Host>(host: &H, message: BodyKind, name: &[u8]) -> bool {
    let mut has = false;
    host.header_values(message, name, |_| has = true);
    has
}

/// Whether requests with this method usually have a body, so that an empty one is declared.
fn expects_body(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}
