//! What a probe finds out about a server, piece by piece.

use super::capability::Verdict;
use super::collector::{Collector, Privilege};
use crate::model::{LabelsBuilder, METRIC_NAME, Sample};

/// What the collectors found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) samples: Vec<Sample>,
    pub(super) log: Vec<String>,
    /// Whether any collector failed.
    pub(super) incomplete: bool,
    /// Whether the server answered anything.
    pub(super) answered: bool,
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
