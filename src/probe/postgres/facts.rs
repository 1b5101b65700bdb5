//! What a probe finds out about a server, piece by piece.

use tokio::time::Instant;

use super::super::metadata::BUILD;
use super::capability::Verdict;
use super::collector::{Collector, Privilege};
use super::dsn::Dsn;
use super::failure::Failure;
use super::layers::layers;
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
