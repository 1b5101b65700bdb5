//! Asking one collector, and what its answer becomes.

use std::borrow::Cow;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Deadline;
use super::bound::{self, Members};
use super::capability::Capabilities;
use super::collector::Collector;
use super::failure::Failure;
use super::pages::{self, Gathered};
use super::session::Session;
use crate::model::Sample;

/// What a collector found.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) samples: Vec<Sample>,
    /// Rows that are over the limit, if there is one.
    pub(super) dropped: Option<usize>,
    /// Rows that the role may not look at.
    pub(super) hidden: usize,
}

/// An answer, or why there is none, and how long it took.
pub(super) struct Asked {
    pub(super) result: Result<Answer, Failure>,
    pub(super) took: Duration,
}

/// Asks a collector. `rows` limits its answer, `members` are the rows that were kept last time.
pub(super) async fn ask(
    collector: &Collector,
    capabilities: &Capabilities,
    rows: Option<usize>,
    members: &mut Members,
    session: &Session,
    deadline: Deadline,
) -> Asked {
    let began = Instant::now();
    let sql = question(collector, capabilities, rows);
    let asked = match collector.pages {
        Some(pages) => {
            let most = rows.map_or(usize::MAX, bound::candidates);
            pages::ask(pages, &sql, most, session, deadline).await
        }
        None => session.query(&sql, deadline).await.map(Gathered::whole),
    };
    let result = asked.map(|Gathered { rows: mut found, beyond, hidden }| {
        let limit = collector.bound.zip(rows);
        let dropped = limit.map(|(bound, rows)| beyond + bound::keep(&mut found, &bound, rows, members));
        Answer { samples: collector.samples(&found), dropped, hidden }
    });
    Asked { result, took: began.elapsed() }
}

/// The question with its placeholders filled in.
fn question(collector: &Collector, capabilities: &Capabilities, rows: Option<usize>) -> Cow<'static, str> {
    let mut sql = Cow::Borrowed(collector.sql);
    if let Some(schema) = collector.extension.and_then(|extension| capabilities.schema_of(extension)) {
        sql = sql.replace("{schema}", schema).into();
    }
    if let Some(rows) = rows {
        sql = sql.replace("{candidates}", &bound::candidates(rows).to_string()).into();
    }
    sql
}
