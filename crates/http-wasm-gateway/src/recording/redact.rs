//! Replaces secrets of exchanges with values of the same length.
//!
//! Secrets are found in two ways: at known places, such as the values of certain headers, and then by their words
//! wherever else these appear, since guests copy them.

mod secret_words;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use self::secret_words::{Finder, Words, is_common};
use super::event::{CallEvent, Data, Event, Failure, Outcome};
use super::finished::Finished;
use super::har::{Har, HarContent, HarPair};
use super::log::GuestOrigin;
use super::parts::{Kind, config_parts, environment, header_parts};
use super::words::{Masks, Part, split};
use crate::config;

/// Headers that are secret by default.
const HEADERS: [&str; 5] = ["authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key"];

/// The secrets of all exchanges of a configuration.
pub(super) struct Secrets {
    headers: HashSet<String>,
    /// The values of references in the configuration.
    substituted: Vec<String>,
}

impl Secrets {
    pub(super) fn new(settings: &config::Record, substituted: &[config::Substituted]) -> Self {
        let own = settings.redact_headers.iter().map(|name| name.value.to_ascii_lowercase());
        Self {
            headers: HEADERS.iter().map(ToString::to_string).chain(own).collect(),
            substituted: substituted.iter().map(|secret| secret.as_str().to_owned()).collect(),
        }
    }

    /// Replaces the secrets of exchanges.
    pub(super) fn redact(&self, har: &mut Har, exchanges: &[Finished], key: [u8; 32]) {
        let mut words = Words::default();
        for secret in &self.substituted {
            words.add_whole(secret.as_bytes());
        }
        let mut guests: Vec<&Arc<GuestOrigin>> = Vec::new();
        for part in exchanges.iter().flat_map(|exchange| &exchange.parts) {
            let guest = &part.log.guest;
            if guests.iter().any(|known| Arc::ptr_eq(known, guest)) {
                continue;
            }
            guests.push(guest);
            words.add_config(&guest.secrets.config);
            for value in &guest.secrets.values {
                words.add_whole(value.as_bytes());
            }
        }
        self.find(har, &mut words);
        Redactor { secrets: self, masks: Masks::new(key), words: words.into_finder() }.har(har);
    }

    fn is_secret(&self, header: &[u8]) -> bool {
        std::str::from_utf8(header).is_ok_and(|name| self.headers.contains(&*name.to_ascii_lowercase()))
    }

    /// Finds the secret values of headers.
    fn find(&self, har: &Har, words: &mut Words) {
        for pair in pairs(har).filter(|pair| self.is_secret(pair.name.as_bytes())) {
            words.add_header(pair.name.as_bytes(), pair.value.as_bytes());
        }
        if self.is_secret(b"host") {
            // HTTP/2 requests don't have the header.
            let urls = har.log.entries.iter().filter_map(|entry| split_url(&entry.request.url));
            urls.for_each(|(_, host, _)| words.add_header(b"host", host.as_bytes()));
        }
        let Some(recorded) = &har.log.recorded else { return };
        for event in recorded.guests.iter().flat_map(|guest| &guest.events) {
            if let Event::Call(call) = event
                && let Some(name) = call.header().filter(|name| self.is_secret(name))
            {
                call.values().for_each(|data| words.add_header(name, &data.0));
            }
        }
    }
}

fn pairs(har: &Har) -> impl Iterator<Item = &HarPair> {
    har.log.entries.iter().flat_map(|entry| {
        let response = entry.response.iter().flat_map(|its| its.headers.iter().chain(&its.trailers));
        entry.request.headers.iter().chain(&entry.request.trailers).chain(response)
    })
}

impl CallEvent {
    /// The name of the header that the call is about.
    fn header(&self) -> Option<&[u8]> {
        match &*self.function {
            "get_header_values" | "set_header_value" | "add_header_value" => Some(&self.passed.first()?.0),
            _ => None,
        }
    }

    /// The header's values that are part of the call.
    fn values(&self) -> impl Iterator<Item = &Data> {
        self.passed.iter().skip(1).chain(self.written.iter().map(|(_, data)| data))
    }
}

struct Redactor<'a> {
    secrets: &'a Secrets,
    masks: Masks,
    words: Finder,
}

