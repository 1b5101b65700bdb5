//! What is asked of the server: a list of collectors, which are data. Each is one `SELECT` whose columns
//! become labels and values.
//!
//! Names and labels are those of `postgres_exporter` 0.20, so that existing rules and dashboards work. No
//! statement touches a relation's locks: views of statistics and catalogues only, never
//! `pg_table_size` and its like, which wait behind an `ACCESS EXCLUSIVE` lock; a test looks for them.

mod activity;
mod archiver;
mod database;
mod locks;
mod replication;
mod server;
mod writer;

use std::time::Duration;

use super::row::Row;
use crate::model::{LabelsBuilder, METRIC_NAME, Sample};

/// Every collector, in the order in which they are asked.
pub const COLLECTORS: &[&Collector] = &[
    &server::STATIC,
    &server::POSTMASTER,
    &server::SETTINGS,
    &activity::STAT_ACTIVITY,
    &database::STAT_DATABASE,
    &database::STAT_DATABASE_ACTIVE_TIME,
    &locks::LOCKS,
    &replication::REPLICATION,
    &replication::STAT_REPLICATION,
    &replication::REPLICATION_SLOTS,
    &archiver::STAT_ARCHIVER,
    &writer::STAT_BGWRITER_BEFORE_17,
    &writer::STAT_BGWRITER,
    &writer::STAT_CHECKPOINTER,
    &database::DATABASE_WRAPAROUND,
    &database::DATABASE,
    // Last, since it alone can take long.
    &database::DATABASE_SIZE,
];

/// One question and what becomes of the answer.
#[derive(Debug)]
pub struct Collector {
    /// Its name in `pg_scrape_collector_success`; two that cover different versions share it.
    pub name: &'static str,
    /// The first major version that has what is asked for.
    pub since: u32,
    /// The first major version that no longer has it.
    pub until: Option<u32>,
    /// What the role must be allowed. Without it the question is not asked: the server would answer
    /// with blanks that look like zeros.
    pub privilege: Privilege,
    /// How often to ask, for what costs the server more than a look at its memory.
    pub every: Option<Duration>,
    /// The question.
    pub sql: &'static str,
    /// What becomes of each row of the answer.
    pub series: &'static [Series],
}

/// A right of the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Any role may.
    None,
    /// Members of `pg_read_all_stats` (and therefore of `pg_monitor`) may.
    ReadAllStats,
}

/// Values that share their labels.
#[derive(Debug)]
pub struct Series {
    /// Columns that become labels of the same name; NULL is an absent label.
    pub labels: &'static [&'static str],
    /// Columns that become values.
    pub values: &'static [Value],
}

/// A column that becomes a metric; NULL is an absent sample.
#[derive(Debug)]
pub struct Value {
    /// The column.
    pub column: &'static str,
    /// The metric.
    pub name: &'static str,
    /// `gauge` or `counter`.
    pub metric_type: &'static str,
    /// What it means.
    pub help: &'static str,
}

const fn gauge(column: &'static str, name: &'static str, help: &'static str) -> Value {
    Value { column, name, metric_type: "gauge", help }
}

const fn counter(column: &'static str, name: &'static str, help: &'static str) -> Value {
    Value { column, name, metric_type: "counter", help }
}

impl Collector {
    /// Whether a server of this major version has what is asked for.
    pub fn fits(&self, major: u32) -> bool {
        self.since <= major && self.until.is_none_or(|until| major < until)
    }

    /// The samples of an answer.
    pub fn samples(&self, rows: &[Row]) -> Vec<Sample> {
        let mut samples = Vec::new();
        for row in rows {
            for series in self.series {
                let mut labels = LabelsBuilder::default();
                for label in series.labels {
                    labels.set(label, row.text(label).unwrap_or_default());
                }
                for value in series.values {
                    if let Some(number) = row.number(value.column) {
                        samples.push(Sample::new(labels.set(METRIC_NAME, value.name).build(), 0, number));
                    }
                }
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn rows_become_samples_and_null_becomes_nothing() {
        const COLLECTOR: Collector = Collector {
            name: "example",
            since: 13,
            until: None,
            privilege: Privilege::None,
            every: None,
            sql: "",
            series: &[
                Series { labels: &["a"], values: &[gauge("x", "pg_x", ""), gauge("y", "pg_y", "")] },
                Series { labels: &["a", "b"], values: &[gauge("z", "pg_z", "")] },
            ],
        };
        let check = |columns: &[(&str, Option<&str>)], expected: &[&str]| {
            let rows = [Row::new(columns.iter().copied())];
            let samples = COLLECTOR.samples(&rows);
            let texts: Vec<String> = samples.iter().map(|s| format!("{} {}", s.labels, s.value)).collect();
            assert_eq!(texts, expected, "{columns:?}");
        };
        check(
            &[("a", Some("1")), ("b", Some("2")), ("x", Some("3")), ("y", Some("t")), ("z", Some("4.5"))],
            &[
                r#"{__name__="pg_x", a="1"} 3"#,
                r#"{__name__="pg_y", a="1"} 1"#,
                r#"{__name__="pg_z", a="1", b="2"} 4.5"#,
            ],
        );
        check(&[("a", None), ("x", Some("0")), ("y", None)], &[r#"{__name__="pg_x"} 0"#]);
    }

    #[test]
    fn every_supported_version_is_asked_each_metric_by_one_collector() {
        for major in 13..=18 {
            let mut seen = HashMap::new();
            for collector in COLLECTORS.iter().filter(|collector| collector.fits(major)) {
                for value in collector.series.iter().flat_map(|series| series.values) {
                    let before = seen.insert(value.name, collector.name);
                    assert_eq!(before, None, "{} on version {major}", value.name);
                }
            }
        }
    }

    #[test]
    fn metrics_are_described_and_alike_in_all_versions() {
        let mut types = HashMap::new();
        for collector in COLLECTORS {
            assert!(!collector.sql.is_empty() && !collector.name.is_empty());
            for value in collector.series.iter().flat_map(|series| series.values) {
                assert!(!value.help.is_empty(), "{}", value.name);
                let kind = *types.entry(value.name).or_insert(value.metric_type);
                assert_eq!(kind, value.metric_type, "{}", value.name);
            }
        }
    }

    #[test]
    fn no_statement_takes_locks_on_relations_or_writes() {
        // Functions that open a relation and so wait behind whoever has locked it.
        let forbidden =
            ["_table_size", "_indexes_size", "_relation_size", "regclass", "pg_class", "for update"];
        for collector in COLLECTORS {
            let sql = collector.sql.to_lowercase();
            assert!(sql.starts_with("select ") || sql.starts_with("with "), "{}", collector.name);
            assert!(!sql.contains(';'), "{}", collector.name);
            for word in forbidden {
                assert!(!sql.contains(word), "{}: `{word}`", collector.name);
            }
        }
    }
}
