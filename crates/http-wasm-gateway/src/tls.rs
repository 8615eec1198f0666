//! Loads certificates, keys and CA certificates from PEM files, and gives advice about the certificates of servers.

use std::error::Error as StdError;
use std::io;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, RootCertStore};

/// What is wrong with a certificate and its key.
#[derive(Debug)]
pub(crate) enum PairFault {
    Certificate(String),
    Key(String),
    /// The key belongs to another certificate.
    Mismatch,
}

/// A certificate chain with its key, from the content of their files.
pub(crate) fn certified_key(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, PairFault> {
    let chain = certificates(certificate).map_err(PairFault::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        // In either of the two formats. The password can't be entered.
        let is_encrypted = key.windows(9).any(|word| word == b"ENCRYPTED");
        PairFault::Key(match is_encrypted {
            true => {
                "the private key has a password; remove it with `openssl pkey -in KEY -out NEW`".to_owned()
            }
            false => format!("no private key in PEM format ({error})"),
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

/// The CA certificates in the content of a file.
pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("invalid certificate: {error}"))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("not a PEM file ({error})"))?;
    if certificates.is_empty() {
        return Err("no certificate in PEM format".to_owned());
    }
    Ok(certificates)
}

/// What to do if connecting to a server fails because of its certificate, or because it requires one from the client.
pub(crate) fn advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return advice_on(error);
        }
        // An error wrapped in an I/O error isn't its source.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match within {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    None
}

fn advice_on(error: &Error) -> Option<&'static str> {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "it wasn't issued by a trusted CA; to trust a CA other than the public ones, set the upstream's \
             `tls.ca`",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("set the upstream's `tls.server_name` to the name that it is valid for"),
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string() == "CaUsedAsEndEntity" =>
        {
            Some(
                "it is a CA certificate, which a server must not present; issue one for the server, or \
                 create one \
                 with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`",
            )
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            Some("the server requires a client certificate; set the upstream's `tls.identity`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use tokio_rustls::rustls::client::WebPkiServerVerifier;
    use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::pki_types::UnixTime;
    use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

    use super::roots;
    use crate::error_text::Causes;

    #[test]
    fn server_certificate_errors_come_with_advice() {
        for (error, part) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "`tls.ca`"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "`tls.server_name`"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "`tls.identity`"),
        ] {
            // In the form in which a connector returns it.
            let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
            let message = Causes(&wrapped).to_string();
            assert!(message.contains(part), "{message}");
        }
        let message = Causes(&io::Error::other("broken")).to_string();
        assert_eq!(message, "broken");
    }

    #[test]
    fn an_authority_certificate_used_as_a_server_certificate_is_recognised() {
        let key = KeyPair::generate().expect("a key");
        let mut own = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = own.self_signed(&key).expect("a certificate");
        let roots = roots(own.pem().as_bytes()).expect("an authority");
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), default_provider().into());
        let verifier = verifier.build().expect("a verifier");
        let name = "localhost".try_into().expect("a name");
        let verified = verifier.verify_server_cert(own.der(), &[], &name, &[], UnixTime::now());
        let message = Causes(&verified.expect_err("it is a CA certificate")).to_string();
        assert!(message.contains("CA:FALSE"), "{message}");
    }
}
