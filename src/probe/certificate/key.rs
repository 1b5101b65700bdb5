//! Whether a certificate and a private key belong together.
//!
//! A renewal that replaces one of two files leaves a server that does not start again. The key is looked
//! for in the certificate's own file and beside it, as ACME clients and Kubernetes lay it; it is compared
//! and forgotten.

use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::probe::small_file::read_blocking;

/// Whether the key that goes with the first certificate of a file is that certificate's. Nothing if there
/// is no key that may be read and understood: who watches certificates need not be able to read keys.
pub(super) fn matches(file: &Path, contents: &[u8], certificate_der: &[u8]) -> Option<bool> {
    is_of(contents, certificate_der).or_else(|| is_of(&read_blocking(&beside(file)?).ok()?, certificate_der))
}

/// Whether a key in PEM is a certificate's. Nothing if there is no key that is understood.
pub(super) fn is_of(pem: &[u8], certificate_der: &[u8]) -> Option<bool> {
    let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
    let of_key = any_supported_type(&key).ok()?.public_key()?.to_vec();
    let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    Some(certificate.public_key().raw == of_key.as_slice())
}

/// Where the key of a certificate lies: `tls.key` beside `tls.crt`, `privkey.pem` beside `fullchain.pem`.
fn beside(file: &Path) -> Option<PathBuf> {
    match file.file_name()?.to_str()? {
        "fullchain.pem" | "cert.pem" => Some(file.with_file_name("privkey.pem")),
        _ => Some(file.with_extension("key")).filter(|key| key != file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_looked_for_where_tools_lay_it() {
        let check = |file: &str, expected: Option<&str>| {
            assert_eq!(beside(Path::new(file)).as_deref(), expected.map(Path::new), "{file}");
        };
        check("/etc/tls/tls.crt", Some("/etc/tls/tls.key"));
        check("/etc/letsencrypt/live/a/fullchain.pem", Some("/etc/letsencrypt/live/a/privkey.pem"));
        check("/etc/tls/server.pem", Some("/etc/tls/server.key"));
        check("/etc/tls/server.key", None);
    }
}
