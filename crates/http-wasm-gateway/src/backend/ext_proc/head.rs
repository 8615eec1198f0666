//! Converts heads from Envoy's messages, and the guests' changes into mutations.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, response};

use super::wire;

/// A request or response whose description by Envoy is invalid.
#[derive(Debug, thiserror::Error)]
#[error("{0} can't be shown to guests")]
pub(super) struct InvalidHead(&'static str);

/// The names of pseudo-header fields.
const METHOD: &str = ":method";
const PATH: &str = ":path";
const AUTHORITY: &str = ":authority";
const STATUS: &str = ":status";

impl wire::HeaderValue {
    fn new(name: &str, value: &[u8]) -> Self {
        Self { key: name.to_owned(), raw_value: value.to_vec().into(), ..Self::default() }
    }

    fn bytes(&self) -> &Bytes {
        if self.raw_value.is_empty() { &self.value } else { &self.raw_value }
    }
}

/// Converts fields. Pseudo-header fields are passed to `pseudo` instead.
fn fields(
    map: Option<&wire::HeaderMap>,
    mut pseudo: impl FnMut(&str, &[u8]) -> Result<(), InvalidHead>,
) -> Result<HeaderMap, InvalidHead> {
    let mut fields = HeaderMap::new();
    for field in map.iter().flat_map(|map| &map.headers) {
        if field.key.starts_with(':') {
            pseudo(&field.key, field.bytes())?;
            continue;
        }
        let name = HeaderName::try_from(&field.key).map_err(|_| InvalidHead("a header's name"))?;
        // The value shares the buffer of the message.
        let value = HeaderValue::from_maybe_shared(field.bytes().clone());
        let value = value.map_err(|_| InvalidHead("a header's value"))?;
        fields.append(name, value);
    }
    Ok(fields)
}

/// Converts the head of a request.
///
/// # Errors
/// When the method is missing, or any part of the head is invalid.
pub(super) fn request(headers: &wire::HttpHeaders) -> Result<Request<()>, InvalidHead> {
    let (mut method, mut uri, mut host) = (None, None, None);
    let fields = fields(headers.headers.as_ref(), |name, value| {
        match name {
            METHOD => method = Some(Method::from_bytes(value).map_err(|_| InvalidHead("the method"))?),
            PATH => uri = Some(Uri::try_from(value).map_err(|_| InvalidHead("the path"))?),
            AUTHORITY => host = Some(HeaderValue::from_bytes(value).map_err(|_| InvalidHead("the host"))?),
            _ => {}
        }
        Ok(())
    })?;
    let mut request = Request::new(());
    *request.headers_mut() = fields;
    *request.method_mut() = method.ok_or(InvalidHead("a request without a method"))?;
    // A CONNECT request has no path.
    *request.uri_mut() = uri.unwrap_or_default();
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    Ok(request)
}

/// Converts the head of a response.
///
/// # Errors
/// When the status is missing, or any part of the head is invalid.
pub(super) fn response(headers: &wire::HttpHeaders) -> Result<Response<()>, InvalidHead> {
    let mut status = None;
    let fields = fields(headers.headers.as_ref(), |name, value| {
        if name == STATUS {
            status = Some(StatusCode::from_bytes(value).map_err(|_| InvalidHead("the status"))?);
        }
        Ok(())
    })?;
    let mut response = Response::new(());
    *response.headers_mut() = fields;
    *response.status_mut() = status.ok_or(InvalidHead("a response without a status"))?;
    Ok(response)
}

/// The length of a body according to its head.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Converts trailers.
///
/// # Errors
/// When a field is invalid.
pub(super) fn trailers(trailers: &wire::HttpTrailers) -> Result<HeaderMap, InvalidHead> {
    fields(trailers.trailers.as_ref(), |_, _| Ok(()))
}

/// The changes that guests have made to a request's head, and whether they affect route selection.
pub(super) fn request_changes(old: &Request<()>, new: &Parts) -> (wire::HeaderMutation, bool) {
    let mut changes = changes(old.headers(), &new.headers);
    changes.set_headers.retain(|set| set.header.as_ref().is_none_or(|header| header.key != HOST.as_str()));
    changes.remove_headers.retain(|name| name != HOST.as_str());
    let host = |headers: &HeaderMap| headers.get(HOST).cloned();
    if old.method() != new.method {
        changes.set(METHOD, new.method.as_str().as_bytes());
    }
    let path = |uri: &Uri| uri.path_and_query().map(|path| path.as_str().to_owned());
    if let Some(path) = path(&new.uri).filter(|new| path(old.uri()).as_ref() != Some(new)) {
        changes.set(PATH, path.as_bytes());
    }
    // A request always has a host: guests can't remove it.
    if let Some(host) = host(&new.headers).filter(|new| host(old.headers()).as_ref() != Some(new)) {
        changes.set(AUTHORITY, host.as_bytes());
    }
    let reroutes = changes.sets(METHOD) || changes.sets(PATH) || changes.sets(AUTHORITY);
    (changes, reroutes)
}

/// The changes that guests have made to a response's head.
pub(super) fn response_changes(old: &Response<()>, new: &response::Parts) -> wire::HeaderMutation {
    let mut changes = changes(old.headers(), &new.headers);
    if old.status() != new.status {
        changes.set(STATUS, new.status.as_str().as_bytes());
    }
    changes
}

/// The changes from `old` to `new`. Both are without pseudo-header fields; framing fields are left out.
pub(super) fn changes(old: &HeaderMap, new: &HeaderMap) -> wire::HeaderMutation {
    let mut changes = wire::HeaderMutation::default();
    for name in old.keys().filter(|name| !new.contains_key(*name) && is_free(name)) {
        changes.remove_headers.push(name.as_str().to_owned());
    }
    for name in new.keys().filter(|name| is_free(name)) {
        if !old.get_all(name).iter().eq(new.get_all(name)) {
            for (at, value) in new.get_all(name).iter().enumerate() {
                changes.put(name.as_str(), value.as_bytes(), at > 0);
            }
        }
    }
    changes
}

/// All fields of a head that Envoy doesn't have.
pub(super) fn all(new: &HeaderMap) -> wire::HeaderMutation {
    changes(&HeaderMap::new(), new)
}

/// Whether guests may change this field. Envoy frames messages itself.
fn is_free(name: &HeaderName) -> bool {
    ![CONTENT_LENGTH, TRANSFER_ENCODING].contains(name)
}

impl wire::HeaderMutation {
    fn put(&mut self, name: &str, value: &[u8], append: bool) {
        self.set_headers.push(wire::HeaderValueOption {
            header: Some(wire::HeaderValue::new(name, value)),
            append: append.then_some(wire::BoolValue { value: true }),
        });
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        self.put(name, value, false);
    }

    fn sets(&self, name: &str) -> bool {
        self.set_headers.iter().any(|set| set.header.as_ref().is_some_and(|header| header.key == name))
    }
}
