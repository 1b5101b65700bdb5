//! Judging a server's certificates: every fault, not just the first.
//!
//! Pure: what is judged, what is trusted and the time all come from outside.

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};

use super::provider;
use super::trust::TrustStore;
use crate::probe::x509::Certificate;

/// The longest chain that is followed from a leaf to an authority, and how many of them.
/// Source: webpki follows 6 intermediates.
const MAX_PATH_LENGTH: usize = 7;
const MAX_PATHS: usize = 8;

/// What verification of a certificate may find: the values of the label `reason` of
/// `valmis_tls_verify_result`. Revocation is not looked at, so it is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifyReason {
    /// The certificate, or one needed to reach a trusted authority, is expired.
    Expired,
    /// The certificate, or one needed to reach a trusted authority, is not valid yet.
    NotYetValid,
    /// No chain leads to a trusted authority.
    UnknownIssuer,
    /// The certificate is not for the name by which the server was addressed.
    NameMismatch,
    /// As [`Self::UnknownIssuer`] (and reported in its stead), where the certificate is its own issuer.
    SelfSigned,
    /// A signature in the chain, or the server's proof that it owns the key, is wrong.
    BadSignature,
    /// Anything else: a certificate that cannot be parsed, an unsupported algorithm or critical
    /// extension, a violated constraint.
    Other,
}

impl VerifyReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::NameMismatch,
        Self::SelfSigned,
        Self::BadSignature,
        Self::Other,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownIssuer => "unknown_issuer",
            Self::NameMismatch => "name_mismatch",
            Self::SelfSigned => "self_signed",
            Self::BadSignature => "bad_signature",
            Self::Other => "other",
        }
    }
}

/// The outcome of verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong, each reason once, with an explanation for people.
    findings: Vec<(VerifyReason, String)>,
    /// When the longest-lived of the chains to a trusted authority ends (in seconds since the Unix
    /// epoch): the earliest end among its certificates, the authority's included. `None` if no chain is
    /// valid now.
    pub chain_expiry: Option<i64>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether this is wrong.
    pub fn has(&self, reason: VerifyReason) -> bool {
        self.findings.iter().any(|(found, _)| *found == reason)
    }

    /// Everything that is wrong, for people.
    pub fn explain(&self) -> String {
        let texts: Vec<&str> = self.findings.iter().map(|(_, text)| text.as_str()).collect();
        texts.join("; ")
    }

    /// Adds a finding; the first of each reason is kept.
    pub(super) fn add(&mut self, reason: VerifyReason, explanation: impl Into<String>) {
        if !self.has(reason) {
            self.findings.push((reason, explanation.into()));
        }
    }

    /// Adds what a verification function of rustls found.
    pub(super) fn add_error(&mut self, what: &str, error: &rustls::Error) {
        let reason = match error {
            rustls::Error::InvalidCertificate(fault) => reason_of(fault),
            _ => VerifyReason::Other,
        };
        let text = match error {
            rustls::Error::InvalidCertificate(fault) => fault.to_string(),
            other => other.to_string(),
        };
        self.add(reason, format!("{what}: {text}"));
    }
}

fn reason_of(error: &CertificateError) -> VerifyReason {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => VerifyReason::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            VerifyReason::NotYetValid
        }
        CertificateError::UnknownIssuer => VerifyReason::UnknownIssuer,
        CertificateError::BadSignature => VerifyReason::BadSignature,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            VerifyReason::NameMismatch
        }
        _ => VerifyReason::Other,
    }
}

/// Judges `chain` (leaf first, as the server sent it) of the server that was addressed as `name`.
pub(super) fn judge(
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    trust: &TrustStore,
    now: UnixTime,
) -> Verdict {
    let mut verdict = Verdict::default();
    let Some((leaf_der, intermediates)) = chain.split_first() else {
        verdict.add(VerifyReason::Other, "the server sent no certificate");
        return verdict;
    };
    let leaf = match Certificate::parse(leaf_der) {
        Ok(leaf) => leaf,
        Err(error) => {
            verdict.add(VerifyReason::Other, error.to_string());
            return verdict;
        }
    };
    judge_dates(&leaf, now, &mut verdict);
    match ParsedCertificate::try_from(leaf_der) {
        Ok(parsed) => {
            judge_chain(leaf_der, &leaf, &parsed, intermediates, trust, now, &mut verdict);
            if let Err(error) = verify_server_name(&parsed, name) {
                let sans = leaf.dns_names.iter().map(|dns| format!("`{dns}`")).collect::<Vec<_>>().join(", ");
                let explanation = format!("valid for {sans}, not for `{}`", name.to_str());
                match error {
                    rustls::Error::InvalidCertificate(fault)
                        if reason_of(&fault) == VerifyReason::NameMismatch =>
                    {
                        verdict.add(VerifyReason::NameMismatch, explanation);
                    }
                    other => verdict.add_error("name", &other),
                }
            }
        }
        Err(error) => verdict.add_error("certificate", &error),
    }
    verdict
}

