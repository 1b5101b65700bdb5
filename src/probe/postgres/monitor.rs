//! Collecting facts over the held connection.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::Deadline;
use super::collector::{COLLECTORS, Collector, Privilege};
use super::failure::{Failure, Layer};
use super::session::{Session, statement_timeout};
use crate::model::{Labels, METRIC_NAME, Sample};

/// How many of its intervals an answer is shown when no newer one is to be had.
const KEEP_INTERVALS: u32 = 3;

/// What is asked first, since it decides what else can be asked.
const CAPABILITIES: &str = "\
SELECT current_setting('server_version_num')::int / 10000 AS major,
       pg_has_role('pg_read_all_stats', 'USAGE') AS read_all_stats";

/// Asks all collectors, and remembers the answers of those that are asked seldom.
#[derive(Default)]
pub(super) struct Monitor {
    seldom: Mutex<HashMap<&'static str, Seldom>>,
}

/// The last answer of a collector that is asked seldom.
#[derive(Clone, Default)]
struct Seldom {
    asked: Option<Instant>,
    answer: Option<(Instant, Vec<Sample>)>,
}

/// What the collectors found.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) samples: Vec<Sample>,
    pub(super) log: Vec<String>,
    /// Whether any collector failed.
    pub(super) incomplete: bool,
    /// Whether the server answered anything.
    pub(super) answered: bool,
}

impl Monitor {
    /// Asks everything that can be asked until the deadline. An error means that the connection is of no
    /// use any more; what was found until then is kept.
    pub(super) async fn collect(
        &self,
        session: &Session,
        deadline: Deadline,
    ) -> (Facts, Result<(), Failure>) {
        let mut facts = Facts::default();
        let result = self.collect_into(&mut facts, session, deadline).await;
        (facts, result)
    }

    async fn collect_into(
        &self,
        facts: &mut Facts,
        session: &Session,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let statement_timeout = statement_timeout(deadline).as_millis();
        let sql = format!("SET statement_timeout = {statement_timeout}; {CAPABILITIES}");
        let rows = session.query(&sql, deadline).await?;
        facts.answered = true;
        let number = |column| rows.first().and_then(|row| row.number(column));
        let major = number("major")
            .ok_or_else(|| Failure::new(Layer::Query, "query", "the server does not tell its version"))?
            as u32;
        let reads_all_stats = number("read_all_stats") == Some(1.0);
        facts.push(
            "valmis_postgres_privilege",
            ("privilege", "pg_read_all_stats"),
            f64::from(reads_all_stats),
        );
        for collector in COLLECTORS.iter().filter(|collector| collector.fits(major)) {
            if collector.privilege == Privilege::ReadAllStats && !reads_all_stats {
                facts.incomplete = true;
                facts.log.push(format!("collector `{}`: the role lacks pg_read_all_stats", collector.name));
                facts.push("pg_scrape_collector_success", ("collector", collector.name), 0.0);
                continue;
            }
            match collector.every {
                None => {
                    let answer = ask(collector, session, deadline, facts).await?;
                    facts.samples.extend(answer.unwrap_or_default());
                }
                Some(every) => self.ask_seldom(collector, every, session, deadline, facts).await?,
            }
        }
        Ok(())
    }

    /// Asks if it is time to, and shows the last answer with its age. One that failed is not asked again
    /// before its time either: it may have failed because it takes so long.
    async fn ask_seldom(
        &self,
        collector: &'static Collector,
        every: Duration,
        session: &Session,
        deadline: Deadline,
        facts: &mut Facts,
    ) -> Result<(), Failure> {
        let mut seldom = self.lock().get(collector.name).cloned().unwrap_or_default();
        if seldom.asked.is_none_or(|asked| asked.elapsed() >= every) {
            seldom.asked = Some(Instant::now());
            self.lock().insert(collector.name, seldom.clone());
            if let Some(samples) = ask(collector, session, deadline, facts).await? {
                seldom.answer = Some((Instant::now(), samples));
                self.lock().insert(collector.name, seldom.clone());
            }
        }
        if let Some((taken, samples)) = seldom.answer {
            let age = taken.elapsed();
            if age < every * KEEP_INTERVALS {
                let labels = ("collector", collector.name);
                facts.push("valmis_postgres_collector_age_seconds", labels, age.as_secs_f64());
                facts.samples.extend(samples);
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Seldom>> {
        self.seldom.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    fn push(&mut self, name: &str, label: (&str, &str), value: f64) {
        self.samples.push(Sample::new(Labels::from_pairs([(METRIC_NAME, name), label]), 0, value));
    }
}

/// Asks one collector. `None` means that the server refused this question alone; an error, that it
/// answers none.
async fn ask(
    collector: &Collector,
    session: &Session,
    deadline: Deadline,
    facts: &mut Facts,
) -> Result<Option<Vec<Sample>>, Failure> {
    let began = Instant::now();
    let answer = session.query(collector.sql, deadline).await;
    let label = ("collector", collector.name);
    facts.push("pg_scrape_collector_duration_seconds", label, began.elapsed().as_secs_f64());
    facts.push("pg_scrape_collector_success", label, f64::from(answer.is_ok()));
    match answer {
        Ok(rows) => Ok(Some(collector.samples(&rows))),
        Err(failure) => {
            facts.incomplete = true;
            facts.log.push(format!("collector `{}`: {}", collector.name, failure.reason));
            // An answer of the server, such as a statement timeout, leaves the connection in order.
            if session.is_closed() || deadline.remaining().is_zero() { Err(failure) } else { Ok(None) }
        }
    }
}
