//! Listeners with TLS.

use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::files::Files;
use crate::support::{Server, soon};

type Pair = CertifiedKey<KeyPair>;

fn pair(names: &[&str]) -> Pair {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    generate_simple_self_signed(names).expect("a certificate can be made")
}

/// An echo server with these certificates, in this order.
async fn start(pairs: &[&Pair], settings: &str) -> Server {
    let files = Files::new();
    let mut certificates = String::new();
    for (number, pair) in pairs.iter().enumerate() {
        files.write(&format!("{number}.pem"), &pair.cert.pem());
        files.write(&format!("{number}.key"), &pair.signing_key.serialize_pem());
        certificates += &format!("{{ certificate = '{number}.pem', key = '{number}.key' }}, ");
    }
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n{settings}\ntls.certificates = [{certificates}]\n[[routes]]\n\
         backend = 'echo'\n"
    );
    Server::start_with(files, &config).await
}

/// A client that trusts these certificates.
fn connector(trusted: &[&Pair], alpn: &[&str], version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.cert.der().clone()).expect("it can be trusted");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_protocol_versions(&[version]).expect("a version");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    server: &Server,
    connector: &TlsConnector,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.addr).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    soon(connector.connect(name, stream)).await
}

async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("the server closes as TLS wants it");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_certificate_for_its_sni_name() {
    let (first, second) = (pair(&["a.example"]), pair(&["b.example", "*.c.example"]));
    let server = start(&[&first, &second], "").await;
    for (name, own) in [("a.example", &first), ("b.example", &second), ("x.c.example", &second)] {
        let mut stream = connect(&server, &connector(&[own], &[], &TLS13), name).await.expect(name);
        assert!(get(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    // For a name without a certificate, the server sends the first one, and leaves the decision to the client.
    let error =
        connect(&server, &connector(&[&first], &[], &TLS13), "d.example").await.expect_err("not its name");
    assert!(error.to_string().contains("a.example"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_version_is_negotiated_by_alpn() {
    let pair = pair(&["localhost"]);
    for (http, offered, agreed) in [
        ("auto", &["h2", "http/1.1"][..], Some("h2")),
        ("auto", &["http/1.1"], Some("http/1.1")),
        ("auto", &[], None),
        ("1", &["h2", "http/1.1"], Some("http/1.1")),
        ("2", &["http/1.1", "h2"], Some("h2")),
    ] {
        let server = start(&[&pair], &format!("http = '{http}'")).await;
        let mut stream =
            connect(&server, &connector(&[&pair], offered, &TLS13), "localhost").await.expect(http);
        let protocol =
            stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(protocol.as_deref(), agreed);
        if agreed == Some("h2") {
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .await
                .expect("it reads");
            let mut settings = [0; 9];
            soon(stream.read_exact(&mut settings)).await.expect("a frame");
            assert_eq!(settings[3], 4, "SETTINGS come first");
        } else {
            assert!(get(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
        }
    }
    let server = start(&[&pair], "http = '1'").await;
    assert!(connect(&server, &connector(&[&pair], &["h2"], &TLS13), "localhost").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_versions_below_the_minimum_are_refused() {
    let pair = pair(&["localhost"]);
    let server = start(&[&pair], "").await;
    assert!(connect(&server, &connector(&[&pair], &[], &TLS12), "localhost").await.is_ok());
    let server = start(&[&pair], "tls.min_version = '1.3'").await;
    assert!(connect(&server, &connector(&[&pair], &[], &TLS12), "localhost").await.is_err());
    assert!(connect(&server, &connector(&[&pair], &[], &TLS13), "localhost").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_invalid_tls_handshake_ends_the_connection() {
    let server = start(&[&pair(&["localhost"])], "limits.header_timeout = '300ms'").await;
    let mut silent = server.connect().await;
    assert_eq!(silent.read_to_end().await, "");
    let mut plain = server.connect().await;
    plain.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = plain.read_to_end().await;
    assert!(!answer.contains("HTTP"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_scheme_of_a_request_over_tls() {
    let pair = pair(&["localhost"]);
    let upstream = Server::echo("trusted_proxies = ['127.0.0.0/8']").await;
    let files = Files::new();
    files.write("0.pem", &pair.cert.pem());
    files.write("0.key", &pair.signing_key.serialize_pem());
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\ntls.certificates = [{{ certificate = '0.pem', key = '0.key' }}]\n\
         [upstreams.app]\naddresses = ['http://{}']\n[[routes]]\nupstream = 'app'\n",
        upstream.addr
    );
    let server = Server::start_with(files, &config).await;
    let mut stream = connect(&server, &connector(&[&pair], &[], &TLS13), "localhost").await.expect("TLS");
    let answer = get(&mut stream).await;
    assert!(answer.contains(r#"["x-forwarded-proto","https"]"#), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_while_connections_are_open() {
    let (old, new) = (pair(&["localhost"]), pair(&["localhost"]));
    let server = start(&[&old], "").await;
    let mut open =
        connect(&server, &connector(&[&old], &[], &TLS13), "localhost").await.expect("the old one");
    server.files.write("0.pem", &new.cert.pem());
    server.files.write("0.key", &new.signing_key.serialize_pem());
    let trusts_new = connector(&[&new], &[], &TLS13);
    let start = std::time::Instant::now();
    while connect(&server, &trusts_new, "localhost").await.is_err() {
        assert!(start.elapsed() < 3 * crate::support::TIMEOUT, "the new one is not shown");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(get(&mut open).await.starts_with("HTTP/1.1 200 OK\r\n"));
}
