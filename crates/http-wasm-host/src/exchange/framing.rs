//! Framing: what `content-length`, `transfer-encoding` and `trailer` say of the body that really goes out.
//!
//! Source: RFC 9110, sections 6.4.1, 6.5 and 8.6; RFC 9112, section 6.

use std::io::Write as _;

use super::Exchange;
use crate::abi::BodyKind;
use crate::host::{Host, Outgoing};

/// Statuses whose responses have no body.
#[inline]
pub(super) fn is_bodyless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Makes the host's request the one for the next handler.
#[inline]
pub(super) fn finish_request<H: Host>(exchange: &mut Exchange<H>) {
    if exchange.request.is_touched() {
        frame_request(exchange);
    }
}

fn frame_request<H: Host>(exchange: &mut Exchange<H>) {
    const REQUEST: BodyKind = BodyKind::Request;
    prepare_trailers(exchange, REQUEST);
    let changed = exchange.request.is_changed();
    let Some(body) = exchange.request.take_outgoing() else { return };
    if exchange.request.has_trailers() {
        announce_trailers(exchange, REQUEST);
    } else if changed {
        let len = length(&*exchange.host, REQUEST, &body);
        // A method like GET says nothing about an empty body.
        let silent =
            len == Some(0) && !is_framed(&*exchange.host, REQUEST) && !expects_body(exchange.host.method());
        set_length(&mut *exchange.host, REQUEST, len.filter(|_| !silent));
    }
    exchange.host.set_body(REQUEST, body);
}

/// Makes the host's response the one for the client.
#[inline]
pub(super) fn finish_response<H: Host>(exchange: &mut Exchange<H>) {
    let status = exchange.host.status();
    let has_usual_body = !exchange.client_sent_head && !exchange.next_was_bodyless && !is_bodyless(status);
    // As most responses are, the next handler's with a body that nobody has looked at.
    let is_as_it_came = exchange.answered && has_usual_body && !exchange.response.is_touched();
    if !is_as_it_came {
        frame_response(exchange, status);
    }
}

fn frame_response<H: Host>(exchange: &mut Exchange<H>, status: u16) {
    const RESPONSE: BodyKind = BodyKind::Response;
    if exchange.is_upgrade() {
        return;
    }
    if exchange.client_sent_head || is_bodyless(status) {
        return finish_bodyless(exchange, status);
    }
    prepare_trailers(exchange, RESPONSE);
    let changed = exchange.response.is_changed() || exchange.next_was_bodyless || !exchange.answered;
    // What a guest has made has no header of the kind: those that it sets are ignored, and of an earlier response none is left.
    let is_declared = H::SENDER_DECLARES_LENGTH && !exchange.answered;
    match exchange.response.take_outgoing() {
        Some(body) => {
            if exchange.response.has_trailers() {
                announce_trailers(exchange, RESPONSE);
            } else if changed && !is_declared {
                let len = length(&*exchange.host, RESPONSE, &body);
                set_length(&mut *exchange.host, RESPONSE, len);
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

/// HEAD, 204 and 304: the head goes out as it is, whatever was written.
fn finish_bodyless<H: Host>(exchange: &mut Exchange<H>, status: u16) {
    const RESPONSE: BodyKind = BodyKind::Response;
    let changed = exchange.response.is_changed();
    // Where there is no body there is no end of it.
    exchange.response.drop_trailers();
    let outgoing = exchange.response.take_outgoing();
    if status == 204 {
        set_length(&mut *exchange.host, RESPONSE, None);
    } else if !exchange.answered && !is_bodyless(status) {
        // The guest answers HEAD by itself: as long as its answer to GET would be.
        let len = outgoing.as_ref().map_or(0, |body| body.first.len() as u64);
        set_length(&mut *exchange.host, RESPONSE, Some(len));
    }
    if changed || is_bodyless(status) {
        exchange.host.set_body(RESPONSE, Outgoing::default());
    } else if let Some(read) = outgoing {
        // What the guest has only read is as long as it was, should the server tell its length.
        exchange.host.set_body(RESPONSE, read);
    }
}

/// The response in the host goes to nobody, and another takes its place.
pub(super) fn forget_length<H: Host>(exchange: &mut Exchange<H>) {
    set_length(&mut *exchange.host, BodyKind::Response, None);
}

/// HTTP/1.0 has no place for trailers.
fn prepare_trailers<H: Host>(exchange: &mut Exchange<H>, message: BodyKind) {
    if exchange.side_mut(message).has_trailers() && exchange.host.protocol_version() == "HTTP/1.0" {
        exchange.side_mut(message).drop_trailers();
    }
}

/// Trailers need a body of unknown length, and in HTTP/1.1 an announcement.
fn announce_trailers<H: Host>(exchange: &mut Exchange<H>, message: BodyKind) {
    set_length(&mut *exchange.host, message, None);
    if !exchange.side_mut(message).edits_trailers() {
        return;
    }
    let mut names = Vec::new();
    exchange.host.header_values(message, b"trailer", |value| {
        names.extend(value.split(|&byte| byte == b',').map(|name| name.trim_ascii().to_ascii_lowercase()));
    });
    for name in exchange.side_mut(message).trailers().names() {
        if !names.iter().any(|listed| listed == name) {
            names.push(name.to_vec());
        }
    }
    names.retain(|name| !name.is_empty());
    let list = names.join(&b", "[..]);
    if list.is_empty() {
        return exchange.host.remove_header(message, b"trailer");
    }
    // One header among those the server holds already; if it is full, the trailers go unannounced.
    let _fits = exchange.host.set_header(message, b"trailer", &list);
}

/// The length of an outgoing body, if it can be known.
fn length<H: Host>(host: &H, message: BodyKind, body: &Outgoing) -> Option<u64> {
    let rest = if body.rest { host.body_remaining(message)? } else { 0 };
    (body.first.len() as u64).checked_add(rest)
}

fn set_length<H: Host>(host: &mut H, message: BodyKind, len: Option<u64>) {
    host.remove_header(message, b"transfer-encoding");
    match len {
        Some(len) => {
            // No number is longer.
            let mut digits = [0; 20];
            let mut rest = &mut digits[..];
            let written = write!(rest, "{len}").map_or(0, |()| 20 - rest.len());
            // It takes the place of the one header that is removed otherwise.
            let _fits = host.set_header(message, b"content-length", &digits[..written]);
        }
        None => host.remove_header(message, b"content-length"),
    }
}

fn is_framed<H: Host>(host: &H, message: BodyKind) -> bool {
    let mut framed = false;
    for name in [&b"content-length"[..], b"transfer-encoding"] {
        host.header_values(message, name, |_| framed = true);
    }
    framed
}

/// Methods whose requests have a body as a rule, so that an empty one is worth saying.
fn expects_body(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}
