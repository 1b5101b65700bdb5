//! Go's `text/template` as alerting rules use it, with Prometheus' functions.
//!
//! Templates are written by people who read Prometheus' documentation, so that everything here behaves
//! as it does there: what counts as true, how numbers are printed, which types compare, what errors say.
//! Beyond that a template cannot hurt: steps, depth and lengths are bounded.

mod compare;
mod exec;
mod facts;
mod float;
mod functions;
mod humanize;
mod lexer;
mod literal;
mod methods;
mod parser;
mod printf;
mod references;
mod syntax;
mod text;
mod time;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::model::{Labels, LineColumn, TimestampMs};

pub use facts::Facts;
pub use references::References;

/// The variables that exist in every template of a rule in Prometheus, too: the alert's labels, the labels
/// that go to the outside, where the outside reaches this process, and the value of the expression.
/// Source: Prometheus `rules/alerting.go`.
const PREDEFINED: [&str; 4] = ["$labels", "$externalLabels", "$externalURL", "$value"];

/// Answers the queries that templates ask.
pub trait QueryFn {
    /// The instant vector that an expression yields at a time, or why there is none.
    fn query(&self, expression: &str, at: TimestampMs) -> Result<Vec<(Labels, f64)>, String>;
}

/// What a template is expanded with.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// The labels of the alert: `$labels`.
    pub labels: &'c Labels,
    /// The labels that identify this process to the outside: `$externalLabels`.
    pub external_labels: &'c Labels,
    /// The URL under which this process is reached: `$externalURL`.
    pub external_url: &'c str,
    /// The value of the alert's expression: `$value`.
    pub value: f64,
    /// The instant of the evaluation: `now`, and that of queries.
    pub at: TimestampMs,
    /// Where the alert stands.
    pub facts: Facts<'c>,
    /// Answers `query`.
    pub query: &'c dyn QueryFn,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("labels", self.labels)
            .field("external_labels", self.external_labels)
            .field("external_url", &self.external_url)
            .field("value", &self.value)
            .field("at", &self.at)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// When a template went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is no template.
    Parsing,
    /// It could not be carried out.
    Executing,
}

/// A template that is wrong or went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The template's name.
    pub name: String,
    /// When it went wrong.
    pub stage: Stage,
    /// Line, from 1.
    pub line: usize,
    /// Byte column, from 1.
    pub column: usize,
    /// What is wrong, in Go's words; if it went wrong while executing, with the part at fault.
    pub message: String,
}

/// As in Prometheus: `error parsing template x: template: x:1: unclosed action`. The column of an
/// execution error counts from 0 there.
impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, line, message, .. } = self;
        match self.stage {
            Stage::Parsing => write!(f, "error parsing template {name}: template: {name}:{line}: {message}"),
            Stage::Executing => {
                let column = self.column - 1;
                write!(f, "error executing template {name}: template: {name}:{line}:{column}: {message}")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    text: String,
    trees: parser::Trees,
}

impl Template {
    /// Parses a template; the name is the one that errors show.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let variables = [&PREDEFINED[..], &facts::NAMES.map(|(variable, _)| variable)].concat();
        let trees =
            parser::parse(text, &variables).map_err(|fault| located(name, text, Stage::Parsing, fault))?;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), trees })
    }

    /// The text that the template makes of the context.
    pub fn expand(&self, context: &Context<'_>) -> Result<String, TemplateError> {
        exec::run(&self.trees, &self.name, context)
            .map_err(|fault| located(&self.name, &self.text, Stage::Executing, fault))
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the template uses.
    pub fn references(&self) -> References {
        references::collect(&self.trees)
    }
}

fn located(name: &str, text: &str, stage: Stage, fault: parser::Fault) -> TemplateError {
    let LineColumn { line, column } = LineColumn::of(text, fault.at);
    TemplateError { name: name.to_owned(), stage, line, column, message: fault.message }
}
