//! The rules as lints see them.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::labels::Labels;
use crate::rulefmt::{Rule, RuleFile, RuleGroup, RuleKind};
use crate::template::{References, Template};

/// A text with actions, and what these use.
#[derive(Debug)]
pub(super) struct Templated<'a> {
    /// Whether it is an annotation; otherwise it is a label.
    pub(super) annotation: bool,
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) references: References,
}

/// A rule with where it comes from and what has been found out about it.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) file: &'a RuleFile,
    pub(super) group: &'a RuleGroup,
    pub(super) rule: &'a Rule,
    labels: OnceCell<Labels>,
    templates: OnceCell<Vec<Templated<'a>>>,
}

/// What an alerting rule has that a recording one has not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alert<'a> {
    pub(super) hold_ms: i64,
    pub(super) annotations: &'a BTreeMap<String, String>,
}

impl<'a> Subject<'a> {
    /// The alert, if it is an alerting rule.
    pub(super) fn alert(&self) -> Option<Alert<'a>> {
        match &self.rule.kind {
            RuleKind::Alerting { hold_ms, annotations, .. } => Some(Alert { hold_ms: *hold_ms, annotations }),
            RuleKind::Recording { .. } => None,
        }
    }

    /// The labels of what the expression yields.
    pub(super) fn labels(&self) -> &Labels {
        self.labels.get_or_init(|| Labels::of(&self.rule.expr))
    }

    /// The labels and annotations of an alert that have actions.
    pub(super) fn templates(&self) -> &[Templated<'a>] {
        self.templates.get_or_init(|| {
            let Some(alert) = self.alert() else { return Vec::new() };
            let labels = self.rule.labels.iter().map(|pair| (false, pair));
            let annotations = alert.annotations.iter().map(|pair| (true, pair));
            let templates = labels.chain(annotations).filter(|(_, (_, text))| text.contains("{{"));
            let read = templates.filter_map(|(annotation, (name, text))| {
                // What cannot be read has been reported when the file was.
                let references = Template::parse(name, text).ok()?.references();
                Some(Templated { annotation, name, text, references })
            });
            read.collect()
        })
    }
}

/// All rules, in the order of files and groups.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) subjects: Vec<Subject<'a>>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(files: &'a [RuleFile]) -> Self {
        let groups = files.iter().flat_map(|file| file.groups.iter().map(move |group| (file, group)));
        let subjects = groups.flat_map(|(file, group)| {
            group.rules.iter().map(move |rule| Subject {
                file,
                group,
                rule,
                labels: OnceCell::new(),
                templates: OnceCell::new(),
            })
        });
        Self { subjects: subjects.collect() }
    }
}
