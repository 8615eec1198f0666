//! Rebuilding and replacing guests.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};

use super::{Dev, Project, answers};
use crate::support::{eventually, http_wasm, http1, http2, soon};

#[tokio::test]
async fn a_changed_source_is_built_and_served() {
    let project = Project::new(&answers(201));
    let dev = Dev::of(&project, &[]);
    assert_eq!(dev.status().await, 201);
    project.write("src/guest.wat", &answers(202));
    eventually(async || (dev.status().await == 202).then_some(())).await;
    assert_eq!(dev.phase("running").await["guest"]["message"], "");
}

#[tokio::test]
async fn a_build_or_check_that_fails_keeps_the_previous_guest_and_says_so() {
    let project = Project::new(&answers(201));
    let dev = Dev::of(&project, &[]);
    project.write("src/broken", "");
    let state = dev.phase("failed").await;
    let message = state["guest"]["message"].as_str().unwrap();
    assert!(message.contains("the build failed: exit status: 3"), "{message}");
    assert_eq!(state["guest"]["output"], "guest.c:1: error: <b>broken</b>\n");
    assert_eq!(dev.status().await, 201);

    // A successful build of a guest that can't be loaded.
    project.write("src/guest.wat", "(module)");
    fs::remove_file(project.path("src/broken")).unwrap();
    let of_guest = |state: &serde_json::Value| {
        state["guest"]["message"].as_str().is_some_and(|message| message.contains("handle_request"))
    };
    let state = eventually(async || Some(dev.phase("failed").await).filter(of_guest)).await;
    assert_eq!(state["guest"]["output"], "");
    assert_eq!(dev.status().await, 201);

    project.write("src/guest.wat", &answers(203));
    eventually(async || (dev.status().await == 203).then_some(())).await;
    dev.phase("running").await;
}

#[tokio::test]
async fn a_first_build_that_fails_is_repeated_after_a_change() {
    let project = Project::new(&answers(201));
    project.write("src/broken", "");
    let fixed = project.path("src/broken");
    let fix = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(700));
        fs::remove_file(fixed).unwrap();
    });
    // It starts serving once there is a guest.
    let dev = Dev::of(&project, &[]);
    fix.join().unwrap();
    assert_eq!(dev.status().await, 201);
}

#[tokio::test]
async fn a_guest_that_is_not_built_here_is_reloaded_with_its_configuration() {
    let project = Project::new("");
    project.write("config", "one");
    project.write("guest.wat", crate::support::ADDS_CONFIG);
    let config = format!("@{}", project.path("config").display());
    let dev = Dev::start(&["--guest-config", &config], project.0.path());
    let configured = async || dev.send("GET / HTTP/1.1", "").await;
    assert!(configured().await.contains(r#"["x-config","one"]"#));
    project.write("config", "other");
    eventually(async || configured().await.contains(r#"["x-config","other"]"#).then_some(())).await;
    project.write("guest.wat", &answers(204));
    eventually(async || (dev.status().await == 204).then_some(())).await;
}

#[tokio::test]
async fn a_swap_loses_no_request() {
    let project = Project::new(&answers(210));
    let dev = Dev::of(&project, &[]);
    let addr = dev.server.addr;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let request = move || {
        let uri = format!("http://{addr}/");
        Request::get(uri).header("host", addr.to_string()).body(Empty::new().boxed_unsync()).unwrap()
    };
    let check = |status: StatusCode| assert!((210..=213).contains(&status.as_u16()), "{status}");
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (stop_of, sent_of) = (stop.clone(), sent.clone());
        let (stop, sent) = (stop.clone(), sent.clone());
        clients.spawn(async move {
            let mut client = http1(addr).await;
            while !stop.load(Ordering::Relaxed) {
                client.ready().await.expect("the connection stays");
                let response = client.send_request(request()).await.expect("a response");
                check(response.status());
                response.into_body().collect().await.expect("a body");
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (stop, sent) = (stop_of, sent_of);
        clients.spawn(async move {
            let mut client = http2(addr).await;
            while !stop.load(Ordering::Relaxed) {
                client.ready().await.expect("the connection stays");
                let response = client.send_request(request()).await.expect("a response");
                check(response.status());
                response.into_body().collect().await.expect("a body");
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for status in 211..=213 {
        project.write("src/guest.wat", &answers(status));
        eventually(async || (dev.status().await == status).then_some(())).await;
        let before = sent.load(Ordering::Relaxed);
        eventually(async || (sent.load(Ordering::Relaxed) > before + 50).then_some(())).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = soon(clients.join_next()).await {
        ended.expect("no client lost a request");
    }
}

#[test]
fn addresses_of_other_machines_and_missing_guests_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |args: &[&str]| {
        let output = http_wasm().arg("dev").args(args).current_dir(directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = refused(&[]);
    assert!(missing.contains("there is nothing to serve") && missing.contains("--build"), "{missing}");
    fs::write(directory.path().join("guest.wat"), answers(200)).unwrap();
    for flag in ["--listen", "--page"] {
        let open = refused(&[flag, "0.0.0.0:0"]);
        assert!(open.contains(flag) && open.contains("not a loopback address"), "{open}");
    }
    let nowhere = refused(&["--watch", "nowhere"]);
    assert!(nowhere.contains("--watch nowhere"), "{nowhere}");
}
