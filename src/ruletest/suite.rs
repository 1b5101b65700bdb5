//! A test file with its rules, ready to run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::file::{Test, TestFile};
use super::read::read;
use super::simulate::Definition;
use crate::diag::{Diagnostic, Severity};
use crate::model::GoRegex;
use crate::promql::Features;
use crate::rulefmt;

/// What is run, and how files are read.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only tests whose name one of these matches; none: all.
    pub run: Vec<GoRegex>,
    /// Whether rule files may have fields that nobody knows.
    pub ignore_unknown_fields: bool,
}

impl Selection {
    fn selects(&self, test: &Test) -> bool {
        self.run.is_empty() || self.run.iter().any(|pattern| pattern.is_match(&test.name))
    }
}

/// A test file with its rules.
#[derive(Debug, Clone)]
pub struct Suite {
    /// What the file says.
    pub file: TestFile,
    /// What is wrong with it or with its rule files; with an error among it nothing is run.
    pub findings: Vec<Diagnostic>,
    /// The places of the tests that are to be run.
    pub(super) selected: Vec<usize>,
    /// All groups in the order in which they are evaluated.
    pub(super) groups: Vec<Definition>,
}

impl Suite {
    /// Whether there is an error among the findings.
    pub fn is_broken(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Reads a test file and the rule files that it names. Those are read only if there is a test to run, as
/// promtool does. Blocks: reads files.
pub fn load(path: &str, selection: &Selection) -> Suite {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let finding = Diagnostic::error("unreadable", format!("cannot be read: {error}"));
            let (file, _) = read(path, "");
            let findings = vec![finding.at(path, None)];
            return Suite { file, findings, selected: Vec::new(), groups: Vec::new() };
        }
    };
    let (file, mut findings) = read(path, &text);
    let selected = file.tests.iter().enumerate().filter(|(_, test)| selection.selects(test));
    let selected: Vec<usize> = selected.map(|(place, _)| place).collect();
    findings.extend(selected.iter().flat_map(|place| &file.tests[*place].findings).cloned());
    findings.sort_by_key(|finding| finding.place);
    let mut suite = Suite { file, findings, selected, groups: Vec::new() };
    if !suite.selected.is_empty() {
        suite.load_rules(selection);
    }
    suite
}

impl Suite {
    fn load_rules(&mut self, selection: &Selection) {
        let folder = Path::new(&self.file.name).parent().unwrap_or_else(|| Path::new(""));
        let patterns = self.file.rule_files.iter().map(|pattern| folder.join(pattern));
        let patterns: Vec<String> = patterns.map(|path| path.display().to_string()).collect();
        // A file that does not exist is only a warning for promtool, as a pattern without matches is.
        let (there, missing): (Vec<_>, Vec<_>) = patterns
            .into_iter()
            .partition(|pattern| pattern.contains(['*', '?', '[']) || Path::new(pattern).exists());
        for pattern in missing {
            let message = format!("no rule file matches `{pattern}`");
            self.findings.push(Diagnostic::warning("no-rule-files", message).at(&self.file.name, None));
        }
        let loaded = rulefmt::load(&there, Features::default());
        let kept =
            |finding: &Diagnostic| !(selection.ignore_unknown_fields && finding.code == "unknown-field");
        self.findings.extend(loaded.findings.into_iter().filter(kept));
        for file in loaded.files {
            let name: Arc<str> = file.name.into();
            let groups = file.groups.into_iter();
            let definition = |group| Definition { file: name.clone(), group: Arc::new(group) };
            self.groups.extend(groups.map(definition));
        }
        // Groups that the order does not name count as its first, as in promtool.
        let order = self.file.group_eval_order.iter().enumerate();
        let order: HashMap<&str, usize> = order.map(|(place, name)| (name.as_str(), place)).collect();
        let place = |definition: &Definition| order.get(definition.group.name.as_str()).copied();
        self.groups.sort_by_key(|definition| place(definition).unwrap_or(0));
    }
}
