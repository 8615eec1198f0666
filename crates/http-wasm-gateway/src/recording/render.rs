//! Renders exchanges as a HAR file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, Version};
use serde_json::json;

use super::event::Event;
use super::file::{GuestRecord, Recorded, VERSION};
use super::finished::{Content, Finished, Messages, Part, RequestHead, ResponseHead};
use super::har::{Har, HarContent, HarEntry, HarLog, HarPair, HarRequest, HarResponse, HarSide};
use super::log::InstanceLog;

/// Renders exchanges as a HAR file, including their secrets.
pub(super) fn har(exchanges: &[Finished]) -> Har {
    let (mut entries, mut instances) = (Vec::new(), Instances::default());
    for (number, finished) in (1..).zip(exchanges) {
        for (side, messages) in [(HarSide::Client, &finished.client), (HarSide::Next, &finished.next)] {
            entries.extend(entry(finished, messages, number, side));
        }
        finished.parts.iter().for_each(|part| instances.add(part, number));
    }
    let guests = instances.all.iter().map(Instance::record).collect();
    Har {
        log: HarLog {
            version: "1.2".to_owned(),
            creator: json!({ "name": "http-wasm", "version": env!("CARGO_PKG_VERSION") }),
            entries,
            recorded: Some(Recorded { version: VERSION, redacted: false, guests }),
        },
    }
}

fn entry(finished: &Finished, messages: &Messages, exchange: u32, side: HarSide) -> Option<HarEntry> {
    let comment = match side {
        HarSide::Client => "as the guests got the request, and as the response left them for the client",
        HarSide::Next => "as the next handler got the request, and as its response came back",
    };
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
        exchange: Some(exchange),
        side: Some(side),
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
        trailers: body.trailers.as_ref().map(pairs).unwrap_or_default(),
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
        trailers: body.trailers.as_ref().map(pairs).unwrap_or_default(),
        redirect_url: location.unwrap_or_default().into_owned(),
        headers_size: -1,
        body_size: i64::try_from(body.size).unwrap_or(i64::MAX),
    }
}

fn content(body: &Content, headers: &HeaderMap) -> HarContent {
    let mime_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    HarContent::new(&body.kept, body.size, mime_type)
}

fn pairs(headers: &HeaderMap) -> Vec<HarPair> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| HarPair {
        name: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    headers.iter().map(pair).collect()
}

/// The logs of the instances that served exchanges, ordered by their first exchange.
#[derive(Default)]
struct Instances<'a> {
    all: Vec<Instance<'a>>,
    indices: HashMap<(*const InstanceLog, bool), usize>,
}

/// The log of an instance.
struct Instance<'a> {
    log: &'a InstanceLog,
    is_truncated: bool,
    end: usize,
    /// The positions where each exchange begins and ends, and its number.
    exchanges: Vec<(usize, usize, u32)>,
}

impl<'a> Instances<'a> {
    fn add(&mut self, part: &'a Part, exchange: u32) {
        let (log, end) = (&part.log, part.end());
        // An exchange with a truncated log can't be replayed, but those before it can.
        let index = *self.indices.entry((Arc::as_ptr(log), end.is_truncated)).or_insert_with(|| {
            self.all.push(Instance { log, is_truncated: end.is_truncated, end: 0, exchanges: Vec::new() });
            self.all.len() - 1
        });
        let instance = &mut self.all[index];
        instance.end = instance.end.max(end.at);
        instance.exchanges.push((part.from, end.at, exchange));
    }
}

impl Instance<'_> {
    fn record(&self) -> GuestRecord {
        let guest = &self.log.guest;
        let mut events = self.log.events(self.end);
        let mut exchanges = self.exchanges.clone();
        exchanges.sort_unstable();
        let mut exchanges = exchanges.into_iter().peekable();
        for (at, event) in &mut events {
            if let Event::Entered { exchange, .. } = event {
                while exchanges.next_if(|(_, end, _)| end <= at).is_some() {}
                *exchange = exchanges.peek().filter(|(from, ..)| from <= at).map(|(_, _, number)| *number);
            }
        }
        self.log.was_written(self.end);
        let reason = "not replayable from the start: the log of its instance has reached its limit (`log_bytes`, \
                      `memory`)";
        let not_replayable = self.is_truncated.then(|| reason.to_owned());
        GuestRecord {
            name: guest.name.clone(),
            instance: self.log.instance,
            file: guest.path.as_ref().map(|path| path.display().to_string()),
            sha256: guest.sha256.clone(),
            deadline_ms: u64::try_from(guest.deadline.as_millis()).unwrap_or(u64::MAX),
            not_replayable,
            events: events.into_iter().map(|(_, event)| event).collect(),
        }
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
