//! Judging a server's certificates: every fault, not just the first.
//!
//! Pure: what is judged, what is trusted and the time all come from outside.

use std::sync::Arc;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};

use super::path::{Presented, paths};
use super::provider;
use super::trust::TrustStore;
use crate::probe::x509::Certificate;

/// What verification of a certificate may find: the values of the label `reason` of
/// `valmis_tls_verify_result`. Of revocation only that is known which the server itself staples.
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
    /// The authority says, in a response that the server stapled, that the certificate is revoked.
    Revoked,
    /// Anything else: a certificate that cannot be parsed, an unsupported algorithm or critical
    /// extension, a violated constraint.
    Other,
}

impl VerifyReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::NameMismatch,
        Self::SelfSigned,
        Self::BadSignature,
        Self::Revoked,
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
            Self::Revoked => "revoked",
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
    /// The chains to trusted authorities, leaf first; the one that ends last comes first. Those that are
    /// valid now or, if only dates are in the way, at a time at which there are any.
    pub(super) chains: Arc<[Vec<Certificate>]>,
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
        let text = match error {
            rustls::Error::InvalidCertificate(fault) => describe(fault),
            other => other.to_string(),
        };
        self.add(reason_of(error), format!("{what}: {text}"));
    }
}

/// A fault for people: rustls' own texts are for its developers.
fn describe(fault: &CertificateError) -> String {
    match fault {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("a certificate expired at {}", instant(seconds(*not_after)))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("a certificate is not valid before {}", instant(seconds(*not_before)))
        }
        // A key below 2048 bits is refused as if the signature were wrong.
        CertificateError::BadSignature => "the signature is wrong, or its RSA key too short".to_owned(),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the signature algorithm is not supported, as SHA-1 is not".to_owned()
        }
        CertificateError::Other(other) => other.0.to_string(),
        other => other.to_string(),
    }
}

fn reason_of(error: &rustls::Error) -> VerifyReason {
    let rustls::Error::InvalidCertificate(fault) = error else { return VerifyReason::Other };
    match fault {
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
            let chain = Chain { leaf_der, leaf: &leaf, parsed: &parsed, intermediates };
            chain.judge(trust, now, &mut verdict);
            if let Err(error) = verify_server_name(&parsed, name) {
                let names: Vec<String> = leaf.dns_names.iter().map(|name| format!("`{name}`")).collect();
                let names = if names.is_empty() { "no DNS name".to_owned() } else { names.join(", ") };
                let is_mismatch = reason_of(&error) == VerifyReason::NameMismatch;
                let reason = if is_mismatch { VerifyReason::NameMismatch } else { VerifyReason::Other };
                verdict.add(reason, format!("valid for {names}, not for `{}`", name.to_str()));
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

/// What the server sent: its own certificate in three forms, and the others.
struct Chain<'a> {
    leaf_der: &'a CertificateDer<'a>,
    leaf: &'a Certificate,
    parsed: &'a ParsedCertificate<'a>,
    intermediates: &'a [CertificateDer<'a>],
}

impl Chain<'_> {
    /// Whether the chain leads to a trusted authority; now and, if dates are in the way, regardless of
    /// them.
    fn judge(&self, trust: &TrustStore, now: UnixTime, verdict: &mut Verdict) {
        // A certificate that was put into `ca_file` itself is trusted as it is, also if it calls itself
        // an authority, as those from `openssl req -x509` do. Source: Go, `Certificate.Verify`.
        if trust.contains(self.leaf_der) {
            if verdict.is_ok() {
                verdict.chain_expiry = Some(self.leaf.not_after);
                verdict.chains = [vec![self.leaf.clone()]].into();
            }
            return;
        }
        let others: Vec<Presented<'_>> = self
            .intermediates
            .iter()
            .filter_map(|der| Some(Presented { der, certificate: Certificate::parse(der).ok()? }))
            .collect();
        let verify = |at| self.verify(&trust.roots, self.intermediates, at);
        let fault = match verify(now) {
            Ok(()) => {
                verdict.chains = self.chains_at(&others, trust, now);
                verdict.chain_expiry = verdict.chains.first().map(|chain| end_of(chain));
                return;
            }
            Err(error) if !is_about_dates(&error) => error,
            Err(error) => {
                verdict.add_error("chain", &error);
                // Certificates that are ever valid together are so when the last of them begins.
                let begins = others.iter().map(|other| &other.certificate).chain([self.leaf]);
                let times: Vec<_> = begins.map(|begin| unix_time(begin.not_before)).collect();
                let results: Vec<_> = times.iter().map(|at| verify(*at)).collect();
                if let Some(index) = results.iter().position(Result::is_ok) {
                    verdict.chains = self.chains_at(&others, trust, times[index]);
                    return;
                }
                let other_fault = results.into_iter().filter_map(Result::err).find(|e| !is_about_dates(e));
                match other_fault {
                    Some(fault) => fault,
                    // They never are. Then names alone tell whether there is a way at all.
                    None if paths(self.leaf, &others, trust).is_empty() => {
                        CertificateError::UnknownIssuer.into()
                    }
                    None => return,
                }
            }
        };
        if self.leaf.is_self_issued() {
            verdict.add(VerifyReason::SelfSigned, "self-signed, and not trusted itself");
        } else if reason_of(&fault) == VerifyReason::UnknownIssuer {
            let hint = if trust.is_empty() { "; there are no trusted authorities at all" } else { "" };
            let issuer = &self.leaf.issuer;
            let explanation = format!("no chain leads to a trusted authority from issuer `{issuer}`{hint}");
            verdict.add(VerifyReason::UnknownIssuer, explanation);
        } else {
            verdict.add_error("chain", &fault);
        }
    }

    fn verify(
        &self,
        roots: &RootCertStore,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(self.parsed, roots, intermediates, at, algorithms())
    }

    /// The chains that are valid at `at`, the one that ends last first. To be called only if there is one.
    /// Source: blackbox exporter `prober/tls.go`, `getLastChainExpiry`.
    fn chains_at(
        &self,
        others: &[Presented<'_>],
        trust: &TrustStore,
        at: UnixTime,
    ) -> Arc<[Vec<Certificate>]> {
        let mut found = paths(self.leaf, others, trust);
        // The only one there is must be the valid one.
        if found.len() > 1 {
            found.retain(|path| {
                let mut only = RootCertStore::empty();
                let between: Vec<_> = path.intermediates.iter().map(|other| other.der.clone()).collect();
                only.add(path.anchor.der.clone()).is_ok() && self.verify(&only, &between, at).is_ok()
            });
        }
        let mut chains: Vec<_> = found.iter().map(|path| path.certificates(self.leaf)).collect();
        chains.sort_by_key(|chain| std::cmp::Reverse(end_of(chain)));
        chains.into()
    }
}

/// The earliest end of validity among certificates, in seconds since the Unix epoch.
fn end_of(chain: &[Certificate]) -> i64 {
    chain.iter().map(|certificate| certificate.not_after).min().unwrap_or(i64::MIN)
}

fn is_about_dates(error: &rustls::Error) -> bool {
    matches!(reason_of(error), VerifyReason::Expired | VerifyReason::NotYetValid)
}

/// What signatures can be verified with.
pub(super) fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    provider().signature_verification_algorithms.all
}

