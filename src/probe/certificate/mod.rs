//! The certificate probes: of a server, and of files.
//!
//! Metric and label names are those of x509-certificate-exporter (its `docs/metrics.md`), so that its
//! alerts and dashboards work.

mod compared;
mod files;
mod glob;
mod key;
mod served;

pub use self::compared::{COMPARED_METADATA, ComparedProber};
pub use self::files::{CertificateFilesConfig, CertificateFilesProber, FILES_METADATA};
pub use self::glob::{Glob, GlobError};
pub use self::served::{SERVED_METADATA, ServedCertificateConfig, ServedTargetError, TlsProber};

use super::MetricMetadata;
use super::outcome::METADATA as OUTCOME_METADATA;
use super::samples::SampleSet;
use super::x509::Certificate;

/// The metrics of a single certificate.
const CERTIFICATE_METADATA: &[MetricMetadata] = &[
    ("x509_cert_not_before", "gauge", "Begin of the certificate's validity in unixtime"),
    ("x509_cert_not_after", "gauge", "End of the certificate's validity in unixtime"),
    ("x509_cert_expired", "gauge", "Indicates if the certificate is expired"),
    ("x509_cert_expires_in_seconds", "gauge", "Remaining time before the certificate's expiration"),
    ("x509_cert_valid_since_seconds", "gauge", "Elapsed time since the certificate's begin of validity"),
];

/// Adds the samples of a certificate. `place` says where it was found; `now` is in seconds since the
/// Unix epoch.
fn emit_certificate(samples: &mut SampleSet, certificate: &Certificate, place: &[(&str, &str)], now: i64) {
    let mut labels = identity(certificate);
    labels.extend_from_slice(place);
    samples.labelled("x509_cert_not_before", &labels, certificate.not_before as f64);
    samples.labelled("x509_cert_not_after", &labels, certificate.not_after as f64);
    let expired = f64::from(u8::from(certificate.is_expired_at(now)));
    samples.labelled("x509_cert_expired", &labels, expired);
    samples.labelled("x509_cert_expires_in_seconds", &labels, (certificate.not_after - now) as f64);
    samples.labelled("x509_cert_valid_since_seconds", &labels, (now - certificate.not_before) as f64);
}

/// The labels that name a certificate; of several organisations and the like the first is taken.
/// Source: x509-certificate-exporter `pkg/registry/labels.go`.
fn identity(certificate: &Certificate) -> Vec<(&'static str, &str)> {
    let Certificate { subject, issuer, .. } = certificate;
    vec![
        ("serial_number", &certificate.serial_decimal),
        ("subject_C", subject.first("C")),
        ("subject_ST", subject.first("ST")),
        ("subject_L", subject.first("L")),
        ("subject_O", subject.first("O")),
        ("subject_OU", subject.first("OU")),
        ("subject_CN", subject.common_name()),
        ("issuer_C", issuer.first("C")),
        ("issuer_ST", issuer.first("ST")),
        ("issuer_L", issuer.first("L")),
        ("issuer_O", issuer.first("O")),
        ("issuer_OU", issuer.first("OU")),
        ("issuer_CN", issuer.common_name()),
    ]
}
