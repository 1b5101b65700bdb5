//! What a server shows, compared with what lies on its disk.
//!
//! A certificate that was renewed and not loaded is the usual way in which one expires in spite of
//! automation: the file is new, the server still shows the old one, and whoever watches either alone sees
//! nothing.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};

use super::{CertificateFilesProber, TlsProber};
use crate::model::METRIC_NAME;
use crate::probe::samples::SampleSet;
use crate::probe::x509::Certificate;
use crate::probe::{Deadline, MetricMetadata, ProbeOutcome, Prober};

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
            let is_newer = held.iter().any(|held| held.is_newer_than(&leaf));
            compared.flag("valmis_certificate_not_reloaded", is_newer);
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
    not_after: i64,
}

impl Held {
    pub(super) fn of(certificate: &Certificate) -> Self {
        let addresses = certificate.ip_addresses.iter().map(ToString::to_string);
        Self {
            subject: certificate.subject.to_string(),
            names: certificate.dns_names.iter().cloned().chain(addresses).collect(),
            not_after: certificate.not_after,
        }
    }

    /// Whether it could take the place of `served` and ends later. A certificate need not have a subject;
    /// then it has to be for every name that the other one is for.
    fn is_newer_than(&self, served: &Self) -> bool {
        let is_for_all = || served.names.iter().all(|name| self.names.contains(name));
        let is_alike = self.subject == served.subject
            && (!served.subject.is_empty() || (!served.names.is_empty() && is_for_all()));
        is_alike && self.not_after > served.not_after
    }
}

/// Both outcomes as one: it succeeds if both did.
fn merge(served: ProbeOutcome, files: ProbeOutcome, compared: SampleSet) -> ProbeOutcome {
    let result = served.result.and(files.result);
    let mut samples = served.samples;
    let both = ["probe_success", "probe_duration_seconds"];
    let own = files.samples.into_iter().filter(|sample| !both.contains(&sample.labels.metric_name()));
    samples.extend(own);
    samples.extend(compared.into_samples());
    let success = f64::from(u8::from(result.is_ok()));
    for sample in samples.iter_mut().filter(|sample| sample.labels.get(METRIC_NAME) == "probe_success") {
        sample.value = success;
    }
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
            not_after,
        };
        let check = |served: &Held, file: &Held, expected: bool| {
            assert_eq!(file.is_newer_than(served), expected, "{served:?} {file:?}");
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
}
