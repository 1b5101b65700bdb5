//! What groups are evaluated over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::group::Services;
use crate::query::QuerySource;
use crate::storage::Appender;

/// What evaluates the rules of groups, and what takes their samples, instead of what all groups have.
#[derive(Clone)]
pub struct Origin {
    /// Answers the rules' expressions.
    pub source: Arc<dyn QuerySource>,
    /// Takes the rules' samples.
    pub appender: Arc<dyn Appender>,
    /// Those that may have `ALERTS_FOR_STATE` of alerts of which no state is stored.
    pub memories: Vec<Arc<dyn QuerySource>>,
}

/// The origins of groups, by file and name; a group that is not there has what the manager was given.
/// Another `Arc` is another origin.
pub type Origins = BTreeMap<(String, String), Arc<Origin>>;

impl Services {
    /// The same with an origin of its own.
    pub(super) fn from_origin(&self, origin: Option<&Arc<Origin>>) -> Self {
        let services = self.clone();
        match origin {
            None => services,
            Some(origin) => {
                let Origin { source, appender, .. } = Origin::clone(origin);
                Self { source, appender, ..services }
            }
        }
    }
}

/// Whether both are the same origin.
pub(super) fn same(one: Option<&Arc<Origin>>, other: Option<&Arc<Origin>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}
