//! `collect[]` and `exclude[]` of a request for metrics: a choice among the collectors of those exporters
//! whose place valmis takes. Pure.
//!
//! Source of the behaviour and of the texts: `node_exporter.go` (`ServeHTTP`, `innerHandler`) and
//! `collector/collector.go` (`NewNodeCollector`). `postgres_exporter` has the same text for what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::probe::{disk, node, postgres};
use crate::readiness::{Family, Kind};

/// An exporter that has collectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exporter {
    /// `node_exporter`.
    Node,
    /// `postgres_exporter`.
    Postgres,
}

/// `node_exporter`'s collector of what is another prober's here.
const FILESYSTEM: &str = "filesystem";
/// `node_exporter`'s collector of what jobs leave in files.
const TEXTFILE: &str = "textfile";

/// The collectors by the metrics whose names are known beforehand.
static COLLECTED: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    let others = [(disk::METADATA, FILESYSTEM), (node::TEXTFILE, TEXTFILE)];
    let others = others
        .into_iter()
        .flat_map(|(metrics, collector)| metrics.iter().map(move |(metric, ..)| (*metric, collector)));
    node::collected().chain(others).chain(postgres::collected()).collect()
});

/// What `node_exporter` tells of itself.
const NODE_SHARED: &[&str] = &["node_exporter_", "node_scrape_collector_", "valmis_node_"];
/// The beginnings of everything about PostgreSQL.
const POSTGRES: &[&str] = &["pg_", "pgbouncer_", "postgres_exporter_", "valmis_postgres_"];

/// Whose a metric is.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Collector(&'static str),
    /// It is shown beside whatever collectors of the exporter are.
    Exporter(Exporter),
    Nobody,
}

impl Owner {
    fn of(name: &str, kind: Option<Kind>) -> Self {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if let Some(collector) = COLLECTED.get(name) {
            return Self::Collector(collector);
        }
        match kind {
            _ if begins(NODE_SHARED) => Self::Exporter(Exporter::Node),
            _ if name.starts_with("pg_settings_") => Self::Collector("settings"),
            // What else is told about the machine, jobs have left in files.
            Some(Kind::Machine) => Self::Collector(TEXTFILE),
            // What queries of the user find may have any name.
            Some(Kind::Postgres) => Self::Exporter(Exporter::Postgres),
            _ if begins(POSTGRES) => Self::Exporter(Exporter::Postgres),
            _ => Self::Nobody,
        }
    }
}

fn collectors_of(exporter: Exporter) -> BTreeSet<&'static str> {
    match exporter {
        Exporter::Node => node::collectors().chain([FILESYSTEM, TEXTFILE]).collect(),
        Exporter::Postgres => postgres::collector::names().collect(),
    }
}

/// Why a choice cannot be met, in `node_exporter`'s words; an answer with status 400.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SelectionError {
    /// Both parameters.
    #[error("Combined collect and exclude queries are not allowed.")]
    Combined,
    /// A name that none of the page's exporters has.
    #[error("Couldn't create filtered metrics handler: couldn't create collector: missing collector: {0}")]
    Missing(String),
}

/// Which collectors' metrics are wanted.
#[derive(Debug)]
pub(super) enum Selection {
    /// Everything there is.
    All,
    /// These, and what their exporters tell of themselves.
    Only(BTreeSet<String>),
    /// Everything but these. One that does not exist excludes nothing, as in `node_exporter`.
    AllBut(BTreeSet<String>),
}

impl Selection {
    /// The choice of a request to a page that stands for `exporters`.
    pub(super) fn new(
        collect: BTreeSet<String>,
        exclude: BTreeSet<String>,
        exporters: &[Exporter],
    ) -> Result<Self, SelectionError> {
        if !collect.is_empty() && !exclude.is_empty() {
            return Err(SelectionError::Combined);
        }
        if collect.is_empty() {
            return Ok(if exclude.is_empty() { Self::All } else { Self::AllBut(exclude) });
        }
        let known: BTreeSet<&str> = exporters.iter().flat_map(|exporter| collectors_of(*exporter)).collect();
        match collect.iter().find(|name| !known.contains(name.as_str())) {
            Some(missing) => Err(SelectionError::Missing(missing.clone())),
            None => Ok(Self::Only(collect)),
        }
    }

    /// Whether the metrics of valmis itself are wanted.
    pub(super) fn keeps_own(&self) -> bool {
        !matches!(self, Self::Only(_))
    }

