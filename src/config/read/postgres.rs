//! PostgreSQL servers: where they are and what is collected from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::config::PostgresConfig;
use crate::diag::closest;
use crate::model::Secret;
use crate::probe::postgres::custom::{
    Column, CustomQuery, DEFAULT_INTERVAL, DEFAULT_MAX_ROWS, Usage, VersionRange, longest,
};
use crate::probe::postgres::{Choice, Databases, Dsn, Role, Selection, collector};
use crate::yaml::{self, Fields, Node, NodeKind, Reader};

/// Rows are samples: more of them are no metrics.
const MOST_ROWS: u64 = 100_000;

/// What is known of a server's queries while they are read.
struct KnownQueries {
    /// Where they are, by name.
    names: BTreeMap<String, String>,
    /// How long one may take at most.
    longest: Duration,
}

impl Context<'_> {
    pub(super) fn postgres(&mut self, node: &Node) -> Option<PostgresConfig> {
        let mut fields = self.reader.fields("a PostgreSQL server", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let dsn = fields.require(&mut self.reader, "dsn").and_then(|node| {
            let text = self.reader.text("dsn", node)?;
            // These errors name parameters, never their values.
            for error in Dsn::parse(text).err().unwrap_or_default() {
                self.reader.error("bad-dsn", node.place, format!("`dsn` cannot be used: {error}"));
            }
            Some(Secret::new(text))
        });
        let password = self.secret(&mut fields, ["password", "password_file", "password_env"]);
        let role = fields.take("role").and_then(|node| self.role(node));
        let databases = fields.take("databases").map(|node| self.databases(node)).unwrap_or_default();
        let collectors = fields.take("collectors").map(|node| self.collectors(node)).unwrap_or_default();
        let pace = self.pace(&mut fields);
        let mut known = KnownQueries { names: BTreeMap::new(), longest: longest(pace.timeout) };
        let own = fields.take("queries").map(|node| self.queries(node, &mut known));
        let mut queries = own.unwrap_or_default();
        let files = fields.take("query_files").map(|node| self.reader.items("query_files", node));
        for file in files.unwrap_or_default() {
            queries.extend(self.query_file(file, &mut known));
        }
        fields.finish(&mut self.reader);
        let queries = queries.into_iter().map(Arc::new).collect();
        let selection = Selection { databases, collectors, queries };
        Some(PostgresConfig { name: name?, dsn: dsn?, password, role, selection, pace })
    }

    fn role(&mut self, node: &Node) -> Option<Role> {
        match self.reader.text("role", node)? {
            "primary" => Some(Role::Primary),
            "replica" => Some(Role::Replica),
            other => {
                let message = format!("`role` must be `primary` or `replica`, not `{other}`");
                self.reader.error("bad-value", node.place, message);
                None
            }
        }
    }

    /// `all`, a list of names, or `exclude:` with one.
    fn databases(&mut self, node: &Node) -> Databases {
        match &node.kind {
            NodeKind::Scalar(text) if text == "all" => Databases::AllBut(Vec::new()),
            NodeKind::Sequence(_) => Databases::Named(self.names("databases", node)),
            NodeKind::Mapping(_) => {
                let mut fields = self.reader.fields("`databases`", node);
                let excluded = fields.require(&mut self.reader, "exclude");
                let excluded = excluded.map(|node| self.names("exclude", node)).unwrap_or_default();
                fields.finish(&mut self.reader);
                Databases::AllBut(excluded)
            }
            other => {
                let found = match other {
                    NodeKind::Scalar(text) => format!("`{text}`"),
                    other => other.describe().to_owned(),
                };
                let message = format!("`databases` must be `all`, a list or `exclude`, not {found}");
                self.reader.error("bad-value", node.place, message);
                Databases::Own
            }
        }
    }

    fn names(&mut self, what: &str, node: &Node) -> Vec<String> {
        let items = self.reader.items(what, node);
        items.iter().filter_map(|item| self.reader_text(what, item)).collect()
    }

    /// By name: `true`, `false`, or a mapping of what is different.
    fn collectors(&mut self, node: &Node) -> BTreeMap<String, Choice> {
        let mut choices = BTreeMap::new();
        let NodeKind::Mapping(entries) = &node.kind else {
            let message = format!("`collectors` must be a mapping, not {}", node.kind.describe());
            self.reader.error("wrong-type", node.place, message);
            return choices;
        };
        for (name, place, node) in entries {
            if !collector::names().any(|known| known == name) {
                let hint = closest(name, collector::names()).map_or_else(
                    || format!("known collectors: {}", collector::names().collect::<Vec<_>>().join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let message = format!("there is no collector `{name}`");
                self.reader.error_with_hint("unknown-collector", *place, message, hint);
            }
            choices.insert(name.clone(), self.choice(node));
        }
        choices
    }

    fn choice(&mut self, node: &Node) -> Choice {
        if let NodeKind::Scalar(_) = &node.kind {
            return Choice { enabled: self.reader.boolean("a collector", node), ..Choice::default() };
        }
        let mut fields = self.reader.fields("a collector", node);
        let enabled = fields.take("enabled").and_then(|node| self.reader.boolean("enabled", node));
        let interval = self.span(&mut fields, "interval");
        let limit = self.count(&mut fields, "limit");
        fields.finish(&mut self.reader);
        Choice { enabled: enabled.or(Some(true)), interval, limit }
    }

    fn count(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<usize> {
        let count = fields.take(key).and_then(|node| self.reader.integer(key, node, 1..=MOST_ROWS));
        count.and_then(|count| usize::try_from(count).ok())
    }

    /// A file of queries, whose faults are told with their place in that file.
    fn query_file(&mut self, node: &Node, known: &mut KnownQueries) -> Vec<CustomQuery> {
        let Some(path) = self.path("query_files", node) else { return Vec::new() };
        let file = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Err(error) => {
                self.reader.error("unreadable", node.place, format!("cannot read `{file}`: {error}"));
                Vec::new()
            }
            Ok(text) => {
                let (tree, findings) = yaml::parse(&file, &text);
                let outer = std::mem::replace(&mut self.reader, Reader::new(file));
                let queries = self.queries(&tree, known);
                let inner = std::mem::replace(&mut self.reader, outer);
                self.reader.adopt(findings);
                self.reader.adopt(inner.into_findings());
                queries
            }
        }
    }

    /// Queries by name, as in `postgres_exporter`'s file. Names are those of metrics, so that two queries
    /// cannot share one, wherever they are.
    fn queries(&mut self, node: &Node, known: &mut KnownQueries) -> Vec<CustomQuery> {
        match &node.kind {
            NodeKind::Null => Vec::new(),
            NodeKind::Mapping(entries) => {
                for (name, place, _) in entries {
                    if let Some(first) = known.names.get(name) {
                        let message = format!("two queries have the name `{name}`: the first is at {first}");
                        self.reader.error("duplicate-name", *place, message);
                    } else {
                        known.names.insert(name.clone(), format!("{}:{place}", self.reader.file()));
                    }
                }
                let longest = known.longest;
                entries.iter().filter_map(|(name, _, node)| self.custom_query(name, node, longest)).collect()
            }
            other => {
                let message =
                    format!("queries must be a mapping of names to queries, not {}", other.describe());
                self.reader.error("wrong-type", node.place, message);
                Vec::new()
            }
        }
    }

    fn custom_query(&mut self, name: &str, node: &Node, longest: Duration) -> Option<CustomQuery> {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(valid) || name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("`{name}` cannot begin the name of a metric");
            self.reader.error("bad-name", node.place, message);
        }
        let mut fields = self.reader.fields("a query", node);
        let sql = fields.require(&mut self.reader, "query").and_then(|node| self.reader_text("query", node));
        let columns = fields.take("metrics").map(|node| self.columns(node)).unwrap_or_default();
        let main_only =
            fields.take("master").and_then(|node| self.reader.boolean("master", node)).unwrap_or(false);
        let cached = fields.take("cache_seconds");
        let cached = cached.and_then(|node| self.reader.integer("cache_seconds", node, 0..=86_400));
        let versions = fields.take("runonserver").and_then(|node| {
            let text = self.reader.text("runonserver", node)?;
            let range = VersionRange::parse(text);
            if let Err(error) = &range {
                self.reader.error("bad-version", node.place, format!("`runonserver`: {error}"));
            }
            range.ok()
        });
        let interval = self.span(&mut fields, "interval");
        let timeout = fields.take("timeout").and_then(|node| {
            let timeout = self.reader.duration("timeout", node)?;
            if timeout > longest {
                let message = format!(
                    "`timeout` is longer than a query may take at the `timeout` of this server, {} ms",
                    longest.as_millis()
                );
                self.reader.warning("timeout-over-server", node.place, message);
            }
            Some(timeout)
        });
        let max_rows = self.count(&mut fields, "max_rows");
        let databases = fields.take("databases").map(|node| self.databases(node));
        let role = fields.take("role").and_then(|node| self.role(node));
        fields.finish(&mut self.reader);
        let cached = cached.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let everywhere = if main_only { Databases::Own } else { Databases::AllBut(Vec::new()) };
        Some(CustomQuery {
            name: name.to_owned(),
            sql: sql?,
            columns,
            interval: interval.or(cached).unwrap_or(DEFAULT_INTERVAL),
            timeout,
            max_rows: max_rows.unwrap_or(DEFAULT_MAX_ROWS),
            databases: databases.unwrap_or(everywhere),
            versions,
            on_replica: role.map(|role| role == Role::Replica),
        })
    }

    /// A list of mappings of one column each to what becomes of it.
    fn columns(&mut self, node: &Node) -> Vec<Column> {
        let mut columns = Vec::new();
        for item in self.reader.items("metrics", node) {
            let NodeKind::Mapping(entries) = &item.kind else {
                let message =
                    format!("a metric must be a column with its usage, not {}", item.kind.describe());
                self.reader.error("wrong-type", item.place, message);
                continue;
            };
            for (name, _, node) in entries {
                let mut fields = self.reader.fields("a metric", node);
                let usage = fields.require(&mut self.reader, "usage").and_then(|node| self.usage(node));
                let help = fields.take("description").and_then(|node| self.reader_text("description", node));
                fields.finish(&mut self.reader);
                if let Some(usage) = usage {
                    columns.push(Column { name: name.clone(), usage, help: help.unwrap_or_default() });
                }
            }
        }
        columns
    }

    fn usage(&mut self, node: &Node) -> Option<Usage> {
        match self.reader.text("usage", node)? {
            "LABEL" => Some(Usage::Label),
            "COUNTER" => Some(Usage::Counter),
            "GAUGE" => Some(Usage::Gauge),
            "DURATION" => Some(Usage::Duration),
            "HISTOGRAM" => Some(Usage::Histogram),
            "DISCARD" => Some(Usage::Discard),
            other => {
                let message = format!("`usage` cannot be `{other}`");
                let hint = "one of LABEL, COUNTER, GAUGE, DURATION, HISTOGRAM, DISCARD";
                self.reader.error_with_hint("bad-usage", node.place, message, hint);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::read;
    use super::*;
    use crate::config::{Config, Surroundings};

    fn read_in(folder: &Path, text: &str) -> Result<Config, String> {
        let surroundings = Surroundings { environment: &|_| None, folder };
        let (config, findings) = read("valmis.yaml", text, &surroundings);
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        if findings.is_empty() { Ok(config) } else { Err(findings.join("\n")) }
    }

    fn server(lines: &str) -> Result<PostgresConfig, String> {
        let text = format!("postgres:\n  - name: db\n    dsn: postgres://u@h/d\n{lines}");
        read_in(Path::new("/"), &text).map(|config| config.postgres[0].clone())
    }

    #[test]
    fn what_is_collected_can_be_chosen() {
        let databases = |lines: &str| server(lines).expect("a good configuration").selection.databases;
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(databases(""), Databases::Own);
        assert_eq!(databases("    databases: all\n"), Databases::AllBut(Vec::new()));
        assert_eq!(databases("    databases: [a, b]\n"), Databases::Named(names(&["a", "b"])));
        assert_eq!(databases("    databases: {exclude: [a]}\n"), Databases::AllBut(names(&["a"])));
        let server = server(
            "    role: replica\n    collectors:\n      wal: false\n      process_idle: true\n      \
             stat_user_tables: {interval: 30s, limit: 7}\n",
        )
        .expect("a good configuration");
        assert_eq!(server.role, Some(Role::Replica));
        let choice = |name: &str| server.selection.collectors[name];
        assert_eq!(choice("wal").enabled, Some(false));
        assert_eq!(choice("process_idle").enabled, Some(true));
        let tables = Choice { enabled: Some(true), interval: Some(Duration::from_secs(30)), limit: Some(7) };
        assert_eq!(choice("stat_user_tables"), tables);
    }

    const QUERIES: &str = r#"
pg_replication:
  query: "SELECT 1 AS lag"
  master: true
  cache_seconds: 30
  runonserver: ">=10.0.0"
  metrics:
    - lag:
        usage: "GAUGE"
        description: "Replication lag behind master in seconds"
orders:
  query: SELECT state, count(*) AS count FROM orders GROUP BY state
  interval: 5m
  timeout: 1s
  max_rows: 10
  databases: [shop]
  role: primary
  metrics:
    - state: {usage: LABEL}
    - count: {usage: COUNTER}
"#;

    #[test]
    fn a_file_of_postgres_exporter_is_read_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("queries.yaml"), QUERIES).expect("written");
        let text = "postgres: [{name: db, dsn: 'postgres://u@h/d', query_files: [queries.yaml]}]";
        let config = read_in(folder.path(), text).expect("a good configuration");
        let [replication, orders] = config.postgres[0].selection.queries.as_slice() else {
            panic!("two queries");
        };
        assert_eq!(
            (replication.interval, &replication.databases),
            (Duration::from_secs(30), &Databases::Own)
        );
        assert!(replication.versions.as_ref().is_some_and(|versions| versions.contains(150_018)));
        assert_eq!(replication.columns[0].usage, Usage::Gauge);
        assert_eq!((orders.max_rows, orders.timeout), (10, Some(Duration::from_secs(1))));
        assert_eq!((orders.on_replica, orders.interval), (Some(false), Duration::from_mins(5)));
    }

    #[test]
    fn a_query_cannot_take_longer_than_its_server_allows() {
        let check = |pace: &str, timeout: &str, expected: Result<(), &str>| {
            let queries = format!("    queries: {{orders: {{query: SELECT 1, timeout: {timeout}}}}}\n");
            let found = server(&format!("{pace}{queries}"));
            assert_eq!(found.map(drop), expected.map_err(str::to_owned), "{pace}{timeout}");
        };
        let message = "warning: `timeout` is longer than a query may take at the `timeout` of this server";
        check("", "1600ms", Ok(()));
        check("", "2s", Err(&format!("valmis.yaml:4:50: {message}, 1600 ms")));
        check("    timeout: 10s\n", "3s", Ok(()));
        let expected = format!("valmis.yaml:6:50: {message}, 6400 ms");
        check("    interval: 1m\n    timeout: 20s\n", "7s", Err(&expected));
    }

    #[test]
    fn two_queries_cannot_share_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["a.yaml", "b.yaml"] {
            std::fs::write(folder.path().join(file), "orders:\n  query: SELECT 1\n").expect("written");
        }
        let text = "postgres:\n- name: db\n  dsn: postgres://u@h/d\n  query_files: [a.yaml, b.yaml]\n  queries:\n    \
                    orders: {query: SELECT 2}\n";
        let findings = read_in(folder.path(), text).expect_err("a bad configuration");
        let findings = findings.replace(&format!("{}/", folder.path().display()), "");
        insta::assert_snapshot!(findings, @r"
        a.yaml:1:1: two queries have the name `orders`: the first is at valmis.yaml:6:5
        b.yaml:1:1: two queries have the name `orders`: the first is at valmis.yaml:6:5
        ");
    }

    #[test]
    fn faults_have_their_place_in_their_file() {
        let findings = server(
            "    databases: some\n    collectors: {wall: false, settings: 3}\n    queries:\n      9q:\n        \
             query: SELECT 1\n        metrics: [{a: {usage: BAR}}]\n        runonserver: new\n",
        )
        .expect_err("a bad configuration");
        insta::assert_snapshot!(findings, @r"
        valmis.yaml:4:16: `databases` must be `all`, a list or `exclude`, not `some`
        valmis.yaml:5:18: there is no collector `wall`
          hint: did you mean `wal`?
        valmis.yaml:5:41: `a collector` must be `true` or `false`, not `3`
        valmis.yaml:8:9: `9q` cannot begin the name of a metric
        valmis.yaml:9:31: `usage` cannot be `BAR`
          hint: one of LABEL, COUNTER, GAUGE, DURATION, HISTOGRAM, DISCARD
        valmis.yaml:10:22: `runonserver`: expected a range of versions such as `>=14.0.0 <17`, not `new`
        ");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("q.yaml"), "a:\n  sql: SELECT 1\n").expect("written");
        let text = "postgres: [{name: db, dsn: 'postgres://u@h/d', query_files: [q.yaml, none.yaml]}]";
        let findings = read_in(folder.path(), text).expect_err("a bad configuration");
        let findings = findings.replace(&format!("{}/", folder.path().display()), "");
        insta::assert_snapshot!(findings, @r"
        valmis.yaml:1:70: cannot read `none.yaml`: No such file or directory (os error 2)
        q.yaml:2:3: a query needs a value for `query`
        q.yaml:2:3: a query has no key `sql`
          hint: known keys: query, metrics, master, cache_seconds, runonserver, interval, timeout, max_rows, databases, role
        ");
    }
}
