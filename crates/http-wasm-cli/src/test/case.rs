//! Builds the request and the next handler of a case.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value as Json;

use super::file::{Case, NextSpec, OneOrMore, RequestSpec};
use crate::exchange::{CLIENT, Next, SampleRequest, SampleResponse, field};

/// A case that can be result.
pub(crate) struct Ready {
    pub(crate) request: SampleRequest,
    pub(crate) client: SocketAddr,
    pub(crate) next: Next,
}

impl Case {
    /// # Errors
    /// A description of what is wrong with the request or response.
    pub(crate) fn ready(&self) -> Result<Ready, String> {
        let client = match &self.request.client {
            None => CLIENT,
            Some(client) => {
                client.parse().map_err(|_| format!("request.client: {client:?} isn't an IP:PORT"))?
            }
        };
        let request = self.request.sample().map_err(|reason| format!("request: {reason}"))?;
        let next = self.next.handler().map_err(|reason| format!("next: {reason}"))?;
        Ok(Ready { request, client, next })
    }
}

impl RequestSpec {
    fn sample(&self) -> Result<SampleRequest, String> {
        let mut request = SampleRequest { headers: HeaderMap::new(), ..SampleRequest::default() };
        if let Some(method) = &self.method {
            request.method = method.parse().map_err(|_| format!("invalid method {method:?}"))?;
        }
        request.headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        if let Some(url) = &self.url {
            request.set_url(url)?;
        }
        set(&mut request.headers, &self.headers)?;
        request.body = body(self.body.as_deref(), self.json.as_ref(), &mut request.headers)?;
        request.frame();
        Ok(request)
    }
}

impl NextSpec {
    fn handler(&self) -> Result<Next, String> {
        let says_response =
            self.status.is_some() || self.body.is_some() || self.json.is_some() || !self.headers.is_empty();
        match (self.fails, self.echo, says_response) {
            (true, false, false) => return Ok(Next::Fails),
            (false, true, false) => return Ok(Next::Echo),
            (false, false, false) => return Ok(Next::default()),
            (false, false, true) => {}
            _ => return Err("`fails`, `echo` and a response are mutually exclusive".to_owned()),
        }
        let mut response = SampleResponse::default();
        if let Some(status) = self.status {
            response.status = StatusCode::from_u16(status).map_err(|_| format!("invalid status {status}"))?;
        }
        set(&mut response.headers, &self.headers)?;
        response.body = body(self.body.as_deref(), self.json.as_ref(), &mut response.headers)?;
        Ok(Next::Fixed(response))
    }
}

fn set(headers: &mut HeaderMap, specs: &BTreeMap<String, OneOrMore>) -> Result<(), String> {
    for (name, values) in specs {
        let mut first = true;
        for value in values.values() {
            let (name, value): (HeaderName, HeaderValue) = field(name.as_bytes(), value.as_bytes())?;
            match std::mem::take(&mut first) {
                true => drop(headers.insert(name, value)),
                false => drop(headers.append(name, value)),
            }
        }
    }
    Ok(())
}

fn body(text: Option<&str>, json: Option<&Json>, headers: &mut HeaderMap) -> Result<Bytes, String> {
    match (text, json) {
        (Some(_), Some(_)) => Err("`body` and `json` are mutually exclusive".to_owned()),
        (Some(text), None) => Ok(text.to_owned().into()),
        (None, Some(json)) => {
            let json_type = HeaderValue::from_static("application/json");
            headers.entry(header::CONTENT_TYPE).or_insert(json_type);
            Ok(json.to_string().into())
        }
        (None, None) => Ok(Bytes::new()),
    }
}
