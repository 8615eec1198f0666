//! The admin listener.

use http::{Method, Request, StatusCode};

use crate::served::Served;

/// A guest that works and one that doesn't, in front of an upstream that doesn't exist.
pub(crate) const CONFIG: &str = r#"
[admin]
address = "127.0.0.1:0"
[guests.judge]
path = "judges.wat"
[guests.missing]
path = "broken.wat"
optional = true
[upstreams.app]
addresses = ["http://127.0.0.1:1"]
retries = 0
[[routes]]
name = "main"
guests = ["judge"]
upstream = "app"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_probes_report_alive_and_ready_once_the_gateway_serves() {
    let served = Served::start(CONFIG).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(served.ask(Method::GET, path).await.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(served.ask(Method::GET, "/nothing").await.status(), StatusCode::NOT_FOUND);
    let refused = served.ask(Method::DELETE, "/livez").await;
    assert_eq!(
        (refused.status(), &refused.headers()["allow"] == "GET, HEAD"),
        (StatusCode::METHOD_NOT_ALLOWED, true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_guests_routes_upstreams_and_errors() {
    let served = Served::start(CONFIG).await;
    served.get("/x").await;
    served.get("/trap").await;
    let status = served.status_with(|status| status["routes"][0]["requests"]["5xx"] == 2).await;
    assert_eq!(status["stage"], "ready");
    assert_eq!(status["configuration"]["sha256"].as_str().map(str::len), Some(64));
    let guest = &status["guests"][0];
    assert_eq!((&guest["name"], &guest["up"]), (&"judge".into(), &true.into()));
    assert_eq!(guest["calls"]["request"]["count"], 2);
    assert_eq!(guest["failures"], serde_json::json!({ "trap": 1 }));
    assert_eq!((&guest["facts"]["memory_bytes"], &guest["pool"]["live"]), (&65536.into(), &0.into()));
    assert_eq!(guest["facts"]["sha256"].as_str().map(str::len), Some(64));
    assert!(guest["facts"]["since"].as_str().is_some_and(|time| time.ends_with('Z')), "{guest}");
    let listener = &status["listeners"][0];
    assert_eq!((&listener["tls"], &listener["http"]), (&false.into(), &"auto".into()), "{listener}");
    assert!(
        listener["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")),
        "{listener}"
    );
    assert!(listener["max_connections"].as_u64() > listener["connections"].as_u64(), "{listener}");
    assert_eq!(status["reload_error"], serde_json::Value::Null);
    let missing = &status["guests"][1];
    assert_eq!((&missing["up"], &missing["optional"]), (&false.into(), &true.into()));
    let upstream = &status["upstreams"][0];
    assert_eq!(upstream["failures"]["connect"], 1);
    let address = serde_json::json!({
        "url": "http://127.0.0.1:1", "health": "healthy", "retry_in_seconds": null, "in_flight": 0,
        "tunnels": 0, "failures": 1, "informational_dropped": 0,
    });
    assert_eq!(upstream["addresses"], serde_json::json!([address]));
    let errors: Vec<_> = status["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| {
            (
                error["source"].as_str().unwrap(),
                error["name"].as_str().unwrap(),
                error["kind"].as_str().unwrap(),
            )
        })
        .collect();
    // A test that sends SIGHUP reloads this gateway too, and the error about the missing guest becomes the newest
    // again.
    let missing = ("guest", "missing", "load");
    let (loaded, asked): (Vec<_>, Vec<_>) = errors.iter().copied().partition(|error| *error == missing);
    assert_eq!(loaded, [missing]);
    assert_eq!(asked, [("guest", "judge", "trap"), ("upstream", "app", "connect")], "the newest first");
    let of_upstream = errors.iter().position(|error| error.0 == "upstream").unwrap();
    let message = status["errors"][of_upstream]["message"].as_str().unwrap();
    assert!(message.starts_with("http://127.0.0.1:1: "), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_nothing_external_and_runs_no_inline_script() {
    let served = Served::start(CONFIG).await;
    let page = served.ask(Method::GET, "/").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for (path, content_type) in [("/style.css", "text/css"), ("/script.js", "text/javascript")] {
        assert!(page.body().contains(&format!("\"{path}\"")), "{path}");
        let asset = served.ask(Method::GET, path).await;
        let found = asset.headers()["content-type"].to_str().unwrap();
        assert!(asset.status() == StatusCode::OK && found.starts_with(content_type), "{path}: {found}");
        let elsewhere = asset.body().replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{path}");
        assert!(!elsewhere.contains("innerHTML"), "guests have a say in what is shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_requires_a_same_origin_post() {
    let served = Served::reloadable(CONFIG).await;
    assert_eq!(served.ask(Method::GET, "/reload").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    for (name, value) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")]
    {
        let request = Request::post("/reload").header(name, value);
        assert_eq!(served.ask_with(request).await.status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let own = format!("http://{}", served.admin.unwrap());
    assert_eq!(
        served.ask_with(Request::post("/reload").header("origin", own)).await.status(),
        StatusCode::OK
    );
    served.files.write("gateway.toml", "[[routes]]\nguests = ['nobody']\nbackend = 'hello'\n");
    let failed = served.ask(Method::POST, "/reload").await;
    assert_eq!(failed.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(failed.body().starts_with("configuration not reloaded: "), "{}", failed.body());
    assert!(failed.body().contains("nobody"), "{}", failed.body());
    let status = served.status_with(|_| true).await;
    // Another test sends SIGHUP to the entire process, which reloads this gateway too.
    assert!(
        status["reloads"]["success"].as_u64() >= Some(1) && status["reloads"]["failure"].as_u64() >= Some(1)
    );
    assert!(status["errors"][0]["message"].as_str().is_some_and(|message| message.contains("nobody")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_health_of_upstream_addresses() {
    // An upstream that never answers: connections stay in its backlog.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = (silent.local_addr().expect("an address"), silent);
    let config = format!(
        "[admin]\naddress = '127.0.0.1:0'\n\
         [upstreams.down]\naddresses = ['http://127.0.0.1:1']\nretries = 0\n\
         health.passive = {{ failures = 2, retry_after = '60s' }}\n\
         [upstreams.asked]\naddresses = ['http://127.0.0.1:1']\n\
         health.active = {{ path = '/', interval = '10ms', unhealthy_after = 1 }}\n\
         [upstreams.silent]\naddresses = ['http://{}']\nresponse_timeout = '60s'\n\
         [[routes]]\npath = '/down'\nupstream = 'down'\n[[routes]]\npath = '/asked'\nupstream = 'asked'\n\
         [[routes]]\nupstream = 'silent'\n",
        silent.0
    );
    let served = std::sync::Arc::new(Served::start(&config).await);
    served.get("/down").await;
    served.get("/down").await;
    let waiting = served.clone();
    let _waits = tokio::task::JoinSet::from_iter([async move { waiting.get("/").await }]);
    let status = served
        .status_with(|status| {
            let address = |index: usize| &status["upstreams"][index]["addresses"][0];
            address(0)["health"] == "unhealthy" && address(2)["in_flight"] == 1
        })
        .await;
    let upstreams: Vec<_> = status["upstreams"].as_array().expect("a list").iter().collect();
    assert_eq!(upstreams.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["asked", "down", "silent"]);
    let down = &upstreams[1]["addresses"][0];
    assert_eq!((&down["health"], &down["failures"]), (&"out".into(), &2.into()));
    assert!(down["retry_in_seconds"].as_f64().is_some_and(|left| left > 0.0 && left <= 60.0), "{down}");
    assert_eq!(upstreams[2]["addresses"][0]["health"], "healthy");

    let scrape = crate::open_metrics::Scrape::parse(served.ask(Method::GET, "/metrics").await.body());
    for (name, upstream, value) in [
        ("up", "asked", 0.0),
        ("up", "down", 0.0),
        ("up", "silent", 1.0),
        ("failures_total", "down", 2.0),
        ("requests_in_flight", "down", 0.0),
        ("requests_in_flight", "silent", 1.0),
    ] {
        let address = if upstream == "silent" { silent.0.to_string() } else { "127.0.0.1:1".to_owned() };
        let series = format!(
            "http_wasm_upstream_address_{name}{{upstream=\"{upstream}\",address=\"http://{address}\"}}"
        );
        assert!(scrape.has(&series), "{series}: {scrape:#?}");
        assert_eq!(scrape.get(&series), value, "{series}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_needs_a_restart_is_reported_in_the_response_and_the_status() {
    let served = Served::reloadable(CONFIG).await;
    assert!(!served.reload(CONFIG).await.contains("a restart"));
    let answer = served.reload(&format!("{CONFIG}\n[log]\nformat = 'json'\n")).await;
    assert!(answer.contains("changes to log take effect only after a restart"), "{answer}");
    let status = served.status_with(|_| true).await;
    assert_eq!(status["configuration"]["at_next_start"], serde_json::json!(["log"]));
}
