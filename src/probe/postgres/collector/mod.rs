//! What is asked of the server: a list of collectors, which are data. Each is one `SELECT` whose columns
//! become labels and values.
//!
//! Names and labels are those of `postgres_exporter` 0.20, so that existing rules and dashboards work. No
//! statement waits for a relation's lock: they read views of statistics and catalogues only, never
//! `pg_table_size` and its like, which wait behind an `ACCESS EXCLUSIVE` lock; a test looks for them.
//!
//! What is quick and concerns the whole server is asked at every probe. What walks through many objects,
//! or has to be asked in each database, has an interval of its own ([`Collector::every`]).

mod activity;
mod archiver;
mod bloat;
mod database;
mod horizon;
mod indexes;
mod io;
mod locks;
mod progress;
mod replication;
mod sequences;
mod server;
mod settings;
mod statements;
mod tables;
mod wal;
mod writer;

use std::time::Duration;

use super::row::Row;
use crate::model::{LabelsBuilder, METRIC_NAME, Sample};

pub use settings::describe as describe_setting;

/// Every collector, in the order in which they are asked.
pub const COLLECTORS: &[&Collector] = &[
    &server::STATIC,
    &server::POSTMASTER,
    &settings::SETTINGS,
    &activity::STAT_ACTIVITY,
    &database::STAT_DATABASE,
    &database::STAT_DATABASE_ACTIVE_TIME,
    &database::STAT_DATABASE_SESSIONS,
    &database::STAT_DATABASE_CONFLICTS,
    &locks::LOCKS,
    &locks::BLOCKING,
    &replication::REPLICATION,
    &replication::STAT_REPLICATION,
    &replication::REPLICATION_SLOTS,
    &wal::STAT_WAL_RECEIVER,
    &wal::WAL,
    &archiver::STAT_ARCHIVER,
    &writer::STAT_BGWRITER_BEFORE_17,
    &writer::STAT_BGWRITER,
    &writer::STAT_CHECKPOINTER,
    &io::STAT_IO,
    &io::STAT_SLRU,
    &database::DATABASE_WRAPAROUND,
    &database::DATABASE,
    &server::ROLES,
    &server::TXID,
    &activity::LONG_RUNNING_TRANSACTIONS,
    &activity::STAT_ACTIVITY_AUTOVACUUM,
    &activity::PROCESS_IDLE,
    &activity::STAT_SSL,
    &progress::STAT_PROGRESS_VACUUM,
    &horizon::XMIN_HORIZON,
    &horizon::PREPARED_XACTS,
    &tables::STAT_USER_TABLES,
    &tables::STATIO_USER_TABLES,
    &indexes::STATIO_USER_INDEXES,
    &indexes::INDEXES,
    &indexes::MISSING_INDEXES,
    &statements::STAT_STATEMENTS_BEFORE_17,
    &statements::STAT_STATEMENTS,
    &statements::STAT_STATEMENTS_QUERY,
    &statements::BUFFERCACHE_SUMMARY,
    &sequences::SEQUENCES,
    &bloat::BLOAT_TABLE,
    &bloat::BLOAT_BTREE,
    // Last, since it alone can take long.
    &database::DATABASE_SIZE,
];

/// One question and what becomes of the answer.
#[derive(Debug)]
pub struct Collector {
    /// Its name in `pg_scrape_collector_success` and in the configuration; those that cover different
    /// versions share it.
    pub name: &'static str,
    /// Whether it is asked unless the configuration says otherwise.
    pub default_on: bool,
    /// The first major version that has what is asked for.
    pub since: u32,
    /// The first major version that no longer has it.
    pub until: Option<u32>,
    /// What the role must be allowed. Without it the question is not asked: the server would answer
    /// with blanks that look like zeros.
    pub privilege: Privilege,
    /// The extension that must be installed; `{schema}` in the question becomes its schema.
    pub extension: Option<&'static str>,
    /// Where to ask.
    pub scope: Scope,
    /// How often to ask, for what costs the server more than a look at its memory. Such a collector is
    /// asked beside the probe, which never waits for it.
    pub every: Option<Duration>,
    /// How many rows become samples, if their number has no natural limit.
    pub bound: Option<Bound>,
    /// How the answer comes in pages, if it takes a lock for each row.
    pub pages: Option<Pages>,
    /// The question.
    pub sql: &'static str,
    /// What becomes of each row of the answer.
    pub yields: Yields,
}

