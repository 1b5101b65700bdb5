//! Finding rule files: paths, folders and globs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use super::decode::parse;
use super::types::RuleFile;
use crate::diag::Diagnostic;
use crate::promql::Features;

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The files; not to be used if an error is among the findings.
    pub files: Vec<RuleFile>,
    /// What is wrong with them, or may be.
    pub findings: Vec<Diagnostic>,
    /// The texts that were read; a manifest may hold several of [`Self::files`].
    pub sources: Vec<SourceText>,
}

/// The text of a rule file.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// The file as the user named it, as findings do.
    pub name: String,
    /// What it contains.
    pub text: String,
}

/// Reads the rule files that `patterns` name: a file, a folder (all `.yml` and `.yaml` files in it and
/// below, except hidden ones), or a pattern with `*`, `?` and `[…]`. A file that several patterns name
/// is read once. Blocks: reads files.
pub fn load<P: AsRef<str>>(patterns: &[P], features: Features) -> Loaded {
    let mut loaded = Loaded::default();
    let mut paths = BTreeSet::new();
    for pattern in patterns {
        match find(pattern.as_ref()) {
            Ok(found) => {
                if found.is_empty() {
                    let message = format!("no rule file matches `{}`", pattern.as_ref());
                    loaded.findings.push(Diagnostic::warning("no-rule-files", message));
                }
                paths.extend(found);
            }
            Err(finding) => loaded.findings.push(*finding),
        }
    }
    for path in paths {
        let name = path.display().to_string();
        match fs::read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => {
                let (files, findings) = parse(&name, &text, features);
                loaded.files.extend(files);
                loaded.findings.extend(findings);
                loaded.sources.push(SourceText { name, text });
            }
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to();
                let message = format!("the file is not valid UTF-8 from byte {at} on");
                loaded.findings.push(Diagnostic::error("not-utf8", message).at(&name, None));
            }
            Err(error) => loaded.findings.push(unreadable(&name, &error)),
        }
    }
    loaded
}

fn unreadable(name: &str, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("unreadable", format!("cannot be read: {error}")).at(name, None)
}

/// The files that a pattern names, as [`load`] names them; none if it is at fault, which [`load`] tells.
/// Blocks: looks into folders.
pub fn matching(pattern: &str) -> Vec<String> {
    let found = find(pattern).unwrap_or_default();
    found.into_iter().map(|path| path.display().to_string()).collect()
}

/// The files that a pattern names, in order.
fn find(pattern: &str) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let path = Path::new(pattern);
    let is_pattern = pattern.contains(['*', '?', '[']);
    let mut found = Vec::new();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            collect_folder(path, &mut found).map_err(|error| unreadable(pattern, &error))?;
        }
        Ok(_) => found.push(path.to_owned()),
        Err(_) if is_pattern => found = expand(path)?,
        Err(error) => return Err(unreadable(pattern, &error).into()),
    }
    Ok(found)
}

/// Hidden entries are left out: Kubernetes mounts a `ConfigMap` as links into a hidden folder.
fn collect_folder(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in sorted_entries(folder)? {
        let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        let yaml = matches!(entry.extension().and_then(OsStr::to_str), Some("yml" | "yaml"));
        // A link to a folder is not followed: it may lead back up.
        if fs::symlink_metadata(&entry)?.is_dir() {
            collect_folder(&entry, found)?;
        } else if yaml && entry.is_file() {
            found.push(entry);
        }
    }
    Ok(())
}

fn sorted_entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    Ok(entries)
}

/// Expands a pattern part by part, as Go's `filepath.Glob` does: `*` and `?` match within a name.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = component.as_os_str().to_string_lossy();
        if !matches!(component, Component::Normal(_)) || !name.contains(['*', '?', '[']) {
            for path in &mut found {
                path.push(component);
            }
            found.retain(|path| path.as_os_str().is_empty() || path.exists());
            continue;
        }
        let matcher = name_matcher(&name).ok_or_else(|| {
            let message = format!("bad pattern `{}`: `{name}` cannot be read", pattern.display());
            Diagnostic::error("bad-pattern", message)
        })?;
        let mut next = Vec::new();
        for folder in found {
            let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            // What is no folder, or may not be read, has nothing that matches.
            for entry in sorted_entries(listed).unwrap_or_default() {
                let matching = entry.file_name().filter(|name| matcher.is_match(&name.to_string_lossy()));
                next.extend(matching.map(|name| folder.join(name)));
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    Ok(found)
}

/// A regular expression for a part of a pattern; `None` if a bracket is not closed.
fn name_matcher(pattern: &str) -> Option<Regex> {
    let mut regex = String::from("^(?s:");
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => {
                let (inner, after) = rest.as_str().split_once(']')?;
                rest = after.chars();
                let (sign, inner) = inner.strip_prefix('^').map_or(("", inner), |inner| ("^", inner));
                if inner.is_empty() {
                    return None;
                }
                let escaped = inner.replace('\\', r"\\").replace('[', r"\[").replace('&', r"\&");
                regex.extend(["[", sign, &escaped, "]"]);
            }
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(")$");
    Regex::new(&regex).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[String]) -> (Vec<String>, Vec<String>) {
        let loaded = load(patterns, Features::default());
        let file_name = |name: &str| Path::new(name).file_name().unwrap().to_string_lossy().into_owned();
        let files = loaded.files.iter().map(|file| file_name(&file.name)).collect();
        (files, loaded.findings.iter().map(|finding| finding.code.to_owned()).collect())
    }

    #[test]
    fn files_folders_and_patterns_are_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "groups: []").unwrap();
        };
        for name in ["a.yml", "b.yaml", "c.txt", ".hidden/d.yml", "sub/e.yml", "sub/f1.yml", "sub/f2.yml"] {
            write(name);
        }
        let check = |patterns: &[&str], expected: &[&str], findings: &[&str]| {
            let patterns: Vec<_> =
                patterns.iter().map(|p| format!("{}/{p}", root.path().display())).collect();
            let (found, codes) = names(&patterns);
            assert_eq!(
                (found, codes),
                (
                    expected.iter().map(|s| (*s).to_owned()).collect(),
                    findings.iter().map(|s| (*s).to_owned()).collect()
                ),
                "{patterns:?}"
            );
        };
        check(&["a.yml"], &["a.yml"], &[]);
        check(&["c.txt"], &["c.txt"], &[]);
        check(&[""], &["a.yml", "b.yaml", "e.yml", "f1.yml", "f2.yml"], &[]);
        check(&["*.y*ml", "a.yml"], &["a.yml", "b.yaml"], &[]);
        check(&["s?b/*.yml"], &["e.yml", "f1.yml", "f2.yml"], &[]);
        check(&["sub/f[2-9].yml"], &["f2.yml"], &[]);
        check(&["sub/f[^2].yml"], &["f1.yml"], &[]);
        check(&["nothing*.yml"], &[], &["no-rule-files"]);
        check(&["nothing.yml"], &[], &["unreadable"]);
        check(&["sub/[.yml"], &[], &["bad-pattern"]);
    }

    #[test]
    fn a_file_that_is_no_text_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.yml"), b"groups: \xff").unwrap();
        let loaded = load(&[root.path().display().to_string()], Features::default());
        assert!(loaded.findings[0].message.contains("not valid UTF-8 from byte 8 on"));
    }
}
