//! Everything about the certificates that a server sent, for whoever asks about nothing else.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::ocsp::Status;
use super::{HandshakeFacts, version_label};
use crate::probe::MetricMetadata;
use crate::probe::samples::SampleSet;
use crate::probe::x509::Certificate;

/// The metrics of a server's certificates. Those that begin with `ssl_` are `ssl_exporter`'s (2.4,
/// `prober/metrics.go`).
pub(in crate::probe) const METADATA: &[MetricMetadata] = &[
    ("ssl_tls_version_info", "gauge", "The TLS version used"),
    ("ssl_cert_not_after", "gauge", "NotAfter expressed as a Unix Epoch Time"),
    ("ssl_cert_not_before", "gauge", "NotBefore expressed as a Unix Epoch Time"),
    ("ssl_verified_cert_not_after", "gauge", "NotAfter expressed as a Unix Epoch Time"),
    ("ssl_verified_cert_not_before", "gauge", "NotBefore expressed as a Unix Epoch Time"),
    ("ssl_ocsp_response_stapled", "gauge", "If the connection state contains a stapled OCSP response"),
    ("ssl_ocsp_response_status", "gauge", "The status in the OCSP response 0=Good 1=Revoked 2=Unknown"),
    (
        "ssl_ocsp_response_produced_at",
        "gauge",
        "The producedAt value in the OCSP response, expressed as a Unix Epoch Time",
    ),
    (
        "ssl_ocsp_response_this_update",
        "gauge",
        "The thisUpdate value in the OCSP response, expressed as a Unix Epoch Time",
    ),
    (
        "ssl_ocsp_response_next_update",
        "gauge",
        "The nextUpdate value in the OCSP response, expressed as a Unix Epoch Time",
    ),
    (
        "ssl_ocsp_response_revoked_at",
        "gauge",
        "The revocationTime value in the OCSP response, expressed as a Unix Epoch Time",
    ),
    (
        "valmis_tls_ocsp_staple_valid",
        "gauge",
        "Whether the stapled OCSP response is about the certificate, signed by its issuer or a delegate, and current",
    ),
    (
        "valmis_tls_must_staple",
        "gauge",
        "Whether the server's certificate demands that an OCSP response is stapled",
    ),
    (
        "valmis_tls_chain_root_sent",
        "gauge",
        "Whether the server sends a self-signed authority, which no client needs",
    ),
    (
        "valmis_tls_chain_incomplete",
        "gauge",
        "Whether the server sends neither the issuer of its last certificate nor one that is known to be trusted",
    ),
    (
        "valmis_tls_certificate_key_length",
        "gauge",
        "The size in bits of the public key of each certificate that the server sends",
    ),
];

/// How many names of one kind a label shows. Certificates of content networks bear hundreds.
const MAX_NAMES: usize = 32;

impl HandshakeFacts {
    /// Adds what [`METADATA`] describes. None of a certificate that was not seen. `now` is in seconds
    /// since the Unix epoch.
    pub(in crate::probe) fn emit_chain(&self, samples: &mut SampleSet, now: i64) {
        if let Some((version, _)) = self.session {
            samples.labelled("ssl_tls_version_info", &[("version", version_label(version))], 1.0);
        }
        let Some(leaf) = self.certificates.first() else { return };
        emit_dates(samples, ["ssl_cert_not_after", "ssl_cert_not_before"], None, &self.certificates);
        for (number, chain) in self.verdict.chains.iter().enumerate() {
            let names = ["ssl_verified_cert_not_after", "ssl_verified_cert_not_before"];
            emit_dates(samples, names, Some(&number.to_string()), chain);
        }
        self.emit_revocation(samples, now);
        samples.flag("valmis_tls_must_staple", leaf.must_staple);
        let is_root = |certificate: &Certificate| certificate.is_self_issued();
        samples.flag("valmis_tls_chain_root_sent", self.certificates.iter().skip(1).any(is_root));
        samples.flag("valmis_tls_chain_incomplete", self.is_incomplete());
        for (position, certificate) in self.certificates.iter().enumerate() {
            let labels = [
                ("chain_position", position.to_string()),
                ("key_type", certificate.key_type.clone()),
                ("signature_algorithm", certificate.signature_algorithm.clone()),
            ];
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            samples.labelled("valmis_tls_certificate_key_length", &labels, f64::from(certificate.key_bits));
        }
    }

