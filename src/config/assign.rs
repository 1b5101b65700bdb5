//! Which source evaluates which group of rules.

use std::collections::{BTreeMap, BTreeSet};

use super::RulesConfig;
use crate::diag::Diagnostic;
use crate::rulefmt::{self, RuleFile};

/// The sources of groups, by file and name as [`RuleFile`] and its groups have them. A group that is not
/// there is evaluated over the store.
pub type SourcesOfGroups = BTreeMap<(String, String), String>;

impl RulesConfig {
    /// The sources of the groups of these files, which are those that the configuration names, and what is
    /// wrong about that. Blocks: looks into folders.
    pub fn assign(&self, files: &[RuleFile]) -> (SourcesOfGroups, Vec<Diagnostic>) {
        let mut assigned = SourcesOfGroups::new();
        let mut findings = Vec::new();
        for entry in &self.sources {
            let paths: BTreeSet<String> =
                entry.files.iter().flat_map(|pattern| rulefmt::matching(pattern)).collect();
            let groups = files.iter().filter(|file| paths.contains(&file.path)).flat_map(|file| {
                file.groups.iter().map(move |group| (file.name.clone(), group.name.clone()))
            });
            let mut unknown: BTreeSet<&str> = entry.groups.iter().map(String::as_str).collect();
            for (file, group) in groups {
                if !entry.groups.is_empty() && !entry.groups.contains(&group) {
                    continue;
                }
                unknown.remove(group.as_str());
                assigned.entry((file, group)).or_insert_with(|| entry.source.clone());
            }
            for group in unknown {
                let message = format!("no group `{group}` in `{}`", entry.files.join("`, `"));
                let finding = Diagnostic::error("unknown-group", message);
                findings.push(finding.hint(format!("`rules` gives it to the source `{}`", entry.source)));
            }
        }
        (assigned, findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RuleSource;
    use crate::promql::Features;

    #[test]
    fn the_first_entry_that_names_a_group_decides() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let group = |name: &str| format!("  - name: {name}\n    rules: [{{record: 'r:{name}', expr: up}}]\n");
        let write = |file: &str, groups: &[&str]| {
            let groups: String = groups.iter().map(|name| group(name)).collect();
            std::fs::write(folder.path().join(file), format!("groups:\n{groups}")).expect("written");
        };
        write("a.yaml", &["one", "two"]);
        write("b.yaml", &["one"]);
        write("c.yaml", &["three"]);
        let pattern = |name: &str| folder.path().join(name).display().to_string();
        let entry = |files: &[&str], groups: &[&str], source: &str| RuleSource {
            files: files.iter().map(|name| pattern(name)).collect(),
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
            source: source.to_owned(),
        };
        let loaded = rulefmt::load(&[pattern("*.yaml")], Features::default());
        let check = |sources: Vec<RuleSource>, expected: &[&str], expected_findings: &[&str]| {
            let rules = RulesConfig { sources, ..RulesConfig::default() };
            let (assigned, findings) = rules.assign(&loaded.files);
            let short = |file: &str| file.rsplit('/').next().expect("a name").to_owned();
            let assigned =
                assigned.iter().map(|((file, group), source)| format!("{} {group} {source}", short(file)));
            assert_eq!(assigned.collect::<Vec<_>>(), expected);
            let findings = findings.iter().map(|finding| finding.message.replace(&pattern(""), ""));
            assert_eq!(findings.collect::<Vec<_>>(), expected_findings);
        };
        check(Vec::new(), &[], &[]);
        check(
            vec![entry(&["a.yaml"], &["two"], "x"), entry(&["?.yaml"], &[], "y")],
            &["a.yaml one y", "a.yaml two x", "b.yaml one y", "c.yaml three y"],
            &[],
        );
        check(
            vec![entry(&["b.yaml", "c.yaml"], &["one", "four"], "x")],
            &["b.yaml one x"],
            &["no group `four` in `b.yaml`, `c.yaml`"],
        );
    }
}