impl Redactor<'_> {
    fn har(&self, har: &mut Har) {
        for entry in &mut har.log.entries {
            let request = &mut entry.request;
            self.url(&mut request.url);
            self.pairs(request.headers.iter_mut().chain(&mut request.trailers));
            request.post_data.iter_mut().for_each(|content| self.content(content));
            entry.request_id.iter_mut().for_each(|id| self.value("x-request-id", id));
            if let Some(response) = &mut entry.response {
                self.value("location", &mut response.redirect_url);
                self.pairs(response.headers.iter_mut().chain(&mut response.trailers));
                response.content.iter_mut().for_each(|content| self.content(content));
            }
        }
        let Some(recorded) = &mut har.log.recorded else { return };
        recorded.redacted = true;
        for guest in &mut recorded.guests {
            for event in &mut guest.events {
                self.event(event);
            }
        }
    }

    fn event(&self, event: &mut Event) {
        match event {
            Event::Call(call) => self.call(call),
            Event::Started { failure: Some(failure) } | Event::Returned { failure: Some(failure), .. } => {
                let Failure { reason, message, .. } = failure;
                self.string(reason);
                self.string(message);
            }
            _ => {}
        }
    }

    fn call(&self, call: &mut CallEvent) {
        if let Outcome::Trapped(reason) = &mut call.outcome {
            self.string(reason);
        }
        let secret = call.header().filter(|name| self.secrets.is_secret(name)).map(<[u8]>::to_vec);
        let is_name = |at: usize| secret.is_some() && at == 0;
        let mut redacted = false;
        match &*call.function {
            // Their results aren't text.
            "clock_time_get" | "clock_res_get" | "random_get" | "poll_oneoff" => return,
            "get_config" => {
                for (_, data) in &mut call.written {
                    let masked = self.config(&data.0);
                    redacted |= set(data, masked);
                }
            }
            "environ_get" => {
                // The first is the table of pointers.
                for (_, data) in call.written.iter_mut().skip(1) {
                    let masked = self.list(&data.0, environment);
                    redacted |= set(data, masked);
                }
            }
            "args_get" => {
                for (_, data) in call.written.iter_mut().skip(1) {
                    // The first is the guest's name.
                    let masked = self.list(&data.0, |at, item| if at == 0 { item.len() } else { 0 });
                    redacted |= set(data, masked);
                }
            }
            _ => {
                let passed = call.passed.iter_mut().enumerate().filter(|(at, _)| !is_name(*at));
                let written = call.written.iter_mut().map(|(_, data)| data);
                for data in passed.map(|(_, data)| data).chain(written) {
                    let masked = match &secret {
                        Some(name) => self.header(name, &data.0),
                        None => self.text(&data.0).into_owned(),
                    };
                    redacted |= set(data, masked);
                }
            }
        }
        call.redacted |= redacted;
    }

    fn pairs<'p>(&self, pairs: impl Iterator<Item = &'p mut HarPair>) {
        pairs.for_each(|pair| self.value(&pair.name, &mut pair.value));
    }

    /// Masks the value of a header, also where another member of the file repeats it.
    fn value(&self, header: &str, value: &mut String) {
        match self.secrets.is_secret(header.as_bytes()) {
            true => {
                let masked = self.header(header.as_bytes(), value.as_bytes());
                *value = String::from_utf8_lossy(&masked).into_owned();
            }
            false => self.string(value),
        }
    }

    /// A URL has the value of `host`.
    fn url(&self, url: &mut String) {
        let Some((scheme, host, path)) = split_url(url) else { return self.string(url) };
        let (mut host, mut path) = (host.to_owned(), path.to_owned());
        self.value("host", &mut host);
        self.string(&mut path);
        *url = format!("{scheme}{host}{path}");
    }

    fn content(&self, content: &mut HarContent) {
        self.value("content-type", &mut content.mime_type);
        let Some(text) = &mut content.text else { return };
        match content.encoding {
            None => self.string(text),
            Some(_) => {
                if let Ok(bytes) = BASE64_STANDARD.decode(&*text) {
                    *text = BASE64_STANDARD.encode(self.text(&bytes));
                }
            }
        }
    }

    fn string(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text.as_bytes()) {
            *text = String::from_utf8_lossy(&masked).into_owned();
        }
    }

    /// Replaces the words of secrets in a text.
    fn text<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if !self.words.contains_any(text) {
            return Cow::Borrowed(text);
        }
        let mut masked = Vec::with_capacity(text.len());
        for part in split(text) {
            match (part, &self.words.long) {
                (Part::Word(word), _) if self.words.short.contains(word) => {
                    masked.extend(self.masks.word(word))
                }
                (Part::Word(word), Some(long)) => {
                    long.replace_all_with_bytes(word, &mut masked, |_, word, masked| {
                        masked.extend(self.masks.word(word));
                        true
                    });
                }
                (Part::Word(other) | Part::Other(other), _) => masked.extend(other),
            }
        }
        Cow::Owned(masked)
    }

    /// Masks the values of a secret header.
    fn header(&self, name: &[u8], values: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(values.len());
        for (text, is_secret) in header_parts(name, values) {
            match is_secret {
                true => masked.extend(self.secret(text)),
                // A name may be equal to a word of a secret.
                false => masked.extend(&*self.text(text)),
            }
        }
        masked
    }

    fn config(&self, config: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(config.len());
        for (text, kind) in config_parts(config) {
            match kind {
                Kind::Syntax => masked.extend(text),
                Kind::Key => masked.extend(&*self.text(text)),
                Kind::Secret => masked.extend(self.secret(text)),
                Kind::Escape => masked.extend(self.masks.escape(text)),
            }
        }
        masked
    }

    /// Masks all words of a text except the common ones.
    fn secret(&self, text: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(text.len());
        for part in split(text) {
            match part {
                Part::Word(word) if !is_common(word) => masked.extend(self.masks.word(word)),
                Part::Word(other) | Part::Other(other) => masked.extend(other),
            }
        }
        masked
    }

    /// Masks strings that each end with a NUL. `kept` returns how much of each isn't secret.
    fn list(&self, list: &[u8], kept: impl Fn(usize, &[u8]) -> usize) -> Vec<u8> {
        let mut masked = Vec::with_capacity(list.len());
        for (at, item) in list.split_inclusive(|byte| *byte == 0).enumerate() {
            let (name, value) = item.split_at(kept(at, item));
            masked.extend(name);
            masked.extend(self.secret(value));
        }
        masked
    }
}

/// The scheme of a URL with `://`, the host with its port, and the rest.
fn split_url(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_at(url.find("://")? + 3);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((scheme, host, path))
}

fn set(data: &mut Data, masked: Vec<u8>) -> bool {
    let differs = *data.0 != *masked;
    data.0 = masked.into();
    differs
}

#[cfg(test)]
mod tests;
