//! `valmis postgres`: what PostgreSQL needs to be watched.

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

use super::{Exit, Output};

/// What PostgreSQL needs to be watched.
#[derive(Debug, Subcommand)]
pub(super) enum Postgres {
    Role(Role),
}

/// Print the SQL that makes a role with the least rights that are needed, and checks it.
#[derive(Debug, Args)]
pub(super) struct Role {
    /// The role's name.
    #[arg(long, default_value = "valmis")]
    name: String,
    /// A database that it may connect to; may be repeated. Without any: those that everybody may.
    #[arg(long = "database", value_name = "NAME")]
    databases: Vec<String>,
    /// Whether it may estimate bloat, for which it has to be able to read all tables.
    #[arg(long)]
    bloat: bool,
}

pub(super) fn run(command: &Postgres, out: &mut Output) -> Result<Exit> {
    match command {
        Postgres::Role(role) => {
            let names = std::iter::once(&role.name).chain(&role.databases);
            for name in names {
                ensure!(!name.is_empty() && !name.contains('\0'), "a name must not be empty");
            }
            out.text(&sql(role))?;
            Ok(Exit::Fine)
        }
    }
}

/// The connections that the role may have: the two that are used, and one that the server has not quite
/// closed after a restart of the program.
const CONNECTIONS: u32 = 3;

fn sql(role: &Role) -> String {
    let name = identifier(&role.name);
    let text = literal(&role.name);
    let grant =
        |database: &String| format!("GRANT CONNECT ON DATABASE {} TO {name};\n", identifier(database));
    let databases: String = role.databases.iter().map(grant).collect::<Vec<_>>().concat();
    let quoted = name.replace('\'', "''");
    let bloat = if role.bloat {
        format!(
            "-- For estimates of bloat (since 14). It may read every table: leave it out if that is too much.\n\
             SELECT 'GRANT pg_read_all_data TO {quoted}' WHERE EXISTS\n    \
                 (SELECT FROM pg_roles WHERE rolname = 'pg_read_all_data') \\gexec\n"
        )
    } else {
        String::new()
    };
    format!(
        "\
-- Run as a superuser in psql. Runs again without harm.
SELECT 'CREATE ROLE {quoted}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) \\gexec

-- Nothing but logging in: no superuser, no databases, no roles, no replication.
ALTER ROLE {name} LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    CONNECTION LIMIT {CONNECTIONS};
-- Set the password without showing it: \\password {name}

-- Statistics and settings of everybody, and the list of WAL segments. It may see other roles' statements.
GRANT pg_monitor TO {name};
{databases}{bloat}
-- The values of sequences (not of tables). Run this part in each database that is watched; for sequences to
-- come, who makes them has to run: ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO {name};
SELECT 'GRANT SELECT ON ALL SEQUENCES IN SCHEMA ' || quote_ident(nspname) || ' TO {quoted}'
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \\gexec

-- Optional, in one database: statistics of statements, with shared_preload_libraries = 'pg_stat_statements'.
-- CREATE EXTENSION IF NOT EXISTS pg_stat_statements;

-- To verify: every row must say true.
SELECT what, fine FROM (VALUES
    ('may log in', (SELECT rolcanlogin FROM pg_roles WHERE rolname = {text})),
    ('is no superuser', (SELECT NOT rolsuper FROM pg_roles WHERE rolname = {text})),
    ('cannot create or replicate',
        (SELECT NOT (rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)
         FROM pg_roles WHERE rolname = {text})),
    ('has at most {CONNECTIONS} connections',
        (SELECT rolconnlimit BETWEEN 1 AND {CONNECTIONS} FROM pg_roles WHERE rolname = {text})),
    ('reads all statistics', pg_has_role({text}, 'pg_read_all_stats', 'USAGE')),
    ('reads all settings', pg_has_role({text}, 'pg_read_all_settings', 'USAGE')),
    ('lists WAL segments', has_function_privilege({text}, 'pg_ls_waldir()', 'EXECUTE')),
    ('reads every sequence of this database', NOT EXISTS (
        SELECT FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid
        WHERE relpersistence = 'p' AND NOT has_sequence_privilege({text}, seqrelid, 'SELECT,USAGE'))),
    ('owns nothing', NOT EXISTS (SELECT FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
          AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = {text})))
) AS checks (what, fine);
"
    )
}

/// A name, quoted unless it is a plain one.
fn identifier(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    // A keyword such as `user` is plain, too, so what is not clearly a name of its own is quoted.
    if name.starts_with("valmis") && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let check = |name: &str, as_identifier: &str, as_literal: &str| {
            assert_eq!((identifier(name).as_str(), literal(name).as_str()), (as_identifier, as_literal));
        };
        check("valmis", "valmis", "'valmis'");
        check("user", "\"user\"", "'user'");
        check("o'brien \"x\"", "\"o'brien \"\"x\"\"\"", "'o''brien \"x\"'");
        check(r"a\b", r#""a\b""#, r"E'a\\b'");
    }

    #[test]
    fn rights_are_given_only_as_asked_for() {
        let role = |bloat, databases: &[&str]| {
            let databases = databases.iter().map(|name| (*name).to_owned()).collect();
            sql(&Role { name: "valmis".to_owned(), databases, bloat })
        };
        let plain = role(false, &[]);
        assert!(plain.contains("GRANT pg_monitor TO valmis;"), "{plain}");
        assert!(!plain.contains("pg_read_all_data") && !plain.contains("GRANT CONNECT"), "{plain}");
        let more = role(true, &["a b"]);
        assert!(more.contains("GRANT CONNECT ON DATABASE \"a b\" TO valmis;"), "{more}");
        assert!(more.contains("GRANT pg_read_all_data TO valmis'"), "{more}");
    }
}
