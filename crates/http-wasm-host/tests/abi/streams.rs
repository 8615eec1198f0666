//! Responses that are sent while the guest is writing them.

use std::future::poll_fn;
use std::io::Write as _;
use std::task::Poll;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_wasm_host::{
    BodyKind, BoxError, Detachable, ErrorKind, Feed, Fields, Frame, Handled, InMemoryHost, Limits, Lint,
    LoadError, LocalHost as _, OnFailure, Stream, StreamEnd,
};

use crate::support::{
    BUFFER_RESPONSE, ByHand, Probe, Wat, block_on, content, engine, eof, field, fields, framing, get, guest,
    gunzip, gzip, header, more,
};

/// Writes what it reads, with an exclamation mark after each read.
const MARKS: &str = r#"(local $r i64)
    (loop $next
      (local.set $r (call $read_body 1 BUF LIMIT))
      (if (i32.wrap_i64 (local.get $r)) (then
        (call $write_body 1 BUF (i32.wrap_i64 (local.get $r)))
        (call $write_body 1 "!")))
      (br_if $next (i64.eqz (i64.shr_u (local.get $r) (i64.const 32)))))"#;

fn streams(on_response: &str) -> Wat {
    guest().on_response(on_response).features(BUFFER_RESPONSE).streams()
}

/// The response of a guest that has begun to write it, and where the original one comes from.
struct Begun {
    host: InMemoryHost,
    upstream: Feed,
}

/// Lets the guest handle a response that begins with `first`.
fn begin(
    probe: &Probe<InMemoryHost>,
    host: InMemoryHost,
    first: &str,
    set: impl FnOnce(&mut InMemoryHost),
) -> Begun {
    let mut pinned = probe.next(host);
    let upstream = pinned.host_mut().response.feed_body();
    set(pinned.host_mut());
    upstream.push(first.to_owned());
    let Handled { host, error, stream } = ByHand::new(pinned.handle_response()).ends().unwrap();
    assert!(error.is_none() && stream.is_some());
    Begun { host, upstream }
}

impl Begun {
    fn poll(&mut self) -> Poll<Option<Result<Frame, BoxError>>> {
        ByHand::new(poll_fn(|cx| self.host.poll_body(BodyKind::Response, cx))).poll()
    }

    /// Everything that can be read now.
    fn read(&mut self) -> String {
        let mut all = Vec::new();
        while let Poll::Ready(Some(Ok(Frame::Data(data)))) = self.poll() {
            all.extend_from_slice(&data);
        }
        String::from_utf8(all).unwrap()
    }

    /// The rest: its bytes and trailers.
    fn rest(&mut self) -> Result<(Vec<u8>, Fields), BoxError> {
        let (mut all, mut trailers) = (Vec::new(), Fields::default());
        loop {
            match self.poll() {
                Poll::Ready(None) => return Ok((all, trailers)),
                Poll::Ready(Some(Ok(Frame::Data(data)))) => all.extend_from_slice(&data),
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => trailers = fields,
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Pending => panic!("the body should have ended"),
            }
        }
    }
}

