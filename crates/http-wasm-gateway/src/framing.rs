//! What the head of an outgoing message declares about its body.
//!
//! Fields such as `Content-Length` describe a body on one connection, in the form that it had there. Once the body has
//! been decoded, they no longer apply, so none is forwarded. Each outgoing head gets its own from a [`Framing`], which
//! knows the outgoing body. Only for HEAD and 304, a received `Content-Length` is kept, as the length of an absent
//! body.

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use http_body::Body;

use crate::http1::decimal;
use crate::known_fields::KnownFields;
use crate::trailers;

/// The framing of an outgoing message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Framing {
    length: Length,
    /// Whether trailers may follow.
    trailers: bool,
}

/// What is known about a body's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is no body, and none is expected.
    None,
    /// There is a body of this length, which may be 0.
    Exact(u64),
    /// There is no body, but this would be its length.
    Absent(u64),
    /// The body itself indicates its end.
    Streamed,
}

/// The properties of a request that the framing of its response depends on.
#[derive(Debug, Clone)]
pub(crate) struct RequestInfo {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// Whether the client accepts trailers.
    pub(crate) trailers: bool,
}

impl RequestInfo {
    /// From this request, which has these known fields.
    pub(crate) fn of<B>(request: &http::Request<B>, known: KnownFields) -> Self {
        let version = request.version();
        let trailers = match version {
            Version::HTTP_11 => known.has(KnownFields::TE) && accepts_trailers(request.headers()),
            _ => version > Version::HTTP_11,
        };
        Self { method: request.method().clone(), version, trailers }
    }
}

impl Framing {
    /// For a request that was received in this version.
    pub(crate) fn of_request<B: Body>(
        method: &Method,
        received: Version,
        known: KnownFields,
        body: &B,
    ) -> Self {
        if body.is_end_stream() {
            // These methods expect a body, and servers reject requests that don't declare that it is empty. For others
            // it is declared if the client has declared it.
            let expects_length = matches!(*method, Method::POST | Method::PUT | Method::PATCH)
                || known.has(KnownFields::CONTENT_LENGTH);
            let length = if expects_length { Length::Exact(0) } else { Length::None };
            return Self { length, trailers: false };
        }
        match body.size_hint().exact() {
            // In HTTP/1.1, only chunked bodies have trailers.
            Some(length) if received < Version::HTTP_2 => {
                Self { length: Length::Exact(length), trailers: false }
            }
            Some(length) => Self { length: Length::Exact(length), trailers: true },
            None => Self { length: Length::Streamed, trailers: true },
        }
    }

    /// For a response with this status; `headers` are those that it has so far.
    pub(crate) fn of_response<B: Body>(
        info: &RequestInfo,
        status: StatusCode,
        (headers, known): (&HeaderMap, KnownFields),
        body: &B,
    ) -> Self {
        let without = |length| Self { length, trailers: false };
        let exact = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        if status.is_informational()
            || status == StatusCode::NO_CONTENT
            || info.method == Method::CONNECT && status.is_success()
        {
            return without(Length::None);
        }
        // In HTTP/1.1, the length is declared where one is needed.
        let empty = match known.has(KnownFields::CONTENT_LENGTH) {
            true => without(Length::Exact(0)),
            false => without(Length::None),
        };
        if status == StatusCode::RESET_CONTENT {
            return empty;
        }
        if info.method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            // An empty body proves nothing: the handler may have omitted it itself.
            let built = exact.filter(|&length| length > 0 && info.method == Method::HEAD);
            let length = content_length(headers).ok().flatten().or(built);
            return without(length.map_or(Length::None, Length::Absent));
        }
        match exact {
            Some(0) if body.is_end_stream() => empty,
            // HTTP/2 can have both. HTTP/1.1 has to choose.
            Some(length) if info.version < Version::HTTP_2 => {
                let announced = info.trailers && known.has(KnownFields::TRAILER);
                match announced {
                    true => Self { length: Length::Streamed, trailers: true },
                    false => without(Length::Exact(length)),
                }
            }
            Some(length) => Self { length: Length::Exact(length), trailers: info.trailers },
            None => Self { length: Length::Streamed, trailers: info.trailers },
        }
    }

    pub(crate) fn length(self) -> Length {
        self.length
    }

    /// Whether there is a body.
    pub(crate) fn has_body(self) -> bool {
        !matches!(self.length, Length::None | Length::Absent(_) | Length::Exact(0))
    }

    /// Makes `headers` declare this framing only.
    pub(crate) fn write(self, headers: &mut HeaderMap, known: KnownFields) {
        if known.has(KnownFields::TRANSFER_ENCODING) {
            headers.remove(header::TRANSFER_ENCODING);
        }
        match self.length {
            Length::Exact(length) | Length::Absent(length) => {
                if !known.has(KnownFields::CONTENT_LENGTH) || !declares_length(headers, length) {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                }
            }
            Length::None | Length::Streamed => {
                if known.has(KnownFields::CONTENT_LENGTH) {
                    headers.remove(header::CONTENT_LENGTH);
                }
            }
        }
        if known.has(KnownFields::TRAILER) {
            match self.trailers {
                true => trailers::retain_announced(headers),
                false => drop(headers.remove(header::TRAILER)),
            }
        }
    }

    /// The same for a request to an upstream. In HTTP/1.1, a body whose length isn't known, or with trailers, is
    /// chunked.
    pub(crate) fn write_request(self, headers: &mut HeaderMap, known: KnownFields) {
        self.write(headers, known);
        let announced = known.has(KnownFields::TRAILER) && headers.contains_key(header::TRAILER);
        if announced {
            headers.remove(header::CONTENT_LENGTH);
        }
        if announced || self.length == Length::Streamed {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// Whether there is exactly one `Content-Length`, with this value.
fn declares_length(headers: &HeaderMap, length: u64) -> bool {
    only_length(headers) == Some(length)
}

/// The value of `Content-Length`, if there is exactly one, which is a number.
fn only_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let only = lengths.next().filter(|_| lengths.next().is_none())?;
    decimal(only.as_bytes())
}

/// The length declared by `Content-Length`. Repeated equal values count as one.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for one in value.as_bytes().split(|&byte| byte == b',') {
            let one = decimal(one.trim_ascii()).ok_or("invalid Content-Length")?;
            if length.is_some_and(|other| other != one) {
                return Err("conflicting Content-Length fields");
            }
            length = Some(one);
        }
    }
    Ok(length)
}

