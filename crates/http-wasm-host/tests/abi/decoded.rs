//! Decoded bodies: what a guest sees of a message with a content coding, and what is sent.

use http_wasm_host::{BodyKind, Decoding, ErrorKind, InMemoryHost, Undecodable};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, brotli, code, coded_post, content, eof, feed, field, fields, get, guest,
    gunzip, gzip, list, more, nothing, proceeds, stops, text, whole, zstd,
};

/// The next handler's response: gzipped text.
fn answers(content: &[u8]) -> impl FnOnce(&mut InMemoryHost) {
    let body = gzip(content);
    move |host| code(&mut host.response, "gzip", body)
}

fn accepting(codings: &str) -> InMemoryHost {
    let mut host = get();
    host.request.headers.set(b"accept-encoding", codings.as_bytes());
    host
}

#[test]
fn a_guest_reads_the_content_and_the_next_handler_gets_the_bytes_as_received() {
    let content = content();
    let bodies = [
        ("gzip", gzip(&content)),
        ("X-GZip", gzip(&content)),
        ("br", brotli(&content)),
        ("zstd", zstd(&content)),
        ("zstd, gzip", gzip(&zstd(&content))),
        ("identity, gzip", [gzip(&content), vec![0; 8]].concat()),
    ];
    for (coding, body) in bodies {
        let probe = proceeds("(call $read_all 0 4000)").features(BUFFER_REQUEST).pages(2).decodes().load();
        let mut sent = None;
        probe.run(coded_post(coding, body.clone()), |host| sent = Some(std::mem::take(&mut host.request)));
        let mut sent = sent.unwrap();
        assert_eq!(probe.notes(), whole(&content), "{coding}");
        assert_eq!(field(&sent, "content-encoding").as_deref(), Some(coding));
        assert_eq!(field(&sent, "content-length"), Some(body.len().to_string()));
        assert!(sent.take_body().0 == body, "{coding}");
    }
}

#[test]
fn a_body_that_is_partially_read_or_unread_is_forwarded_as_received() {
    let content = content();
    let body = gzip(&content);
    for (reads, expected) in [("(call $read 0 6)", vec![more(&content[..6])]), ("", vec![])] {
        let probe = proceeds(reads).features(BUFFER_REQUEST).decodes().load();
        let mut host = InMemoryHost::new("POST", "/");
        host.request.headers.set(b"content-encoding", b"gzip");
        feed(&mut host.request, body.chunks(1_000), Some(fields(&[("x-sum", "1")])));
        let mut sent = None;
        probe.run(host, |host| sent = Some(host.request.take_body()));
        assert_eq!(probe.notes(), expected);
        let (bytes, trailers) = sent.unwrap();
        assert!(bytes == body);
        assert_eq!(trailers, fields(&[("x-sum", "1")]));
    }
}

#[test]
fn without_buffering_the_rest_of_a_body_is_forwarded_decoded() {
    let content = content();
    let probe = proceeds("(call $read 0 6)").decodes().load();
    let mut host = InMemoryHost::new("POST", "/");
    host.request.headers.set(b"content-encoding", b"gzip");
    feed(&mut host.request, gzip(&content).chunks(1_000), Some(fields(&[("x-sum", "1")])));
    let mut sent = None;
    probe.run(host, |host| {
        sent = Some((host.request.take_body(), field(&host.request, "content-encoding")));
    });
    let ((bytes, trailers), coding) = sent.unwrap();
    assert!(bytes == content[6..]);
    assert_eq!((trailers, coding), (fields(&[("x-sum", "1")]), None));
}

