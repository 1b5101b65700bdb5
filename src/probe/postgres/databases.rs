//! The databases that are watched, and which of them cannot be entered now.

use super::super::Deadline;
use super::failure::{Failure, Layer};
use super::row::Row;
use super::selection::Databases;
use super::session::Session;

/// All databases, and what keeps one from entering them.
///
/// A login waits for the lock of its database without a limit (`lock_timeout` comes into force only after
/// it), and goes on to wait in the server after the client has left. So one that is locked against logins
/// must not be tried: each try would leave a process, which counts against `max_connections`. Who waits for
/// such a lock counts as well, since whoever comes later waits behind them. The modes are those that conflict
/// with `RowExclusiveLock`, a login's own.
const DATABASES: &str = "\
WITH locked AS MATERIALIZED (
    SELECT objid FROM pg_locks
    WHERE locktype = 'object' AND classid = 'pg_database'::regclass
      AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
)
SELECT datname, datistemplate, datallowconn, has_database_privilege(oid, 'CONNECT') AS may_connect,
       oid IN (SELECT objid FROM locked) AS locked
FROM pg_database
ORDER BY datname";

/// A database that is to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) name: String,
    /// Why it is not worth trying to enter it now.
    pub(super) obstacle: Option<Failure>,
}

/// The databases of a selection, `own` first. It is asked over a connection that is already there.
pub(super) async fn find(
    selection: &Databases,
    own: &str,
    session: &Session,
    deadline: Deadline,
) -> Result<Vec<Watched>, Failure> {
    if *selection == Databases::Own {
        // The canary has just been there.
        return Ok(vec![Watched { name: own.to_owned(), obstacle: None }]);
    }
    Ok(choose(selection, own, &session.query(DATABASES, deadline).await?))
}

/// Those that are to be watched. One that is named is watched whatever keeps one out, or else it would
/// vanish silently; of all the others only those that are meant to be entered.
fn choose(selection: &Databases, own: &str, rows: &[Row]) -> Vec<Watched> {
    let mut watched = Vec::new();
    for row in rows {
        let Some(name) = row.text("datname") else { continue };
        let closed = if name == own { None } else { closed(row) };
        let wanted = match selection {
            _ if name == own => true,
            Databases::Named(_) => selection.contains(name, own),
            _ => selection.contains(name, own) && closed.is_none(),
        };
        if wanted {
            let obstacle = closed.or_else(|| locked(row));
            watched.push(Watched { name: name.to_owned(), obstacle });
        }
    }
    if let Databases::Named(names) = selection {
        for name in names {
            if !watched.iter().any(|database| database.name == *name) {
                let obstacle = Some(obstacle("no_such_database", "there is no such database"));
                watched.push(Watched { name: name.clone(), obstacle });
            }
        }
    }
    watched.sort_by_key(|database| database.name != own);
    watched
}

/// Why nobody of this role is meant to enter a database.
fn closed(row: &Row) -> Option<Failure> {
    let is = |column| row.number(column) == Some(1.0);
    if is("datistemplate") {
        return Some(obstacle("permission", "it is a template, and cannot be copied while anybody is in it"));
    }
    if !is("datallowconn") {
        return Some(obstacle("permission", "it lets nobody in (`datallowconn`)"));
    }
    (!is("may_connect")).then(|| obstacle("permission", "the role may not connect to it"))
}

fn locked(row: &Row) -> Option<Failure> {
    let reason = "it is locked against logins, as by `CREATE DATABASE … TEMPLATE` or `ALTER DATABASE`";
    (row.number("locked") == Some(1.0)).then(|| obstacle("lock_timeout", reason))
}

fn obstacle(kind: &'static str, reason: &str) -> Failure {
    Failure::new(Layer::Authentication, kind, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Databases as `name:flags` with `t` for a template, `n` for no connections, `p` for no right to
    /// connect, `l` for locked.
    fn check(selection: &Databases, found: &str, expected: &str) {
        let rows: Vec<Row> = found
            .split_whitespace()
            .map(|text| {
                let (name, flags) = text.split_once(':').unwrap_or((text, ""));
                let flag = |set| Some(if set { "t" } else { "f" });
                let columns = [
                    ("datname", Some(name)),
                    ("datistemplate", flag(flags.contains('t'))),
                    ("datallowconn", flag(!flags.contains('n'))),
                    ("may_connect", flag(!flags.contains('p'))),
                    ("locked", flag(flags.contains('l'))),
                ];
                Row::new(columns.into_iter())
            })
            .collect();
        let watched = choose(selection, "own", &rows);
        let texts: Vec<String> = watched
            .iter()
            .map(|database| {
                let obstacle = database.obstacle.as_ref().map(|failure| format!(":{}", failure.kind));
                format!("{}{}", database.name, obstacle.unwrap_or_default())
            })
            .collect();
        assert_eq!(texts.join(" "), expected, "{selection:?}: {found}");
    }

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn databases_are_chosen_and_the_own_one_comes_first() {
        let found = "a b own template0:tn template1:t";
        check(&Databases::AllBut(Vec::new()), found, "own a b");
        check(&Databases::AllBut(names("a own")), found, "own b");
        check(&Databases::Named(names("b")), found, "own b");
    }

    #[test]
    fn one_that_is_named_is_watched_even_if_it_cannot_be_entered() {
        let found = "a:p b:n own template1:t";
        check(&Databases::AllBut(Vec::new()), found, "own");
        check(
            &Databases::Named(names("a b gone template1 own")),
            found,
            "own a:permission b:permission template1:permission gone:no_such_database",
        );
    }

    #[test]
    fn one_that_is_locked_is_not_entered() {
        check(&Databases::AllBut(Vec::new()), "a:l b own", "own a:lock_timeout b");
        check(&Databases::AllBut(Vec::new()), "a:lp own:l", "own:lock_timeout");
        check(&Databases::Named(names("a")), "a:l own", "own a:lock_timeout");
    }
}
