//! What a probe finds out about a server, piece by piece.

use std::collections::HashSet;

use tokio::time::Instant;

use super::super::metadata::BUILD;
use super::capability::Verdict;
use super::collector::{Collector, Privilege};
use super::dsn::Dsn;
use super::failure::Failure;
use super::layers::layers;
use super::metadata::is_own;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, Sample};

/// What the collectors found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) samples: Vec<Sample>,
    pub(super) log: Vec<String>,
    /// Whether any collector failed.
    pub(super) incomplete: bool,
    /// Whether the server answered anything.
    pub(super) answered: bool,
    /// When the server started that answered.
    pub(super) started: Option<String>,
    /// The series of the first of the samples.
    known: Known,
}

#[derive(Debug, Default)]
struct Known {
    series: HashSet<Labels>,
    /// How many samples were looked at.
    samples: usize,
}

impl Facts {
    /// Adds a sample; labels with an empty value are left out.
    pub(super) fn push(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut builder = LabelsBuilder::default();
        builder.set(METRIC_NAME, name);
        for (label, text) in labels {
            builder.set(label, text);
        }
        self.samples.push(Sample::new(builder.build(), 0, value));
    }

    /// Adds what a query of the user yields, but for series that are there already or that only the prober
    /// itself may tell of. The first of these comes back.
    pub(super) fn add_new<'a>(&mut self, samples: &'a [Sample]) -> Option<&'a Labels> {
        let Known { series, samples: seen } = &mut self.known;
        series.extend(self.samples[*seen..].iter().map(|sample| sample.labels.clone()));
        let mut taken = None;
        for sample in samples {
            if is_own(sample.labels.metric_name()) || !series.insert(sample.labels.clone()) {
                taken = taken.or(Some(&sample.labels));
            } else {
                self.samples.push(sample.clone());
            }
        }
        *seen = self.samples.len();
        taken
    }

    /// Tells how far a new connection got. `login` says whether it was encrypted, or what became of it.
    pub(super) fn tell_login(&mut self, dsn: &Dsn, login: Result<bool, &Failure>) {
        self.log.push(match login {
            Ok(encrypted) => format!("new connection: answered (encrypted: {encrypted})"),
            Err(failure) => format!("new connection: {}", failure.reason),
        });
        for (layer, up) in layers(dsn, login, self.answered) {
            self.push("valmis_postgres_up", &[("layer", layer)], f64::from(up));
        }
    }

    /// What an exporter tells of its own look at the server. `build` is the name of its `…_build_info`.
    pub(super) fn tell_scrape(&mut self, build: &str, began: Instant, error: bool) {
        self.push("pg_exporter_last_scrape_error", &[], f64::from(error));
        self.push("pg_exporter_last_scrape_duration_seconds", &[], began.elapsed().as_secs_f64());
        self.push(build, BUILD, 1.0);
    }

    /// Notes whether a collector can be asked; yields whether it is worth trying. One that lacks a right
    /// which `pg_monitor` gives counts as failed, since that role is what is expected.
    pub(super) fn note(&mut self, collector: &Collector, verdict: Verdict) -> bool {
        let needs = match (collector.extension, collector.privilege) {
            (None, Privilege::None) => None,
            (Some(extension), Privilege::None) => Some(extension),
            (_, privilege) => Some(privilege.as_str()),
        };
        let able = verdict == Verdict::Able;
        let missing = match verdict {
            Verdict::OtherVersion => return false,
            Verdict::Able => needs,
            Verdict::Lacks(privilege) => {
                let what = privilege.as_str();
                self.log.push(format!("collector `{}`: the role lacks `{what}`", collector.name));
                if privilege != Privilege::ReadAllData {
                    self.incomplete = true;
                    self.push("pg_scrape_collector_success", &[("collector", collector.name)], 0.0);
                }
                Some(what)
            }
            Verdict::NoExtension(extension) => {
                self.log.push(format!("collector `{}`: no extension `{extension}`", collector.name));
                Some(extension)
            }
        };
        if let Some(needs) = missing {
            let labels = [("collector", collector.name), ("needs", needs)];
            self.push("valmis_postgres_capability", &labels, f64::from(able));
        }
        able
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_that_are_there_already_are_not_added() {
        let sample = |name: &str| Sample::new(Labels::from_pairs([(METRIC_NAME, name)]), 0, 1.0);
        let mut facts = Facts::default();
        facts.push("pg_locks_count", &[], 1.0);
        let mut check = |names: &[&str], taken: Option<&str>, count: usize| {
            let samples: Vec<Sample> = names.iter().map(|name| sample(name)).collect();
            assert_eq!(facts.add_new(&samples).map(Labels::metric_name), taken, "{names:?}");
            facts.push("another", &[], 1.0);
            assert_eq!(facts.samples.len(), count, "{names:?}");
        };
        check(&["orders_count", "orders_sum"], None, 4);
        check(&["new", "pg_locks_count", "another"], Some("pg_locks_count"), 6);
        check(&["orders_count"], Some("orders_count"), 7);
        check(&["pg_up", "newer"], Some("pg_up"), 9);
    }
}
