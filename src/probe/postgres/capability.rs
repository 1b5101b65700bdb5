//! What a server has and what the role may: it decides which questions make sense.

use std::collections::BTreeMap;

use super::super::Deadline;
use super::collector::{Collector, Privilege};
use super::custom::CustomQuery;
use super::failure::{Failure, Layer};
use super::row::Row;
use super::session::{Session, statement_timeout};

/// Asked first over each connection. A role that the server does not know (`pg_read_all_data` came
/// with 14) is one that nobody is a member of.
const CAPABILITIES: &str = "\
SELECT current_setting('server_version_num') AS version, pg_is_in_recovery() AS in_recovery,
       extract(epoch FROM pg_postmaster_start_time()) AS started,
       pg_has_role('pg_read_all_stats', 'USAGE') AS pg_read_all_stats,
       pg_has_role('pg_read_all_settings', 'USAGE') AS pg_read_all_settings,
       has_function_privilege('pg_ls_waldir()', 'EXECUTE') AS pg_ls_waldir,
       EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_read_all_data' AND pg_has_role(oid, 'USAGE'))
           AS pg_read_all_data";

/// The extensions of a database and the schemas they are in.
const EXTENSIONS: &str = "\
SELECT extname, quote_ident(nspname) AS schema
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace";

/// What a connection can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// `server_version_num`: 150018 is 15.18.
    version: u32,
    in_recovery: bool,
    /// When the server started, which tells one from another.
    pub(super) started: Option<String>,
    privileges: Vec<Privilege>,
    extensions: BTreeMap<String, String>,
}

/// Whether a collector can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It can.
    Able,
    /// This version of the server has nothing of it.
    OtherVersion,
    /// The role lacks a right.
    Lacks(Privilege),
    /// The extension is not installed in this database.
    NoExtension(&'static str),
}

impl Capabilities {
    /// Asks for version and rights, and sets the time that a statement of this connection may take.
    pub(super) async fn ask(session: &Session, deadline: Deadline) -> Result<Self, Failure> {
        let statement_timeout = statement_timeout(deadline).as_millis();
        let sql = format!("SET statement_timeout = {statement_timeout}; {CAPABILITIES}");
        let rows = session.query(&sql, deadline).await?;
        let row = rows.first().cloned().unwrap_or_default();
        Self::read(&row)
            .ok_or_else(|| Failure::new(Layer::Query, "query", "the server does not tell its version"))
    }

    /// The same with the extensions of the database.
    pub(super) async fn ask_with_extensions(session: &Session, deadline: Deadline) -> Result<Self, Failure> {
        let mut capabilities = Self::ask(session, deadline).await?;
        let rows = session.query(EXTENSIONS, deadline).await?;
        let pairs = rows.iter().filter_map(|row| Some((row.text("extname")?, row.text("schema")?)));
        capabilities.extensions = pairs.map(|(name, schema)| (name.to_owned(), schema.to_owned())).collect();
        Ok(capabilities)
    }

    fn read(row: &Row) -> Option<Self> {
        let has = |privilege: &Privilege| row.number(privilege.as_str()) == Some(1.0);
        Some(Self {
            version: row.number("version")? as u32,
            in_recovery: row.number("in_recovery") == Some(1.0),
            started: row.text("started").map(str::to_owned),
            privileges: Privilege::ALL.into_iter().filter(has).collect(),
            extensions: BTreeMap::new(),
        })
    }

    /// Whether the role has this right.
    pub(super) fn has(&self, privilege: Privilege) -> bool {
        privilege == Privilege::None || self.privileges.contains(&privilege)
    }

    /// The schema of an extension, quoted where it must be.
    pub(super) fn schema_of(&self, extension: &str) -> Option<&str> {
        self.extensions.get(extension).map(String::as_str)
    }

    /// Whether a query of the user is meant for this server.
    pub(super) fn fits(&self, query: &CustomQuery) -> bool {
        query.versions.as_ref().is_none_or(|versions| versions.contains(self.version))
            && query.on_replica.is_none_or(|replica| replica == self.in_recovery)
    }

    /// Whether this collector can be asked.
    pub(super) fn judge(&self, collector: &Collector) -> Verdict {
        if !collector.fits(self.version / 10_000) {
            return Verdict::OtherVersion;
        }
        match collector.extension {
            Some(extension) if self.schema_of(extension).is_none() => Verdict::NoExtension(extension),
            _ if !self.has(collector.privilege) => Verdict::Lacks(collector.privilege),
            _ => Verdict::Able,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::collector::COLLECTORS;
    use super::*;

    #[test]
    fn what_the_role_may_not_see_is_not_asked_for() {
        let named = |name: &str| {
            *COLLECTORS.iter().find(|collector| collector.name == name).expect("a collector of this name")
        };
        let check = |columns: &[(&str, Option<&str>)], collector: &str, expected: Verdict| {
            let capabilities = Capabilities::read(&Row::new(columns.iter().copied())).expect("a version");
            assert_eq!(capabilities.judge(named(collector)), expected, "{collector}");
        };
        let plain =
            [("version", Some("150018")), ("pg_read_all_stats", Some("f")), ("pg_ls_waldir", Some("f"))];
        let monitor =
            [("version", Some("150018")), ("pg_read_all_stats", Some("t")), ("pg_ls_waldir", Some("t"))];
        check(&plain, "stat_database", Verdict::Able);
        check(&plain, "stat_activity", Verdict::Lacks(Privilege::ReadAllStats));
        check(&plain, "wal", Verdict::Lacks(Privilege::ListWal));
        check(&monitor, "stat_activity", Verdict::Able);
        check(&monitor, "wal", Verdict::Able);
        check(&monitor, "stat_checkpointer", Verdict::OtherVersion);
        check(&monitor, "stat_statements", Verdict::NoExtension("pg_stat_statements"));
        assert_eq!(Capabilities::read(&Row::default()), None);
    }
}
