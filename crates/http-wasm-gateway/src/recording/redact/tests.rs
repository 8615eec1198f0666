use std::borrow::Cow;
use std::sync::Arc;

use super::*;
use crate::recording::file::{GuestRecord, Recorded};
use crate::recording::finished::Part as GuestPart;
use crate::recording::har::{HarEntry, HarLog, HarRequest};
use crate::recording::log::{GuestOrigin, GuestSecrets, InstanceLog, Memory};

fn call(function: &'static str, passed: &[&str], written: &[&str]) -> Event {
    Event::Call(Box::new(CallEvent {
        function: Cow::Borrowed(function),
        args: Vec::new(),
        passed: passed.iter().map(|text| Data::from(text.as_bytes())).collect(),
        outcome: Outcome::Returned(0),
        written: written.iter().map(|text| (0, Data::from(text.as_bytes()))).collect(),
        redacted: false,
    }))
}

/// Redacts these events and headers, for a guest with this configuration and environment.
fn redacted(config: &str, env: &[&str], headers: &[(&str, &str)], events: Vec<Event>) -> Har {
    redacted_with(7, config, env, headers, events)
}

fn redacted_with(key: u8, config: &str, env: &[&str], headers: &[(&str, &str)], events: Vec<Event>) -> Har {
    let origin = GuestOrigin::with_secrets(GuestSecrets {
        config: config.as_bytes().to_vec(),
        values: env.iter().map(ToString::to_string).collect(),
    });
    let log = InstanceLog::new(origin, 0, Memory::new(usize::MAX), usize::MAX);
    let mut finished = Finished::empty();
    finished.parts.push(GuestPart::new(Arc::new(log), 0));
    let pair = |(name, value): &(&str, &str)| HarPair { name: name.to_string(), value: value.to_string() };
    let request = HarRequest {
        method: "GET".to_owned(),
        url: "http://h/s3cret-token-9/json".to_owned(),
        http_version: "HTTP/1.1".to_owned(),
        cookies: Vec::new(),
        headers: headers.iter().map(pair).collect(),
        query_string: Vec::new(),
        post_data: Some(HarContent::new(b"the key is s3cret-token-9!\xff", 27, "text/x; t=s3cret-token-9")),
        trailers: Vec::new(),
        headers_size: -1,
        body_size: 0,
    };
    let entry = HarEntry {
        started_date_time: String::new(),
        time: 0.0,
        request,
        response: None,
        cache: serde_json::Value::Null,
        timings: serde_json::Value::Null,
        comment: None,
        exchange: None,
        side: None,
        client_address: None,
        request_id: None,
    };
    let guest = GuestRecord {
        name: "g".to_owned(),
        instance: 0,
        file: None,
        sha256: String::new(),
        deadline_ms: 1000,
        not_replayable: None,
        events,
    };
    let recorded = Some(Recorded { version: 2, redacted: false, guests: vec![guest] });
    let log =
        HarLog { version: String::new(), creator: serde_json::Value::Null, entries: vec![entry], recorded };
    let mut har = Har { log };
    let settings = config::Record::default();
    let secrets = Secrets::new(&settings, &[]);
    secrets.redact(&mut har, &[finished], [key; 32]);
    har
}

fn calls(har: &Har) -> Vec<CallEvent> {
    let events = &har.log.recorded.as_ref().unwrap().guests[0].events;
    events
        .iter()
        .filter_map(|event| if let Event::Call(call) = event { Some((**call).clone()) } else { None })
        .collect()
}

