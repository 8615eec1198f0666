//! Checks that no spelling of a path bypasses a guest, whichever server reads it.

use std::cell::OnceCell;

use http::{Request, Uri};

use super::{RequestView, Route, Routes};
use crate::config::{self, EscapedSlashes};
use crate::exchange::Arrival;
use crate::route::{Handler, NextHandler};

#[path = "../../../tests/common/spellings.rs"]
mod spellings;

use self::spellings::Spellings;

/// A step of a server's processing of a path.
#[derive(Clone, Copy)]
enum Step {
    /// Decodes all percent-encoded characters.
    Decode,
    /// Decodes all percent-encoded characters except slashes.
    DecodeNames,
    /// Treats backslashes as slashes.
    Backslashes,
    /// Removes `;` and what follows in each segment.
    DropParams,
    /// Ends the path at a NUL.
    CString,
    /// Rejects a path with a NUL.
    RefuseNul,
    /// Merges consecutive slashes.
    Merge,
    /// Resolves `.` and `..`. Fails above the root.
    Resolve,
}

use Step::*;

/// Servers, with the steps of their processing, and whether encoded slashes or backslashes separate segments for them.
const SERVERS: [(&str, bool, &[Step]); 20] = [
    ("nginx", true, &[Decode, RefuseNul, Merge, Resolve]),
    ("nginx, merge_slashes off", true, &[Decode, RefuseNul, Resolve]),
    ("Apache, AllowEncodedSlashes On", true, &[Decode, RefuseNul, Merge, Resolve]),
    ("Apache, AllowEncodedSlashes NoDecode", false, &[DecodeNames, Merge, Resolve]),
    ("servlets", true, &[DropParams, Decode, Backslashes, Merge, Resolve]),
    ("servlets that decode first", true, &[Decode, DropParams, Merge, Resolve]),
    ("servlets that keep slashes", false, &[DropParams, DecodeNames, Merge, Resolve]),
    ("Go's ServeMux", true, &[Decode, Merge, Resolve]),
    ("Go's URL.Path", true, &[Decode]),
    ("WSGI", true, &[Decode, Merge]),
    ("a router of segments", false, &[DecodeNames]),
    ("the URL standard", true, &[Backslashes, DecodeNames, Resolve]),
    ("a proxy that resolves before a server that decodes", true, &[Merge, Resolve, Decode, Resolve]),
    ("a proxy that resolves before a C program", true, &[Decode, Resolve, CString]),
    ("Envoy", true, &[Backslashes, DecodeNames, Merge, Resolve]),
    ("files of C programs", true, &[Decode, CString, Merge, Resolve]),
    ("IIS", true, &[Decode, Decode, Backslashes, Merge, Resolve]),
    ("two servers that decode", true, &[Decode, Merge, Resolve, Decode, Merge, Resolve]),
    ("three that decode, the last without merging", true, &[Decode, Decode, Merge, Decode, Resolve]),
    ("a proxy before servlets", true, &[Backslashes, Decode, DropParams, Backslashes, Resolve]),
];

/// Stands for a slash that is part of a name.
const NAMED_SLASH: u8 = 1;