    /// Whether a certificate is missing between those that were sent and a trusted authority: nothing
    /// was verified, and the last one that the others lead to is not its own issuer.
    fn is_incomplete(&self) -> bool {
        let Some(leaf) = self.certificates.first().filter(|_| self.verdict.chains.is_empty()) else {
            return false;
        };
        if !self.verdict.has(super::VerifyReason::UnknownIssuer) {
            return false;
        }
        let mut tip = leaf;
        for _ in 0..self.certificates.len() {
            let issuer = |other: &&Certificate| other.subject.der == tip.issuer.der;
            match self.certificates.iter().find(issuer) {
                Some(next) if !tip.is_self_issued() => tip = next,
                _ => break,
            }
        }
        !tip.is_self_issued()
    }

    fn emit_revocation(&self, samples: &mut SampleSet, now: i64) {
        samples.flag("ssl_ocsp_response_stapled", self.is_stapled);
        // Without a response its status is not 0, which is "good".
        let Some(staple) = &self.revocation else {
            if self.is_stapled {
                samples.flag("valmis_tls_ocsp_staple_valid", false);
            }
            return;
        };
        samples.gauge("ssl_ocsp_response_status", staple.status.number());
        samples.gauge("ssl_ocsp_response_produced_at", staple.produced_at as f64);
        samples.gauge("ssl_ocsp_response_this_update", staple.this_update as f64);
        if let Some(next) = staple.next_update {
            samples.gauge("ssl_ocsp_response_next_update", next as f64);
        }
        if let Status::Revoked(at) = staple.status {
            samples.gauge("ssl_ocsp_response_revoked_at", at as f64);
        }
        samples.flag("valmis_tls_ocsp_staple_valid", staple.verified && staple.is_current_at(now));
    }
}

/// Adds the two metrics `[not after, not before]` of each certificate, once for those that are alike.
fn emit_dates(
    samples: &mut SampleSet,
    [not_after, not_before]: [&str; 2],
    chain_number: Option<&str>,
    certificates: &[Certificate],
) {
    let mut seen = BTreeSet::new();
    for certificate in certificates {
        let values = [
            ("serial_no", certificate.serial_decimal.clone()),
            ("issuer_cn", certificate.issuer.common_name().to_owned()),
            ("cn", certificate.subject.common_name().to_owned()),
            ("dnsnames", list(&certificate.dns_names)),
            ("ips", list(&certificate.ip_addresses)),
            ("emails", list(&certificate.email_addresses)),
            ("ou", list(&certificate.subject.values("OU").collect::<Vec<_>>())),
        ];
        if !seen.insert(values.clone()) {
            continue;
        }
        let values = values.iter().map(|(name, value)| (*name, value.as_str()));
        let labels: Vec<_> =
            chain_number.map(|number| ("chain_no", number)).into_iter().chain(values).collect();
        samples.labelled(not_after, &labels, certificate.not_after as f64);
        samples.labelled(not_before, &labels, certificate.not_before as f64);
    }
}

/// `,a,b,`, as `ssl_exporter` writes lists, so that `,a,` matches; of long ones the beginning.
fn list(items: &[impl Display]) -> String {
    let shown: Vec<String> = items.iter().take(MAX_NAMES).map(ToString::to_string).collect();
    if shown.is_empty() { String::new() } else { format!(",{},", shown.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_closed_by_commas_and_bounded() {
        assert_eq!(list(&["a", "b"]), ",a,b,");
        assert_eq!(list(&[""; 0]), "");
        assert_eq!(list(&vec!["a"; 100]).len(), 2 * MAX_NAMES + 1);
    }
}
