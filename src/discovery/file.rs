//! Target groups in files, which other programs write and change while we run.
//! Source: Prometheus' `file_sd_configs`, of which these files are the files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use super::{GroupError, TargetGroup};

/// The label that says from which file a target comes.
const FILE_LABEL: &str = "__meta_filepath";

/// The largest file that is read, in bytes: far above what anybody writes, far below what hurts.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A file that cannot be used as it is; what was good before stays in force.
#[derive(Debug, thiserror::Error)]
#[error("target file `{path}`: {problem}")]
pub struct FileError {
    /// The file or folder.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a target file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Its name ends neither in `.json` nor in `.yml` nor in `.yaml`.
    #[error("unknown extension, expected `.json`, `.yml` or `.yaml`")]
    Extension,
    /// It is larger than any such file should be.
    #[error("{0} bytes are more than the limit of {MAX_FILE_BYTES}")]
    TooLarge(u64),
    /// Its text is no list of target groups.
    #[error("{0}")]
    Syntax(String),
    /// A group in it is wrong.
    #[error("group {index}: {fault}")]
    Group {
        /// Which group, from 1.
        index: usize,
        /// What is wrong with it.
        fault: GroupError,
    },
}

/// The target groups of all files that some patterns match.
#[derive(Debug)]
pub struct FileDiscovery {
    patterns: Vec<PathBuf>,
    files: BTreeMap<PathBuf, KnownFile>,
    /// The errors of the last refresh, so that each is reported once.
    reported: Vec<String>,
}

/// A file that was read before.
#[derive(Debug)]
struct KnownFile {
    /// Modification time and size; a file with the same ones is not read again.
    stamp: (SystemTime, u64),
    /// The last good contents.
    groups: Vec<TargetGroup>,
}

/// A target group as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl FileDiscovery {
    /// The files of these patterns: paths whose last part may hold `*` for any text.
    pub fn new(patterns: Vec<PathBuf>) -> Self {
        Self { patterns, files: BTreeMap::new(), reported: Vec::new() }
    }

    /// Looks at the files and reads those that changed: blocking. Says whether the groups changed, and
    /// what is wrong now and was not before; an unusable file keeps its last good groups, and only a
    /// file that is gone loses them.
    pub fn refresh(&mut self) -> (bool, Vec<FileError>) {
        let mut errors = Vec::new();
        let changed = self.refresh_files(&mut errors);
        let texts = errors.iter().map(ToString::to_string).collect();
        let before = std::mem::replace(&mut self.reported, texts);
        errors.retain(|error| !before.contains(&error.to_string()));
        (changed, errors)
    }

    fn refresh_files(&mut self, errors: &mut Vec<FileError>) -> bool {
        let Some(paths) = self.matching_paths(errors) else { return false };
        let before = self.files.len();
        self.files.retain(|path, _| paths.contains(path));
        let mut changed = self.files.len() != before;
        for path in paths {
            match self.refresh_file(&path) {
                Ok(file_changed) => changed |= file_changed,
                Err(problems) => {
                    let path = path.display().to_string();
                    errors.extend(
                        problems.into_iter().map(|problem| FileError { path: path.clone(), problem }),
                    );
                }
            }
        }
        changed
    }

    /// The groups as of the last refresh, file by file.
    pub fn groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.files.values().flat_map(|file| &file.groups)
    }

    /// All files that the patterns match, or nothing where a folder cannot be listed: then it is not
    /// known which files are gone.
    fn matching_paths(&self, errors: &mut Vec<FileError>) -> Option<Vec<PathBuf>> {
        let mut paths = Vec::new();
        let mut complete = true;
        for pattern in &self.patterns {
            let name = pattern.file_name().unwrap_or_default().to_string_lossy();
            if !name.contains('*') {
                paths.push(pattern.clone());
                continue;
            }
            let folder = match pattern.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            };
            match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
                Ok(entries) => paths.extend(
                    entries
                        .into_iter()
                        .filter(|entry| matches_pattern(&name, &entry.file_name().to_string_lossy()))
                        .map(|entry| entry.path()),
                ),
                Err(error) => {
                    complete = false;
                    errors.push(FileError { path: folder.display().to_string(), problem: error.into() });
                }
            }
        }
        paths.sort();
        paths.dedup();
        complete.then_some(paths)
    }

    fn refresh_file(&mut self, path: &Path) -> Result<bool, Vec<Problem>> {
        let stamp = match stamp(path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.files.contains_key(path) => {
                // Named without a pattern and gone: no longer a source of targets.
                self.files.remove(path);
                return Ok(true);
            }
            Err(error) => return Err(vec![error.into()]),
        };
        if self.files.get(path).is_some_and(|file| file.stamp == stamp) {
            return Ok(false);
        }
        let read = read_groups(path, stamp.1);
        if let Err([Problem::Read(_)]) = read.as_ref().map_err(Vec::as_slice) {
            // Permissions change without a trace in the stamp: look again next time.
            return read.map(|_| false);
        }
        let file = self.files.entry(path.to_owned()).or_insert(KnownFile { stamp, groups: Vec::new() });
        file.stamp = stamp;
        let groups = read?;
        let changed = file.groups != groups;
        file.groups = groups;
        Ok(changed)
    }
}

