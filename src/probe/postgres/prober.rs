//! One look at a server: canary and facts, put together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::super::{Deadline, ProbeFailure, ProbeOutcome, Prober, describe};
use super::databases;
use super::dsn::Dsn;
use super::facts::Facts;
use super::failure::{Failure, Layer};
use super::monitor::Monitor;
use super::pooler;
use super::selection::Selection;
use super::session::{Password, Purpose, Session};
use super::slot::Slot;
use super::visit::{Visits, visit_patience};

/// The server to look at.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where and as whom to connect.
    pub dsn: Dsn,
    /// Where the password comes from.
    pub password: Password,
    /// What the server has to be, if that matters.
    pub role: Option<Role>,
    /// What is to be collected.
    pub selection: Selection,
}

/// What a server is to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows another server.
    Replica,
}

/// What the canary asks. A server that is read-only for this role alone is not read-only. A session that
/// does not have the settings of the login is not the canary's own: a pooler gave it one of others, and
/// nothing more may be done there, since what is set in such a session stays for whoever has it next.
const CANARY: &str = "\
SELECT pg_is_in_recovery() AS in_recovery, current_setting('search_path') = 'pg_catalog' AS own_session,
       extract(epoch FROM pg_postmaster_start_time()) AS started,
       (SELECT setting = 'on' AND source NOT IN ('user', 'database user')
        FROM pg_settings WHERE name = 'default_transaction_read_only') AS read_only";

/// Looks at one server. It is as it should be when a new connection can log in and is answered, when
/// the held connection answers, too, and when the server has the role it is to have. Where names and
/// services lead to another server the held connection follows.
pub struct PostgresProber {
    target: Arc<Target>,
    held: Mutex<Option<Session>>,
    monitor: Monitor,
    slot: Arc<Slot>,
    visits: Visits,
    probes: AtomicU64,
}

/// What the canary saw.
struct Canary {
    encrypted: bool,
    in_recovery: bool,
    read_only: bool,
    /// When the server started, which tells one from another.
    started: Option<String>,
}

impl PostgresProber {
    /// A prober of `target`; it connects at its first probe.
    pub fn new(target: Target) -> Self {
        let (target, slot) = (Arc::new(target), Arc::new(Slot::default()));
        let visits = Visits::new(Arc::clone(&target), Arc::clone(&slot));
        Self {
            target,
            held: Mutex::default(),
            monitor: Monitor::default(),
            slot,
            visits,
            probes: AtomicU64::default(),
        }
    }

    async fn look(&self, deadline: Deadline) -> ProbeOutcome {
        if self.target.dsn.dbname == pooler::DATABASE {
            return pooler::look(&self.target, deadline).await;
        }
        let began = Instant::now();
        let patience = visit_patience(deadline.remaining());
        let held = self.take_held().filter(|session| !session.is_closed());
        let (canary, mut facts, mut monitored) = match held {
            Some(session) => {
                let (canary, (facts, monitored)) =
                    tokio::join!(self.canary(deadline), self.facts(session, deadline));
                (canary, facts, Some(monitored))
            }
            None => (self.canary(deadline).await, Facts::default(), None),
        };
        if canary.as_ref().is_ok_and(|canary| facts.answered && facts.started != canary.started) {
            (facts, monitored) = (Facts::default(), None);
            let told = "held connection: it is to another server than new ones, and made anew";
            facts.log.push(told.to_owned());
            if let Some(session) = self.take_held() {
                session.close(deadline).await;
            }
        }
        // A server that does not let the canary in is not asked for a second connection; one that does
        // gets another try, since the held one may have died with an earlier life of the server.
        if canary.is_ok() && monitored.as_ref().is_none_or(Result::is_err) {
            let log = std::mem::take(&mut facts.log);
            let dsn = &self.target.dsn;
            monitored =
                Some(match Session::open(dsn, &self.target.password, Purpose::Monitor, deadline).await {
                    Ok(session) => {
                        let (again, monitored) = self.facts(session, deadline).await;
                        facts = again;
                        monitored
                    }
                    Err(failure) => Err(failure),
                });
            facts.log.splice(0..0, log);
        }
        let reachable = canary.is_ok() && monitored.as_ref().is_some_and(Result::is_ok);
        if reachable {
            match self.start_visits(deadline, patience).await {
                Ok(()) => self.visits.first_round(deadline.share(4, 5)).await,
                Err(failure) => {
                    facts.incomplete = true;
                    facts.log.push(format!("databases: {}", failure.reason));
                }
            }
        } else {
            self.visits.end_pauses();
        }
        self.visits.show(reachable, &mut facts);
        self.outcome(began, &canary, facts, monitored)
    }