#[test]
fn a_secret_is_replaced_wherever_a_guest_takes_it_with_a_value_of_the_same_length_and_always_the_same() {
    let har = redacted(
        r#"{"token": "s3cret-token-9", "user": "ann"}"#,
        &["hunter2hunter2"],
        &[("authorization", "Bearer aBcDeF123"), ("accept", "application/json")],
        vec![
            call("get_config", &[], &[r#"{"token": "s3cret-token-9", "user": "ann"}"#]),
            call("get_header_values", &["Authorization"], &["Bearer aBcDeF123\0"]),
            call("log", &["refused aBcDeF123, expected prefix-s3cret-token-9 of ann"], &[]),
            call("set_header_value", &["x-user", "ann"], &[]),
            call("get_header_values", &["accept"], &["application/json\0"]),
            call("environ_get", &[], &["\0\0\0\0", "PASSWORD=hunter2hunter2\0"]),
        ],
    );
    let text = serde_json::to_string(&har).unwrap();
    for secret in ["s3cret-token", "aBcDeF123", "hunter2", "ann"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let calls = calls(&har);
    let written = |at: usize| String::from_utf8(calls[at].written.last().unwrap().1.0.to_vec()).unwrap();
    let config: serde_json::Value =
        serde_json::from_str(&written(0)).expect("it is still JSON, with its keys");
    let (token, user) = (config["token"].as_str().unwrap(), config["user"].as_str().unwrap());
    assert_eq!((token.len(), user.len()), (14, 3));
    let header = written(1);
    let header = header.strip_prefix("Bearer ").expect("the scheme stays");
    assert_eq!(header.len(), 10);
    let log = String::from_utf8(calls[2].passed[0].0.to_vec()).unwrap();
    let header = header.trim_end_matches('\0');
    assert_eq!(log, format!("refused {header}, expected {} of {user}", log.split(' ').nth(3).unwrap()));
    assert_eq!(*calls[3].passed[1].0, *user.as_bytes());
    assert_eq!(written(4), "application/json\0");
    assert!(written(5).starts_with("PASSWORD=") && written(5).len() == 24);
    let flags: Vec<_> = calls.iter().map(|call| call.redacted).collect();
    assert_eq!(flags, [true, true, true, true, false, true]);
    // The secret is in the request's URL and, not as text, in its body.
    assert_eq!(har.log.entries[0].request.url, format!("http://h/{token}/json"));
    let body = har.log.entries[0].request.post_data.as_ref().unwrap();
    let Data(body) = serde_json::from_value(serde_json::json!({ "base64": body.text })).unwrap();
    assert_eq!(*body, *[format!("the key is {token}!").as_bytes(), b"\xff"].concat());
}

#[test]
fn members_that_repeat_a_secret_header_are_replaced_like_it() {
    let har = serde_json::json!({ "log": { "entries": [{
        "_requestId": "id7",
        "request": { "method": "GET", "url": "http://ab.cd/path", "headers": [
            { "name": "host", "value": "ab.cd" }, { "name": "x-request-id", "value": "id7" },
        ] },
        "response": { "status": 302, "redirectURL": "/p?t=a1B2", "headers": [
            { "name": "Location", "value": "/p?t=a1B2" }, { "name": "content-type", "value": "text/v9" },
        ], "content": { "mimeType": "text/v9" } },
    }] } });
    let mut har = Har::read(har.to_string().as_bytes()).unwrap();
    let names = ["host", "x-request-id", "Location", "content-type"];
    let redact_headers = names.into_iter().map(|name| name.to_owned().into()).collect();
    let settings = config::Record { redact_headers, ..Default::default() };
    Secrets::new(&settings, &[]).redact(&mut har, &[], [7; 32]);
    let entry = &har.log.entries[0];
    let response = entry.response.as_ref().unwrap();
    let mime_type = &response.content.as_ref().unwrap().mime_type;
    let [host, id] = [0, 1].map(|at| &entry.request.headers[at].value);
    let [location, content_type] = [0, 1].map(|at| &response.headers[at].value);
    assert_eq!((&response.redirect_url, mime_type), (location, content_type));
    assert_eq!((&entry.request.url, entry.request_id.as_ref()), (&format!("http://{host}/path"), Some(id)));
    let text = serde_json::to_string(&har).unwrap();
    for secret in ["ab.cd", "id7", "a1B2", "v9"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn a_secret_host_of_an_http_2_request_is_replaced_wherever_it_appears() {
    let har = serde_json::json!({ "log": { "entries": [{
        "request": { "method": "GET", "url": "https://tenant-47110815.example/path", "headers": [] },
        "response": { "status": 302, "headers": [
            { "name": "x-login", "value": "https://tenant-47110815.example/login" },
        ] },
    }] } });
    let mut har = Har::read(har.to_string().as_bytes()).unwrap();
    let settings = config::Record { redact_headers: vec!["host".to_owned().into()], ..Default::default() };
    Secrets::new(&settings, &[]).redact(&mut har, &[], [7; 32]);
    let text = serde_json::to_string(&har).unwrap();
    assert!(!text.contains("tenant-47110815"), "{text}");
}

#[test]
fn the_parts_of_a_secret_are_replaced_where_it_is_cut_off() {
    let whole = call("get_header_values", &["x-api-key"], &["s3cr3t-t0ken-1\0"]);
    let har = redacted("", &[], &[], vec![whole, call("log", &["s3cr3t-t0ke", "key s3cr3t-t0ken-"], &[])]);
    let text = serde_json::to_string(&calls(&har)).unwrap();
    assert!(!text.contains("s3cr3t") && !text.contains("t0ken"), "{text}");
}

#[test]
fn the_names_and_attributes_of_cookies_stay() {
    let cookie = "sid=abcdef12345; theme=darkdark";
    let set = "sid=abcdef12345; Path=/app; HttpOnly\0lang=deutsch; Max-Age=60\0";
    let har = redacted(
        "",
        &[],
        &[("cookie", cookie)],
        vec![
            call("get_header_values", &["cookie"], &[cookie]),
            call("get_header_values", &["set-cookie"], &[set]),
        ],
    );
    let calls = calls(&har);
    let written = |at: usize| String::from_utf8(calls[at].written[0].1.0.to_vec()).unwrap();
    assert!(written(0).starts_with("sid=") && written(0).contains("; theme="), "{}", written(0));
    assert!(!written(0).contains("abcdef") && !written(0).contains("dark"), "{}", written(0));
    assert!(written(1).contains("; Path=/app; HttpOnly\0lang="), "{}", written(1));
    assert!(written(1).ends_with("; Max-Age=60\0") && !written(1).contains("deutsch"), "{}", written(1));
    assert_eq!(har.log.entries[0].request.headers[0].value, written(0));
    assert_eq!(written(0).len(), cookie.len());
}

#[test]
fn keys_in_lines_of_a_configuration_stay_and_values_are_replaced() {
    let config = "# comment\nsecret = hunter2hunter2\nurl: https://user:pa55word@host/\n";
    let har = redacted(config, &[], &[], vec![call("get_config", &[], &[config])]);
    let text = String::from_utf8(calls(&har)[0].written[0].1.0.to_vec()).unwrap();
    assert_eq!(text.len(), config.len());
    assert!(text.contains("\nsecret = ") && text.contains("\nurl: https://"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("pa55word"), "{text}");
}

/// The masked configuration.
fn masked(config: &str) -> String {
    let har = redacted(config, &[], &[], vec![call("get_config", &[], &[config])]);
    String::from_utf8(calls(&har)[0].written[0].1.0.to_vec()).unwrap()
}

#[test]
fn a_secret_with_a_separator_is_no_key() {
    for config in ["c2VjcmV0LXRva2VuLTEyMw==", "c2VjcmV0LXRva2VuLTEyMw=\n", "c2VjcmV0LXRva2VuLTEyMw:pw\n"] {
        let text = masked(config);
        assert!(text.len() == config.len() && !text.contains("c2VjcmV0LXRva2VuLTEyMw"), "{text}");
    }
    let long = "c2Vj".repeat(11);
    for line in ["c2Vj=", "c2Vj==", "c2Vj= ", "c2Vj = \r", "c2Vj==x", "a c2Vj=x", &format!("{long}=x")] {
        let text = masked(&format!("first = 1\n{line}\n"));
        assert!(text.starts_with("first = ") && !text.contains("c2Vj"), "{line}: {text}");
    }
}

#[test]
fn a_masked_json_configuration_is_still_json_whatever_its_strings_and_numbers() {
    let config = r#"{"key\nabcd": "a\nSecretLine2", "n": [-10, 0.5, 1e300, 12E-5, 20, 100, 1.5e+3, true, null],
        "p\u00e4ss": "p\u00e4ssw\u00f6rd\u4f60\ud83d\ude00", "w": "nabcd",
        "abc": "\u0048unter2\t\"quoted\" C:\\users\/x"}"#;
    let log = "SecretLine2 p\u{e4}ssw\u{f6}rd\u{4f60}\u{1f600} Hunter2";
    for key in 0..100 {
        let events = vec![call("get_config", &[], &[config]), call("log", &[log], &[])];
        let calls = calls(&redacted_with(key, config, &[], &[], events));
        let text = String::from_utf8(calls[0].written[0].1.0.to_vec()).unwrap();
        assert_eq!(text.len(), config.len());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(json["key\nabcd"].as_str().unwrap().contains('\n'), "{text}");
        assert!(json["n"][0].as_i64().unwrap() <= -10 && json["n"][7] == true, "{text}");
        let whole = serde_json::to_string(&calls).unwrap();
        for secret in ["SecretLine2", r"\u4f60", "p\u{e4}ss", "\u{f6}rd", "unter2", "quoted", "users"] {
            assert!(!text.contains(secret) && !whole.contains(secret), "{secret}: {whole}");
        }
    }
}
