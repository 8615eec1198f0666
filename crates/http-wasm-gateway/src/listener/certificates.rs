//! The certificates of listeners: selects the one for a client, and reloads them while listeners serve.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, Error, KeyUsage};

use super::status::CertificateStatus;
use super::subject_addresses;
use crate::config::{Certificate, ListenTls};
use crate::error_text::plain;
use crate::fingerprint::Fingerprints;
use crate::tls::{PairFault, certified_key};

/// How often the certificate files are checked for changes. Certificates are renewed days before they expire.
const INTERVAL: Duration = Duration::from_secs(10);

/// Reloads the certificates of all listeners when their files change, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct CertificateWatcher {
    watched: Arc<Mutex<Vec<Weak<Certificates>>>>,
    task: JoinSet<()>,
}

impl CertificateWatcher {
    /// Also watches these certificates, while their listener exists. Must be called within a runtime.
    pub(super) fn watch(&mut self, certificates: &Arc<Certificates>) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(certificates));
        if self.task.is_empty() {
            self.task.spawn(watch_all(self.watched.clone()));
        }
    }
}

async fn watch_all(watched: Arc<Mutex<Vec<Weak<Certificates>>>>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let certificates: Vec<_> = {
            let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.retain(|certificates| certificates.strong_count() > 0);
            watched.iter().filter_map(Weak::upgrade).collect()
        };
        let check = move || certificates.iter().for_each(|certificates| certificates.reload_if_changed());
        if let Err(error) = tokio::task::spawn_blocking(check).await {
            tracing::error!(%error, "checking certificates for changes failed");
        }
    }
}

/// The certificates of one listener.
#[derive(Debug)]
pub(super) struct Certificates {
    /// The listener's address, as configured.
    address: String,
    loaded: RwLock<Arc<LoadedCertificates>>,
}

impl Certificates {
    /// Loads the certificates of the listener at `address`.
    ///
    /// # Errors
    /// If a file can't be read, or contains no certificate, or no key for the certificate.
    pub(super) fn load(address: &str, tls: &ListenTls) -> Result<Self, String> {
        let loaded = RwLock::new(Arc::new(LoadedCertificates::load(tls)?));
        Ok(Self { address: address.to_owned(), loaded })
    }

    /// The names and expiry dates of the certificates.
    pub(super) fn status(&self) -> Vec<CertificateStatus> {
        self.current().keys.iter().filter_map(|key| status(key.end_entity_cert().ok()?)).collect()
    }

    fn current(&self) -> Arc<LoadedCertificates> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, loaded: LoadedCertificates) {
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
    }

    /// Reloads the certificates if their files have changed. Blocks.
    fn reload_if_changed(&self) {
        let address = &*self.address;
        let current = self.current();
        if current.files == fingerprints(&current.tls) {
            return;
        }
        match LoadedCertificates::load(&current.tls) {
            Ok(loaded) => {
                self.replace(loaded);
                tracing::info!(address, "certificates have changed and were reloaded");
            }
            // A renewal writes two files, which don't match in between, so this is retried.
            Err(reason) => {
                tracing::warn!(
                    address,
                    reason,
                    "certificates have changed but can't be used; keeping the old ones"
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

fn status(der: &CertificateDer<'_>) -> Option<CertificateStatus> {
    let certificate = EndEntityCert::try_from(der).ok()?;
    let addresses = subject_addresses::of(der).into_iter().map(|address| address.to_string());
    // The verifier doesn't report when the certificate expires, only that it has expired, which it checks first.
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let checked =
        certificate.verify_for_usage(&[], &[], &[], end_of_time, KeyUsage::server_auth(), None, None);
    let Err(Error::CertExpired { not_after, .. }) = checked else { return None };
    Some(CertificateStatus {
        names: certificate.valid_dns_names().map(str::to_owned).chain(addresses).collect(),
        not_after: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))?,
    })
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

/// Certificates as read from their files.
#[derive(Debug)]
struct LoadedCertificates {
    tls: ListenTls,
    /// The keys, in the order of the configuration.
    keys: Vec<Arc<CertifiedKey>>,
    files: Fingerprints,
}

impl LoadedCertificates {
    fn load(tls: &ListenTls) -> Result<Self, String> {
        // The fingerprints are taken first, so that the files are loaded again if they change meanwhile.
        let files = fingerprints(tls);
        let keys = tls.certificates.iter().map(|pair| load(pair).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Self { tls: tls.clone(), keys, files })
    }
}

fn load(pair: &Certificate) -> Result<CertifiedKey, String> {
    let (certificate, key) = (&pair.certificate.value, &pair.key.value);
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| format!("cannot read {}: {}", path.display(), plain(&error)))
    };
    certified_key(&read(certificate)?, &read(key)?).map_err(|fault| match fault {
        PairFault::Certificate(reason) => format!("{}: {reason}", certificate.display()),
        PairFault::Key(reason) => format!("{}: {reason}", key.display()),
        PairFault::Mismatch => {
            format!("the key {} doesn't match the certificate {}", key.display(), certificate.display())
        }
    })
}

/// The fingerprints of the files.
fn fingerprints(tls: &ListenTls) -> Fingerprints {
    let paths = tls.certificates.iter().flat_map(|pair| [&pair.certificate.value, &pair.key.value]);
    Fingerprints::of(paths.cloned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::{CertificateWatcher, Certificates, INTERVAL};
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
        (Arc::new(Certificates::load("a", &tls).unwrap()), path("key"))
    }

    #[tokio::test(start_paused = true)]
    async fn changed_certificate_files_are_reloaded_and_an_invalid_pair_changes_nothing() {
        let files = tempfile::tempdir().unwrap();
        let (certificates, key) = certificates(&files);
        let mut watcher = CertificateWatcher::default();
        watcher.watch(&certificates);
        let first = certificates.current();
        // The paused clock only advances once checking is done.
        let looked = async |times: u32| tokio::time::sleep(INTERVAL * times).await;
        looked(3).await;
        assert!(Arc::ptr_eq(&first, &certificates.current()), "nothing has changed");

        let later = |seconds| std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
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
