//! TLS of a listener: which certificate a client gets, and how certificates are replaced while the listener serves.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, ServerConfig};

use crate::config::{Certificate, ListenHttp, ListenTls, TlsVersion};
use crate::error_text::plain;
use crate::tls::{PairFault, certified_key};

/// How often it is looked whether files of certificates have changed. Whoever renews them does so days before they expire.
const LOOK: Duration = Duration::from_secs(10);

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// TLS of one listener.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(tls: &ListenTls, http: ListenHttp) -> Result<Self, String> {
        let certificates = Arc::new(Certificates(RwLock::new(Arc::new(Loaded::load(tls)?))));
        let versions: &[_] = match tls.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error: Error| error.to_string())?;
        let mut config = config.with_no_client_auth().with_cert_resolver(certificates.clone());
        config.alpn_protocols = match http {
            ListenHttp::Auto => vec![HTTP2.to_vec(), HTTP1.to_vec()],
            ListenHttp::Http1 => vec![HTTP1.to_vec()],
            ListenHttp::Http2 => vec![HTTP2.to_vec()],
        };
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificates })
    }

    pub(super) fn certificates(&self) -> Arc<Certificates> {
        self.certificates.clone()
    }
}

/// The version of HTTP that was agreed to; none, the client did not say.
pub(super) fn agreed(protocol: Option<&[u8]>) -> Option<ListenHttp> {
    match protocol? {
        HTTP2 => Some(ListenHttp::Http2),
        HTTP1 => Some(ListenHttp::Http1),
        _ => None,
    }
}

/// The certificates of all listeners, by address as configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllCertificates(pub(super) Vec<(String, Arc<Certificates>)>);

impl AllCertificates {
    /// Loads certificates again when their files change, for as long as it is polled.
    pub(crate) async fn watch(&self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            for (address, certificates) in &self.0 {
                certificates.look(address);
            }
        }
    }
}

/// What one listener shows its clients.
#[derive(Debug)]
pub(crate) struct Certificates(RwLock<Arc<Loaded>>);

impl Certificates {
    fn current(&self) -> Arc<Loaded> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, loaded: Loaded) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
    }

    /// Loads the certificates again if their files have changed since.
    fn look(&self, address: &str) {
        let current = self.current();
        if current.files == modified(&current.tls) {
            return;
        }
        match Loaded::load(&current.tls) {
            Ok(loaded) => {
                self.replace(loaded);
                tracing::info!(address, "certificates have changed, and were loaded");
            }
            // A renewal writes two files: between them they do not belong together. So it is tried again, and again.
            Err(reason) => {
                tracing::warn!(
                    address,
                    reason,
                    "certificates have changed, but can't be used: the old ones stay"
                );
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current();
        let named = hello.server_name().and_then(|name| {
            let name = ServerName::try_from(name).ok()?;
            current.keys.iter().find(|key| is_for(key, &name))
        });
        named.or(current.keys.first()).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

/// Certificates as they were in their files.
#[derive(Debug)]
struct Loaded {
    tls: ListenTls,
    /// In the order of the configuration.
    keys: Vec<Arc<CertifiedKey>>,
    files: Vec<Option<SystemTime>>,
}

impl Loaded {
    fn load(tls: &ListenTls) -> Result<Self, String> {
        // Asked for first: should they change in between, they are loaded once more.
        let files = modified(tls);
        let keys = tls.certificates.iter().map(|pair| load(pair).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Self { tls: tls.clone(), keys, files })
    }
}

fn load(pair: &Certificate) -> Result<CertifiedKey, String> {
    let (certificate, key) = (&pair.certificate.value, &pair.key.value);
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| format!("{} can't be read: {}", path.display(), plain(&error)))
    };
    certified_key(&read(certificate)?, &read(key)?).map_err(|fault| match fault {
        PairFault::Certificate(reason) => format!("{}: {reason}", certificate.display()),
        PairFault::Key(reason) => format!("{}: {reason}", key.display()),
        PairFault::Mismatch => {
            format!("the key {} does not belong to the certificate {}", key.display(), certificate.display())
        }
    })
}

/// When the files were last written to.
fn modified(tls: &ListenTls) -> Vec<Option<SystemTime>> {
    let paths = tls.certificates.iter().flat_map(|pair| [&pair.certificate.value, &pair.key.value]);
    paths.map(|path| path.metadata().and_then(|metadata| metadata.modified()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::{AllCertificates, Certificates, Loaded, RwLock};
    use crate::config::{Certificate, ListenTls, Located};

    const CERTIFICATE: &str = include_str!("../../tests/fixtures/localhost.pem");
    const KEY: &str = include_str!("../../tests/fixtures/localhost.key.pem");
    const OTHER_KEY: &str = include_str!("../../tests/fixtures/other.key.pem");

    fn certificates(files: &TempDir) -> (Arc<Certificates>, PathBuf) {
        let path = |name: &str| files.path().join(name);
        fs::write(path("cert"), CERTIFICATE).unwrap();
        fs::write(path("key"), KEY).unwrap();
        let pair = Certificate { certificate: path("cert").into(), key: path("key").into() };
        let tls = ListenTls { certificates: Located::from(pair).into(), ..ListenTls::default() };
        (Arc::new(Certificates(RwLock::new(Arc::new(Loaded::load(&tls).unwrap())))), path("key"))
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_change_are_loaded_again_and_a_bad_pair_changes_nothing() {
        let files = tempfile::tempdir().unwrap();
        let (certificates, key) = certificates(&files);
        let all = AllCertificates(vec![("a".to_owned(), certificates.clone())]);
        let first = certificates.current();
        let looked = async |times: u32| {
            let _ = tokio::time::timeout(super::LOOK * times, all.watch()).await;
        };
        looked(3).await;
        assert!(Arc::ptr_eq(&first, &certificates.current()), "nothing has changed");

        let later = |seconds| first.files[1].unwrap() + std::time::Duration::from_secs(seconds);
        fs::write(&key, OTHER_KEY).unwrap();
        fs::File::options().write(true).open(&key).unwrap().set_modified(later(1)).unwrap();
        looked(3).await;
        assert!(Arc::ptr_eq(&first, &certificates.current()), "they don't belong together");

        fs::write(&key, KEY).unwrap();
        fs::File::options().write(true).open(&key).unwrap().set_modified(later(2)).unwrap();
        looked(3).await;
        assert!(!Arc::ptr_eq(&first, &certificates.current()));
    }
}