/// What most collectors are: allowed to every role, quick, about the whole server, in all versions.
const ALWAYS: Collector = Collector {
    name: "",
    default_on: true,
    since: 13,
    until: None,
    privilege: Privilege::None,
    extension: None,
    scope: Scope::Server,
    every: None,
    bound: None,
    pages: None,
    sql: "",
    yields: Yields::Series(&[]),
};

/// A right of the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Any role may.
    None,
    /// Members of `pg_read_all_stats` (and therefore of `pg_monitor`) may.
    ReadAllStats,
    /// Members of `pg_read_all_settings` (and therefore of `pg_monitor`) may; others do not see some 20
    /// settings.
    ReadAllSettings,
    /// Who may execute `pg_ls_waldir`, as `pg_monitor` does.
    ListWal,
    /// Who may read every table (`pg_read_all_data`, since 14), and so the planner's statistics.
    ReadAllData,
}

impl Privilege {
    /// Those that are looked at.
    pub const ALL: [Self; 4] = [Self::ReadAllStats, Self::ReadAllSettings, Self::ListWal, Self::ReadAllData];

    /// Its name as a label value: the role to be a member of, or the function to be allowed to execute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ReadAllStats => "pg_read_all_stats",
            Self::ReadAllSettings => "pg_read_all_settings",
            Self::ListWal => "pg_ls_waldir",
            Self::ReadAllData => "pg_read_all_data",
        }
    }
}

/// Where a question has to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Once: every database gives the same answer.
    Server,
    /// In each database that is watched; the question says `current_database()`.
    Database,
    /// In the first database that has the extension.
    OneDatabase,
}

/// A limit to the rows that become samples. The question orders them by weight, the heaviest first,
/// stops after `{candidates}`, and tells in a column `all_rows` how many there are; or it has [`Pages`].
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// How many rows are kept.
    pub rows: usize,
    /// The columns by which a row is the same as before.
    pub identity: &'static [&'static str],
}

/// What is asked in pages, each a statement of its own, as it looks at rows under locks that are held until
/// the statement ends: a server's table has room for some thousand locks of all its sessions.
///
/// The question has `{after}`, the key at which the page before ended, and `{page}`, how many rows a page
/// has. One row of the answer is about the page itself: `hidden` tells how many rows the role may not look
/// at, and `page_end` the key at which the page ends, or NULL after the last one.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    /// The column by which rows are ordered, the heaviest first.
    pub weight: &'static str,
    /// What the role lacks where rows are hidden from it, as a label value.
    pub needs: &'static str,
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy)]
pub enum Yields {
    /// Its columns, as these say.
    Series(&'static [Series]),
    /// A setting of the server, whose name and unit make the metric.
    Setting,
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

    /// The metrics that it describes itself.
    pub fn values(&self) -> impl Iterator<Item = &'static Value> {
        let series: &'static [Series] = match self.yields {
            Yields::Series(series) => series,
            Yields::Setting => &[],
        };
        series.iter().flat_map(|series| series.values)
    }

    /// The samples of an answer.
    pub fn samples(&self, rows: &[Row]) -> Vec<Sample> {
        match self.yields {
            Yields::Setting => rows.iter().filter_map(settings::sample).collect(),
            Yields::Series(all) => rows.iter().flat_map(|row| samples_of(row, all)).collect(),
        }
    }
}