/// In seconds since the Unix epoch.
pub(super) fn seconds(at: UnixTime) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

fn unix_time(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// An instant as people read it.
pub(super) fn instant(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds}"), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    /// A chain of leaf and intermediate, and the root to trust.
    fn chain() -> (Vec<CertificateDer<'static>>, TrustStore) {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2030, 1, 1);
            (params, KeyPair::generate().unwrap())
        };
        let (root, root_key) = authority("root");
        let root_der = root.self_signed(&root_key).unwrap().der().clone();
        let root = Issuer::new(root, root_key);
        let (middle, middle_key) = authority("middle");
        let middle_der = middle.signed_by(&middle_key, &root).unwrap().der().clone();
        let middle = Issuer::new(middle, middle_key);
        let mut leaf = CertificateParams::new(["a.example".to_owned()]).unwrap();
        leaf.not_before = date_time_ymd(2024, 1, 1);
        leaf.not_after = date_time_ymd(2026, 1, 1);
        let leaf_der = leaf.signed_by(&KeyPair::generate().unwrap(), &middle).unwrap().der().clone();
        (vec![leaf_der, middle_der], TrustStore::of([root_der]))
    }

    fn judge_at(chain: &[CertificateDer<'_>], trust: &TrustStore, now: i64) -> Verdict {
        judge(chain, &ServerName::try_from("a.example").unwrap(), trust, unix_time(now))
    }

    #[test]
    fn dates_decide_to_the_second() {
        let (chain, trust) = chain();
        let (begin, end) = (1_704_067_200, 1_767_225_600);
        for (now, expected) in [
            (begin - 1, Some(VerifyReason::NotYetValid)),
            (begin, None),
            (end, None),
            (end + 1, Some(VerifyReason::Expired)),
        ] {
            let verdict = judge_at(&chain, &trust, now);
            let found: Vec<_> = VerifyReason::ALL.into_iter().filter(|reason| verdict.has(*reason)).collect();
            assert_eq!(found, Vec::from_iter(expected), "{now}: {}", verdict.explain());
            assert_eq!(verdict.chain_expiry, expected.is_none().then_some(end));
        }
    }

    #[test]
    fn no_certificate_and_no_trust_are_faults() {
        let (chain, trust) = chain();
        assert!(judge_at(&[], &trust, 0).has(VerifyReason::Other));
        let verdict = judge_at(&chain, &TrustStore::of([]), 1_740_000_000);
        assert!(verdict.has(VerifyReason::UnknownIssuer));
        assert!(
            verdict.explain().ends_with("there are no trusted authorities at all"),
            "{}",
            verdict.explain()
        );
    }

    #[test]
    fn certificates_that_all_name_one_another_take_little_time() {
        let (chain, trust) = chain();
        let mut many = vec![chain[0].clone()];
        for _ in 0..50 {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "middle");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            many.push(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone());
        }
        many.push(chain[1].clone());
        let started = std::time::Instant::now();
        judge_at(&many, &trust, 1_740_000_000);
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_chain_with_a_changed_byte_is_judged_and_never_ok(
            which in 0_usize..2,
            at in any::<prop::sample::Index>(),
            change in 1_u8..,
        ) {
            let (chain, trust) = chain();
            let mut bytes = chain[which].to_vec();
            bytes[at.index(chain[which].len())] ^= change;
            let mut changed = chain;
            changed[which] = CertificateDer::from(bytes);
            prop_assert!(!judge_at(&changed, &trust, 1_740_000_000).is_ok());
        }

        #[test]
        fn arbitrary_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let chain = [CertificateDer::from(bytes)];
            prop_assert!(!judge_at(&chain, &TrustStore::of([]), 0).is_ok());
        }
    }
}
