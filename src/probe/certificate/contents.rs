//! What bytes with certificates hold: PEM, DER or PKCS#12.

use std::collections::BTreeMap;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::crl::RevocationList;
use super::pem;
use super::pkcs12::{self, Pkcs12Error};
use super::reason::{Fault, Reason};
use crate::model::Secret;
use crate::probe::x509::Certificate;

/// How many certificates of one file are looked at. A machine's whole trust store has about 150.
const MAX_CERTIFICATES: usize = 500;

/// How many faults of one file are noted.
const MAX_FAULTS: usize = 20;

/// What opens keystores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Password {
    /// Nothing is configured: those without a password can be opened.
    None,
    Known(Secret),
    /// It cannot be had, for this reason.
    Missing(String),
}

impl Password {
    /// What is tried. A keystore without a password may lie beside one that has one.
    fn candidates(&self) -> impl Iterator<Item = &str> {
        let known = match self {
            Self::Known(password) => Some(password.expose()),
            Self::None | Self::Missing(_) => None,
        };
        known.into_iter().chain([""])
    }

    /// Why a keystore cannot be opened with it.
    fn refusal(&self) -> Fault {
        let text = match self {
            Self::None => "PKCS#12: it has a password, and none is configured".to_owned(),
            Self::Known(_) => Pkcs12Error::WrongPassword.to_string(),
            Self::Missing(error) => format!("PKCS#12: the password cannot be had: {error}"),
        };
        Fault::new(Reason::BadPassphrase, text)
    }
}

/// What one file holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// Each certificate once, in the order of the file.
    pub(super) certificates: Vec<Certificate>,
    /// The first of them as it is.
    pub(super) first_der: Option<Vec<u8>>,
    /// Each revocation list once.
    pub(super) revocation_lists: Vec<RevocationList>,
    pub(super) faults: Vec<Fault>,
    /// Whether it is PKCS#12.
    pub(super) is_keystore: bool,
    /// Certificates and revocation lists beyond those that are looked at.
    left_out: usize,
}

impl Contents {
    /// Reads PEM if there is any, else DER or PKCS#12. PEM without certificates, such as a key, is no
    /// fault. Blocks for a keystore, whose password is hashed many times.
    pub(super) fn of(bytes: &[u8], password: &Password) -> Self {
        let mut contents = Self::default();
        if contents.pem(bytes) {
            // There is nothing else.
        } else if bytes.is_empty() {
            contents.fault(Fault::new(Reason::NoCertificateFound, "it is empty"));
        } else if pkcs12::looks_like(bytes) {
            contents.is_keystore = true;
            contents.keystore(bytes, password);
        } else if let Some(list) = RevocationList::parse(bytes) {
            contents.revocation_list(list);
        } else {
            contents.certificate(bytes, |error| {
                Fault::new(Reason::BadDer, format!("neither PEM nor DER nor PKCS#12: {error}"))
            });
        }
        if contents.left_out > 0 {
            let text =
                format!("{} certificates after the first {MAX_CERTIFICATES} are left out", contents.left_out);
            contents.faults.push(Fault::new(Reason::ReadFailed, text));
        }
        contents
    }

    /// Reads PEM; yields whether there is any. A section that is broken hides no other.
    fn pem(&mut self, bytes: &[u8]) -> bool {
        let sections = pem::sections(bytes);
        for (index, section) in sections.iter().enumerate() {
            let bad = |reason, error: &dyn std::fmt::Display| {
                Fault::new(reason, error.to_string()).at(format_args!("section {}", index + 1))
            };
            let not_pem = |error| bad(Reason::BadPem, &format_args!("not PEM: {error}"));
            match &*section.label {
                // OpenSSL's old name, and its name for a certificate and then what it is trusted for.
                "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                    match section.decode_as_certificate() {
                        Ok(der) => {
                            let is_trusted = section.label.starts_with("TRUSTED");
                            let der = if is_trusted { without_trust(&der) } else { &der };
                            self.certificate(der, |error| bad(Reason::BadPem, &error));
                        }
                        Err(error) => self.fault(not_pem(error)),
                    }
                }
                "X509 CRL" => match section.decode().map(|der| RevocationList::parse(&der)) {
                    Ok(Some(list)) => self.revocation_list(list),
                    Ok(None) => self.fault(bad(Reason::BadCrl, &"not an X.509 revocation list")),
                    Err(error) => self.fault(not_pem(error)),
                },
                _ => {}
            }
        }
        !sections.is_empty()
    }

    fn keystore(&mut self, bytes: &[u8], password: &Password) {
        let mut opened = Err(Pkcs12Error::WrongPassword);
        for candidate in password.candidates() {
            opened = pkcs12::open(bytes, candidate);
            if opened != Err(Pkcs12Error::WrongPassword) {
                break;
            }
        }
        let found = match opened {
            Ok(found) => found,
            Err(Pkcs12Error::WrongPassword) => return self.fault(password.refusal()),
            Err(other) => return self.fault(Fault::new(Reason::BadPkcs12, other.to_string())),
        };
        for (index, der) in found.certificates.iter().enumerate() {
            self.certificate(der, |error| {
                Fault::new(Reason::BadPkcs12, format!("PKCS#12: certificate {}: {error}", index + 1))
            });
        }
        for (index, der) in found.revocation_lists.iter().enumerate() {
            match RevocationList::parse(der) {
                Some(list) => self.revocation_list(list),
                None => {
                    let text = format!("PKCS#12: revocation list {}: not one of X.509", index + 1);
                    self.fault(Fault::new(Reason::BadCrl, text));
                }
            }
        }
    }

    /// Nothing, for this reason.
    pub(super) fn missing(fault: Fault) -> Self {
        Self { faults: vec![fault], ..Self::default() }
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Whether there is room for one more, which otherwise counts as left out.
    fn has_room(&mut self) -> bool {
        let has_room = self.certificates.len() + self.revocation_lists.len() < MAX_CERTIFICATES;
        self.left_out += usize::from(!has_room);
        has_room
    }

    fn certificate(&mut self, der: &[u8], fault: impl FnOnce(String) -> Fault) {
        if !self.has_room() {
            return;
        }
        match Certificate::parse(der) {
            Ok(certificate) => {
                let print = &certificate.fingerprint_sha256;
                if !self.certificates.iter().any(|known| known.fingerprint_sha256 == *print) {
                    self.first_der.get_or_insert_with(|| der.to_vec());
                    self.certificates.push(certificate);
                }
            }
            Err(error) => self.fault(fault(error.to_string())),
        }
    }

    fn revocation_list(&mut self, list: RevocationList) {
        if self.has_room() && !self.revocation_lists.contains(&list) {
            self.revocation_lists.push(list);
        }
    }

    /// Of each certificate, whether another one of the file has the same labels.
    pub(super) fn ambiguous(&self) -> Vec<bool> {
        let identities: Vec<_> = self.certificates.iter().map(super::identity).collect();
        let mut counts = BTreeMap::new();
        for identity in &identities {
            *counts.entry(identity).or_insert(0) += 1;
        }
        identities.iter().map(|identity| counts[identity] > 1).collect()
    }
}

/// The first element of DER, without what follows it.
fn without_trust(der: &[u8]) -> &[u8] {
    match X509Certificate::from_der(der) {
        Ok((rest, _)) => &der[..der.len() - rest.len()],
        Err(_) => der,
    }
}