/// What a path means to a server, in the form in which routes compare it. `None` if the server rejects it.
fn resource(path: &str, steps: &[Step]) -> Option<String> {
    let mut text = path.as_bytes().to_vec();
    for step in steps {
        let mut segments: Vec<&[u8]> = text.split(|&byte| byte == b'/').collect();
        text = match step {
            Decode => percent_decoded(&text),
            DecodeNames => {
                let names = segments.iter().map(|name| {
                    let slash_named = |byte| if byte == b'/' { NAMED_SLASH } else { byte };
                    percent_decoded(name).into_iter().map(slash_named).collect::<Vec<_>>()
                });
                names.collect::<Vec<_>>().join(&b'/')
            }
            Backslashes => text.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect(),
            DropParams => {
                for segment in &mut segments {
                    *segment = segment.split(|&byte| byte == b';').next().unwrap_or_default();
                }
                segments.join(&b'/')
            }
            CString => text.split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
            RefuseNul if text.contains(&0) => return None,
            RefuseNul => text,
            Merge => {
                let mut merged = text.clone();
                merged.dedup_by(|one, other| *one == b'/' && *other == b'/');
                merged
            }
            Resolve => {
                let mut kept: Vec<&[u8]> = Vec::new();
                let last = segments.len() - 1;
                for (index, segment) in segments.iter().enumerate().skip(1) {
                    match *segment {
                        b"." => {}
                        b".." => drop(kept.pop()),
                        name => {
                            kept.push(name);
                            continue;
                        }
                    }
                    if index == last {
                        kept.push(b"");
                    }
                }
                [&b"/"[..], &kept.join(&b'/')].concat()
            }
        };
    }
    let plain = text.iter().flat_map(|byte| match byte {
        &NAMED_SLASH => b"%2F",
        b'%' => b"%25",
        other => std::slice::from_ref(other),
    });
    let plain: Vec<u8> = plain.copied().collect();
    Some(String::from_utf8_lossy(&plain).into_owned())
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text
            .get(at + 1..at + 3)
            .filter(|_| text[at] == b'%')
            .and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => decoded.push(byte),
            None => {
                decoded.push(text[at]);
                at += 1;
                continue;
            }
        }
        at += 3;
    }
    decoded
}

fn routes(routes: impl IntoIterator<Item = config::Route>) -> Routes {
    let route =
        |route| Route::new(&route, "route".into(), Handler::new(Vec::new(), NextHandler::Unavailable));
    Routes::new(routes.into_iter().map(route).collect())
}

/// Random routes.
fn some_routes(by: &mut Spellings) -> Vec<config::Route> {
    let mut all = Vec::new();
    for _ in 0..by.0.u8(1..5) {
        let mut route = config::Route::default();
        match by.0.u8(..9) {
            0..4 => {
                let prefix =
                    by.one_of(&["/admin", "/public", "/api", "/admin/x", "/public/y", "/api/", "/x"]);
                route.path_prefix = Some(prefix.parse().unwrap());
            }
            4..6 => {
                let path = by.one_of(&["/admin", "/public/x", "/api/", "/", "/x/y/z"]);
                route.path = Some(path.parse().unwrap());
            }
            _ => {
                let pattern =
                    by.one_of(&["/{a}", "/{a}/{b}", "/public/{*rest}", "/admin/{a}", "/{a}/x/{*rest}"]);
                route.path_pattern = Some(pattern.parse().unwrap());
            }
        }
        all.push(route);
    }
    if by.0.u8(..4) > 0 {
        all.push(config::Route::default());
    }
    for route in &mut all {
        route.guests = by
            .one_of(&[&[][..], &[], &["auth"], &["waf"], &["auth", "waf"]])
            .iter()
            .map(|guest| (*guest).to_owned().into())
            .collect();
        route.escaped_slashes = by.one_of(&[
            EscapedSlashes::Auto,
            EscapedSlashes::Auto,
            EscapedSlashes::Auto,
            EscapedSlashes::Reject,
            EscapedSlashes::Keep,
            EscapedSlashes::Decode,
        ]);
    }
    all
}

