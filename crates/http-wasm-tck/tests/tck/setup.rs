//! Hosts that aren't set up for the kit, and the kit's backend.

use http_wasm_tck::backend::Backend;
use http_wasm_tck::case::Http;
use http_wasm_tck::cases;
use http_wasm_tck::run::{Options, RunError, run};

#[tokio::test]
async fn without_a_target_nothing_runs() {
    let result = run(&cases::all(), &Options::default(), |_| ()).await;
    assert!(matches!(result, Err(RunError::NoTarget)));
}

#[tokio::test]
async fn a_host_that_does_not_forward_is_distinguished_from_one_without_the_guest() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = against(nobody.to_string()).await;
    assert!(error.contains("tck backend"), "{error}");

    // The backend acts as a host that doesn't run a guest.
    let backend = Backend::bind("127.0.0.1:0").await.unwrap();
    let address = backend.local_addr().unwrap().to_string();
    let serving = tokio::spawn(backend.serve());
    let error = against(address).await;
    assert!(error.contains("tck guest"), "{error}");
    serving.abort();
}

async fn against(address: String) -> String {
    let options = Options { address: Some(address), http: Http::One, ..Options::default() };
    run(&cases::all(), &options, |_| ()).await.unwrap_err().to_string()
}
