//! Addresses that share labels.

use std::collections::BTreeMap;

/// Some targets with labels that all of them have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetGroup {
    /// The addresses, `host:port` each; they become the label `__address__`.
    pub targets: Vec<String>,
    /// Labels of all of these targets. Names that begin with `__` do not reach the samples, but some
    /// change how a target is scraped (`__scheme__`, `__metrics_path__`, `__param_<name>`, …).
    pub labels: BTreeMap<String, String>,
}

/// A group that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A target with a scheme or path: those are not part of an address.
    #[error("`{0}` is not a valid hostname: an address has neither scheme nor path")]
    Address(String),
    /// A target without any text.
    #[error("a target has no address")]
    NoAddress,
    /// A label that no series can have.
    #[error("`{0}` is not a valid label name")]
    LabelName(String),
}

impl TargetGroup {
    /// A group without labels.
    pub fn of<T: Into<String>>(targets: impl IntoIterator<Item = T>) -> Self {
        Self { targets: targets.into_iter().map(Into::into).collect(), labels: BTreeMap::new() }
    }

    /// All that is wrong with the group.
    pub fn check(&self) -> Result<(), Vec<GroupError>> {
        let targets = self.targets.iter().filter_map(|target| match target.as_str() {
            "" => Some(GroupError::NoAddress),
            url if url.contains('/') => Some(GroupError::Address(url.to_owned())),
            _ => None,
        });
        let labels = self.labels.keys().filter(|name| name.is_empty());
        let faults: Vec<_> = targets.chain(labels.map(|name| GroupError::LabelName(name.clone()))).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}