fn get(path: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::try_from(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    request
}

/// The result for a path: the index of its route, and the path to use if it differs from the one sent. `None` for 404.
fn choice(routes: &Routes, path: &str) -> Result<Option<(usize, Option<String>)>, &'static str> {
    let chosen = routes.choose(&get(path), Arrival::default()).map_err(|ambiguous| ambiguous.0)?;
    let index = |route: &Route| routes.routes.iter().position(|other| std::ptr::eq(route, other)).unwrap();
    Ok(chosen.map(|chosen| (index(chosen.route), chosen.path)))
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures of a long run")]
fn no_spelling_bypasses_a_guest_whichever_server_interprets_the_path() {
    let (mut goes_on, seed) = spellings::effort(1_000);
    let mut by = Spellings(fastrand::Rng::with_seed(seed));
    let (mut cases, mut passed, mut refused) = (0_u64, 0_u64, 0_u64);
    while goes_on() {
        let config = some_routes(&mut by);
        let routes = routes(config.iter().cloned());
        for _ in 0..20 {
            let path = by.path();
            cases += 1;
            let (route, goes_on_as) = match choice(&routes, &path) {
                Ok(Some((route, rewritten))) => (&routes.routes[route], rewritten),
                Ok(None) => continue,
                Err(_) => {
                    refused += 1;
                    continue;
                }
            };
            passed += 1;
            let rewrites = goes_on_as.is_some();
            let sent = goes_on_as.unwrap_or_else(|| path.clone());
            let keeps = route.escaped_slashes == EscapedSlashes::Keep;
            for (server, separates, steps) in SERVERS {
                if keeps && separates {
                    continue;
                }
                let Some(read) = resource(&sent, steps) else { continue };
                let asked = get("/");
                let owner = routes.find(
                    &RequestView { request: &asked, arrival: Arrival::default(), host: OnceCell::new() },
                    &read,
                );
                assert!(
                    owner.is_none_or(|owner| route.has_guests_of(owner)),
                    "seed {seed}, case {cases}: {server} reads {path} (sent as {sent}) as {read}, \
                     but it passed by the guests {:?} only: {config:#?}",
                    route.guests
                );
            }
            assert!(!rewrites || !sent.contains("%2f") && !sent.contains('\\'), "{path} became {sent}");
        }
    }
    println!(
        "{cases} cases with the seed {seed}: {passed} passed, {refused} were refused, the others fit no route"
    );
    assert!(passed * 5 > cases && refused * 10 > cases, "{passed} and {refused} of {cases} prove little");
}

fn route(path_prefix: &str, guests: &[&str]) -> config::Route {
    config::Route {
        path_prefix: Some(path_prefix.parse().unwrap()),
        guests: guests.iter().map(|&guest| guest.to_owned().into()).collect(),
        ..config::Route::default()
    }
}

/// `/public` without a guest, and `/admin` with one.
fn two() -> Vec<config::Route> {
    vec![route("/public", &[]), route("/admin", &["auth"])]
}

#[test]
fn a_path_that_servers_may_interpret_as_another_routes_is_refused() {
    let routes = routes(two());
    for path in [
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public%2f..%2fadmin",
        "/public/x%2f..%2f..%2fadmin",
        "/public%2f%2e%2e/admin",
        "/public/..%5cadmin",
        "/public/..\\admin",
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/%2e%2e%3b/admin",
        "/public/%252e%252e/admin",
        "/public/..%252fadmin",
        "/public/%25252e%25252e/admin",
        "/public/..%00/admin",
        "/public/..%20/admin",
        "/admin/../public",
        "/admin//../public",
        "/admin/%2e%2e/public",
        "/..",
        "/../public",
        "/public/../../public",
        "/public%2fx/../../public",
        "/public/a%2fb/../../../admin%2fx",
        "/public/%252561/../x",
        "/public/x/../%00",
    ] {
        assert!(matches!(choice(&routes, path), Err(_) | Ok(None)), "{path}: {:?}", choice(&routes, path));
    }
    for path in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "//admin",
        "/%61dmin",
        "/./admin",
        "/admin;x",
        "/admin/x",
    ] {
        assert!(
            matches!(choice(&routes, path), Ok(Some((1, None)) | None)),
            "{path}: {:?}",
            choice(&routes, path)
        );
    }
}

