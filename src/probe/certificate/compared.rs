//! What a server shows, compared with what lies on its disk.
//!
//! A certificate that was renewed and not loaded is the usual way in which one expires in spite of
//! automation: the file is new, the server still shows the old one, and whoever watches either alone sees
//! nothing.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};

use super::{CertificateFilesProber, SUBJECT, TlsProber};
use crate::clock::SharedClock;
use crate::model::{Labels, METRIC_NAME, Sample};
use crate::probe::samples::SampleSet;
use crate::probe::{Deadline, MetricMetadata, ProbeOutcome, Prober};

/// The metrics that come of comparing, beside those of the two probers.
pub const COMPARED_METADATA: &[MetricMetadata] = &[
    (
        "valmis_certificate_not_reloaded",
        "gauge",
        "Whether a file holds a newer certificate of the same subject than the server shows.",
    ),
    (
        "valmis_certificate_last_renewal_timestamp_seconds",
        "gauge",
        "When the server was first seen with a certificate that ends later than the one before; absent until then.",
    ),
];

/// Looks at a server and at the files from which it serves.
pub struct ComparedProber {
    served: TlsProber,
    files: CertificateFilesProber,
    clock: SharedClock,
    renewals: Mutex<Renewals>,
}

impl ComparedProber {
    /// A prober of both. The clock says when a renewal was seen.
    pub fn new(served: TlsProber, files: CertificateFilesProber, clock: SharedClock) -> Self {
        Self { served, files, clock, renewals: Mutex::default() }
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let (served, files) = join(self.served.probe(deadline), self.files.probe(deadline)).await;
        let leaf = served.samples.iter().find(|sample| is_leaf(sample));
        let mut compared = SampleSet::default();
        if let Some(leaf) = leaf {
            if files.result.is_ok() {
                let is_newer = newest_like(leaf, &files.samples).is_some_and(|newest| newest > leaf.value);
                compared.flag("valmis_certificate_not_reloaded", is_newer);
            }
            let mut renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = renewals.note(leaf.value, self.clock.now() as f64 / 1000.0) {
                compared.gauge("valmis_certificate_last_renewal_timestamp_seconds", at);
            }
        }
        merge(served, files, compared)
    }
}

impl Prober for ComparedProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }
}

/// The server's own certificate, by the metric that says when it ends.
fn is_leaf(sample: &Sample) -> bool {
    sample.labels.metric_name() == "x509_cert_not_after" && sample.labels.get("chain_position") == "0"
}

/// When the newest certificate for the subject of `leaf` in files ends.
fn newest_like(leaf: &Sample, files: &[Sample]) -> Option<f64> {
    let subject = |labels: &Labels| SUBJECT.map(|part| labels.get(part).to_owned());
    let wanted = subject(&leaf.labels);
    let ends = files.iter().filter(|sample| {
        sample.labels.metric_name() == "x509_cert_not_after" && subject(&sample.labels) == wanted
    });
    ends.map(|sample| sample.value).reduce(f64::max)
}

/// What is known of renewals: proof that they work.
#[derive(Debug, Default)]
struct Renewals {
    not_after: Option<f64>,
    last: Option<f64>,
}

impl Renewals {
    /// Takes in when the certificate that is shown `now` ends. Yields when it was last renewed.
    fn note(&mut self, not_after: f64, now: f64) -> Option<f64> {
        if self.not_after.is_some_and(|before| not_after > before) {
            self.last = Some(now);
        }
        // A server that goes back to an older one, or one of several behind an address, proves nothing.
        self.not_after = Some(self.not_after.map_or(not_after, |before| before.max(not_after)));
        self.last
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
    let log = served.log.into_iter().chain(files.log).collect();
    ProbeOutcome { result, samples, log }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_proved_by_a_later_end_alone() {
        let mut renewals = Renewals::default();
        let mut check = |not_after: f64, now: f64, expected: Option<f64>| {
            assert_eq!(renewals.note(not_after, now), expected, "{not_after} at {now}");
        };
        check(100.0, 1.0, None);
        check(100.0, 2.0, None);
        check(90.0, 3.0, None);
        check(100.0, 4.0, None);
        check(200.0, 5.0, Some(5.0));
        check(200.0, 6.0, Some(5.0));
        check(300.0, 7.0, Some(7.0));
    }

    #[test]
    fn certificates_of_one_subject_are_compared() {
        let sample = |subject: &str, place: (&str, &str), value: f64| {
            let name = (METRIC_NAME, "x509_cert_not_after");
            Sample::new(Labels::from_pairs([name, ("subject_CN", subject), place]), 0, value)
        };
        let leaf = sample("a", ("chain_position", "0"), 100.0);
        assert!(is_leaf(&leaf));
        let file = |subject: &str, value: f64| sample(subject, ("filepath", "/x"), value);
        let check = |files: &[Sample], expected: Option<f64>| assert_eq!(newest_like(&leaf, files), expected);
        check(&[], None);
        check(&[file("b", 200.0)], None);
        check(&[file("b", 200.0), file("a", 100.0), file("a", 50.0)], Some(100.0));
    }
}
