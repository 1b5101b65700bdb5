//! Visits: what is asked seldom, in one database after the other, beside the probes.
//!
//! A visit uses the second connection and gives it up as soon as the canary wants it. Each statement may
//! take as long as [`Visits::start`] allows, so that is the longest a canary waits. The last answers stay
//! and are shown with their age.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::super::Deadline;
use super::answer::Answer;
use super::bound::Members;
use super::capability::{Capabilities, Verdict};
use super::collector::Scope;
use super::databases::Watched;
use super::facts::Facts;
use super::failure::{Failure, Layer};
use super::prober::Target;
use super::question::Question;
use super::selection::Databases;
use super::session::{Purpose, Session};
use super::slot::Slot;

/// How many of its intervals an answer is shown when no newer one is to be had.
const KEEP_INTERVALS: u32 = 3;

/// How long a database is left alone in which a login was not answered in time. A login that the server
/// keeps waiting goes on to wait there when its client has left, and counts as a connection.
const AFTER_TIMEOUT: Duration = Duration::from_mins(2);

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

/// A question in a database; in none if it is about the server.
type Place = (Cow<'static, str>, String);

#[derive(Default)]
struct Found {
    databases: Vec<String>,
    visited: BTreeMap<String, Visit>,
    /// When a probe last showed all this.
    shown: Option<Instant>,
    notes: HashMap<Place, Note>,
}

/// The last visit to a database.
struct Visit {
    /// Why it was cut short, if it was.
    failure: Option<Failure>,
    /// Until when there is to be no other.
    pause: Option<Instant>,
}

/// What is known of a question in a database.
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
        Self {
            tour: Arc::new(Tour { target, slot, found: Mutex::default(), rounds }),
            round: Mutex::default(),
        }
    }

    /// Whether a round is worth starting: something is due and none is under way.
    pub(super) fn are_due(&self) -> bool {
        self.is_idle() && self.tour.anything_due()
    }

    fn is_idle(&self) -> bool {
        self.round().as_ref().is_none_or(AbortOnDropHandle::is_finished)
    }

    /// Starts a round through these databases. A statement may take `patience`.
    pub(super) fn start(&self, databases: Vec<Watched>, patience: Duration) {
        let tour = Arc::clone(&self.tour);
        *self.round() = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            tour.round(databases, patience).await;
            tour.rounds.send_modify(|rounds| *rounds += 1);
        })));
    }

    fn round(&self) -> MutexGuard<'_, Option<AbortOnDropHandle<()>>> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the first round has ended, but not past the deadline: so the first look at a server
    /// shows everything, and no later one waits.
    pub(super) async fn first_round(&self, deadline: Deadline) {
        let mut rounds = self.tour.rounds.subscribe();
        // Past the deadline what there is will do.
        let _ = timeout_at(deadline.instant(), rounds.wait_for(|rounds| *rounds > 0)).await;
    }

    /// The server does not answer anybody: that a login had no answer says nothing of its database.
    pub(super) fn end_pauses(&self) {
        self.tour.found().visited.values_mut().for_each(|visit| visit.pause = None);
    }

    /// Adds what the visits brought. Of whether a database can be visited nothing is said while
    /// `reachable` is false, as then none is.
    pub(super) fn show(&self, reachable: bool, facts: &mut Facts) {
        let mut found = self.tour.found();
        // Where probes are far apart nothing is asked more often than they come.
        let apart = found.shown.replace(Instant::now()).map_or(Duration::ZERO, |last| last.elapsed());
        for question in self.tour.questions() {
            let every = question.every(&self.tour.target.selection).max(apart);
            found.show(&question, (every * KEEP_INTERVALS).max(Duration::from_mins(1)), facts);
        }
        for (database, Visit { failure, .. }) in found.visited.iter().filter(|_| reachable) {
            facts.push("valmis_postgres_database_up", &[("datname", database)], f64::from(failure.is_none()));
            if let Some(failure) = failure {
                facts.incomplete = true;
                facts.log.push(format!("database `{database}`: {}", failure.reason));
            }
        }
        if self.tour.target.selection.databases != Databases::Own {
            facts.push("valmis_postgres_databases", &[], found.databases.len() as f64);
        }
    }
}

impl Tour {
    fn questions(&self) -> impl Iterator<Item = Question> {
        Question::all(&self.target.selection)
    }

    fn anything_due(&self) -> bool {
        let databases = self.found().databases.clone();
        databases.is_empty() || databases.iter().any(|database| !self.due(database).is_empty())
    }

    /// What is due in a database.
    fn due(&self, database: &str) -> Vec<Question> {
        let (selection, own) = (&self.target.selection, &self.target.dsn.dbname);
        let found = self.found();
        let pause = found.visited.get(database).and_then(|visit| visit.pause);
        if pause.is_some_and(|end| Instant::now() < end) {
            return Vec::new();
        }
        let due = |question: &Question| {
            let elsewhere = question.scope() == Scope::OneDatabase && found.has_elsewhere(question, database);
            let note = found.notes.get(&place(question, database));
            question.concerns(database, own)
                && !elsewhere
                && note.is_none_or(|note| note.asked.elapsed() >= question.every(selection))
        };
        self.questions().filter(due).collect()
    }