#[test]
fn coding_and_length_are_hidden_from_the_guest() {
    let probe = proceeds(
        r#"(call $note_list (call $get_header_names 0 BUF LIMIT))
           (call $note_list (call $get_header_values 0 "Content-Encoding" BUF LIMIT))
           (call $note_list (call $get_header_values 0 "content-length" BUF LIMIT))
           (call $set_header_value 0 "content-encoding" "own")
           (call $note_list (call $get_header_values 0 "content-encoding" BUF LIMIT))
           (call $remove_header 0 "content-encoding")
           (call $note_list (call $get_header_names 0 BUF LIMIT))"#,
    );
    let probe = probe.decodes().load();
    let mut host = coded_post("gzip", gzip(b"text"));
    host.request.headers.set(b"x-other", b"1");
    let mut sent = None;
    probe.run(host, |host| sent = Some(field(&host.request, "content-encoding")));
    let names = list(["x-other"]);
    assert_eq!(probe.notes(), [names.clone(), nothing(), nothing(), list(["own"]), names]);
    // The body is unchanged, so its coding is as well.
    assert_eq!(sent.unwrap().as_deref(), Some("gzip"));
}

#[test]
fn a_message_without_a_coding_is_unchanged() {
    let probe = proceeds(
        r#"(call $note_list (call $get_header_values 0 "content-length" BUF LIMIT)) (call $read 0 100)"#,
    );
    let probe = probe.features(BUFFER_REQUEST).decodes().load();
    let mut host = InMemoryHost::new("POST", "/");
    crate::support::fill(&mut host.request, b"plain");
    probe.run(host, |host| assert_eq!(host.request.take_body().0, b"plain"));
    assert_eq!(probe.notes(), [list(["5"]), eof("plain")]);
}

#[test]
fn a_replaced_response_is_compressed_again_for_a_client_that_accepts_it() {
    let rewrites = || {
        guest().features(BUFFER_RESPONSE).on_response(
            r#"(call $read_all 1 4000) (call $write_body 1 "redacted ") (call $write_body 1 "text")"#,
        )
    };
    let content = content();
    let cases = [
        ("gzip, br", Some("gzip")),
        ("zstd;q=0.5, br", Some("br")),
        ("identity", None),
        ("gzip;q=0", None),
        ("", None),
    ];
    for (accepted, coding) in cases {
        let probe = rewrites().pages(2).decodes().load();
        let mut host = probe.run(accepting(accepted), answers(&content));
        assert_eq!(probe.notes(), whole(&content));
        assert_eq!(field(&host.response, "content-encoding").as_deref(), coding, "{accepted}");
        assert_eq!(field(&host.response, "vary").as_deref(), Some("Accept-Encoding"));
        let length = field(&host.response, "content-length");
        let body = host.response.take_body().0;
        match coding {
            Some("gzip") => assert_eq!(gunzip(&body), b"redacted text"),
            Some(_) => assert_eq!(length, None),
            None => assert_eq!((length.as_deref(), &body[..]), (Some("13"), &b"redacted text"[..])),
        }
    }
    let plain = Decoding { recompress: false, ..Decoding::default() };
    let probe = rewrites().pages(2).decodes_with(plain).load();
    let mut host = probe.run(accepting("gzip"), answers(&content));
    assert_eq!(field(&host.response, "content-encoding"), None);
    assert_eq!(host.response.take_body().0, b"redacted text");
}

