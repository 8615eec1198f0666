//! Makes a HAR file of an exchange.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, Version};
use serde_json::json;

use super::event::Event;
use super::exchange::{Content, Finished, Messages, Part, RequestHead, ResponseHead};
use super::file::{GuestRecord, Recorded, VERSION};
use super::har::{Har, HarContent, HarEntry, HarLog, HarPair, HarRequest, HarResponse};

/// The HAR file of an exchange, with its secrets.
pub(super) fn har(finished: &Finished) -> Har {
    let mut entries = Vec::new();
    for (messages, comment) in [
        (&finished.client, "as the guests got the request, and as the response left them for the client"),
        (&finished.next, "as the next handler got the request, and as its response came back"),
    ] {
        entries.extend(entry(finished, messages, comment));
    }
    let guests = finished.parts.iter().map(guest).collect();
    Har {
        log: HarLog {
            version: "1.2".to_owned(),
            creator: json!({ "name": "http-wasm", "version": env!("CARGO_PKG_VERSION") }),
            entries,
            recorded: Some(Recorded { version: VERSION, redacted: false, guests }),
        },
    }
}

fn entry(finished: &Finished, messages: &Messages, comment: &str) -> Option<HarEntry> {
    let request = messages.request.as_ref()?;
    let took = millis(finished.took);
    Some(HarEntry {
        started_date_time: timestamp(finished.began),
        time: took,
        request: self::request(request, &messages.request_body, finished.is_tls),
        response: Some(response(messages.response.as_ref(), &messages.response_body)),
        cache: json!({}),
        timings: json!({ "send": 0, "wait": took, "receive": 0 }),
        comment: Some(comment.to_owned()),
        client_address: Some(finished.client_addr.to_string()),
        request_id: finished.request_id.clone(),
    })
}

fn request(head: &RequestHead, body: &Content, is_tls: bool) -> HarRequest {
    let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = host.or_else(|| {
        let host = head.headers.get(HOST)?;
        Some(String::from_utf8_lossy(host.as_bytes()).into_owned())
    });
    let scheme = if is_tls { "https" } else { "http" };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let content = content(body, &head.headers);
    HarRequest {
        method: head.method.to_string(),
        url: format!("{scheme}://{}{path}", host.unwrap_or_default()),
        http_version: version(head.version).to_owned(),
        cookies: Vec::new(),
        headers: pairs(&head.headers),
        query_string: Vec::new(),
        post_data: (body.size > 0).then_some(content),
        headers_size: -1,
        body_size: i64::try_from(body.size).unwrap_or(i64::MAX),
    }
}

fn response(head: Option<&ResponseHead>, body: &Content) -> HarResponse {
    let none = HeaderMap::new();
    let headers = head.map_or(&none, |head| &head.headers);
    let location = headers.get(LOCATION).map(|location| String::from_utf8_lossy(location.as_bytes()));
    HarResponse {
        status: head.map_or(0, |head| head.status.as_u16()),
        status_text: head.and_then(|head| head.status.canonical_reason()).unwrap_or_default().to_owned(),
        http_version: head.map_or("", |head| version(head.version)).to_owned(),
        cookies: Vec::new(),
        headers: pairs(headers),
        content: Some(content(body, headers)),
        redirect_url: location.unwrap_or_default().into_owned(),
        headers_size: -1,
        body_size: i64::try_from(body.size).unwrap_or(i64::MAX),
    }
}

fn content(body: &Content, headers: &HeaderMap) -> HarContent {
    let mime_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    HarContent::new(&body.kept.concat(), body.size, mime_type)
}

fn pairs(headers: &HeaderMap) -> Vec<HarPair> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| HarPair {
        name: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    headers.iter().map(pair).collect()
}

fn guest(part: &Part) -> GuestRecord {
    let guest = &part.log.guest;
    let mut excerpt = part.log.excerpt(part.end.unwrap_or_else(|| part.log.len()));
    for event in excerpt.events.iter_mut().skip(part.from) {
        if let Event::Entered { recorded, .. } = event {
            *recorded = true;
        }
    }
    let not_replayable = if guest.has_mounts {
        Some("the guest has access to directories, whose contents aren't recorded".to_owned())
    } else if excerpt.is_cut {
        let reason = "not replayable from the start: the log of its instance has reached its limit \
                      (`log_bytes`, `memory`)";
        Some(reason.to_owned())
    } else {
        None
    };
    GuestRecord {
        name: guest.name.clone(),
        file: guest.path.as_ref().map(|path| path.display().to_string()),
        sha256: guest.sha256.clone(),
        deadline_ms: u64::try_from(guest.deadline.as_millis()).unwrap_or(u64::MAX),
        not_replayable,
        events: excerpt.events,
    }
}

/// When an exchange began, in UTC.
pub(super) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
