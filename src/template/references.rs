//! What a template uses, for lints and for fetching its queries beforehand.

use std::collections::{BTreeMap, BTreeSet};

use super::facts;
use super::parser::Trees;
use super::syntax::{Command, Node, Operand, OperandKind, Pipeline};

/// What a template uses, as far as its text tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// The functions it calls.
    pub functions: BTreeSet<String>,
    /// The labels of the alert that it reads by name (`$labels.x`, `.Labels.x`, `index $labels "x"`), each
    /// with a byte of the word that reads it first.
    pub labels: BTreeMap<String, usize>,
    /// Those of them that conditions of `if` and `with` look at.
    pub tested_labels: BTreeSet<String>,
    /// The external labels that it reads by name, likewise.
    pub external_labels: BTreeMap<String, usize>,
    /// Whether it uses `$labels` or `$externalLabels` as a whole, so that it may read any label.
    pub whole_labels: bool,
    /// Whether it uses `$value` for more than the condition of an `if` or `with`.
    pub value_printed: bool,
    /// The variables beyond Prometheus' that it reads, also as fields of the dot.
    pub facts: BTreeSet<&'static str>,
    /// The queries that are written out in it, in their order.
    pub queries: Vec<String>,
    /// Whether it puts queries together while it runs.
    pub computed_queries: bool,
}

pub(super) fn collect(trees: &Trees) -> References {
    let mut found = References::default();
    found.nodes(&trees.main, true);
    for body in trees.defined.values() {
        found.nodes(body, false);
    }
    found
}

impl References {
    /// `alert`: whether the dot is still the alert.
    fn nodes(&mut self, nodes: &[Node], alert: bool) {
        for node in nodes {
            match node {
                Node::Text(_) | Node::Break | Node::Continue => {}
                Node::Action(pipeline) => self.pipeline(pipeline, alert),
                Node::If(branch) => {
                    self.condition(&branch.pipeline, alert);
                    self.nodes(&branch.body, alert);
                    self.nodes(&branch.otherwise, alert);
                }
                Node::With(branch) | Node::Range(branch) => {
                    self.condition(&branch.pipeline, alert);
                    self.nodes(&branch.body, false);
                    self.nodes(&branch.otherwise, alert);
                }
                Node::Template(invocation) => {
                    if let Some(argument) = &invocation.argument {
                        self.pipeline(argument, alert);
                    }
                }
            }
        }
    }

    fn condition(&mut self, pipeline: &Pipeline, alert: bool) {
        let mut found = Self::default();
        found.pipeline(pipeline, alert);
        self.tested_labels.extend(found.labels.into_keys());
        let printed = self.value_printed;
        self.pipeline(pipeline, alert);
        self.value_printed = printed;
    }

    fn pipeline(&mut self, pipeline: &Pipeline, alert: bool) {
        let mut before: Option<&Command> = None;
        for command in &pipeline.commands {
            self.command(command, before, alert);
            before = Some(command);
        }
    }

    fn command(&mut self, command: &Command, before: Option<&Command>, alert: bool) {
        let words = &command.words;
        if let [Operand { kind: OperandKind::Identifier(function), .. }, args @ ..] = &words[..] {
            if function == "query" {
                // The query is the argument, or what the pipeline brings.
                let argument = args.last().or_else(|| match before.map(|before| &before.words[..]) {
                    Some([word]) => Some(word),
                    _ => None,
                });
                match argument.map(|argument| &argument.kind) {
                    Some(OperandKind::String { value, .. }) => self.queries.push(value.clone()),
                    _ => self.computed_queries = true,
                }
            }
            if let ("index", [map, Operand { kind: OperandKind::String { value, .. }, .. }]) =
                (function.as_str(), args)
                && let Some(labels) = self.label_set(map, alert)
            {
                labels.entry(value.clone()).or_insert(map.at);
                self.functions.insert(function.clone());
                return;
            }
        }
        for word in words {
            self.operand(word, alert);
        }
    }

    fn operand(&mut self, operand: &Operand, alert: bool) {
        if self.label_set(operand, alert).is_some() {
            self.whole_labels = true;
            return;
        }
        match &operand.kind {
            OperandKind::Identifier(name) => {
                self.functions.insert(name.clone());
            }
            OperandKind::Pipeline(pipeline) => self.pipeline(pipeline, alert),
            OperandKind::Chain(inner, _) => self.operand(inner, alert),
            OperandKind::Variable(name, fields) => match (name.as_str(), &fields[..]) {
                ("$value", _) => self.value_printed = true,
                ("$labels", [label, ..]) => note(&mut self.labels, label, operand.at),
                ("$externalLabels", [label, ..]) => note(&mut self.external_labels, label, operand.at),
                ("$", fields) => self.alert_fields(fields, operand.at),
                (name, _) => self.facts.extend(facts::known(name)),
            },
            OperandKind::Field(fields) if alert => self.alert_fields(fields, operand.at),
            _ => {}
        }
    }

    fn alert_fields(&mut self, fields: &[String], at: usize) {
        let names: Vec<&str> = fields.iter().map(String::as_str).collect();
        match names[..] {
            ["Labels", label, ..] => note(&mut self.labels, label, at),
            ["ExternalLabels", label, ..] => note(&mut self.external_labels, label, at),
            ["Value", ..] => self.value_printed = true,
            [field, ..] => self.facts.extend(facts::variable(field)),
            [] => {}
        }
    }

    /// The labels that are meant, if an operand is one of the two label sets as a whole.
    fn label_set(&mut self, operand: &Operand, alert: bool) -> Option<&mut BTreeMap<String, usize>> {
        let fields = match &operand.kind {
            OperandKind::Variable(name, fields) if fields.is_empty() => {
                return match name.as_str() {
                    "$labels" => Some(&mut self.labels),
                    "$externalLabels" => Some(&mut self.external_labels),
                    _ => None,
                };
            }
            OperandKind::Variable(name, fields) if name == "$" => fields,
            OperandKind::Field(fields) if alert => fields,
            _ => return None,
        };
        match &fields[..] {
            [name] if name == "Labels" => Some(&mut self.labels),
            [name] if name == "ExternalLabels" => Some(&mut self.external_labels),
            _ => None,
        }
    }
}

/// Notes that a label is read; the first place counts.
fn note(labels: &mut BTreeMap<String, usize>, label: &str, at: usize) {
    labels.entry(label.to_owned()).or_insert(at);
}
