//! What a server staples to its certificate: an authority's word that it is not revoked.
//!
//! Source: RFC 6960, section 4.2.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::verdict::algorithms;
use crate::probe::der::{
    BIT_STRING, ENUMERATED, Element, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader,
    SEQUENCE, explicit, implicit,
};

/// `id-pkix-ocsp-basic`, the only kind of response there is.
const BASIC_RESPONSE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// How many certificates of a response are looked at: one signs it.
const MAX_SIGNERS: usize = 4;

/// What an authority says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Not revoked.
    Good,
    /// Revoked at this time (in seconds since the Unix epoch).
    Revoked(i64),
    /// The authority does not know the certificate.
    Unknown,
}

impl Status {
    /// The value of `ssl_ocsp_response_status`.
    pub(super) fn number(self) -> f64 {
        match self {
            Self::Good => 0.0,
            Self::Revoked(_) => 1.0,
            Self::Unknown => 2.0,
        }
    }
}

/// A stapled response; times in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Staple {
    pub(super) status: Status,
    pub(super) produced_at: i64,
    pub(super) this_update: i64,
    pub(super) next_update: Option<i64>,
    /// Whether the certificate's issuer, or whom it charged with that, signed it. Otherwise anybody may
    /// have written it.
    pub(super) verified: bool,
}

impl Staple {
    /// Reads the part of `response` that is about the certificate with this serial number (the contents
    /// of its DER form). `issuers` are the certificates that may have signed that one; `now` is in
    /// seconds since the Unix epoch. `None` if there is no such part.
    pub(super) fn read(
        response: &[u8],
        serial: &[u8],
        issuers: &[&CertificateDer<'_>],
        now: i64,
    ) -> Option<Self> {
        let mut outer = Reader(response).take(SEQUENCE)?.reader();
        // Anything but 0 is an error of the authority, without a response.
        outer.take(ENUMERATED).filter(|status| status.content == [0])?;
        let mut typed = outer.take(explicit(0))?.reader().take(SEQUENCE)?.reader();
        typed.take(OBJECT_IDENTIFIER).filter(|kind| kind.content == BASIC_RESPONSE)?;
        let mut basic = typed.take(OCTET_STRING)?.reader().take(SEQUENCE)?.reader();
        let signed = basic.take(SEQUENCE)?;
        let algorithm = basic.take(SEQUENCE)?.content;
        let signature = basic.take(BIT_STRING)?.bits()?;
        let delegates = basic.take(explicit(0)).and_then(|list| list.reader().take(SEQUENCE));

        let mut data = signed.reader();
        data.take(explicit(0));
        // Who answers, by name or by key: the signature tells.
        data.next()?;
        let produced_at = data.take(GENERALIZED_TIME)?.time()?;
        let mut singles = data.take(SEQUENCE)?.reader();
        let single = std::iter::from_fn(|| singles.take(SEQUENCE)).find_map(|single| {
            let mut single = single.reader();
            let mut id = single.take(SEQUENCE)?.reader();
            id.take(SEQUENCE)?;
            id.take(OCTET_STRING)?;
            id.take(OCTET_STRING)?;
            id.take(INTEGER).filter(|number| number.content == serial)?;
            Some(single)
        });
        let mut single = single?;
        let status = single.next()?;
        let status = if status.tag == implicit(0) {
            Status::Good
        } else if status.tag == explicit(1) {
            Status::Revoked(status.reader().take(GENERALIZED_TIME)?.time()?)
        } else {
            Status::Unknown
        };
        let this_update = single.take(GENERALIZED_TIME)?.time()?;
        let next_update =
            single.take(explicit(0)).and_then(|next| next.reader().take(GENERALIZED_TIME)?.time());

        let signed_by = |certificate: &[u8]| {
            public_key(certificate).is_some_and(|key| is_signed(key, algorithm, signed.whole, signature))
        };
        let mut delegates = delegates.map_or(Reader(&[]), Element::reader);
        let verified = issuers.iter().any(|issuer| signed_by(issuer))
            || std::iter::from_fn(|| delegates.take(SEQUENCE)).take(MAX_SIGNERS).any(|delegate| {
                issuers.iter().any(|issuer| is_delegate(delegate.whole, issuer, now))
                    && signed_by(delegate.whole)
            });
        Some(Self { status, produced_at, this_update, next_update, verified })
    }

    /// Whether its time has come and is not over at `now` (seconds since the Unix epoch).
    pub(super) fn is_current_at(&self, now: i64) -> bool {
        self.this_update <= now && self.next_update.is_none_or(|next| now <= next)
    }
}

/// The `SubjectPublicKeyInfo` of a certificate.
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut body = Reader(certificate).take(SEQUENCE)?.reader().take(SEQUENCE)?.reader();
    body.take(explicit(0));
    body.take(INTEGER)?;
    // How it is signed, by whom, its dates and its subject.
    for _ in 0..4 {
        body.take(SEQUENCE)?;
    }
    body.take(SEQUENCE).map(|key| key.whole)
}

/// Whether `issuer` charged the holder of this certificate with answering in its stead.
fn is_delegate(certificate: &[u8], issuer: &CertificateDer<'_>, now: i64) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let validity = parsed.validity();
    let is_valid = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now);
    let may_answer = parsed.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.ocsp_signing);
    let signed = || {
        let mut parts = Reader(certificate).take(SEQUENCE)?.reader();
        let body = parts.take(SEQUENCE)?.whole;
        let algorithm = parts.take(SEQUENCE)?.content;
        let signature = parts.take(BIT_STRING)?.bits()?;
        Some(is_signed(public_key(issuer)?, algorithm, body, signature))
    };
    is_valid && may_answer && signed().unwrap_or(false)
}

/// Whether `signature` of `message` was made with `key` (a `SubjectPublicKeyInfo`).
fn is_signed(key: &[u8], algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let parts = || {
        let mut parts = Reader(key).take(SEQUENCE)?.reader();
        Some((parts.take(SEQUENCE)?.content, parts.take(BIT_STRING)?.bits()?))
    };
    let Some((key_algorithm, key)) = parts() else { return false };
    algorithms().iter().any(|candidate| {
        candidate.signature_alg_id().as_ref() == algorithm
            && candidate.public_key_alg_id().as_ref() == key_algorithm
            && candidate.verify_signature(key, message, signature).is_ok()
    })
}