#[test]
fn writes_are_sent_while_the_guest_is_still_running() {
    let probe =
        streams(&MARKS.replacen("(loop", r#"(call $set_header_value 1 "x-seen" "yes") (loop"#, 1)).load();
    let mut begun = begin(&probe, get(), "one", |host| host.response.headers.set(b"content-length", b"6"));
    assert_eq!(header(&begun.host.response, "x-seen").as_deref(), Some("yes"));
    assert_eq!(framing(&begun.host.response)[0], None);
    assert_eq!(begun.read(), "one!");
    assert_eq!((probe.stats().streaming, probe.stats().idle), (1, 0));
    assert_eq!(begun.read(), "");
    begun.upstream.push("two");
    assert_eq!(begun.read(), "two!");
    begun.upstream.finish(None);
    assert_eq!(begun.rest().unwrap().0, b"");
    let stats = probe.stats();
    assert_eq!((stats.streaming, stats.idle, stats.live), (0, 1, 1), "the instance is free again");
}

#[test]
fn a_write_waits_for_the_receiver_and_is_held_piece_by_piece() {
    let probe = streams("(call $write_body 1 0 1000000) (call $note 1)").pages(16).load();
    let mut begun = begin(&probe, get(), "", |_| {});
    for piece in 0..16 {
        let Poll::Ready(Some(Ok(Frame::Data(data)))) = begun.poll() else {
            panic!("piece {piece} is missing")
        };
        assert_eq!(data.len(), (1_000_000 - piece * 65_536).min(65_536));
    }
    assert_eq!(probe.stats().streaming, 1, "the last piece may not have been received yet");
    assert!(matches!(begun.poll(), Poll::Ready(None)));
    assert_eq!(probe.stats().streaming, 0);
}

#[test]
fn a_read_returns_as_soon_as_bytes_arrive_and_is_empty_only_at_the_end() {
    let probe =
        streams("(call $read 1 LIMIT) (call $read 1 2) (call $read 1 LIMIT) (call $read 1 LIMIT)").load();
    let mut pinned = probe.next(get());
    let upstream = pinned.host_mut().response.feed_body();
    let mut call = ByHand::new(pinned.handle_response());
    call.waits();
    for piece in ["first", "second"] {
        upstream.push(piece);
        call.waits();
    }
    upstream.push("");
    call.waits();
    upstream.finish(None);
    let mut handled = call.ends().unwrap();
    assert!(handled.stream.is_none(), "nothing was written");
    assert_eq!(handled.host.response.take_body().0, b"firstsecond");
    let notes = probe.notes();
    assert_eq!(notes[..3], [more("first"), more("se"), more("cond")]);
    assert_eq!(notes[3], eof(""));
}

#[test]
fn the_head_is_final_once_the_guest_has_written() {
    for (change, function) in [
        ("(call $set_status_code 500)", "set_status_code"),
        (r#"(call $set_header_value 1 "a" "b")"#, "set_header_value"),
        (r#"(call $add_header_value 1 "a" "b")"#, "add_header_value"),
        (r#"(call $remove_header 1 "a")"#, "remove_header"),
        (r#"(call $set_header_value 1 "content-length" "0")"#, "set_header_value"),
    ] {
        // Failing open makes no difference.
        let probe = streams(&format!(r#"(call $write_body 1 "begun") {change}"#)).fails_open().load();
        let mut begun = begin(&probe, get(), "original", |_| {});
        assert_eq!(header(&begun.host.response, "a"), None);
        let error = begun.rest().unwrap_err();
        let error = error.downcast_ref::<http_wasm_host::Error>().unwrap();
        assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some(function)), "{error}");
        assert!(error.to_string().contains("was sent with the first write_body"), "{error}");
        assert_eq!((probe.stats().live, probe.stats().dropped_failed), (0, 1));
    }
}

#[test]
fn an_empty_write_does_not_send_the_head() {
    let probe = streams(r#"(call $write_body 1 "") (call $set_status_code 404)"#).load();
    let mut host = probe.run(get(), |host| host.response.set_body("original"));
    assert_eq!((host.status, host.response.take_body().0), (404, Vec::new()));
    assert_eq!(framing(&host.response)[0].as_deref(), Some("0"));
}

#[test]
fn a_response_without_a_body_does_not_stream() {
    let probe = streams(r#"(call $write_body 1 "content") (call $set_header_value 1 "a" "b")"#).load();
    let mut host = probe.run(InMemoryHost::new("HEAD", "/"), |host| {
        host.response.headers.set(b"content-length", b"8");
    });
    assert_eq!(framing(&host.response)[0].as_deref(), Some("8"));
    assert_eq!(host.response.take_body().0, b"");
    let host = probe.run(get(), |host| host.status = 304);
    assert_eq!(header(&host.response, "a").as_deref(), Some("b"));
}

#[test]
fn what_was_written_before_next_is_read_first_and_early_headers_are_sent() {
    let probe =
        crate::support::proceeds(r#"(call $write_body 1 "early") (call $set_header_value 1 "x-early" "1")"#)
            .on_response(MARKS)
            .features(BUFFER_RESPONSE)
            .streams()
            .load();
    let mut begun = begin(&probe, get(), "late", |_| {});
    assert_eq!(header(&begun.host.response, "x-early").as_deref(), Some("1"));
    assert_eq!(begun.read(), "early!late!");
}

#[test]
fn trailers_follow_what_the_guest_writes() {
    let remove = r#"(call $remove_header 3 "x-gone") (call $set_header_value 3 "x-set" "2")"#;
    for on_response in [format!("{MARKS} {remove}"), format!(r#"(call $write_body 1 "all") {remove}"#)] {
        let probe = streams(&on_response).load();
        let mut begun = begin(&probe, get(), "one", |host| {
            host.response.headers.set(b"trailer", b"x-kept, x-gone");
        });
        begun.upstream.finish(Some(fields(&[("x-kept", "1"), ("x-gone", "1")])));
        let (_, trailers) = begun.rest().unwrap();
        assert_eq!(trailers.iter().collect::<Vec<_>>(), [(&b"x-kept"[..], &b"1"[..]), (b"x-set", b"2")]);
    }
}

#[test]
fn a_stream_that_nobody_receives_ends_the_call() {
    let probe = streams(MARKS).load();
    let begun = begin(&probe, get(), "one", |_| {});
    assert_eq!(probe.stats().streaming, 1);
    drop(begun);
    let stats = probe.stats();
    assert_eq!((stats.streaming, stats.live, stats.dropped_cancelled), (0, 0, 1));
}

#[test]
fn how_a_stream_ends_is_reported() {
    for (end, on_response) in [("finished", MARKS), ("failed", r#"(call $write_body 1 "begun") unreachable"#)]
    {
        let probe = streams(on_response).load();
        let mut pinned = probe.next(get());
        pinned.host_mut().response.set_body("original");
        let Handled { mut host, stream, .. } = block_on(pinned.handle_response()).unwrap();
        let (seen, ended) = std::sync::mpsc::channel();
        stream.unwrap().on_end(move |end| {
            let end = match end {
                StreamEnd::Finished => "finished",
                StreamEnd::Failed(error) if error.kind() == ErrorKind::Trap => "failed",
                other => panic!("{other:?}"),
            };
            seen.send(end).unwrap();
        });
        host.response.take_body();
        assert_eq!(ended.try_recv(), Ok(end));
    }
}

#[test]
fn only_the_limit_for_streams_applies_to_a_stream() {
    let limits = |total, stream_total| Limits {
        total: Duration::from_millis(total),
        stream_total: Duration::from_millis(stream_total),
        ..Limits::default()
    };
    let slow = r#"(call $write_body 1 "begun") (call $read 1 LIMIT) (call $write_body 1 "late")"#;
    let probe = streams(slow).limits(limits(200, 600_000)).load();
    let mut begun = begin(&probe, get(), "", |_| {});
    assert_eq!(begun.read(), "begun");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(begun.read(), "");
    begun.upstream.finish(None);
    assert_eq!(begun.rest().unwrap().0, b"late");
    let probe = streams(slow).limits(limits(600_000, 1)).load();
    let mut begun = begin(&probe, get(), "", |_| {});
    assert!(matches!(begun.poll(), Poll::Ready(Some(Ok(Frame::Data(data)))) if data == "begun"));
    std::thread::sleep(Duration::from_millis(20));
    let error = begun.rest().unwrap_err().to_string();
    assert!(error.contains("time limit of 1ms"), "{error}");
}

#[test]
fn a_limit_that_expires_during_a_write_breaks_the_response_off() {
    let limits = Limits { stream_total: Duration::from_millis(1), ..Limits::default() };
    let probe = streams(MARKS).limits(limits).load();
    let mut begun = begin(&probe, get(), "one", |_| {});
    assert!(matches!(begun.poll(), Poll::Ready(Some(Ok(Frame::Data(data)))) if data == "one"));
    std::thread::sleep(Duration::from_millis(20));
    // The guest could write the next piece, if the limit hadn't expired.
    let error = begun.rest().unwrap_err().to_string();
    assert!(error.contains("time limit of 1ms"), "{error}");
}

#[test]
fn responses_to_http_1_0_are_held_until_the_guest_has_returned() {
    let probe = streams(MARKS).load();
    let mut host = get();
    host.protocol_version = "HTTP/1.0";
    let mut pinned = probe.next(host);
    pinned.host_mut().response.set_body("whole");
    let Handled { mut host, stream, .. } = block_on(pinned.handle_response()).unwrap();
    assert!(stream.is_none());
    assert_eq!(host.response.take_body().0, b"whole!");
}

#[test]
fn streamed_writes_are_not_limited() {
    let limits = Limits { written_bytes: 10, replay_bytes: 10, ..Limits::default() };
    let probe = streams(MARKS).limits(limits).load();
    let mut begun = begin(&probe, get(), "12345678", |_| {});
    for _ in 0..10 {
        begun.upstream.push("12345678");
        assert!(begun.read().ends_with("12345678!"));
    }
}

#[test]
fn coded_events_are_decoded_rewritten_and_encoded_one_by_one() {
    let probe = streams(MARKS).decodes().load();
    let mut host = get();
    host.request.headers.set(b"accept-encoding", b"gzip");
    let mut upstream = GzEncoder::new(Vec::new(), Compression::new(6));
    let mut event = |text: &str| {
        upstream.write_all(text.as_bytes()).unwrap();
        upstream.flush().unwrap();
        std::mem::take(upstream.get_mut())
    };
    let mut pinned = probe.next(host);
    let feed = pinned.host_mut().response.feed_body();
    pinned.host_mut().response.headers.set(b"content-encoding", b"gzip");
    feed.push(event("one"));
    let Handled { host, .. } = ByHand::new(pinned.handle_response()).ends().unwrap();
    assert_eq!(field(&host.response, "content-encoding").as_deref(), Some("gzip"));
    let mut begun = Begun { host, upstream: feed };
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    let mut received = |begun: &mut Begun| {
        while let Poll::Ready(Some(Ok(Frame::Data(data)))) = begun.poll() {
            decoder.write_all(&data).unwrap();
        }
        decoder.flush().unwrap();
        String::from_utf8(std::mem::take(decoder.get_mut())).unwrap()
    };
    assert_eq!(received(&mut begun), "one!");
    begun.upstream.push(event("two"));
    assert_eq!(received(&mut begun), "two!");
}

#[test]
fn a_coded_body_in_any_pieces_gives_the_same_content() {
    let copy = MARKS.replace(r#"(call $write_body 1 "!")"#, "");
    let probe = streams(&copy).decodes().load();
    let (content, coded) = (content(), gzip(&content()));
    for size in [1, 7, 999, 65_537] {
        let mut host = get();
        host.request.headers.set(b"accept-encoding", b"gzip");
        let mut pinned = probe.next(host);
        let feed = pinned.host_mut().response.feed_body();
        pinned.host_mut().response.headers.set(b"content-encoding", b"gzip");
        coded.chunks(size).for_each(|piece| feed.push(piece.to_vec()));
        feed.finish(None);
        let Handled { host, .. } = block_on(pinned.handle_response()).unwrap();
        let (received, _) = Begun { host, upstream: feed }.rest().unwrap();
        assert!(gunzip(&received) == content, "pieces of {size}");
    }
}

#[test]
fn a_guest_that_does_not_declare_it_streams_only_if_that_is_allowed() {
    let undeclared = || guest().on_response(MARKS).features(BUFFER_RESPONSE);
    let builder = || undeclared().builder(engine()).stream(Stream::Response);
    let text = undeclared().text();
    let refused = builder().load::<InMemoryHost>(text.as_bytes()).err().unwrap().to_string();
    assert!(refused.contains("http-wasm-stream") && refused.contains("undeclared-stream"), "{refused}");
    let allowed = builder().allow(Lint::UndeclaredStream).load::<InMemoryHost>(text.as_bytes()).unwrap();
    assert_eq!(begin(&Probe::new(allowed), get(), "one", |_| {}).read(), "one!");
}

#[test]
fn a_precompiled_guest_streams() {
    let wat = streams(MARKS);
    for text in [wat.text(), guest().on_response(MARKS).features(BUFFER_RESPONSE).text()] {
        let builder = || wat.builder(engine()).allow(Lint::UndeclaredStream);
        let compiled = builder().precompile(text.as_bytes()).unwrap();
        let loaded = builder().trust_precompiled().load::<InMemoryHost>(&compiled).unwrap();
        assert_eq!(begin(&Probe::new(loaded), get(), "one", |_| {}).read(), "one!");
    }
}

#[test]
fn a_guest_that_declares_it_runs_as_ever_without_the_setting() {
    let wat = streams(MARKS);
    let builder = wat.builder(engine()).stream(Stream::Off).on_failure(OnFailure::Closed);
    let probe = Probe::new(builder.load::<InMemoryHost>(wat.text().as_bytes()).unwrap());
    let mut host = probe.run(get(), |host| host.response.set_body("one"));
    assert_eq!(host.response.take_body().0, b"one!");
    assert_eq!(framing(&host.response)[0].as_deref(), Some("4"));
}

#[test]
fn a_server_that_cannot_stream_refuses_the_guest() {
    let wat = streams(MARKS);
    let refused = wat.builder(engine()).load::<Detachable<super::detach::RcHost>>(wat.text().as_bytes());
    assert!(matches!(refused, Err(LoadError::Stream { .. })));
}
