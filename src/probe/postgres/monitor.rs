//! Collecting facts over the held connection: what is asked at every probe.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::super::Deadline;
use super::answer::ask;
use super::bound::Members;
use super::capability::Capabilities;
use super::collector::{COLLECTORS, Privilege};
use super::facts::Facts;
use super::failure::Failure;
use super::selection::Selection;
use super::session::Session;

/// Asks the collectors, and remembers which rows of theirs were shown.
#[derive(Default)]
pub(super) struct Monitor {
    members: Mutex<HashMap<&'static str, Members>>,
}

impl Monitor {
    /// Asks everything that can be asked until the deadline. An error means that the connection is of no
    /// use any more; what was found until then is kept.
    pub(super) async fn collect(
        &self,
        selection: &Selection,
        session: &Session,
        deadline: Deadline,
    ) -> (Facts, Result<(), Failure>) {
        let mut facts = Facts::default();
        let result = self.collect_into(&mut facts, selection, session, deadline).await;
        (facts, result)
    }

    async fn collect_into(
        &self,
        facts: &mut Facts,
        selection: &Selection,
        session: &Session,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let capabilities = Capabilities::ask(session, deadline).await?;
        facts.answered = true;
        facts.started.clone_from(&capabilities.started);
        for privilege in Privilege::ALL {
            let has = f64::from(capabilities.has(privilege));
            facts.push("valmis_postgres_privilege", &[("privilege", privilege.as_str())], has);
        }
        let asked = COLLECTORS.iter().copied().filter(|c| selection.enables(c) && !selection.is_seldom(c));
        for collector in asked {
            if !facts.note(collector, capabilities.judge(collector)) {
                continue;
            }
            let rows = selection.rows(collector);
            let mut members = self.members().remove(collector.name).unwrap_or_default();
            let asked = ask(collector, &capabilities, rows, &mut members, session, deadline).await;
            if rows.is_some() {
                self.members().insert(collector.name, members);
            }
            let label = [("collector", collector.name)];
            facts.push("pg_scrape_collector_duration_seconds", &label, asked.took.as_secs_f64());
            facts.push("pg_scrape_collector_success", &label, f64::from(asked.result.is_ok()));
            match asked.result {
                Ok(answer) => {
                    facts.samples.extend(answer.samples);
                    if let Some(dropped) = answer.dropped {
                        facts.push("valmis_postgres_collector_rows_dropped", &label, dropped as f64);
                    }
                }
                Err(failure) => {
                    facts.incomplete = true;
                    facts.log.push(format!("collector `{}`: {}", collector.name, failure.reason));
                    // An answer of the server, such as a statement timeout, leaves the connection in order.
                    if session.is_closed() || deadline.remaining().is_zero() {
                        return Err(failure);
                    }
                }
            }
        }
        Ok(())
    }

    fn members(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Members>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
