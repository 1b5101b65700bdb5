//! Visits: what is asked seldom, in one database after the other, beside the probes.
//!
//! A visit uses the second connection and gives it up as soon as the canary wants it. Each statement may
//! take as long as [`Visits::start`] allows, so that is the longest a canary waits. The last answers stay
//! and are shown with their age.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::super::Deadline;
use super::answer::{Answer, ask};
use super::bound::Members;
use super::capability::{Capabilities, Verdict};
use super::collector::{COLLECTORS, Collector, Scope};
use super::facts::Facts;
use super::failure::Failure;
use super::prober::Target;
use super::selection::Databases;
use super::session::{Purpose, Session};
use super::slot::Slot;

/// How many of its intervals an answer is shown when no newer one is to be had.
const KEEP_INTERVALS: u32 = 3;

/// The databases that can be visited.
const DATABASES: &str = "\
SELECT datname FROM pg_database
WHERE datallowconn AND NOT datistemplate AND has_database_privilege(oid, 'CONNECT')
ORDER BY datname";

/// Rounds of visits, one at a time, and what they brought.
pub(super) struct Visits {
    tour: Arc<Tour>,
    round: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// What a round works on.
struct Tour {
    target: Arc<Target>,
    slot: Arc<Slot>,
    found: Mutex<Found>,
    /// How many rounds have ended.
    rounds: watch::Sender<u64>,
}

/// A collector in a database; in none if it is about the server.
type Place = (&'static str, String);

#[derive(Default)]
struct Found {
    databases: Vec<String>,
    notes: HashMap<Place, Note>,
}

/// What is known of a collector in a database.
struct Note {
    asked: Instant,
    took: Duration,
    verdict: Verdict,
    failure: Option<Failure>,
    answer: Option<(Instant, Answer)>,
    members: Members,
}

impl Visits {
    /// No visits so far.
    pub(super) fn new(target: Arc<Target>, slot: Arc<Slot>) -> Self {
        let (rounds, _) = watch::channel(0);
        Self { tour: Arc::new(Tour { target, slot, found: Mutex::default(), rounds }), round: Mutex::default() }
    }

    /// Starts a round if anything is due and none is under way. A statement may take `patience`.
    pub(super) fn start(&self, patience: Duration) {
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        if round.as_ref().is_some_and(|round| !round.is_finished()) || !self.tour.anything_due() {
            return;
        }
        let tour = Arc::clone(&self.tour);
        *round = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            tour.round(patience).await;
            tour.rounds.send_modify(|rounds| *rounds += 1);
        })));
    }

    /// Waits until the first round has ended, but not past the deadline: so the first look at a server
    /// shows everything, and no later one waits.
    pub(super) async fn first_round(&self, deadline: Deadline) {
        let mut rounds = self.tour.rounds.subscribe();
        // Past the deadline what there is will do.
        let _ = timeout_at(deadline.instant(), rounds.wait_for(|rounds| *rounds > 0)).await;
    }

    /// Adds what the visits brought.
    pub(super) fn show(&self, facts: &mut Facts) {
        let found = self.tour.found();
        for collector in self.tour.collectors() {
            found.show(collector, self.tour.every(collector), facts);
        }
        if self.tour.target.selection.databases != Databases::Own {
            facts.push("valmis_postgres_databases", &[], found.databases.len() as f64);
        }
    }
}