    /// Logs in, asks one thing, leaves.
    async fn canary(&self, deadline: Deadline) -> Result<Canary, Failure> {
        let Target { dsn, password, .. } = &*self.target;
        let waiting = Instant::now();
        let turn = tokio::time::timeout_at(deadline.instant(), self.slot.urgent()).await;
        let _turn = turn.map_err(|_| Failure::timeout(Layer::Tcp, waiting.elapsed()))?;
        let session = Session::open(dsn, password, Purpose::Canary, deadline).await?;
        let encrypted = session.encrypted;
        let rows = session.query(CANARY, deadline).await;
        session.close(deadline).await;
        let rows = rows?;
        let flag = |column| rows.first().and_then(|row| row.number(column)) == Some(1.0);
        if !flag("own_session") {
            return Err(Failure::pooler("the session has not the settings of the login"));
        }
        let started = rows.first().and_then(|row| row.text("started")).map(str::to_owned);
        Ok(Canary { encrypted, in_recovery: flag("in_recovery"), read_only: flag("read_only"), started })
    }

    /// Collects facts and holds on to the connection if it is still good.
    async fn facts(&self, session: Session, deadline: Deadline) -> (Facts, Result<(), Failure>) {
        let (facts, result) = self.monitor.collect(&self.target.selection, &session, deadline).await;
        if result.is_ok() {
            *self.held() = Some(session);
        } else {
            session.close(deadline).await;
        }
        (facts, result)
    }

    /// Starts visits if they are due, to the databases that the held connection tells of.
    async fn start_visits(&self, deadline: Deadline, patience: Duration) -> Result<(), Failure> {
        if !self.visits.are_due() {
            return Ok(());
        }
        let Some(session) = self.take_held() else { return Ok(()) };
        let Target { dsn, selection, .. } = &*self.target;
        let found = databases::find(&selection.databases, &dsn.dbname, &session, deadline).await;
        *self.held() = Some(session);
        self.visits.start(found?, patience);
        Ok(())
    }

    fn take_held(&self) -> Option<Session> {
        self.held().take()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcome(
        &self,
        began: Instant,
        canary: &Result<Canary, Failure>,
        mut facts: Facts,
        monitored: Option<Result<(), Failure>>,
    ) -> ProbeOutcome {
        let monitor_failure = monitored.and_then(Result::err);
        facts.tell_login(&self.target.dsn, canary.as_ref().map(|canary| canary.encrypted));
        facts.push("pg_up", &[], f64::from(canary.is_ok()));
        if let Ok(canary) = canary {
            let writable = !canary.in_recovery && !canary.read_only;
            facts.push("valmis_postgres_up", &[("layer", "writable")], f64::from(writable));
            facts.push("valmis_postgres_in_recovery", &[], f64::from(canary.in_recovery));
        }
        if let Some(failure) = &monitor_failure {
            facts.log.push(format!("held connection: {}", failure.reason));
        }
        let probes = self.probes.fetch_add(1, Ordering::Relaxed) + 1;
        facts.push("pg_exporter_scrapes_total", &[], probes as f64);
        let error = canary.is_err() || monitor_failure.is_some() || facts.incomplete;
        facts.tell_scrape("postgres_exporter_build_info", began, error);
        let result = match canary {
            Err(failure) => Err(failure.clone().into_probe_failure()),
            Ok(canary) => judge_role(self.target.role, canary).and_then(|()| match monitor_failure {
                // One can log in, so the server is up, but its facts are not to be had.
                Some(failure) => {
                    let reason = format!("second connection for statistics: {}", failure.reason);
                    Err(ProbeFailure::unknown(failure.kind, reason))
                }
                None => Ok(()),
            }),
        };
        ProbeOutcome { result, samples: facts.samples, log: facts.log.into() }
    }
}

impl Prober for PostgresProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.look(deadline).boxed()
    }

    fn describe(&self, name: &str) -> Option<(&'static str, String)> {
        let own = self.target.selection.queries.iter().find_map(|query| query.describe(name));
        own.or_else(|| describe(name).map(|(kind, help)| (kind, help.to_owned())))
    }
}

fn judge_role(role: Option<Role>, canary: &Canary) -> Result<(), ProbeFailure> {
    let wrong = match role {
        Some(Role::Primary) if canary.in_recovery => "the server is a replica, expected a primary",
        Some(Role::Primary) if canary.read_only => "the server is read-only, expected a primary",
        Some(Role::Replica) if !canary.in_recovery => "the server is a primary, expected a replica",
        _ => return Ok(()),
    };
    Err(ProbeFailure::new("role", wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_must_have_the_role_that_is_asked_for() {
        let check = |role: Option<Role>, in_recovery: bool, read_only: bool, good: bool| {
            let canary = Canary { encrypted: false, in_recovery, read_only, started: None };
            assert_eq!(judge_role(role, &canary).is_ok(), good, "{role:?} {in_recovery} {read_only}");
        };
        check(None, true, true, true);
        check(Some(Role::Primary), false, false, true);
        check(Some(Role::Primary), true, false, false);
        check(Some(Role::Primary), false, true, false);
        check(Some(Role::Replica), true, true, true);
        check(Some(Role::Replica), false, false, false);
    }
}