#[test]
fn ordinary_paths_with_escapes_are_forwarded_unchanged() {
    let paths = [
        "/api/v4/projects/a%2Fb",
        "/api/v4/projects/a%2fb/repository/files/src%2Fmain.rs",
        "/@s%2fp",
        "/@scope%2Fname/-/name-1.0.tgz",
        "/caf%C3%A9/men%C3%BC",
        "/a%20b",
        "/100%25",
        "/100%",
        "/x%252Fy",
        "/http%3A%2F%2Fexample.com%2F%3Fnext%3Dhttps%253A%252F%252Fexample.org%252F",
        "/c;v=1.2/d",
        "/.well-known/acme-challenge/x",
        "/x/...",
        "/x..y/z",
        "/x%2F..y",
        "/C:\\x",
        "/a//b",
        "/a/./b/../c",
        "/",
    ];
    let several =
        [route("/admin", &["auth"]), route("/api", &["waf"]), route("/public", &[]), route("/", &[])];
    for (routes, one) in [(routes([route("/", &[])]), true), (routes(several), false)] {
        for path in paths {
            let expected = if one { 0 } else { if path.starts_with("/api") { 1 } else { 3 } };
            assert_eq!(choice(&routes, path), Ok(Some((expected, None))), "{path}");
        }
    }
}

#[test]
fn a_route_may_reject_keep_or_decode_escaped_slashes() {
    let with = |escaped_slashes| {
        let mut all = two();
        for route in &mut all {
            route.escaped_slashes = escaped_slashes;
        }
        routes(all)
    };
    let reject = with(EscapedSlashes::Reject);
    for path in ["/public/a%2fb", "/public/a%5Cb", "/public/a\\b", "/public/a%252Fb"] {
        assert!(choice(&reject, path).is_err(), "{path}");
    }
    assert_eq!(choice(&reject, "/public/a%20b"), Ok(Some((0, None))));

    let keep = with(EscapedSlashes::Keep);
    for path in ["/public/..%2fadmin", "/public/a\\..\\..\\admin", "/public/a%252Fb"] {
        assert_eq!(choice(&keep, path), Ok(Some((0, None))), "{path}");
    }
    for path in ["/public/..;/admin", "/public/%252e%252e/admin", "/public/..%00/admin", "/admin/../public"] {
        assert!(choice(&keep, path).is_err(), "{path}");
    }

    let decode = with(EscapedSlashes::Decode);
    for (path, index, sent) in [
        ("/public/a%2fb", 0, Some("/public/a/b")),
        ("/public%5Ca%20b", 0, Some("/public/a%20b")),
        ("/public/..%2fadmin/%78", 1, Some("/admin/%78")),
        ("/public\\%2e%2e%2Fadmin", 1, Some("/admin")),
        ("/public/a%252Fb", 0, None),
        ("/public/a%20b", 0, None),
    ] {
        assert_eq!(choice(&decode, path), Ok(Some((index, sent.map(str::to_owned)))), "{path}");
    }
    for path in ["/public/..%2f..%2fadmin", "/public/..;/admin", "/public/a%2f..;/..;/admin"] {
        assert!(choice(&decode, path).is_err(), "{path}");
    }
}

#[test]
fn a_decoded_path_keeps_the_query_and_the_authority() {
    let mut route = route("/a", &[]);
    route.escaped_slashes = EscapedSlashes::Decode;
    let routes = routes([route]);
    for (sent, handled) in [("/a%2fb?c%2fd", "/a/b?c%2fd"), ("http://h:1/a%2Fb", "http://h:1/a/b")] {
        let mut request = get(sent);
        let chosen = routes.choose(&request, Arrival::default()).unwrap().unwrap();
        chosen.rewrite(&mut request);
        assert_eq!(request.uri().to_string(), handled);
    }
}

#[test]
fn the_cost_of_checking_a_path_is_limited() {
    let routes = routes([route("/", &[])]);
    let evil = "%252f;\\%2500/../".repeat(3_000);
    assert!(choice(&routes, &format!("/{evil}")).is_err());
    let long = format!("/{}", "a%2Fb".repeat(12_000));
    assert_eq!(choice(&routes, &long), Ok(Some((0, None))));
}
