//! The admin listener.

use http::{Method, Request, StatusCode};

use crate::served::Served;

const CONFIG: &str = r#"
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
async fn probes_say_alive_and_ready_once_it_serves() {
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
async fn the_status_tells_of_guests_routes_upstreams_and_errors() {
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
    let missing = &status["guests"][1];
    assert_eq!((&missing["up"], &missing["optional"]), (&false.into(), &true.into()));
    assert_eq!(status["upstreams"][0]["failures"]["connect"], 1);
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
    let expected = [("guest", "judge", "trap"), ("upstream", "app", "connect"), ("guest", "missing", "load")];
    assert_eq!(errors, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_nothing_from_elsewhere_and_runs_no_inline_script() {
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
async fn a_reload_is_asked_for_by_post_and_never_by_another_site() {
    let served =
        Served::start_with(CONFIG, |gateway, files| gateway.with_file(files.path("gateway.toml"))).await;
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
    assert!(failed.body().starts_with("nothing was changed: "), "{}", failed.body());
    assert!(failed.body().contains("nobody"), "{}", failed.body());
    let status = served.status_with(|_| true).await;
    // Another test sends SIGHUP to the whole process, which reloads this gateway too.
    assert!(
        status["reloads"]["success"].as_u64() >= Some(1) && status["reloads"]["failure"].as_u64() >= Some(1)
    );
    assert!(status["errors"][0]["message"].as_str().is_some_and(|message| message.contains("nobody")));
}
