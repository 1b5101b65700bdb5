//! What visits ask: collectors and queries of the user alike.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::super::Deadline;
use super::answer::{Asked, ask};
use super::bound::Members;
use super::capability::{Capabilities, Verdict};
use super::collector::{self, COLLECTORS, Collector, Scope};
use super::custom::{self, CustomQuery};
use super::facts::Facts;
use super::selection::Selection;
use super::session::Session;
use crate::model::Sample;

/// Something that is asked seldom.
#[derive(Debug, Clone)]
pub(super) enum Question {
    /// A collector.
    Collector(&'static Collector),
    /// A query of the user.
    Custom(Arc<CustomQuery>),
}

impl Question {
    /// All that a selection wants asked.
    pub(super) fn all(selection: &Selection) -> impl Iterator<Item = Self> {
        let seldom = |collector: &&Collector| selection.enables(collector) && selection.is_seldom(collector);
        let collectors = COLLECTORS.iter().copied().filter(seldom).map(Self::Collector);
        collectors.chain(selection.queries.iter().cloned().map(Self::Custom))
    }

    /// Its name as a collector.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Collector(collector) => collector.name,
            Self::Custom(query) => &query.name,
        }
    }

    /// Its name as a label value. A query of the user may be called what a collector is called, too.
    pub(super) fn label(&self) -> Cow<'_, str> {
        match self {
            Self::Custom(query) if collector::names().any(|name| name == query.name) => {
                format!("{} (query)", query.name).into()
            }
            _ => self.name().into(),
        }
    }

    /// What tells it from others. Collectors for several versions share a name, but not the question.
    pub(super) fn key(&self) -> Cow<'static, str> {
        match self {
            Self::Collector(collector) => collector.sql.into(),
            Self::Custom(query) => query.name.clone().into(),
        }
    }

    /// Where it is asked.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Collector(collector) => collector.scope,
            Self::Custom(_) => Scope::Database,
        }
    }

    /// Whether it is asked in this database, the connection being to `own`.
    pub(super) fn concerns(&self, database: &str, own: &str) -> bool {
        match self {
            Self::Collector(collector) => collector.scope != Scope::Server || database == own,
            Self::Custom(query) => query.databases.contains(database, own),
        }
    }

    /// How often it is asked.
    pub(super) fn every(&self, selection: &Selection) -> Duration {
        match self {
            Self::Collector(collector) => selection.every(collector).unwrap_or_default(),
            Self::Custom(query) => query.interval,
        }
    }

    /// Whether it can be asked.
    pub(super) fn judge(&self, capabilities: &Capabilities) -> Verdict {
        match self {
            Self::Collector(collector) => capabilities.judge(collector),
            Self::Custom(query) if capabilities.fits(query) => Verdict::Able,
            Self::Custom(_) => Verdict::OtherVersion,
        }
    }

    /// What the role lacks where rows of the answer are hidden from it, if that is told.
    pub(super) fn reveals_with(&self) -> Option<&'static str> {
        match self {
            Self::Collector(collector) => collector.pages.map(|pages| pages.needs),
            Self::Custom(_) => None,
        }
    }

    /// Asks it in a database.
    pub(super) async fn ask(
        &self,
        database: &str,
        selection: &Selection,
        capabilities: &Capabilities,
        members: &mut Members,
        session: &Session,
        patience: Duration,
    ) -> Asked {
        match self {
            Self::Collector(collector) => {
                let rows = selection.rows(collector);
                ask(collector, capabilities, rows, members, session, Deadline::after(patience)).await
            }
            Self::Custom(query) => {
                let several = query.is_asked_in_several(&selection.databases);
                custom::run(query, several.then_some(database), session, patience).await
            }
        }
    }

    /// Adds what it found. What is in the way, if anything is, comes back.
    pub(super) fn add(&self, samples: &[Sample], facts: &mut Facts) -> Option<String> {
        match self {
            Self::Collector(_) => {
                facts.samples.extend(samples.iter().cloned());
                None
            }
            Self::Custom(_) => {
                let taken = facts.add_new(samples)?;
                Some(format!("the series `{taken}` is there already, not from this query"))
            }
        }
    }

    /// Notes whether it can be asked; yields whether it is worth showing.
    pub(super) fn note(&self, verdict: Verdict, facts: &mut Facts) -> bool {
        match self {
            Self::Collector(collector) => facts.note(collector, verdict),
            Self::Custom(_) => verdict == Verdict::Able,
        }
    }
}
