//! The values that templates work on, with the names and notions that Go has of their types.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts;
use crate::model::Labels;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing: a missing entry, or `nil`.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    /// `map[string]string`
    Labels(Labels),
    /// What `args` makes.
    Args(Arc<BTreeMap<String, Value>>),
    /// The result of a query.
    Samples(Arc<[Arc<Sample>]>),
    /// One of its samples.
    Sample(Arc<Sample>),
    /// The dot of an alert's template.
    Alert(Arc<Alert>),
    /// An instant in nanoseconds since the Unix epoch.
    Time(i64),
    /// A duration in nanoseconds.
    Duration(i64),
}

/// A sample of a query's result.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) labels: Labels,
    pub(super) value: f64,
}

/// What the dot holds.
#[derive(Debug)]
pub(super) struct Alert {
    pub(super) labels: Labels,
    pub(super) external_labels: Labels,
    pub(super) external_url: String,
    pub(super) value: f64,
    /// In the order of their names.
    pub(super) facts: [Value; facts::COUNT],
}

impl Value {
    /// The name of the value's type in Go.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::Labels(_) => "map[string]string",
            Self::Args(_) => "map[string]interface {}",
            Self::Samples(_) => "template.queryResult",
            Self::Sample(_) => "*template.sample",
            Self::Alert(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; \
                 ExternalURL string; Value interface {} }"
            }
            Self::Time(_) => "*time.Time",
            Self::Duration(_) => "*time.Duration",
        }
    }

    /// Whether conditions take it for true: it is neither zero nor empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::Labels(labels) => !labels.is_empty(),
            Self::Args(args) => !args.is_empty(),
            Self::Samples(samples) => !samples.is_empty(),
            Self::Sample(_) | Self::Alert(_) | Self::Time(_) | Self::Duration(_) => true,
        }
    }

    /// How much memory it takes, roughly; only what templates can make grow counts.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            _ => 0,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}
