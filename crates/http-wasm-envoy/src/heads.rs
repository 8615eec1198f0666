//! Message heads: reads them from Envoy's maps, copies them, and applies changes.

use http_wasm_host::{Fields, InMemoryHost};

use crate::ffi::Map;
use crate::filter::{Filter, METHODS};

/// Envoy's heads at the time when a host was detached. Changes are found by comparison.
#[derive(Debug, Default)]
pub(crate) struct DetachedHeads {
    pub(crate) request: Option<RequestHead>,
    pub(crate) response: Option<ResponseHead>,
}

impl DetachedHeads {
    /// Applies the changes in the copies to Envoy's maps. Returns whether they affect route selection.
    #[must_use]
    pub(crate) fn apply(self, memory: &InMemoryHost, filter: &Filter) -> bool {
        let mut changes_route = false;
        if let Some(request) = self.request {
            changes_route = request.apply(&RequestHead::copy(memory), filter);
        }
        if let Some(response) = self.response {
            response.apply(&ResponseHead::copy(memory), filter);
        }
        changes_route
    }
}

/// A request's head.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Vec<u8>,
    /// `/` if the request has no path.
    pub(crate) uri: Vec<u8>,
    /// Including `host`.
    pub(crate) headers: Fields,
}

/// A response's head.
#[derive(Clone, Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
}

impl RequestHead {
    pub(crate) fn of(filter: &Filter) -> Self {
        let mut head = Self { method: Vec::new(), uri: b"/".to_vec(), headers: Fields::new() };
        filter.fields(Map::Request, |name, value| match name {
            b":method" => head.method = value.to_vec(),
            b":path" if !value.is_empty() => head.uri = value.to_vec(),
            b":authority" => head.headers.add(b"host", value),
            _ if name.starts_with(b":") => {}
            _ => head.headers.add(name, value),
        });
        head
    }

    pub(crate) fn copy(memory: &InMemoryHost) -> Self {
        Self {
            method: memory.method.clone(),
            uri: memory.uri.clone(),
            headers: memory.request.headers.clone(),
        }
    }

    pub(crate) fn put_into(self, memory: &mut InMemoryHost) {
        (memory.method, memory.uri, memory.request.headers) = (self.method, self.uri, self.headers);
    }

    /// Changes the stream's request from this head to `wanted`. Returns whether the changes affect route selection.
    #[must_use]
    pub(crate) fn apply(&self, wanted: &Self, filter: &Filter) -> bool {
        let changes_method = self.method != wanted.method;
        if changes_method {
            filter.set_header(Map::Request, b":method", &wanted.method);
        }
        let changes_uri = self.uri != wanted.uri;
        if changes_uri {
            filter.set_header(Map::Request, b":path", &wanted.uri);
        }
        apply_fields(filter, Map::Request, &self.headers, &wanted.headers);
        changes_method || changes_uri || !same(&self.headers, &wanted.headers, b"host")
    }
}

impl ResponseHead {
    pub(crate) fn of(filter: &Filter) -> Self {
        Self { status: status(filter), headers: filter.copy(Map::Response) }
    }

    pub(crate) fn copy(memory: &InMemoryHost) -> Self {
        Self { status: memory.status, headers: memory.response.headers.clone() }
    }

    pub(crate) fn put_into(self, memory: &mut InMemoryHost) {
        (memory.status, memory.response.headers) = (self.status, self.headers);
    }

    /// Changes the stream's response from this head to `wanted`.
    pub(crate) fn apply(&self, wanted: &Self, filter: &Filter) {
        if self.status != wanted.status {
            set_status(filter, wanted.status);
        }
        apply_fields(filter, Map::Response, &self.headers, &wanted.headers);
    }
}

/// What each request with a body is checked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestFacts {
    /// The method, if it is one of [`METHODS`].
    pub(crate) method: Option<&'static [u8]>,
    /// Whether the bytes that follow the head belong to another protocol.
    pub(crate) is_tunnel: bool,
    pub(crate) is_grpc: bool,
}

impl RequestFacts {
    pub(crate) fn of(filter: &Filter) -> Self {
        let method = filter.header(Map::Request, b":method").unwrap_or_default();
        Self {
            method: METHODS.into_iter().find(|known| *known == method),
            is_tunnel: method == b"CONNECT" || filter.header(Map::Request, b"upgrade").is_some(),
            is_grpc: has_grpc_request(filter),
        }
    }
}

/// Whether the request is one of gRPC, according to its head as it is now.
pub(crate) fn has_grpc_request(filter: &Filter) -> bool {
    filter.header(Map::Request, b"content-type").is_some_and(is_grpc)
}

/// Whether this is the content type of gRPC.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// The response's status.
pub(crate) fn status(filter: &Filter) -> u16 {
    let digits = filter.header(Map::Response, b":status").unwrap_or_default();
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(200)
}

pub(crate) fn set_status(filter: &Filter, status: u16) {
    filter.set_header(Map::Response, b":status", status.to_string().as_bytes());
}

/// Visits each name once. The authority of a request is visited as `host`; other pseudo-headers are skipped.
pub(crate) fn names<'a>(filter: &'a Filter, map: Map, mut visit: impl FnMut(&'a [u8])) {
    let mut seen: Vec<&[u8]> = Vec::with_capacity(32);
    filter.fields(map, |name, _| {
        let name = if name == b":authority" { b"host" } else { name };
        if !name.starts_with(b":") && !seen.contains(&name) {
            seen.push(name);
            visit(name);
        }
    });
}

/// Changes the fields of a map from `old` to `new`.
pub(crate) fn apply_fields(filter: &Filter, map: Map, old: &Fields, new: &Fields) {
    for name in old.names().filter(|name| !new.contains(name)) {
        filter.remove_header(map, name);
    }
    for name in new.names().filter(|name| !same(old, new, name)) {
        let mut values = new.values(name);
        if let Some(first) = values.next() {
            filter.set_header(map, name, first);
        }
        for value in values {
            filter.add_header(map, name, value);
        }
    }
}

fn same(a: &Fields, b: &Fields, name: &[u8]) -> bool {
    a.values(name).eq(b.values(name))
}