    /// Visits every database in which something is due, and notes whether that went well. One that cannot be
    /// entered keeps no other from being visited; it is tried again in the next round.
    async fn round(&self, databases: Vec<Watched>, patience: Duration) {
        self.found().watch(&databases);
        for Watched { name, obstacle } in databases {
            if self.due(&name).is_empty() {
                continue;
            }
            let visit = match obstacle {
                Some(obstacle) => Visit { failure: Some(obstacle), pause: None },
                None => self.visit(&name, patience).await,
            };
            self.found().visited.insert(name, visit);
        }
    }

    async fn visit(&self, database: &str, patience: Duration) -> Visit {
        let failure = self.ask_due(database, patience).await.err();
        let kept_waiting =
            failure.as_ref().is_some_and(|failure| failure.kind == "timeout" && failure.layer < Layer::Query);
        Visit { failure, pause: kept_waiting.then(|| Instant::now() + AFTER_TIMEOUT) }
    }

    /// Asks what is due in a database.
    async fn ask_due(&self, database: &str, patience: Duration) -> Result<(), Failure> {
        loop {
            let due = self.due(database);
            if due.is_empty() {
                return Ok(());
            }
            let turn = self.slot.patient().await;
            let dsn = self.target.dsn.in_database(database);
            let deadline = Deadline::after(patience);
            let session = Session::open(&dsn, &self.target.password, Purpose::Visit, deadline).await?;
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
        due: &[Question],
        patience: Duration,
    ) -> Result<Interrupted, Failure> {
        let capabilities = Capabilities::ask_with_extensions(session, Deadline::after(patience)).await?;
        for question in due {
            if self.slot.is_wanted() {
                return Ok(Interrupted::Yes);
            }
            self.ask_one(question, &capabilities, session, database, patience).await?;
        }
        Ok(Interrupted::No)
    }

    /// Asks one question and notes what came of it. An error means that the connection is of no use any
    /// more.
    async fn ask_one(
        &self,
        question: &Question,
        capabilities: &Capabilities,
        session: &Session,
        database: &str,
        patience: Duration,
    ) -> Result<(), Failure> {
        let place = place(question, database);
        let verdict = question.judge(capabilities);
        let (mut answer, mut members) = {
            let found = self.found();
            let before = found.notes.get(&place);
            before.map(|note| (note.answer.clone(), note.members.clone())).unwrap_or_default()
        };
        let asked = Instant::now();
        let (mut took, mut failure) = (Duration::ZERO, None);
        if verdict == Verdict::Able {
            let selection = &self.target.selection;
            let said = question.ask(database, selection, capabilities, &mut members, session, patience).await;
            took = said.took;
            match said.result {
                Ok(found) => answer = Some((Instant::now(), found)),
                Err(refusal) => failure = Some(refusal),
            }
        } else {
            answer = None;
        }
        let lost = failure.clone().filter(|_| session.is_closed() || took >= patience);
        self.found().notes.insert(place, Note { asked, took, verdict, failure, answer, members });
        lost.map_or(Ok(()), Err)
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

fn place(question: &Question, database: &str) -> Place {
    let database = if question.scope() == Scope::Server { "" } else { database };
    (question.key(), database.to_owned())
}

impl Found {
    /// Forgets what is not watched any more.
    fn watch(&mut self, databases: &[Watched]) {
        let is_watched = |name: &String| databases.iter().any(|database| database.name == *name);
        self.notes.retain(|(_, database), _| database.is_empty() || is_watched(database));
        self.visited.retain(|database, _| is_watched(database));
        self.databases = databases.iter().map(|database| database.name.clone()).collect();
    }

    /// Whether a question that needs one database only has found one that is not this.
    fn has_elsewhere(&self, question: &Question, database: &str) -> bool {
        self.databases.iter().filter(|other| *other != database).any(|other| {
            self.notes.get(&place(question, other)).is_some_and(|note| note.verdict == Verdict::Able)
        })
    }

    /// Adds what is known of a question. An answer counts until it is older than `keep`, and without one it
    /// has failed.
    fn show(&self, question: &Question, keep: Duration, facts: &mut Facts) {
        let key = question.key();
        let notes: BTreeMap<&str, &Note> = self
            .notes
            .iter()
            .filter(|((other, _), _)| *other == key)
            .map(|((_, database), note)| (database.as_str(), note))
            .collect();
        // Where one database will do, those without the extension do not count.
        let able = notes.values().any(|note| note.verdict == Verdict::Able);
        let Some(verdict) = notes.values().map(|note| note.verdict).find(|v| !able || *v == Verdict::Able)
        else {
            return;
        };
        if !question.note(verdict, facts) {
            return;
        }
        let name = question.label();
        let label = [("collector", &*name)];
        let able = notes.iter().filter(|(_, note)| note.verdict == Verdict::Able);
        let (mut took, mut fine, mut dropped, mut oldest) = (Duration::ZERO, true, None, None);
        let mut hidden = 0;
        for (database, note) in able {
            took += note.took;
            let place = if database.is_empty() { String::new() } else { format!(" in `{database}`") };
            if let Some(failure) = &note.failure {
                fine = false;
                facts.incomplete = true;
                facts.log.push(format!("collector `{name}`{place}: {}", failure.reason));
            }
            let answer = note.answer.as_ref().map(|(taken, answer)| (taken.elapsed(), answer));
            let Some((age, answer)) = answer.filter(|(age, _)| *age < keep) else {
                fine = false;
                facts.incomplete = true;
                continue;
            };
            if let Some(obstacle) = question.add(&answer.samples, facts) {
                fine = false;
                facts.incomplete = true;
                facts.log.push(format!("collector `{name}`{place}: {obstacle}"));
            }
            oldest = oldest.max(Some(age));
            hidden += answer.hidden;
            if answer.hidden > 0 {
                let count = answer.hidden;
                facts.log.push(format!("collector `{name}`{place}: {count} are hidden from the role"));
            }
            dropped = dropped.map_or(answer.dropped, |sum| answer.dropped.map(|more| sum + more));
        }
        facts.push("pg_scrape_collector_duration_seconds", &label, took.as_secs_f64());
        facts.push("pg_scrape_collector_success", &label, f64::from(fine));
        if let Some(needs) = question.reveals_with().filter(|_| oldest.is_some()) {
            let labels = [label[0], ("needs", needs)];
            facts.push("valmis_postgres_capability", &labels, f64::from(hidden == 0));
        }
        if let Some(age) = oldest {
            facts.push("valmis_postgres_collector_age_seconds", &label, age.as_secs_f64());
        }
        if let Some(dropped) = dropped {
            facts.push("valmis_postgres_collector_rows_dropped", &label, dropped as f64);
        }
    }
}

/// How long a statement of a visit may take at most where a probe has `time`: the canary may have to wait for
/// one, and then needs time of its own.
pub(super) fn visit_patience(time: Duration) -> Duration {
    time * 2 / 5
}

#[cfg(test)]
mod tests {
    use super::super::collector::COLLECTORS;
    use super::super::dsn::Dsn;
    use super::super::selection::Selection;
    use super::super::session::Password;
    use super::*;
    use crate::model::{Labels, METRIC_NAME, Sample};

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_aged_out_is_a_failure() {
        let named = |name: &str| *COLLECTORS.iter().find(|collector| collector.name == name).expect("one");
        let question = Question::Collector(named("sequences"));
        let sample = Sample::new(Labels::from_pairs([(METRIC_NAME, "pg_sequence_used_ratio")]), 0, 0.7);
        let note = Note {
            asked: Instant::now(),
            took: Duration::ZERO,
            verdict: Verdict::Able,
            failure: None,
            answer: Some((Instant::now(), Answer { samples: vec![sample], dropped: None, hidden: 0 })),
            members: Members::new(),
        };
        let notes = [(place(&question, "shop"), note)].into();
        let found = Found { notes, ..Found::default() };
        let check = |shown: usize, success: f64| {
            let mut facts = Facts::default();
            found.show(&question, Duration::from_mins(15), &mut facts);
            let values = |name: &str| {
                let named = facts.samples.iter().filter(|sample| sample.labels.metric_name() == name);
                named.map(|sample| sample.value).collect::<Vec<_>>()
            };
            assert_eq!(values("pg_sequence_used_ratio").len(), shown);
            assert_eq!(values("pg_scrape_collector_success"), [success]);
            assert_eq!(facts.incomplete, success == 0.0);
        };
        check(1, 1.0);
        tokio::time::advance(Duration::from_mins(16)).await;
        check(0, 0.0);
    }
    #[tokio::test]
    async fn a_database_whose_login_had_no_answer_is_left_alone_for_a_while() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let dsn = Dsn::parse(&format!("postgres://u@127.0.0.1:{port}/own?sslmode=disable")).expect("good");
        let selection = Selection::default();
        let target = Target { dsn, password: Password::InDsn, role: None, selection };
        let visits = Visits::new(Arc::new(target), Arc::default());
        assert!(visits.are_due());
        let own = vec![Watched { name: "own".to_owned(), obstacle: None }];
        visits.tour.round(own, Duration::from_millis(50)).await;
        assert_eq!(visits.tour.found().visited["own"].failure.as_ref().map(|f| f.kind), Some("timeout"));
        assert!(!visits.are_due());
        visits.end_pauses();
        assert!(visits.are_due(), "the server as a whole did not answer");
    }
}
