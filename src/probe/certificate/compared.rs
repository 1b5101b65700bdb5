//! What a server shows, compared with what lies on its disk.
//!
//! A certificate that was renewed and not loaded is the usual way in which one expires in spite of
//! automation: the file is new, the server still shows the old one, and whoever watches either alone sees
//! nothing.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};

use super::{CertificateFilesProber, TlsProber};
use crate::model::Sample;
use crate::probe::samples::SampleSet;
use crate::probe::x509::Certificate;
use crate::probe::{Deadline, MetricMetadata, ProbeOutcome, Prober, outcome};

/// The metrics that come of comparing, beside those of the two probers.
pub const COMPARED_METADATA: &[MetricMetadata] = &[(
    "valmis_certificate_not_reloaded",
    "gauge",
    "Whether a file holds a newer certificate of the same subject than the server shows.",
)];

/// Looks at a server and at the files from which it serves.
pub struct ComparedProber {
    served: TlsProber,
    files: CertificateFilesProber,
}

impl ComparedProber {
    /// A prober of both.
    pub fn new(served: TlsProber, files: CertificateFilesProber) -> Self {
        Self { served, files }
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let ((served, leaf), (files, held)) =
            join(self.served.look_at(deadline), self.files.look_at(deadline)).await;
        let mut compared = SampleSet::default();
        // A file that cannot be read says nothing of what it holds.
        if let Some(leaf) = leaf.filter(|_| files.result.is_ok()) {
            compared.flag("valmis_certificate_not_reloaded", leaf.is_outdated(&held));
        }
        merge(served, files, compared)
    }
}

impl Prober for ComparedProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }
}

/// Whom a certificate is for, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    subject: String,
    /// The names and addresses of servers.
    names: Vec<String>,
    key_type: String,
    not_after: i64,
}

impl Held {
    pub(super) fn of(certificate: &Certificate) -> Self {
        let addresses = certificate.ip_addresses.iter().map(ToString::to_string);
        Self {
            subject: certificate.subject.to_string(),
            names: certificate.dns_names.iter().cloned().chain(addresses).collect(),
            key_type: certificate.key_type.clone(),
            not_after: certificate.not_after,
        }
    }

    /// Whether one of `files` should be served in place of this one, since it ends later. A server may
    /// have one for each type of key; those of another type count only if there is none of this.
    fn is_outdated(&self, files: &[Self]) -> bool {
        let alike = || files.iter().filter(|file| file.could_replace(self));
        let has_same_type = alike().any(|file| file.key_type == self.key_type);
        alike()
            .any(|file| (file.key_type == self.key_type || !has_same_type) && file.not_after > self.not_after)
    }

    /// Whether it is for whom `served` is. A certificate need not have a subject; then it has to be for
    /// every name that the other one is for.
    fn could_replace(&self, served: &Self) -> bool {
        let is_for_all = || served.names.iter().all(|name| self.names.contains(name));
        self.subject == served.subject
            && (!served.subject.is_empty() || (!served.names.is_empty() && is_for_all()))
    }
}

/// Both outcomes as one: it succeeds if both did.
fn merge(served: ProbeOutcome, files: ProbeOutcome, compared: SampleSet) -> ProbeOutcome {
    let result = served.result.and(files.result);
    let is_of_both = |sample: &Sample| {
        let name = sample.labels.metric_name();
        outcome::METADATA.iter().any(|(known, ..)| *known == name)
    };
    let took = served.samples.iter().find(|sample| sample.labels.metric_name() == "probe_duration_seconds");
    let took = Duration::from_secs_f64(took.map_or(0.0, |sample| sample.value));
    let mut verdict = SampleSet::default();
    outcome::emit_verdict(&mut verdict, &[], &result, took);
    let mut samples = verdict.into_samples();
    samples.extend(served.samples.into_iter().chain(files.samples).filter(|sample| !is_of_both(sample)));
    samples.extend(compared.into_samples());
    let mut log = served.log;
    log.append(files.log);
    ProbeOutcome { result, samples, log }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_takes_the_place_of_one_for_the_same_subject_or_names() {
        let held = |subject: &str, names: &[&str], not_after| Held {
            subject: subject.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            key_type: "ECDSA".to_owned(),
            not_after,
        };
        let check = |served: &Held, file: &Held, expected: bool| {
            assert_eq!(served.is_outdated(std::slice::from_ref(file)), expected, "{served:?} {file:?}");
        };
        let served = held("CN=a", &["a"], 100);
        check(&served, &held("CN=a", &["a"], 101), true);
        check(&served, &held("CN=a", &["b"], 101), true);
        check(&served, &held("CN=a", &["a"], 100), false);
        check(&served, &held("CN=b", &["a"], 101), false);
        let nameless = held("", &["a", "b"], 100);
        check(&nameless, &held("", &["b", "c", "a"], 101), true);
        check(&nameless, &held("", &["a"], 101), false);
        check(&nameless, &held("", &[], 101), false);
        check(&held("", &[], 100), &held("", &[], 101), false);
    }

    #[test]
    fn each_type_of_key_is_compared_with_its_own() {
        let held = |key_type: &str, not_after| Held {
            subject: "CN=a".to_owned(),
            names: Vec::new(),
            key_type: key_type.to_owned(),
            not_after,
        };
        let check = |files: &[Held], expected: bool| {
            assert_eq!(held("ECDSA", 100).is_outdated(files), expected, "{files:?}");
        };
        check(&[held("ECDSA", 100), held("RSA", 101)], false);
        check(&[held("ECDSA", 102), held("RSA", 101)], true);
        // The type was changed when it was renewed.
        check(&[held("RSA", 101)], true);
    }
}