fn samples_of(row: &Row, all: &[Series]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for series in all {
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
    samples
}

/// The collectors that a configuration can name, each once.
pub fn names() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    COLLECTORS.iter().map(|collector| collector.name).filter(move |name| {
        let first = *name != last;
        last = *name;
        first
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn rows_become_samples_and_null_becomes_nothing() {
        const COLLECTOR: Collector = Collector {
            name: "example",
            yields: Yields::Series(&[
                Series { labels: &["a"], values: &[gauge("x", "pg_x", ""), gauge("y", "pg_y", "")] },
                Series { labels: &["a", "b"], values: &[gauge("z", "pg_z", "")] },
            ]),
            ..ALWAYS
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
                for value in collector.values() {
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
            for value in collector.values() {
                assert!(!value.help.is_empty(), "{}", value.name);
                let kind = *types.entry(value.name).or_insert(value.metric_type);
                assert_eq!(kind, value.metric_type, "{}", value.name);
            }
        }
    }

    fn documented(collector: &Collector) -> String {
        let versions = match (collector.since, collector.until) {
            (13, None) => String::new(),
            (13, Some(until)) => format!("before {until}"),
            (since, _) => format!("since {since}"),
        };
        let every =
            collector.every.map_or("each probe".to_owned(), |every| format!("{} m", every.as_secs() / 60));
        let limit = collector.bound.map_or(String::new(), |bound| bound.rows.to_string());
        let needs = match (collector.extension, collector.privilege) {
            (None, Privilege::None) => String::new(),
            (None, privilege) => format!("`{}`", privilege.as_str()),
            (Some(extension), privilege) => format!("`{extension}`, `{}`", privilege.as_str()),
        };
        let needs = collector.pages.map_or(needs, |pages| format!("`{}`", pages.needs));
        let place = if collector.scope == Scope::Database { "each database" } else { "server" };
        let on = if collector.default_on { "on" } else { "off" };
        let name = collector.name;
        format!("| `{name}` | {on} | {versions} | {place} | {every} | {limit} | {needs} |")
    }

    #[test]
    fn the_documentation_lists_every_collector() {
        let page = include_str!("../../../../docs/postgres.md");
        let head = "| Collector | Default | Versions | Asked in | How often | Limit | Needs |\n\
                    | --- | --- | --- | --- | --- | --- | --- |";
        let rows: Vec<String> = COLLECTORS.iter().map(|collector| documented(collector)).collect();
        let table = format!("{head}\n{}\n", rows.join("\n"));
        assert!(page.contains(&table), "docs/postgres.md needs this table:\n{table}");
    }

    #[test]
    fn bounded_questions_say_how_they_are_bounded() {
        for collector in COLLECTORS {
            let says = |words: &[&str]| words.iter().all(|word| collector.sql.contains(word));
            assert_eq!(collector.pages.is_some(), says(&["{after}", "{page}", "page_end", "hidden"]));
            let bounded = says(&["{candidates}", "all_rows"]) || collector.pages.is_some();
            assert_eq!(collector.bound.is_some(), bounded, "{}", collector.name);
            assert_eq!(
                collector.extension.is_some(),
                collector.sql.contains("{schema}"),
                "{}",
                collector.name
            );
            assert!(collector.scope == Scope::Server || collector.every.is_some(), "{}", collector.name);
        }
        assert_eq!(names().count(), names().collect::<std::collections::BTreeSet<_>>().len());
    }

    #[test]
    fn no_statement_takes_locks_on_relations_or_writes() {
        // What opens a relation and so waits behind whoever has locked it.
        let forbidden = [
            "_table_size",
            "_indexes_size",
            "_relation_size",
            "regclass",
            "pg_sequences",
            "pg_get_indexdef",
            "pg_get_viewdef",
            "for update",
        ];
        for collector in COLLECTORS {
            let sql = collector.sql.to_lowercase();
            assert!(sql.starts_with("select ") || sql.starts_with("with "), "{}", collector.name);
            assert!(!sql.contains(';'), "{}", collector.name);
            for word in forbidden {
                assert!(!sql.contains(word), "{}: `{word}`", collector.name);
            }
            // The one function that does is asked about sequences that nobody has locked.
            let guarded = sql.contains("not exists (select from locked where locked.relation = seqrelid)");
            assert_eq!(sql.contains("pg_sequence_last_value"), guarded, "{}", collector.name);
        }
    }
}