#[test]
fn a_body_that_a_guest_empties_has_no_coding() {
    let probe =
        guest().features(BUFFER_RESPONSE).on_response(r#"(call $set_header_value 1 "content-length" "0")"#);
    let probe = probe.decodes().load();
    let mut host = probe.run(accepting("gzip"), answers(b"text"));
    assert_eq!(field(&host.response, "content-encoding"), None);
    assert_eq!(field(&host.response, "content-length").as_deref(), Some("0"));
    assert_eq!(host.response.take_body().0, b"");
}

#[test]
fn a_guest_may_encode_its_own_body() {
    let probe = guest().features(BUFFER_RESPONSE).on_response(
        r#"(call $write_body 1 "own bytes") (call $set_header_value 1 "content-encoding" "own")"#,
    );
    let mut host = probe.decodes().load().run(accepting("gzip"), answers(b"text"));
    assert_eq!(field(&host.response, "content-encoding").as_deref(), Some("own"));
    assert_eq!(host.response.take_body().0, b"own bytes");
}

#[test]
fn representation_fields_are_updated_if_and_only_if_the_body_changes() {
    let described = [
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
        ("digest", "sha-256=x"),
        ("content-md5", "x"),
        ("accept-ranges", "bytes"),
        ("etag", "\"x\""),
        ("vary", "origin"),
        ("signature", "s=:x:"),
    ];
    let answers = |host: &mut InMemoryHost| {
        code(&mut host.response, "gzip", gzip(b"text"));
        for (name, value) in described {
            host.response.headers.set(name.as_bytes(), value.as_bytes());
        }
    };
    let seen = |host: &InMemoryHost| described.map(|(name, _)| field(&host.response, name));
    let reads = guest().features(BUFFER_RESPONSE).on_response("(call $read 1 100)").decodes().load();
    let mut host = reads.run(accepting("gzip"), answers);
    assert_eq!(reads.notes(), [eof("text")]);
    assert_eq!(seen(&host), described.map(|(_, value)| Some(value.to_owned())));
    assert_eq!(field(&host.response, "content-length"), Some(gzip(b"text").len().to_string()));
    assert_eq!(host.response.take_body().0, gzip(b"text"));

    let writes =
        guest().features(BUFFER_RESPONSE).on_response(r#"(call $write_body 1 "new")"#).decodes().load();
    let host = writes.run(accepting("gzip"), answers);
    let changed =
        [None, None, None, None, None, Some("W/\"x\""), Some("origin, Accept-Encoding"), Some("s=:x:")];
    assert_eq!(seen(&host), changed.map(|value| value.map(str::to_owned)));
}

#[test]
fn an_etag_set_by_the_guest_and_a_sufficient_vary_are_kept() {
    let probe = guest()
        .features(BUFFER_RESPONSE)
        .on_response(r#"(call $write_body 1 "new") (call $set_header_value 1 "etag" "\22own\22")"#);
    let host = probe.decodes().load().run(accepting("gzip"), |host| {
        answers(b"text")(host);
        host.response.headers.set(b"etag", b"\"x\"");
        host.response.headers.set(b"vary", b"accept-ENCODING, origin");
    });
    assert_eq!(field(&host.response, "etag").as_deref(), Some("\"own\""));
    assert_eq!(field(&host.response, "vary").as_deref(), Some("accept-ENCODING, origin"));
}

#[test]
fn digests_in_trailers_are_removed_if_the_body_changes() {
    let probe =
        guest().features(BUFFER_RESPONSE).on_response(r#"(call $read_all 1 100) (call $write_body 1 "new")"#);
    let mut host = probe.pages(2).decodes().load().run(get(), |host| {
        host.response.headers.set(b"content-encoding", b"gzip");
        host.response.headers.set(b"trailer", b"content-digest, x-sum");
        let trailers = fields(&[("content-digest", "sha-256=:x:"), ("x-sum", "1")]);
        feed(&mut host.response, gzip(b"text").chunks(7), Some(trailers));
    });
    assert_eq!(field(&host.response, "trailer").as_deref(), Some("x-sum"));
    assert_eq!(host.response.take_body(), (b"new".to_vec(), fields(&[("x-sum", "1")])));
}

#[test]
fn accept_encoding_is_reduced_to_codings_that_can_be_decoded() {
    let sent = |features: u32, decodes: bool| {
        let wat = guest().features(features);
        let probe = if decodes { wat.decodes() } else { wat }.load();
        let mut host = accepting("br;q=0.9, dcb, gzip");
        host.request.headers.set(b"range", b"bytes=0-9");
        host.request.headers.set(b"if-range", b"\"x\"");
        let mut sent = None;
        probe.run(host, |host| {
            sent = Some(["accept-encoding", "range", "if-range"].map(|name| field(&host.request, name)));
        });
        sent.unwrap().map(|value| value.unwrap_or_default())
    };
    let unchanged = ["br;q=0.9, dcb, gzip", "bytes=0-9", "\"x\""];
    assert_eq!(sent(BUFFER_RESPONSE, true), ["br;q=0.9, gzip", "", ""]);
    // The guest can't read the response.
    assert_eq!(sent(BUFFER_REQUEST, true), unchanged);
    assert_eq!(sent(BUFFER_RESPONSE, false), unchanged);
}

#[test]
fn an_undecodable_body_is_refused_when_the_guest_reads_it() {
    let reads = || {
        proceeds("(call $read 0 100)")
            .features(BUFFER_REQUEST | BUFFER_RESPONSE)
            .on_response("(call $read 1 100)")
    };
    for coding in ["compress", "gzip, aes128gcm", "gzip,gzip,gzip,gzip,gzip,gzip"] {
        let error = reads().decodes().load().error(coded_post(coding, b"coded".to_vec()));
        assert_eq!(error.kind(), ErrorKind::Undecodable(BodyKind::Request), "{error}");
    }
    let respond = |partial: bool| {
        move |host: &mut InMemoryHost| {
            code(&mut host.response, if partial { "gzip" } else { "compress" }, b"coded".to_vec());
            host.status = if partial { 206 } else { 200 };
        }
    };
    for partial in [false, true] {
        let error = reads().decodes().load().try_run(get(), respond(partial)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Undecodable(BodyKind::Response), "{error}");
        let passes = Decoding { undecodable: Undecodable::Pass, ..Decoding::default() };
        let probe = reads().decodes_with(passes).load();
        let mut host = probe.run(get(), respond(partial));
        assert_eq!(probe.notes(), [eof(""), eof("coded")]);
        assert_eq!(host.response.take_body().0, b"coded");
        // An unread body passes nevertheless.
        let mut host = guest().features(BUFFER_RESPONSE).decodes().load().run(get(), respond(partial));
        assert_eq!(host.response.take_body().0, b"coded");
    }
}

#[test]
fn a_body_that_replaces_an_undecodable_one_has_no_coding() {
    let respond = |host: &mut InMemoryHost| code(&mut host.response, "compress", b"coded".to_vec());
    let blocks = guest().features(BUFFER_RESPONSE).on_response(r#"(call $write_body 1 "blocked")"#);
    let mut host = blocks.decodes().load().run(get(), respond);
    assert_eq!(field(&host.response, "content-encoding"), None);
    assert_eq!(host.response.take_body().0, b"blocked");
    let encodes = guest().features(BUFFER_RESPONSE).on_response(
        r#"(call $write_body 1 "own bytes") (call $set_header_value 1 "content-encoding" "own")"#,
    );
    let host = encodes.decodes().load().run(get(), respond);
    assert_eq!(field(&host.response, "content-encoding").as_deref(), Some("own"));
}

#[test]
fn a_body_that_does_not_match_its_coding_is_the_senders_error() {
    let reads = || proceeds("(call $read_all 0 100)").features(BUFFER_REQUEST).pages(2).decodes();
    let body = gzip(b"text");
    for body in [b"no gzip".to_vec(), body[..body.len() - 1].to_vec(), [&body[..], b"x"].concat()] {
        for wat in [reads(), reads().fails_open()] {
            let error = wat.load().error(coded_post("gzip", body.clone()));
            assert_eq!(error.kind(), ErrorKind::Body(BodyKind::Request), "{error}");
        }
    }
}

#[test]
fn changing_a_no_transform_response_fails_unless_the_setting_ignores_it() {
    let writes =
        || guest().features(BUFFER_RESPONSE).on_response(r#"(call $read 1 9) (call $write_body 1 "new")"#);
    let respond = |host: &mut InMemoryHost| {
        answers(b"text")(host);
        host.response.headers.set(b"cache-control", b"private, No-Transform");
    };
    let error = writes().decodes().load().try_run(get(), respond).err().unwrap();
    assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some("write_body")), "{error}");
    let ignores = Decoding { ignore_no_transform: true, ..Decoding::default() };
    let mut host = writes().decodes_with(ignores).load().run(get(), respond);
    assert_eq!(host.response.take_body().0, b"new");
    let mut host = writes().decodes().load().run(get(), answers(b"text"));
    assert_eq!(host.response.take_body().0, b"new");
}

#[test]
fn responses_without_a_body_are_not_decoded() {
    let reads = || guest().features(BUFFER_RESPONSE).on_response("(call $read 1 100)").decodes().load();
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let probe = reads();
        let host = probe.run(InMemoryHost::new(method, "/"), |host| {
            host.status = status;
            host.response.headers.set(b"content-encoding", b"gzip");
            host.response.headers.set(b"content-length", b"99");
        });
        assert_eq!(probe.notes(), [eof("")], "{method} {status}");
        assert_eq!(field(&host.response, "content-encoding").as_deref(), Some("gzip"));
        let length = if status == 204 { None } else { Some("99") };
        assert_eq!(field(&host.response, "content-length").as_deref(), length);
    }
}

#[test]
fn a_changed_response_to_head_has_the_fields_of_one_to_get() {
    let probe =
        guest().features(BUFFER_RESPONSE).on_response(r#"(call $write_body 1 "new")"#).decodes().load();
    let mut host = InMemoryHost::new("HEAD", "/");
    host.request.headers.set(b"accept-encoding", b"br");
    let host = probe.run(host, |host| {
        for (name, value) in [("content-encoding", "gzip"), ("content-length", "99"), ("etag", "\"x\"")] {
            host.response.headers.set(name.as_bytes(), value.as_bytes());
        }
    });
    let seen = ["content-encoding", "content-length", "etag"].map(|name| field(&host.response, name));
    assert_eq!(seen, [Some("br".to_owned()), None, Some("W/\"x\"".to_owned())]);
}

#[test]
fn bytes_written_before_next_precede_the_decoded_content() {
    let probe = proceeds(r#"(call $write_body 1 "first, ")"#).decodes().load();
    let mut host = probe.run(get(), answers(b"text"));
    assert_eq!(field(&host.response, "content-encoding"), None);
    assert_eq!(field(&host.response, "content-length"), None);
    assert_eq!(host.response.take_body().0, b"first, text");
    let probe = proceeds(r#"(call $write_body 1 "first, ")"#).decodes().load();
    let mut host = probe.run(accepting("gzip"), answers(b"text"));
    assert_eq!(field(&host.response, "content-encoding").as_deref(), Some("gzip"));
    assert_eq!(gunzip(&host.response.take_body().0), b"first, text");
}

#[test]
fn a_guest_that_fails_open_leaves_the_message_as_received() {
    let body = gzip(&content());
    for features in [0, BUFFER_REQUEST] {
        let spoil = r#"(call $read 0 1000) (call $write_body 0 "spoiled")
            (call $set_header_value 0 "content-encoding" "own") unreachable"#;
        let probe = stops(spoil).features(features).fails_open().decodes().load();
        let (mut host, _) = probe.bypassed(coded_post("gzip", body.clone()));
        assert_eq!(field(&host.request, "content-encoding").as_deref(), Some("gzip"));
        assert_eq!(field(&host.request, "content-length"), Some(body.len().to_string()));
        assert!(host.request.take_body().0 == body);
    }
}

#[test]
fn the_guest_reads_the_same_content_in_any_coding() {
    let probe = stops("(call $note_text (i32.wrap_i64 (call $read_body 0 BUF LIMIT)))").decodes();
    for (coding, body) in [("gzip", gzip(b"text")), ("br", brotli(b"text")), ("zstd", zstd(b"text"))] {
        let probe = probe.clone().load();
        probe.run(coded_post(coding, body), |_| {});
        assert_eq!(probe.notes(), [text("text")]);
    }
}
