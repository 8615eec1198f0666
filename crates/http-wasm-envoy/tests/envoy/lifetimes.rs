//! Streams that end at any point leave nothing behind.
//!
//! `.ci/full` runs these tests with Envoy under Valgrind, which detects use after free.

use tokio::runtime::Runtime;

use crate::support::{
    ABUSES, PATHS, SHOWS_INVENTORY, Settings, abuse, abuse_routes, abuse_upstream, program,
};

/// What the module or Valgrind logs if something is wrong.
const WRONG: [&str; 6] =
    ["panicked", "leaked", "Invalid read", "Invalid write", "Invalid free", "definitely lost"];

#[test]
fn streams_that_end_at_any_point_leak_nothing() {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    let upstream = abuse_upstream();
    let mut settings = Settings::new(upstream.addr);
    settings.is_dynamic = true;
    settings.extra.extend(SHOWS_INVENTORY);
    settings.extra.extend(["--drain-time-s", "1", "--drain-strategy", "immediate"]);
    let mut envoy = settings.start(&program);
    let routes = abuse_routes(envoy.settings());
    let configs = [r#"{"metadata": true}"#, "{}"];
    for (at, path) in PATHS.into_iter().enumerate() {
        // Streams of the previous configuration may still exist.
        envoy.update(configs[at % 2], &routes);
        for kind in ABUSES {
            abuse(&runtime, envoy.addr, path, kind);
            upstream.got();
        }
        envoy.assert_alive();
    }
    let existed = envoy.inventory();
    assert!(existed["guests"] == PATHS.len() as u64 && existed["instances"] > 0, "{existed:?}");
    let left =
        envoy.settle(configs, |left| left["streams"] == 0 && left["calls"] == 0 && left["memory"] == 0);
    let counts = ["routes", "guests", "instances", "idle"].map(|name| left[name]);
    assert_eq!(counts, [0; 4], "{left:?}");
    let (ended_well, log) = envoy.stop();
    assert!(ended_well, "{log}");
    for word in WRONG {
        assert!(!log.contains(word), "{word}: {log}");
    }
}
