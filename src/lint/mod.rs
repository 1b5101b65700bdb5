//! What is probably wrong with rules that can be read: lints.
//!
//! A lint is a value in a file of its own: what it finds, why that matters, what to do, two examples and the
//! function that looks. `valmis rules check`, `valmis explain`, docs/lints.md and the tests are made of these
//! values. A lint is silent where it is not sure: a wrong finding costs more than a missed one.
//!
//! What an expression can yield is told by two abstract interpretations: `labels` and `ranges`.

mod catalogue;
mod conditions;
mod facts;
mod finding;
mod labels;
mod lints;
mod origin;
mod ranges;
mod server;
mod subject;
mod suppress;
mod tree;

#[cfg(test)]
mod tests;

pub use catalogue::{explain, list, to_json, to_markdown};
pub use facts::{Facts, MetricFacts, Question, SelectorFacts};
pub use server::{GatherError, Limits, gather};

use crate::diag::{Diagnostic, Severity};
use crate::rulefmt::Loaded;
use finding::Finding;
use subject::{Rules, Subject};

/// A kind of finding.
#[derive(Debug)]
pub struct Lint {
    /// Its name, by which comments disable it.
    pub name: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// What it finds, in one sentence.
    pub what: &'static str,
    /// Why that is bad.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Rules that have such a finding, as they stand in a group.
    pub bad: &'static str,
    /// The same rules without it.
    pub good: &'static str,
    /// The checks of pint whose comments disable it too.
    pub pint: &'static [&'static str],
    check: Check,
}

/// How a lint looks.
enum Check {
    /// At each rule.
    Rule(fn(&Subject<'_>, Settings, &mut Vec<Finding>)),
    /// At all rules of all files.
    Rules(fn(&Rules<'_>, &mut Vec<(usize, Finding)>)),
    /// At each rule, knowing what a server has.
    Server(fn(&Subject<'_>, Settings, &Facts, &mut Vec<Finding>)),
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rule(_) => "Rule",
            Self::Rules(_) => "Rules",
            Self::Server(_) => "Server",
        })
    }
}

impl Lint {
    /// Whether it looks only if a server is asked.
    pub fn needs_server(&self) -> bool {
        matches!(self.check, Check::Server(_))
    }
}

/// What is assumed about the server that evaluates.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How often targets are scraped, in milliseconds, where no server tells.
    pub scrape_interval_ms: i64,
}

impl Default for Settings {
    /// The scrape interval is that of the Prometheus operator.
    fn default() -> Self {
        Self { scrape_interval_ms: 30_000 }
    }
}

/// All lints, by name.
pub fn all() -> &'static [&'static Lint] {
    lints::ALL
}

/// Looks at rules; findings come in the order of the files. What comments disable is left out. `facts` is
/// what a server said about the rules, for the lints that need one.
pub fn check(loaded: &Loaded, settings: Settings, facts: Option<&Facts>) -> Vec<Diagnostic> {
    let rules = Rules::new(&loaded.files);
    let mut found = Vec::new();
    for lint in all() {
        let mut findings = Vec::new();
        match (&lint.check, facts) {
            (Check::Rules(check), _) => {
                check(&rules, &mut findings);
                let placed =
                    findings.into_iter().map(|(rule, finding)| finding.placed(lint, &rules.subjects[rule]));
                found.extend(placed);
            }
            (Check::Rule(check), _) => {
                for subject in &rules.subjects {
                    let mut findings = Vec::new();
                    check(subject, settings, &mut findings);
                    found.extend(findings.into_iter().map(|finding| finding.placed(lint, subject)));
                }
            }
            (Check::Server(check), Some(facts)) => {
                for subject in &rules.subjects {
                    let mut findings = Vec::new();
                    check(subject, settings, facts, &mut findings);
                    found.extend(findings.into_iter().map(|finding| finding.placed(lint, subject)));
                }
            }
            (Check::Server(_), None) => {}
        }
    }
    suppress::apply(loaded, &mut found);
    found.sort_by(|one, other| {
        let key = |finding: &Diagnostic| (finding.place, finding.code);
        one.file.cmp(&other.file).then_with(|| key(one).cmp(&key(other)))
    });
    found.dedup();
    found
}

/// What the lints want to know from a server about these rules.
pub fn questions(loaded: &Loaded) -> Vec<Question> {
    facts::questions(&Rules::new(&loaded.files))
}