/// Checks and normalises the framing fields of a received response, so that everything that reads them before it is
/// sent sees correct values.
pub(crate) fn received<B: Body>(
    response: &mut http::Response<B>,
    known: KnownFields,
) -> Result<(), &'static str> {
    if !known.has(KnownFields::CONTENT_LENGTH) {
        return Ok(());
    }
    // In HTTP/1.1, the reader has done this.
    if response.version() >= Version::HTTP_2
        && only_length(response.headers()).is_none()
        && let Some(length) = content_length(response.headers())?
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    // In HTTP/1.1, only chunked bodies have trailers.
    if response.version() < Version::HTTP_2 && known.has(KnownFields::TRAILER) {
        response.headers_mut().remove(header::TRAILER);
    }
    Ok(())
}

/// Whether `TE` accepts trailers.
pub(crate) fn accepts_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::{Framing, RequestInfo, content_length, received};
    use crate::body::{BoxBody, boxed, empty};
    use crate::known_fields::KnownFields;
    use crate::testing::headers;

    fn sized(text: &'static str) -> BoxBody {
        boxed(Full::<Bytes>::from(text))
    }

    /// A body whose length isn't known.
    fn streamed() -> BoxBody {
        let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"abc")))];
        boxed(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn request(
        method: Method,
        received: Version,
        fields: &[(&'static str, &'static str)],
        body: &BoxBody,
    ) -> HeaderMap {
        let mut headers = headers(fields);
        let known = KnownFields::of(&headers);
        Framing::of_request(&method, received, known, body).write_request(&mut headers, known);
        headers
    }

    fn response(
        info: &RequestInfo,
        status: u16,
        fields: &[(&'static str, &'static str)],
        body: &BoxBody,
    ) -> HeaderMap {
        let mut headers = headers(fields);
        let status = StatusCode::from_u16(status).unwrap();
        let known = KnownFields::of(&headers);
        Framing::of_response(info, status, (&headers, known), body).write(&mut headers, known);
        headers
    }

    fn info(method: Method, version: Version, trailers: bool) -> RequestInfo {
        RequestInfo { method, version, trailers }
    }

    const FALSE: [(&str, &str); 3] =
        [("content-length", "1"), ("content-length", "2"), ("transfer-encoding", "gzip, chunked")];

    #[test]
    fn a_request_is_framed_by_its_body_whatever_framing_it_had_before() {
        for received in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let exact = request(method.clone(), received, &FALSE, &sized("abc"));
                assert_eq!(exact, headers(&[("content-length", "3")]));
                let open = request(method, received, &FALSE, &streamed());
                assert_eq!(open, headers(&[("transfer-encoding", "chunked")]));
            }
        }
    }

    #[test]
    fn an_empty_body_has_content_length_zero_where_one_is_expected_or_was_announced() {
        let zero = headers(&[("content-length", "0")]);
        for method in [Method::POST, Method::PUT, Method::PATCH] {
            assert_eq!(request(method.clone(), Version::HTTP_2, &[], &empty()), zero);
            assert_eq!(request(method, Version::HTTP_11, &[("trailer", "x-a")], &empty()), zero);
        }
        assert_eq!(request(Method::GET, Version::HTTP_11, &[], &empty()), headers(&[]));
        assert_eq!(request(Method::DELETE, Version::HTTP_11, &[("content-length", "0")], &empty()), zero);
    }

    #[test]
    fn trailers_are_announced_only_where_they_can_be_sent() {
        let announced = [("trailer", "x-a, Host"), ("content-length", "3")];
        let chunked = headers(&[("trailer", "x-a"), ("transfer-encoding", "chunked")]);
        let length = headers(&[("content-length", "3")]);
        assert_eq!(request(Method::POST, Version::HTTP_11, &announced, &sized("abc")), length);
        assert_eq!(request(Method::POST, Version::HTTP_2, &announced, &sized("abc")), chunked);
        assert_eq!(request(Method::POST, Version::HTTP_11, &announced, &streamed()), chunked);
        let forbidden = [("trailer", "host"), ("content-length", "3")];
        assert_eq!(request(Method::POST, Version::HTTP_2, &forbidden, &sized("abc")), length);

        let get = |version, trailers| info(Method::GET, version, trailers);
        let both = headers(&[("trailer", "x-a"), ("content-length", "3")]);
        let open = headers(&[("trailer", "x-a")]);
        assert_eq!(response(&get(Version::HTTP_11, false), 200, &announced, &sized("abc")), length);
        assert_eq!(response(&get(Version::HTTP_11, true), 200, &announced, &sized("abc")), open);
        assert_eq!(response(&get(Version::HTTP_2, true), 200, &announced, &sized("abc")), both);
        assert_eq!(response(&get(Version::HTTP_11, true), 200, &announced, &streamed()), open);
        assert_eq!(response(&get(Version::HTTP_10, false), 200, &announced, &streamed()), headers(&[]));
        assert_eq!(response(&get(Version::HTTP_2, true), 204, &announced, &empty()), headers(&[]));
    }

    #[test]
    fn a_response_is_framed_by_its_body_whatever_framing_it_had_before() {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            let get = info(Method::GET, version, false);
            assert_eq!(response(&get, 200, &FALSE, &sized("abc")), headers(&[("content-length", "3")]));
            assert_eq!(response(&get, 404, &FALSE, &streamed()), headers(&[]));
            assert_eq!(
                response(&get, 200, &[("content-length", "7")], &empty()),
                headers(&[("content-length", "0")])
            );
            assert_eq!(response(&get, 200, &[], &empty()), headers(&[]));
            for status in [101, 204] {
                assert_eq!(response(&get, status, &[("content-length", "7")], &empty()), headers(&[]));
            }
            assert_eq!(
                response(&get, 205, &[("content-length", "3")], &sized("abc")),
                headers(&[("content-length", "0")])
            );
            let connect = info(Method::CONNECT, version, false);
            assert_eq!(response(&connect, 200, &[("content-length", "7")], &empty()), headers(&[]));
        }
    }

    #[test]
    fn a_response_without_its_body_keeps_the_declared_length() {
        let seven = headers(&[("content-length", "7")]);
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let (get, head) = (info(Method::GET, version, true), info(Method::HEAD, version, true));
            for (info, status) in [(&head, 200), (&head, 304), (&get, 304)] {
                let declared =
                    [("content-length", "7, 7"), ("transfer-encoding", "chunked"), ("trailer", "x-a")];
                assert_eq!(response(info, status, &declared, &empty()), seven);
                assert_eq!(response(info, status, &[], &empty()), headers(&[]));
                assert_eq!(response(info, status, &FALSE, &empty()), headers(&[]));
            }
            // A handler that builds the body anyway has declared its length.
            assert_eq!(response(&head, 200, &[], &sized("abc")), headers(&[("content-length", "3")]));
            assert_eq!(response(&get, 304, &[], &sized("abc")), headers(&[]));
        }
    }

    #[test]
    fn repeated_equal_content_lengths_are_one_and_conflicting_ones_an_error() {
        for (values, length) in [
            (&["2"][..], Ok(Some(2))),
            (&["2", "2"], Ok(Some(2))),
            (&["2, 2", "2"], Ok(Some(2))),
            (&[], Ok(None)),
        ] {
            let mut response = http::Response::new(sized("ab"));
            *response.version_mut() = Version::HTTP_2;
            for value in values {
                response.headers_mut().append("content-length", HeaderValue::from_static(value));
            }
            assert_eq!(content_length(response.headers()), length);
            let known = KnownFields::of(response.headers());
            received(&mut response, known).unwrap();
            assert_eq!(
                response.headers().get_all("content-length").iter().count(),
                usize::from(!values.is_empty())
            );
        }
        for values in [&["2", "3"][..], &["2, 3"], &[""], &["x"], &["2,"], &["+2"]] {
            let mut response = http::Response::new(sized("ab"));
            *response.version_mut() = Version::HTTP_2;
            for value in values {
                response.headers_mut().append("content-length", HeaderValue::from_static(value));
            }
            let known = KnownFields::of(response.headers());
            assert!(received(&mut response, known).is_err(), "{values:?}");
        }
    }
}