impl Tour {
    /// The collectors that are asked seldom.
    fn collectors(&self) -> impl Iterator<Item = &'static Collector> {
        let selection = &self.target.selection;
        COLLECTORS.iter().copied().filter(|c| selection.enables(c) && selection.is_seldom(c))
    }

    fn every(&self, collector: &Collector) -> Duration {
        self.target.selection.every(collector).unwrap_or_default()
    }

    fn anything_due(&self) -> bool {
        let databases = self.found().databases.clone();
        databases.is_empty() || databases.iter().any(|database| !self.due(database).is_empty())
    }

    /// What is due in a database.
    fn due(&self, database: &str) -> Vec<&'static Collector> {
        let found = self.found();
        let due = |collector: &&'static Collector| {
            let here = match collector.scope {
                Scope::Server => database == self.target.dsn.dbname,
                Scope::Database => true,
                Scope::OneDatabase => !found.has_elsewhere(collector, database),
            };
            let place = place(collector, database);
            here && found.notes.get(&place).is_none_or(|note| note.asked.elapsed() >= self.every(collector))
        };
        self.collectors().filter(due).collect()
    }

    /// Visits every database in which something is due.
    async fn round(&self, patience: Duration) {
        let own = self.target.dsn.dbname.clone();
        if self.visit(&own, patience).await.is_err() {
            return;
        }
        let others: Vec<String> = self.found().databases.iter().filter(|name| **name != own).cloned().collect();
        for database in others {
            // A database that cannot be entered does not keep the others from being visited; it is tried
            // again in the next round.
            let _ = self.visit(&database, patience).await;
        }
    }

    /// Asks what is due in a database. It is an error if one cannot log in.
    async fn visit(&self, database: &str, patience: Duration) -> Result<(), Failure> {
        loop {
            let due = self.due(database);
            if due.is_empty() && !self.found().databases.is_empty() {
                return Ok(());
            }
            let turn = self.slot.patient().await;
            let dsn = self.target.dsn.in_database(database);
            let deadline = Deadline::after(patience);
            let session =
                Session::open(&dsn, &self.target.password, Purpose::Visit, deadline).await?;
            let result = self.ask_all(&session, database, &due, patience).await;
            session.close(Deadline::after(patience)).await;
            drop(turn);
            if result? == Interrupted::No {
                return Ok(());
            }
        }
    }

    async fn ask_all(
        &self,
        session: &Session,
        database: &str,
        due: &[&'static Collector],
        patience: Duration,
    ) -> Result<Interrupted, Failure> {
        let capabilities = Capabilities::ask_with_extensions(session, Deadline::after(patience)).await?;
        if database == self.target.dsn.dbname {
            self.find_databases(session, Deadline::after(patience)).await?;
        }
        for collector in due {
            if self.slot.is_wanted() {
                return Ok(Interrupted::Yes);
            }
            self.ask_one(collector, &capabilities, session, database, Deadline::after(patience)).await?;
        }
        Ok(Interrupted::No)
    }

    async fn find_databases(&self, session: &Session, deadline: Deadline) -> Result<(), Failure> {
        let own = &self.target.dsn.dbname;
        let found = match self.target.selection.databases {
            Databases::Own => Vec::new(),
            _ => session.query(DATABASES, deadline).await?,
        };
        let names = found.iter().filter_map(|row| row.text("datname").map(str::to_owned)).collect();
        let databases = self.target.selection.databases.choose(own, names);
        let known: HashSet<String> = databases.iter().cloned().chain([String::new()]).collect();
        let mut found = self.found();
        found.notes.retain(|(_, database), _| known.contains(database));
        found.databases = databases;
        Ok(())
    }

    /// Asks one collector and notes what it said. An error means that the connection is of no use any more.
    async fn ask_one(
        &self,
        collector: &'static Collector,
        capabilities: &Capabilities,
        session: &Session,
        database: &str,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let place = place(collector, database);
        let verdict = capabilities.judge(collector);
        let (answer, mut members) = {
            let found = self.found();
            let before = found.notes.get(&place);
            before.map(|note| (note.answer.clone(), note.members.clone())).unwrap_or_default()
        };
        let asked = Instant::now();
        let mut note =
            Note { asked, took: Duration::ZERO, verdict, failure: None, answer, members: Members::new() };
        if verdict == Verdict::Able {
            let rows = self.target.selection.rows(collector);
            let said = ask(collector, capabilities, rows, &mut members, session, deadline).await;
            note.took = said.took;
            match said.result {
                Ok(answer) => note.answer = Some((Instant::now(), answer)),
                Err(failure) => note.failure = Some(failure),
            }
        } else {
            note.answer = None;
        }
        note.members = members;
        let failure = note.failure.clone();
        self.found().notes.insert(place, note);
        match failure {
            Some(failure) if session.is_closed() || deadline.remaining().is_zero() => Err(failure),
            _ => Ok(()),
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a visit ended early because the canary waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interrupted {
    Yes,
    No,
}

fn place(collector: &'static Collector, database: &str) -> Place {
    let database = if collector.scope == Scope::Server { "" } else { database };
    // Collectors for several versions share a name, so the question tells them apart.
    (collector.sql, database.to_owned())
}

impl Found {
    /// Whether a collector that needs one database only has found one that is not this.
    fn has_elsewhere(&self, collector: &'static Collector, database: &str) -> bool {
        self.databases.iter().filter(|other| *other != database).any(|other| {
            self.notes.get(&place(collector, other)).is_some_and(|note| note.verdict == Verdict::Able)
        })
    }

    fn show(&self, collector: &'static Collector, every: Duration, facts: &mut Facts) {
        let notes: BTreeMap<&str, &Note> = self
            .notes
            .iter()
            .filter(|((question, _), _)| *question == collector.sql)
            .map(|((_, database), note)| (database.as_str(), note))
            .collect();
        // Where one database will do, those without the extension do not count.
        let able = notes.values().any(|note| note.verdict == Verdict::Able);
        let Some(verdict) = notes.values().map(|note| note.verdict).find(|v| !able || *v == Verdict::Able) else {
            return;
        };
        if !facts.note(collector, verdict) {
            return;
        }
        let label = [("collector", collector.name)];
        let able = notes.iter().filter(|(_, note)| note.verdict == Verdict::Able);
        let (mut took, mut fine, mut dropped, mut oldest) = (Duration::ZERO, true, None, None);
        for (database, note) in able {
            took += note.took;
            if let Some(failure) = &note.failure {
                fine = false;
                facts.incomplete = true;
                let place = if database.is_empty() { String::new() } else { format!(" in `{database}`") };
                facts.log.push(format!("collector `{}`{place}: {}", collector.name, failure.reason));
            }
            let Some((taken, answer)) = &note.answer else { continue };
            let age = taken.elapsed();
            // One that is asked at every probe otherwise has intervals that are as short as its age.
            if age < (every * KEEP_INTERVALS).max(Duration::from_mins(1)) {
                facts.samples.extend(answer.samples.iter().cloned());
                oldest = oldest.max(Some(age));
                dropped = dropped.map_or(answer.dropped, |sum| answer.dropped.map(|more| sum + more));
            }
        }
        facts.push("pg_scrape_collector_duration_seconds", &label, took.as_secs_f64());
        facts.push("pg_scrape_collector_success", &label, f64::from(fine));
        if let Some(age) = oldest {
            facts.push("valmis_postgres_collector_age_seconds", &label, age.as_secs_f64());
        }
        if let Some(dropped) = dropped {
            facts.push("valmis_postgres_collector_rows_dropped", &label, dropped as f64);
        }
    }
}
