//! What the admin listener reports about listeners, their certificates, and failed reloads.

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use humantime::parse_rfc3339;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;

use crate::admin::CONFIG;
use crate::files::Files;
use crate::served::Served;

/// A listener with two certificates.
pub(crate) const TLS_CONFIG: &str = "[[listen]]\naddress = '127.0.0.1:0'\nlimits.max_connections = 3\n\
    tls.certificates = [{ certificate = '0.pem', key = '0.key' }, { certificate = '1.pem', key = '1.key' }]\n\
    [[listen]]\naddress = '127.0.0.1:0'\nhttp = '1'\n\
    [admin]\naddress = '127.0.0.1:0'\n[[routes]]\nbackend = 'echo'\n";

/// Files with certificates for `inN.example` that expire in N days each.
pub(crate) fn certificates(days: &[u32]) -> Files {
    let files = Files::new();
    for (number, days) in days.iter().enumerate() {
        let mut params = CertificateParams::new([format!("in{days}.example")]).expect("names");
        params.not_after = (SystemTime::now() + Duration::from_secs(u64::from(*days) * 86_400)).into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        files.write(&format!("{number}.pem"), &certificate.pem());
        files.write(&format!("{number}.key"), &key.serialize_pem());
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_listeners_with_connections_and_certificate_expiry() {
    let days = [5, 100];
    let start = SystemTime::now();
    let served = Served::start_in(certificates(&days), TLS_CONFIG, |gateway, _| gateway).await;
    let with = async |connections: u64| {
        served.status_with(|status| status["listeners"][0]["connections"] == connections).await
    };
    let none = with(0).await;
    let (tls, plain) = (&none["listeners"][0], &none["listeners"][1]);
    assert_eq!(tls["address"], served.address.to_string());
    assert_eq!(
        (&tls["tls"], &tls["http"], &tls["max_connections"]),
        (&json!(true), &json!("auto"), &json!(3))
    );
    assert_eq!(
        (&plain["tls"], &plain["http"], &plain["certificates"]),
        (&json!(false), &json!("1"), &json!([]))
    );
    for (index, days) in days.into_iter().enumerate() {
        let certificate = &tls["certificates"][index];
        assert_eq!(certificate["names"], json!([format!("in{days}.example")]));
        let not_after = parse_rfc3339(certificate["not_after"].as_str().expect("a time")).expect("a time");
        let left = not_after.duration_since(start).expect("it is valid");
        // In seconds, from a little earlier.
        let expected = u64::from(days) * 86_400;
        assert!((expected - 60..=expected).contains(&left.as_secs()), "{certificate}");
    }

    // Up to the maximum, at which the listener stops accepting connections.
    let mut open = Vec::new();
    for number in 1..=3 {
        open.push(TcpStream::connect(served.address).await.expect("it accepts"));
        with(number).await;
    }
    open.clear();
    with(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_full_error_of_a_failed_reload_until_one_succeeds() {
    let served = Served::reloadable(CONFIG).await;
    assert_eq!(served.status_with(|_| true).await["reload_error"], Value::Null);
    let many: String = (0..40).map(|number| format!("unknown-{number} = 1\n")).collect();
    served.files.write("gateway.toml", &format!("{many}listen = ['127.0.0.1:0']\n{CONFIG}"));
    let answer = served.ask(Method::POST, "/reload").await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let status = served.status_with(|status| !status["reload_error"].is_null()).await;
    let error = &status["reload_error"];
    let message = error["message"].as_str().expect("a message");
    assert_eq!(answer.body().trim_end(), format!("configuration not reloaded: {}", message.trim_end()));
    assert!(message.contains("unknown-0") && message.contains("unknown-39"), "{message}");
    assert!(error["at"].as_str().is_some_and(|time| parse_rfc3339(time).is_ok()), "{error}");

    served.reload(CONFIG).await;
    assert_eq!(served.status_with(|_| true).await["reload_error"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_digest_and_load_time_of_a_guest() {
    let served = Served::reloadable(CONFIG).await;
    let guest = async || served.status_with(|_| true).await["guests"][0]["facts"].clone();
    let first = guest().await;
    served.reload(CONFIG).await;
    assert_eq!(guest().await["since"], first["since"], "it was kept");
    served.files.write("judges.wat", crate::files::PASSES);
    served.reload(CONFIG).await;
    let second = guest().await;
    assert!(second["since"].as_str() > first["since"].as_str(), "{second}");
    assert_ne!(second["sha256"], first["sha256"]);
    let digest: String =
        Sha256::digest(crate::files::PASSES).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(second["sha256"], digest);
}
