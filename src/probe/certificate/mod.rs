//! The certificate probes: of a server, and of files.
//!
//! Metric and label names are those of x509-certificate-exporter (its `docs/metrics.md`), so that its
//! alerts and dashboards work.

mod compared;
mod contents;
mod crl;
mod files;
mod glob;
mod key;
mod keystores;
mod kubeconfig;
mod pem;
mod pkcs12;
mod reason;
mod renewals;
mod scan;
mod served;

pub use self::compared::{COMPARED_METADATA, ComparedProber};
pub use self::files::{CertificateFiles, CertificateFilesProber, FILES_METADATA, SourceKind};
pub use self::glob::{Glob, GlobError};
pub use self::renewals::{LAST_RENEWAL, RENEWALS, Renewals};
pub use self::served::{SERVED_METADATA, ServedCertificateConfig, ServedTargetError, TlsProber};

use super::MetricMetadata;
use super::samples::SampleSet;
use super::x509::{Certificate, DistinguishedName};

/// The metrics of a single certificate.
const CERTIFICATE_METADATA: &[MetricMetadata] = &[
    ("x509_cert_not_before", "gauge", "Unix timestamp of the certificate's NotBefore."),
    ("x509_cert_not_after", "gauge", "Unix timestamp of the certificate's NotAfter."),
    ("x509_cert_expired", "gauge", "1 if the certificate is expired, 0 otherwise."),
    ("x509_cert_expires_in_seconds", "gauge", "Seconds until the certificate's NotAfter."),
    ("x509_cert_valid_since_seconds", "gauge", "Seconds since the certificate's NotBefore."),
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
    let mut labels = vec![("serial_number", certificate.serial_decimal.as_str())];
    labels.extend(name(&certificate.subject, SUBJECT));
    labels.extend(name(&certificate.issuer, ISSUER));
    labels
}

/// The labels for the parts of a subject.
const SUBJECT: [&str; 6] = ["subject_C", "subject_ST", "subject_L", "subject_O", "subject_OU", "subject_CN"];

/// The labels for the parts of an issuer.
const ISSUER: [&str; 6] = ["issuer_C", "issuer_ST", "issuer_L", "issuer_O", "issuer_OU", "issuer_CN"];

/// The parts of a name under these labels.
fn name<'a>(name: &'a DistinguishedName, labels: [&'static str; 6]) -> [(&'static str, &'a str); 6] {
    let [country, state, locality, organization, unit, common_name] = labels;
    [
        (country, name.first("C")),
        (state, name.first("ST")),
        (locality, name.first("L")),
        (organization, name.first("O")),
        (unit, name.first("OU")),
        (common_name, name.common_name()),
    ]
}
