//! Checks certificates and their keys.

use super::values::file;
use crate::config::fault::Fault;
use crate::config::model::Certificate;
use crate::config::read::{Context, Located};
use crate::tls::{self, PairFault};

/// A certificate and its key, which must match.
pub(super) fn check(pair: &Located<Certificate>, context: &mut Context) {
    let (certificate, key) = (&pair.certificate, &pair.key);
    if !certificate.was_read() || !key.was_read() {
        return;
    }
    let files = (file(certificate, "the certificate", context), file(key, "the key", context));
    let (Some(certificate_pem), Some(key_pem)) = files else { return };
    match tls::certified_key(&certificate_pem, &key_pem) {
        Ok(_) => {}
        Err(PairFault::Certificate(reason)) => {
            context.at(certificate.span(), format!("{}: {reason}", certificate.display()));
        }
        Err(PairFault::Key(reason)) => context.at(key.span(), format!("{}: {reason}", key.display())),
        Err(PairFault::Mismatch) => {
            let fault = Fault::new(key.span(), "this key doesn't match the certificate");
            context.fault(fault.related(certificate.span(), "the certificate"));
        }
    }
}