    /// What is wanted of a metric.
    pub(super) fn keep(&self, mut family: Family) -> Option<Family> {
        let (names, wanted) = match self {
            Self::All => return Some(family),
            Self::Only(names) => (names, true),
            Self::AllBut(names) => (names, false),
        };
        match Owner::of(&family.name, family.kind) {
            Owner::Collector(collector) => (names.contains(collector) == wanted).then_some(family),
            Owner::Nobody => (!wanted).then_some(family),
            Owner::Exporter(exporter) => {
                if wanted && !collectors_of(exporter).iter().any(|collector| names.contains(*collector)) {
                    return None;
                }
                family.samples.retain(|sample| {
                    let collector = sample.labels.get("collector");
                    collector.is_empty() || names.contains(collector) == wanted
                });
                (!family.samples.is_empty()).then_some(family)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Sample};
    use crate::probe;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_metric_of_the_two_exporters_belongs_somewhere() {
        for (name, ..) in probe::metadata() {
            let owner = Owner::of(name, None);
            let expected =
                ["node_", "pg_", "pgbouncer_", "postgres_"].iter().any(|prefix| name.starts_with(prefix));
            assert!(!expected || owner != Owner::Nobody, "{name}");
        }
        let check = |name: &str, kind: Option<Kind>, expected: Owner| {
            assert_eq!(Owner::of(name, kind), expected, "{name}");
        };
        check("node_network_transmit_bytes_total", None, Owner::Collector("netdev"));
        check("node_network_transmit_queue_length", None, Owner::Collector("netclass"));
        check("node_network_up", None, Owner::Collector("netclass"));
        check("node_boot_time_seconds", Some(Kind::Machine), Owner::Collector("stat"));
        check("backup_last_success", Some(Kind::Machine), Owner::Collector("textfile"));
        check("backup_last_success", Some(Kind::App), Owner::Nobody);
        check("pg_settings_max_connections", None, Owner::Collector("settings"));
        check("pg_locks_count", None, Owner::Collector("locks"));
        check("pg_up", Some(Kind::Postgres), Owner::Exporter(Exporter::Postgres));
        check("shop_orders", Some(Kind::Postgres), Owner::Exporter(Exporter::Postgres));
        check("probe_success", Some(Kind::Machine), Owner::Collector("textfile"));
    }

    #[test]
    fn a_choice_is_refused_in_node_exporters_words() {
        let check = |collect: &[&str], exclude: &[&str], exporters: &[Exporter], expected: Option<&str>| {
            let found = Selection::new(set(collect), set(exclude), exporters).err();
            assert_eq!(found.map(|error| error.to_string()).as_deref(), expected, "{collect:?} {exclude:?}");
        };
        let missing =
            "Couldn't create filtered metrics handler: couldn't create collector: missing collector: ";
        let (node, both) = (&[Exporter::Node][..], &[Exporter::Node, Exporter::Postgres][..]);
        check(&[], &[], node, None);
        check(&["cpu", "meminfo", "textfile", "filesystem"], &[], node, None);
        check(&["cpu", "locks"], &[], both, None);
        check(&["cpu", "locks"], &[], node, Some(&format!("{missing}locks")));
        check(&["nope"], &[], both, Some(&format!("{missing}nope")));
        check(&["cpu"], &[], &[], Some(&format!("{missing}cpu")));
        check(&[], &["nope"], node, None);
        check(&["cpu"], &["time"], node, Some("Combined collect and exclude queries are not allowed."));
    }

    #[test]
    fn a_choice_keeps_what_it_names() {
        let family = |name: &str, collectors: &[&str]| Family {
            name: name.to_owned(),
            metric_type: "gauge",
            help: String::new(),
            kind: None,
            samples: (collectors.iter())
                .map(|collector| Sample::new(Labels::from_pairs([("collector", *collector)]), 0, 1.0))
                .collect(),
        };
        let both = [Exporter::Node, Exporter::Postgres];
        let check = |collect: &[&str], exclude: &[&str], expected: &[(&str, usize)]| {
            let selection = Selection::new(set(collect), set(exclude), &both).unwrap();
            let all = [
                family("node_cpu_seconds_total", &[""]),
                family("node_load1", &[""]),
                family("node_scrape_collector_success", &["cpu", "loadavg"]),
                family("pg_locks_count", &[""]),
                family("pg_up", &[""]),
                family("probe_success", &[""]),
            ];
            let kept: Vec<_> = all.into_iter().filter_map(|family| selection.keep(family)).collect();
            let kept: Vec<_> =
                kept.iter().map(|family| (family.name.as_str(), family.samples.len())).collect();
            assert_eq!(kept, expected, "{collect:?} {exclude:?}");
        };
        let (cpu, load) = (("node_cpu_seconds_total", 1), ("node_load1", 1));
        let success = "node_scrape_collector_success";
        let (locks, up, probe) = (("pg_locks_count", 1), ("pg_up", 1), ("probe_success", 1));
        check(&[], &[], &[cpu, load, (success, 2), locks, up, probe]);
        check(&["cpu"], &[], &[cpu, (success, 1)]);
        check(&["cpu", "loadavg"], &[], &[cpu, load, (success, 2)]);
        check(&["locks"], &[], &[locks, up]);
        check(&["wal"], &[], &[up]);
        check(&[], &["cpu", "locks"], &[load, (success, 1), up, probe]);
    }
}
