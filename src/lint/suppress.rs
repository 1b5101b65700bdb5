//! Comments that disable lints.
//!
//! - `# valmis:disable lint, lint -- reason`: in a rule, or in the lines of comments directly above it, for
//!   the rule; in a group before its rules, for the group;
//! - `# valmis:disable-file lint -- reason`: anywhere, for the file;
//! - `# pint disable check`, `# pint file/disable check`: the same for the lints that do the work of that
//!   check of pint; what follows in parentheses is not looked at.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::{Lint, all};
use crate::diag::{Diagnostic, closest};
use crate::model::LineColumn;
use crate::rulefmt::{Loaded, SourceText};

/// A comment.
struct Disabled {
    lint: &'static str,
    /// The lines for which it holds, the first and the one behind the last.
    lines: Range<usize>,
}

/// Takes out what is disabled, and reports names in comments that no lint has.
pub(super) fn apply(loaded: &Loaded, findings: &mut Vec<Diagnostic>) {
    let mut disabled: HashMap<&str, Vec<Disabled>> = HashMap::new();
    let mut unknown = Vec::new();
    for source in loaded.sources.iter().filter(|source| mentions(&source.text)) {
        let found = comments(source, &regions(loaded, source), &mut unknown);
        disabled.insert(&source.name, found);
    }
    findings.retain(|finding| {
        let line = finding.place.map_or(0, |place| place.line);
        let hits = |one: &Disabled| one.lint == finding.code && one.lines.contains(&line);
        !disabled.get(finding.file.as_str()).is_some_and(|disabled| disabled.iter().any(hits))
    });
    findings.append(&mut unknown);
}

fn mentions(text: &str) -> bool {
    text.contains("valmis:disable") || text.contains("# pint ")
}

/// The lines at which groups and rules begin, with the comments above them; sorted. A group reaches to
/// the next group, so the last line of what begins at each is given too.
fn regions(loaded: &Loaded, source: &SourceText) -> Vec<Range<usize>> {
    let lines: Vec<&str> = source.text.lines().collect();
    let with_comments = |mut line: usize| {
        while line > 1 && lines.get(line - 2).is_some_and(|above| above.trim_start().starts_with('#')) {
            line -= 1;
        }
        line
    };
    let files = loaded.files.iter().filter(|file| file.path == source.name);
    let groups: Vec<_> = files.flat_map(|file| &file.groups).collect();
    let group_starts: BTreeSet<usize> = groups.iter().map(|group| with_comments(group.place.line)).collect();
    let rules = groups.iter().flat_map(|group| group.rules.iter());
    let mut starts: BTreeSet<usize> = rules.map(|rule| with_comments(rule.place.line)).collect();
    starts.extend(&group_starts);
    let end = lines.len() + 1;
    let behind =
        |starts: &BTreeSet<usize>, start: usize| starts.range(start + 1..).next().copied().unwrap_or(end);
    let reach = |start: usize| {
        let starts = if group_starts.contains(&start) { &group_starts } else { &starts };
        start..behind(starts, start)
    };
    starts.iter().map(|start| reach(*start)).collect()
}

fn comments(source: &SourceText, regions: &[Range<usize>], unknown: &mut Vec<Diagnostic>) -> Vec<Disabled> {
    let mut found = Vec::new();
    for (index, text) in source.text.lines().enumerate() {
        let line = index + 1;
        for (at, _) in text.match_indices('#') {
            let comment = text[at + 1..].trim_start();
            let Some((whole_file, names, of_pint)) = directive(comment) else { continue };
            let begun = regions.partition_point(|region| region.start <= line);
            let lines = match begun.checked_sub(1) {
                Some(region) if !whole_file => regions[region].clone(),
                _ => 0..usize::MAX,
            };
            for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                if of_pint {
                    let check = name.split(['(', ' ']).next().unwrap_or_default();
                    let lints = all().iter().filter(|lint| lint.pint.contains(&check));
                    found.extend(lints.map(|lint| Disabled { lint: lint.name, lines: lines.clone() }));
                } else if let Some(lint) = all().iter().find(|lint| lint.name == name) {
                    found.push(Disabled { lint: lint.name, lines: lines.clone() });
                } else {
                    let finding =
                        no_such_lint(name).at(&source.name, Some(LineColumn { line, column: at + 1 }));
                    let end = Some(LineColumn { line, column: text.trim_end().len() + 1 });
                    unknown.push(Diagnostic { end, ..finding });
                }
            }
        }
    }
    found
}

/// Whether a comment is about the whole file, the names that it disables, and whether these are pint's.
fn directive(comment: &str) -> Option<(bool, &str, bool)> {
    let names = |rest: &'_ str| -> Option<usize> {
        rest.starts_with(char::is_whitespace).then(|| rest.find(" --").unwrap_or(rest.len()))
    };
    for (prefix, whole_file, of_pint) in [
        ("valmis:disable-file", true, false),
        ("valmis:disable", false, false),
        ("pint file/disable", true, true),
        ("pint disable", false, true),
    ] {
        if let Some(rest) = comment.strip_prefix(prefix)
            && let Some(end) = names(rest)
        {
            return Some((whole_file, &rest[..end], of_pint));
        }
    }
    None
}

fn no_such_lint(name: &str) -> Diagnostic {
    let finding = Diagnostic::warning("unknown-lint", format!("there is no lint `{name}`"));
    match closest(name, all().iter().map(|lint: &&Lint| lint.name)) {
        Some(found) => finding.hint(format!("did you mean `{found}`?")),
        None => finding.hint("`valmis explain` lists all lints"),
    }
}
