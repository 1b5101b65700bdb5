//! What is thought of the certificates that a server sent, remembered from one handshake to the next.
//!
//! Verifying a chain costs more than the rest of a handshake, and most servers send the same one for
//! months. An opinion is remembered only if nothing is wrong, and only until a date of one of the
//! certificates passes; it holds for the same bytes, name, staple and trusted authorities alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::ocsp::{Staple, Status};
use super::trust::TrustStore;
use super::verdict::{Verdict, VerifyReason, instant, judge, seconds};
use crate::probe::x509::Certificate;

/// How many opinions are remembered.
const MAX_REMEMBERED: usize = 64;

/// How long, in seconds, an opinion is remembered at most.
const MAX_AGE_SECONDS: i64 = 3600;

/// Certificates and what is thought of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Judged {
    /// As sent, leaf first.
    pub(super) chain: Arc<[CertificateDer<'static>]>,
    /// Those of them that can be read.
    pub(super) certificates: Arc<[Certificate]>,
    pub(super) verdict: Verdict,
    /// The OCSP response as sent; empty if there was none.
    pub(super) staple: Arc<[u8]>,
    /// What it says of the leaf, if that can be read.
    pub(super) revocation: Option<Staple>,
}

/// What an opinion is about.
pub(super) struct Question<'a> {
    /// As sent, leaf first.
    pub(super) chain: &'a [CertificateDer<'a>],
    /// The name by which the server was addressed.
    pub(super) name: &'a ServerName<'a>,
    /// The OCSP response as sent; empty if there was none.
    pub(super) staple: &'a [u8],
    pub(super) trust: &'a Arc<TrustStore>,
    pub(super) now: UnixTime,
}

impl Question<'_> {
    /// The answer: a remembered one if there is.
    pub(super) fn answer(&self) -> Judged {
        static MEMORY: Mutex<Memory> = Mutex::new(Memory(VecDeque::new()));
        let memory = || MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(judged) = memory().find(self) {
            return judged;
        }
        let judged = self.judge();
        if judged.verdict.is_ok() {
            memory().keep(self, &judged);
        }
        judged
    }

    fn judge(&self) -> Judged {
        let mut verdict = judge(self.chain, self.name, self.trust, self.now);
        let revocation = self.revocation();
        if let Some(Staple { status: Status::Revoked(at), verified: true, .. }) = &revocation {
            verdict.add(VerifyReason::Revoked, format!("revoked at {}", instant(*at)));
        }
        let readable = self.chain.iter().filter_map(|der| Certificate::parse(der).ok());
        Judged {
            certificates: readable.collect(),
            chain: self.chain.iter().map(|der| der.clone().into_owned()).collect(),
            verdict,
            staple: self.staple.into(),
            revocation,
        }
    }

    fn revocation(&self) -> Option<Staple> {
        let (leaf, others) = self.chain.split_first().filter(|_| !self.staple.is_empty())?;
        let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
        let issuer = leaf.issuer().as_raw();
        let is_issuer = |der: &&CertificateDer<'_>| {
            X509Certificate::from_der(der).is_ok_and(|(_, other)| other.subject().as_raw() == issuer)
        };
        let anchors = self.trust.with_subject(issuer).map(|anchor| &anchor.der);
        let issuers: Vec<_> = others.iter().filter(is_issuer).chain(anchors).collect();
        Staple::read(self.staple, leaf.raw_serial(), &issuers, seconds(self.now))
    }
}

/// Opinions, the oldest first.
struct Memory(VecDeque<Remembered>);

struct Remembered {
    name: ServerName<'static>,
    trust: Arc<TrustStore>,
    /// From when to when the opinion holds, in seconds since the Unix epoch.
    from: i64,
    until: i64,
    judged: Judged,
}

impl Memory {
    fn find(&self, question: &Question<'_>) -> Option<Judged> {
        let now = seconds(question.now);
        let fits = |known: &&Remembered| {
            (known.from..=known.until).contains(&now)
                && Arc::ptr_eq(&known.trust, question.trust)
                && known.name == *question.name
                && *known.judged.staple == *question.staple
                && *known.judged.chain == *question.chain
        };
        self.0.iter().find(fits).map(|known| known.judged.clone())
    }

    fn keep(&mut self, question: &Question<'_>, judged: &Judged) {
        let from = seconds(question.now);
        let involved = judged.certificates.iter().chain(judged.verdict.chains.iter().flatten());
        let dates = involved.flat_map(|certificate| [certificate.not_before - 1, certificate.not_after]);
        let until = dates.filter(|at| *at >= from).fold(from + MAX_AGE_SECONDS, i64::min);
        // One that is over, or of a trust store that is gone, is never found again.
        self.0.retain(|known| from <= known.until && Arc::strong_count(&known.trust) > 1);
        if self.0.len() == MAX_REMEMBERED {
            self.0.pop_front();
        }
        let (name, trust) = (question.name.to_owned(), question.trust.clone());
        self.0.push_back(Remembered { name, trust, from, until, judged: judged.clone() });
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn an_opinion_is_remembered_for_the_same_question_until_a_date_passes() {
        let certificate = |name: &str| {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.not_before = date_time_ymd(2024, 1, 1);
            params.not_after = date_time_ymd(2026, 1, 1);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let (begin, end) = (1_704_067_200, 1_767_225_600);
        let at = |seconds: u64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let own = certificate("a.example");
        let trust = Arc::new(TrustStore::of([own.clone()]));
        let (chain, name) = ([own.clone()], ServerName::try_from("a.example").unwrap());
        let question =
            |now| Question { chain: &chain, name: &name, staple: &[], trust: &trust, now: at(now) };
        let mut memory = Memory(VecDeque::new());
        let first = question(end - 100);
        assert!(first.judge().verdict.is_ok());
        memory.keep(&first, &first.judge());
        for (now, expected) in
            [(end - 100, true), (end, true), (end + 1, false), (end - 101, false), (begin, false)]
        {
            assert_eq!(memory.find(&question(now)).is_some(), expected, "{now}");
        }
        let other_name = ServerName::try_from("b.example").unwrap();
        assert!(memory.find(&Question { name: &other_name, ..question(end) }).is_none());
        assert!(memory.find(&Question { staple: b"x", ..question(end) }).is_none());
        let other_chain = [certificate("a.example")];
        assert!(memory.find(&Question { chain: &other_chain, ..question(end) }).is_none());
        let other_trust = Arc::new(TrustStore::of([own]));
        assert!(memory.find(&Question { trust: &other_trust, ..question(end) }).is_none());
        for now in 0..100 {
            memory.keep(&question(begin + now * 10_000), &first.judge());
        }
        assert_eq!(memory.0.len(), 2, "the first, which still holds, and the last: the others are over");
    }
}