fn stamp(path: &Path) -> io::Result<(SystemTime, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

/// The groups of a file, or all that is wrong with it.
fn read_groups(path: &Path, size: u64) -> Result<Vec<TargetGroup>, Vec<Problem>> {
    if size > MAX_FILE_BYTES {
        return Err(vec![Problem::TooLarge(size)]);
    }
    let text = fs::read_to_string(path).map_err(|error| vec![error.into()])?;
    let syntax = |message: String| vec![Problem::Syntax(message)];
    let raw: Vec<RawGroup> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => serde_json::from_str(&text).map_err(|error| syntax(error.to_string()))?,
        Some("yml" | "yaml") => serde_saphyr::from_str(&text).map_err(|error| syntax(error.to_string()))?,
        _ => return Err(vec![Problem::Extension]),
    };
    let mut groups = Vec::with_capacity(raw.len());
    let mut problems = Vec::new();
    for (index, RawGroup { targets, mut labels }) in raw.into_iter().enumerate() {
        labels.insert(FILE_LABEL.to_owned(), path.display().to_string());
        let group = TargetGroup { targets, labels };
        if let Err(faults) = group.check() {
            problems.extend(faults.into_iter().map(|fault| Problem::Group { index: index + 1, fault }));
        }
        groups.push(group);
    }
    if problems.is_empty() { Ok(groups) } else { Err(problems) }
}

/// Whether `name` is `pattern` with any text for each `*`.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    (0..=name.len()).any(|at| name.is_char_boundary(at) && matches_pattern(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per target.
    fn targets(discovery: &FileDiscovery) -> Vec<String> {
        let line = |group: &TargetGroup, target: &String| {
            let labels: Vec<_> = group
                .labels
                .iter()
                .filter(|(n, _)| *n != FILE_LABEL)
                .map(|(n, v)| format!("{n}={v}"))
                .collect();
            format!("{target} {}", labels.join(","))
        };
        discovery.groups().flat_map(|group| group.targets.iter().map(move |t| line(group, t))).collect()
    }

    fn errors_of(discovery: &mut FileDiscovery) -> Vec<String> {
        discovery.refresh().1.iter().map(|error| error.problem.to_string()).collect()
    }

    #[test]
    fn json_and_yaml_files_are_read_and_reread_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.json", r#"[{"targets": ["one:1", "two:2"], "labels": {"env": "prod"}}]"#);
        write("b.yml", "- targets: [three:3]\n");
        write("c.txt", "ignored");
        let mut discovery =
            FileDiscovery::new(vec![folder.path().join("*.json"), folder.path().join("b.*ml")]);
        let (changed, errors) = discovery.refresh();
        assert!(changed && errors.is_empty(), "{errors:?}");
        assert_eq!(targets(&discovery), ["one:1 env=prod", "two:2 env=prod", "three:3 "]);
        assert!(!discovery.refresh().0, "nothing changed");

        write("b.yml", "- targets: [three:33, four:4]\n  labels: {a: b}\n");
        assert!(discovery.refresh().0);
        assert_eq!(targets(&discovery)[2..], ["three:33 a=b", "four:4 a=b"]);

        fs::remove_file(folder.path().join("a.json")).unwrap();
        assert!(discovery.refresh().0);
        assert_eq!(targets(&discovery), ["three:33 a=b", "four:4 a=b"]);
    }

    #[test]
    fn an_unreadable_file_keeps_the_last_good_targets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, r#"[{"targets": ["one:1"]}]"#).unwrap();
        let mut discovery = FileDiscovery::new(vec![path.clone()]);
        discovery.refresh();
        fs::write(&path, "[{]").unwrap();
        let (changed, errors) = discovery.refresh();
        assert!(!changed);
        assert_eq!(errors.len(), 1);
        assert_eq!(targets(&discovery), ["one:1 "]);
        fs::write(&path, r#"[{"targets": ["two:2"]}]"#).unwrap();
        assert!(discovery.refresh().0);
        assert_eq!(targets(&discovery), ["two:2 "]);
    }

    #[test]
    fn a_folder_that_cannot_be_listed_keeps_the_targets() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("a.json"), r#"[{"targets": ["one:1"]}]"#).unwrap();
        let mut discovery = FileDiscovery::new(vec![inner.join("*.json")]);
        discovery.refresh();
        fs::rename(&inner, folder.path().join("elsewhere")).unwrap();
        assert_eq!(errors_of(&mut discovery).len(), 1);
        assert_eq!(targets(&discovery), ["one:1 "]);
    }

    #[test]
    fn everything_wrong_with_a_file_is_reported_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, text: &str, expected: &[&str]| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            assert_eq!(errors_of(&mut FileDiscovery::new(vec![path])), expected);
        };
        check("a.toml", "", &["unknown extension, expected `.json`, `.yml` or `.yaml`"]);
        check(
            "b.json",
            r#"[{"targets": ["", "http://a:1/"]}, {"targets": [], "labels": {"": "x"}}]"#,
            &[
                "group 1: a target has no address",
                "group 1: `http://a:1/` is not a valid hostname: an address has neither scheme nor path",
                "group 2: `` is not a valid label name",
            ],
        );
        let missing = folder.path().join("missing.json");
        assert_eq!(errors_of(&mut FileDiscovery::new(vec![missing])).len(), 1);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        let check = |pattern, name, expected| {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        };
        check("a.json", "a.json", true);
        check("*.json", "a.json", true);
        check("*.json", ".json", true);
        check("*.json", "a.jsonx", false);
        check("a*b*c", "aXbYbc", true);
        check("a*b*c", "acb", false);
        check("é*", "éü", true);
    }
}
