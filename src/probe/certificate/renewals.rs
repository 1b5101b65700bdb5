//! Whether renewal works, proved by having seen it.

use crate::probe::MetricMetadata;
use crate::probe::samples::SampleSet;

/// When the server was last seen with a certificate that ends later than all before.
pub const LAST_RENEWAL: &str = "valmis_certificate_last_renewal_timestamp_seconds";
/// How often that was seen.
pub const RENEWALS: &str = "valmis_certificate_renewals_total";

pub(super) const METADATA: &[MetricMetadata] = &[
    (
        LAST_RENEWAL,
        "gauge",
        "When the server was last seen with a certificate that ends later than all before; absent until then.",
    ),
    (
        RENEWALS,
        "counter",
        "How often the server was seen with a certificate that ends later than all before.",
    ),
];

/// What is known of the renewals of a server's certificate. Times are in seconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Renewals {
    /// The latest end that any of its certificates had.
    pub not_after: Option<f64>,
    /// When the last renewal was seen.
    pub last: Option<f64>,
    /// How many were seen.
    pub count: u64,
}

impl Renewals {
    /// Takes in when the certificate that is shown `now` ends.
    pub(super) fn note(&mut self, not_after: f64, now: f64) {
        if self.not_after.is_some_and(|before| not_after > before) {
            self.last = Some(now);
            self.count += 1;
        }
        // A server that goes back to an older one, or one of several behind an address, proves nothing.
        self.not_after = Some(self.not_after.map_or(not_after, |before| before.max(not_after)));
    }

    /// Adds the samples, once anything is known.
    pub(super) fn emit(&self, samples: &mut SampleSet) {
        if self.not_after.is_some() {
            samples.gauge(RENEWALS, self.count as f64);
        }
        if let Some(last) = self.last {
            samples.gauge(LAST_RENEWAL, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_proved_by_a_later_end_alone() {
        let mut renewals = Renewals::default();
        let mut check = |not_after: f64, now: f64, last: Option<f64>, count: u64| {
            renewals.note(not_after, now);
            assert_eq!((renewals.last, renewals.count), (last, count), "{not_after} at {now}");
        };
        check(100.0, 1.0, None, 0);
        check(100.0, 2.0, None, 0);
        check(90.0, 3.0, None, 0);
        check(100.0, 4.0, None, 0);
        check(200.0, 5.0, Some(5.0), 1);
        check(200.0, 6.0, Some(5.0), 1);
        check(300.0, 7.0, Some(7.0), 2);
    }
}