fn judge_dates(leaf: &Certificate, now: UnixTime, verdict: &mut Verdict) {
    let now = seconds(now);
    if leaf.is_expired_at(now) {
        let explanation = format!("expired {} s ago, at {}", now - leaf.not_after, instant(leaf.not_after));
        verdict.add(VerifyReason::Expired, explanation);
    }
    if leaf.is_not_yet_valid_at(now) {
        let explanation =
            format!("not valid for another {} s, before {}", leaf.not_before - now, instant(leaf.not_before));
        verdict.add(VerifyReason::NotYetValid, explanation);
    }
}

/// Whether a chain leads to a trusted authority, now and, if dates are in the way, at a time when they
/// are not.
fn judge_chain(
    leaf_der: &CertificateDer<'_>,
    leaf: &Certificate,
    parsed: &ParsedCertificate<'_>,
    intermediates: &[CertificateDer<'_>],
    trust: &TrustStore,
    now: UnixTime,
    verdict: &mut Verdict,
) {
    // A certificate that was put into `ca_file` itself is trusted as it is, also if it calls itself an
    // authority, as those from `openssl req -x509` do. Source: Go, `Certificate.Verify`.
    if trust.contains(leaf_der) {
        if verdict.is_ok() {
            verdict.chain_expiry = Some(leaf.not_after);
        }
        return;
    }
    let verify = |roots: &RootCertStore, at| {
        verify_server_cert_signed_by_trust_anchor(parsed, roots, intermediates, at, algorithms())
    };
    let Err(mut error) = verify(&trust.roots, now) else {
        verdict.chain_expiry = last_chain_expiry(leaf_der, leaf, intermediates, trust, now);
        return;
    };
    if is_about_dates(&error) {
        verdict.add_error("chain", &error);
        // A chain whose certificates are ever valid together is valid when the last of them begins.
        let begins = intermediates
            .iter()
            .filter_map(|der| Certificate::parse(der).ok())
            .map(|certificate| certificate.not_before)
            .chain([leaf.not_before]);
        let mut other_fault = None;
        for begin in begins {
            match verify(&trust.roots, unix_time(begin)) {
                Ok(()) => return,
                Err(fault) if is_about_dates(&fault) => {}
                Err(fault) => other_fault = Some(fault),
            }
        }
        let Some(fault) = other_fault else { return };
        error = fault;
    }
    if leaf.is_self_issued() {
        verdict.add(VerifyReason::SelfSigned, "self-signed, and not trusted itself");
    } else if error == rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) {
        let hint = if trust.is_empty() { "; there are no trusted authorities at all" } else { "" };
        let explanation =
            format!("no chain leads to a trusted authority from issuer `{}`{hint}", leaf.issuer);
        verdict.add(VerifyReason::UnknownIssuer, explanation);
    } else {
        verdict.add_error("chain", &error);
    }
}

fn is_about_dates(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(fault) = error else { return false };
    matches!(reason_of(fault), VerifyReason::Expired | VerifyReason::NotYetValid)
}

/// The end of the chain that ends last, of those that are valid now.
/// Source: blackbox exporter `prober/tls.go`, `getLastChainExpiry`.
fn last_chain_expiry(
    leaf_der: &CertificateDer<'_>,
    leaf: &Certificate,
    intermediates: &[CertificateDer<'_>],
    trust: &TrustStore,
    now: UnixTime,
) -> Option<i64> {
    let known: Vec<(&CertificateDer<'_>, Certificate)> = intermediates
        .iter()
        .filter_map(|der| Certificate::parse(der).ok().map(|certificate| (der, certificate)))
        .collect();
    let parsed = ParsedCertificate::try_from(leaf_der).ok()?;
    let mut last = None;
    let mut paths = 0;
    // Paths from the leaf, as indices into `known`, that are yet to be continued.
    let mut open: Vec<Vec<usize>> = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let tip = path.last().map_or(leaf, |index| &known[*index].1);
        for anchor in trust.with_subject(&tip.issuer.der) {
            paths += 1;
            if paths > MAX_PATHS {
                return last;
            }
            let mut only = RootCertStore::empty();
            let between: Vec<CertificateDer<'_>> = path.iter().map(|index| known[*index].0.clone()).collect();
            let verified = only.add(anchor.der.clone()).is_ok()
                && verify_server_cert_signed_by_trust_anchor(&parsed, &only, &between, now, algorithms())
                    .is_ok();
            if verified {
                let ends = path.iter().map(|index| known[*index].1.not_after);
                let end = ends.chain([leaf.not_after, anchor.certificate.not_after]).min();
                last = last.max(end);
            }
        }
        if path.len() + 1 < MAX_PATH_LENGTH {
            for (index, (_, issuer)) in known.iter().enumerate() {
                if issuer.subject.der == tip.issuer.der && !path.contains(&index) {
                    let mut longer = path.clone();
                    longer.push(index);
                    open.push(longer);
                }
            }
        }
    }
    last
}

fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    provider().signature_verification_algorithms.all
}

fn seconds(at: UnixTime) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

fn unix_time(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// An instant as people read it.
fn instant(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds}"), |at| at.to_string())
}
