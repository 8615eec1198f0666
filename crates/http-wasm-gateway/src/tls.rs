//! Certificates, keys and authorities from PEM files.

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, RootCertStore};

/// What is wrong with a certificate and its key.
#[derive(Debug)]
pub(crate) enum PairFault {
    Certificate(String),
    Key(String),
    /// The key is another certificate's.
    Mismatch,
}

/// A certificate chain with its key, from the contents of their files.
pub(crate) fn certified_key(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, PairFault> {
    let chain = certificates(certificate).map_err(PairFault::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        // In either of its two forms; nobody is there to be asked for a password.
        let is_encrypted = key.windows(9).any(|word| word == b"ENCRYPTED");
        PairFault::Key(match is_encrypted {
            true => {
                "the private key has a password; one without is written by `openssl pkey -in KEY -out NEW`"
                    .to_owned()
            }
            false => format!("there is no private key in PEM in it ({error})"),
        })
    })?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => PairFault::Mismatch,
        Error::InvalidCertificate(_) => {
            PairFault::Certificate(format!("the certificate is not valid: {error}"))
        }
        error => PairFault::Key(format!("the key can't be used: {error}")),
    })
}

/// The authorities in the contents of a file.
pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("a certificate in it can't be used: {error}"))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("it is no PEM file ({error})"))?;
    if certificates.is_empty() {
        return Err("there is no certificate in PEM in it".to_owned());
    }
    Ok(certificates)
}
