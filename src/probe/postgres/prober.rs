//! One look at a server: canary and facts, put together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::super::{Deadline, ProbeFailure, ProbeOutcome, Prober, describe};
use super::dsn::{Dsn, SslMode};
use super::facts::Facts;
use super::failure::{Failure, Layer};
use super::monitor::Monitor;
use super::pooler;
use super::selection::Selection;
use super::session::{Password, Purpose, Session, wants_tls};
use super::slot::Slot;
use super::visit::Visits;
use crate::model::{Labels, METRIC_NAME, Sample};

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
       (SELECT setting = 'on' AND source NOT IN ('user', 'database user')
        FROM pg_settings WHERE name = 'default_transaction_read_only') AS read_only";

/// Looks at one server. It is as it should be when a new connection can log in and is answered, when
/// the held connection answers, too, and when the server has the role it is to have.
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
        // The canary may have to wait for one statement of a visit, and then needs time of its own.
        let patience = deadline.remaining() * 2 / 5;
        let held = self.held().take().filter(|session| !session.is_closed());
        let (canary, mut facts, mut monitored) = match held {
            Some(session) => {
                let (canary, (facts, monitored)) =
                    tokio::join!(self.canary(deadline), self.facts(session, deadline));
                (canary, facts, Some(monitored))
            }
            None => (self.canary(deadline).await, Facts::default(), None),
        };
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
        if canary.is_ok() && monitored.as_ref().is_some_and(Result::is_ok) {
            self.visits.start(patience);
            self.visits.first_round(deadline.share(4, 5)).await;
        }
        self.visits.show(&mut facts);
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
        Ok(Canary { encrypted, in_recovery: flag("in_recovery"), read_only: flag("read_only") })
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

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcome(
        &self,
        began: Instant,
        canary: &Result<Canary, Failure>,
        facts: Facts,
        monitored: Option<Result<(), Failure>>,
    ) -> ProbeOutcome {
        let Facts { mut samples, mut log, incomplete, answered } = facts;
        let monitor_failure = monitored.and_then(Result::err);
        match canary {
            Ok(canary) => log.push(format!("new connection: answered (encrypted: {})", canary.encrypted)),
            Err(failure) => log.push(format!("new connection: {}", failure.reason)),
        }
        if let Some(failure) = &monitor_failure {
            log.push(format!("held connection: {}", failure.reason));
        }
        let error = canary.is_err() || monitor_failure.is_some() || incomplete;
        let plain = |name: &str, value: f64| Sample::new(Labels::from_pairs([(METRIC_NAME, name)]), 0, value);
        samples.push(plain("pg_up", f64::from(canary.is_ok())));
        if let Ok(canary) = canary {
            samples.push(plain("valmis_postgres_in_recovery", f64::from(canary.in_recovery)));
        }
        let probes = self.probes.fetch_add(1, Ordering::Relaxed) + 1;
        samples.push(plain("pg_exporter_scrapes_total", probes as f64));
        samples.push(plain("pg_exporter_last_scrape_error", f64::from(error)));
        samples.push(plain("pg_exporter_last_scrape_duration_seconds", began.elapsed().as_secs_f64()));
        let encrypted = canary.as_ref().map(|canary| canary.encrypted);
        let writable =
            canary.as_ref().ok().map(|canary| ("writable", !canary.in_recovery && !canary.read_only));
        for (layer, up) in layers(&self.target.dsn, encrypted, answered).into_iter().chain(writable) {
            let labels = Labels::from_pairs([(METRIC_NAME, "valmis_postgres_up"), ("layer", layer)]);
            samples.push(Sample::new(labels, 0, f64::from(up)));
        }
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
        ProbeOutcome { result, samples, log: log.into() }
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

/// Which layers work, as far as is known. `login` is what became of a new connection, and whether it was
/// encrypted; `answered` says whether the held connection was answered.
pub(super) fn layers(dsn: &Dsn, login: Result<bool, &Failure>, answered: bool) -> Vec<(&'static str, bool)> {
    let mut layers = Vec::new();
    let (reached, failed) = match login {
        Ok(_) => (Layer::Query, None),
        // It was not the network that failed, but what is needed to try.
        Err(failure) if failure.kind == "config" => return vec![("new_connection", false)],
        Err(failure) => (failure.layer, Some(failure)),
    };
    let works = |layer: Layer| layer < reached || failed.is_none();
    layers.push((Layer::Tcp.as_str(), works(Layer::Tcp)));
    let encrypted = login.unwrap_or(dsn.sslmode >= SslMode::Require);
    if reached == Layer::Tls || reached > Layer::Tls && encrypted && wants_tls(dsn) {
        layers.push((Layer::Tls.as_str(), works(Layer::Tls)));
    }
    let authenticated = match failed {
        None => Some(true),
        Some(failure) if failure.layer > Layer::Authentication => Some(true),
        Some(failure) if failure.layer < Layer::Authentication => None,
        // The server looks for the database, and counts connections of the role, once it knows who asks.
        Some(failure) if failure.kind == "no_such_database" => Some(true),
        Some(failure) if matches!(failure.kind, "auth" | "timeout" | "closed") => Some(false),
        // Too many connections, starting up: it did not come to asking who it is.
        Some(_) => None,
    };
    layers.extend(authenticated.map(|works| (Layer::Authentication.as_str(), works)));
    let failed_query = failed.is_some_and(|failure| failure.layer == Layer::Query);
    if failed.is_none() || answered || failed_query {
        layers.push((Layer::Query.as_str(), !failed_query));
    }
    layers.push(("new_connection", failed.is_none()));
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parameters: &str, login: &Result<bool, Failure>, answered: bool, expected: &str) {
        let dsn = Dsn::parse(&format!("user=u host=h {parameters}")).expect("a valid string");
        let layers = layers(&dsn, login.as_ref().copied(), answered);
        let texts: Vec<String> =
            layers.iter().map(|(layer, up)| format!("{layer}={}", u8::from(*up))).collect();
        assert_eq!(texts.join(" "), expected);
    }

    #[test]
    fn layers_that_were_not_reached_are_absent() {
        let all = "tcp=1 tls=1 authentication=1 query=1 new_connection=1";
        check("sslmode=require", &Ok(true), true, all);
        check("sslmode=disable", &Ok(false), true, "tcp=1 authentication=1 query=1 new_connection=1");
        check("sslmode=prefer", &Ok(false), false, "tcp=1 authentication=1 query=1 new_connection=1");
        let failed = |layer, kind| Err(Failure::new(layer, kind, "why"));
        check("", &failed(Layer::Tcp, "connect"), false, "tcp=0 new_connection=0");
        check("", &failed(Layer::Tcp, "config"), false, "new_connection=0");
        check("sslmode=require", &failed(Layer::Tls, "tls"), false, "tcp=1 tls=0 new_connection=0");
        let refused = "tcp=1 tls=1 authentication=0 new_connection=0";
        check("sslmode=require", &failed(Layer::Authentication, "auth"), false, refused);
        check("", &failed(Layer::Authentication, "auth"), false, "tcp=1 authentication=0 new_connection=0");
        let full = "tcp=1 query=1 new_connection=0";
        check("", &failed(Layer::Authentication, "too_many_connections"), true, full);
        check("", &failed(Layer::Authentication, "starting_up"), false, "tcp=1 new_connection=0");
        let nothing_there = "tcp=1 authentication=1 new_connection=0";
        check("", &failed(Layer::Authentication, "no_such_database"), false, nothing_there);
        let hung = "tcp=1 authentication=1 query=0 new_connection=0";
        check("", &failed(Layer::Query, "timeout"), false, hung);
    }

    #[test]
    fn a_server_must_have_the_role_that_is_asked_for() {
        let check = |role: Option<Role>, in_recovery: bool, read_only: bool, good: bool| {
            let canary = Canary { encrypted: false, in_recovery, read_only };
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
