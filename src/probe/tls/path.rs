//! The ways from a server's certificate to trusted authorities, by the names in the certificates alone.

use rustls::pki_types::CertificateDer;

use super::trust::{Anchor, TrustStore};
use crate::probe::x509::Certificate;

/// The most certificates between a leaf and an authority. Source: webpki follows as many.
const MAX_INTERMEDIATES: usize = 6;

/// How many ways are looked for, and how many steps are taken for that: a server could send
/// certificates that all name one another.
const MAX_PATHS: usize = 8;
const MAX_STEPS: usize = 256;

/// A certificate that the server sent.
pub(super) struct Presented<'a> {
    pub(super) der: &'a CertificateDer<'a>,
    pub(super) certificate: Certificate,
}

/// A way from the leaf over intermediates to an authority.
pub(super) struct Path<'a> {
    pub(super) intermediates: Vec<&'a Presented<'a>>,
    pub(super) anchor: &'a Anchor,
}

impl Path<'_> {
    /// All certificates, the leaf first.
    pub(super) fn certificates(&self, leaf: &Certificate) -> Vec<Certificate> {
        let between = self.intermediates.iter().map(|presented| &presented.certificate);
        [leaf].into_iter().chain(between).chain([&self.anchor.certificate]).cloned().collect()
    }
}

/// The ways from `leaf` to authorities of `trust`, whatever dates and signatures say.
pub(super) fn paths<'a>(
    leaf: &Certificate,
    intermediates: &'a [Presented<'a>],
    trust: &'a TrustStore,
) -> Vec<Path<'a>> {
    let mut found = Vec::new();
    let mut open: Vec<Vec<&Presented<'_>>> = vec![Vec::new()];
    let mut steps = 0;
    while let Some(path) = open.pop() {
        steps += 1;
        if steps > MAX_STEPS {
            break;
        }
        let issuer = &path.last().map_or(leaf, |tip| &tip.certificate).issuer.der;
        for anchor in trust.with_subject(issuer) {
            found.push(Path { intermediates: path.clone(), anchor });
            if found.len() == MAX_PATHS {
                return found;
            }
        }
        if path.len() == MAX_INTERMEDIATES {
            continue;
        }
        for next in intermediates {
            let is_new = path.iter().all(|used| !std::ptr::eq(*used, next));
            if is_new && next.certificate.subject.der == *issuer {
                let mut longer = path.clone();
                longer.push(next);
                open.push(longer);
            }
        }
    }
    found
}
