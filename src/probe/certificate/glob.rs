//! Finding files by a pattern: `/etc/tls/*.pem`, `/etc/**/tls.crt`.

use std::fs;
use std::io;
use std::path::PathBuf;

/// How many directory entries are looked at, how deep `**` goes, and how many files are taken.
const MAX_ENTRIES: usize = 100_000;
const MAX_DEPTH: usize = 16;
const MAX_FILES: usize = 1_000;

/// A pattern for paths. In a path's component `?` stands for one character and `*` for any number; the
/// component `**` stands for any number of directories. Names that begin with a dot are found only if
/// the pattern's component begins with one: so the hidden copies in a Kubernetes volume are not found
/// twice. `**` does not follow links to directories, which could lead in circles.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob {
    text: String,
    /// Where the search begins: the components before the first that is a pattern.
    base: PathBuf,
    components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Component {
    /// Exactly this name.
    Literal(String),
    /// A name with `*` or `?`.
    Pattern(Vec<char>),
    /// Any number of directories.
    AnyDepth,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It would depend on where the process was started.
    #[error("`{0}` is not an absolute path")]
    NotAbsolute(String),
    /// It would find directories.
    #[error("`{0}` does not name files: it ends with `{1}`")]
    NotFiles(String, &'static str),
    /// Other programs give these characters a meaning; here they have none, and do not occur in names.
    #[error("`{0}` uses `{1}`; only `*`, `**` and `?` are understood")]
    Unsupported(String, char),
}

/// What a pattern found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The paths, sorted.
    pub(super) files: Vec<PathBuf>,
    /// Directories that could not be looked into.
    pub(super) faults: Vec<(PathBuf, io::Error)>,
    /// Whether there is more than is looked at.
    pub(super) truncated: bool,
}

impl Glob {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if !text.starts_with('/') {
            return Err(GlobError::NotAbsolute(text.to_owned()));
        }
        if let Some(character) = text.chars().find(|character| "[]{}\\".contains(*character)) {
            return Err(GlobError::Unsupported(text.to_owned(), character));
        }
        for ending in ["/", "**"] {
            if text.ends_with(ending) {
                return Err(GlobError::NotFiles(text.to_owned(), ending));
            }
        }
        let mut base = PathBuf::from("/");
        let mut components = Vec::new();
        for name in text.split('/').filter(|name| !name.is_empty() && *name != ".") {
            if name == "**" {
                components.push(Component::AnyDepth);
            } else if name.contains(['*', '?']) {
                components.push(Component::Pattern(name.chars().collect()));
            } else if components.is_empty() {
                base.push(name);
            } else {
                components.push(Component::Literal(name.to_owned()));
            }
        }
        Ok(Self { text: text.to_owned(), base, components })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Looks for files. Blocks. A path without `*` and `?` is found whether it exists or not: that it
    /// does not is for the reader to report.
    pub(super) fn find(&self) -> Found {
        let mut found = Found::default();
        let mut entries = 0;
        // Paths that are reached, the components that are left, and how deep `**` has gone.
        let mut open: Vec<(PathBuf, &[Component], usize)> = vec![(self.base.clone(), &self.components, 0)];
        while let Some((path, components, depth)) = open.pop() {
            let Some((component, rest)) = components.split_first() else {
                found.files.push(path);
                continue;
            };
            if let Component::Literal(name) = component {
                let next = path.join(name);
                if next.exists() {
                    open.push((next, rest, depth));
                }
                continue;
            }
            if *component == Component::AnyDepth {
                open.push((path.clone(), rest, depth));
            }
            let listing = match fs::read_dir(&path) {
                Ok(listing) => listing,
                Err(error) => {
                    if is_fault(&error) && !found.faults.iter().any(|(known, _)| *known == path) {
                        found.faults.push((path, error));
                    }
                    continue;
                }
            };
            for entry in listing {
                entries += 1;
                if entries > MAX_ENTRIES {
                    found.truncated = true;
                    break;
                }
                // A name that is not UTF-8 cannot be a label either.
                let Some((entry, name)) = entry
                    .ok()
                    .and_then(|entry| entry.file_name().into_string().ok().map(|name| (entry, name)))
                else {
                    continue;
                };
                match component {
                    Component::Pattern(pattern) if matches(pattern, &name) => {
                        // A directory is gone into, anything else is taken: a broken link too, for the
                        // reader to report.
                        let next = entry.path();
                        if rest.is_empty() != next.is_dir() {
                            open.push((next, rest, depth));
                        }
                    }
                    Component::AnyDepth if !name.starts_with('.') => {
                        let is_real_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                        if is_real_directory && depth < MAX_DEPTH {
                            open.push((entry.path(), components, depth + 1));
                        } else if is_real_directory {
                            found.truncated = true;
                        }
                    }
                    _ => {}
                }
            }
        }
        found.files.sort_unstable();
        found.files.dedup();
        if found.files.len() > MAX_FILES {
            found.files.truncate(MAX_FILES);
            found.truncated = true;
        }
        found
    }
}

/// Whether a directory that cannot be listed hides something: one that is gone or is no directory has
/// no files.
fn is_fault(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether `name` fits a pattern of `*`, `?` and other characters.
fn matches(pattern: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    if name.first() == Some(&'.') && pattern.first() != Some(&'.') {
        return false;
    }
    let (mut at_pattern, mut at_name) = (0, 0);
    // Where to go on if the rest does not fit: the last `*` takes one character more.
    let mut retry: Option<(usize, usize)> = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                retry = Some((at_pattern + 1, at_name));
                at_pattern += 1;
            }
            Some(character) if *character == '?' || *character == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => match retry {
                Some((after_star, taken)) => {
                    retry = Some((after_star, taken + 1));
                    (at_pattern, at_name) = (after_star, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_patterns() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(&pattern.chars().collect::<Vec<_>>(), name), expected, "{pattern} {name}");
        };
        check("*.pem", "a.pem", true);
        check("*.pem", ".pem", false);
        check(".*.pem", ".a.pem", true);
        check("*.pem", "a.pem.bak", false);
        check("*.pem*", "a.pem.bak", true);
        check("?.pem", "ä.pem", true);
        check("?.pem", "ab.pem", false);
        check("a*b*c", "aXbXbXc", true);
        check("a*b*c", "aXbXbX", false);
        check("*", "", true);
        check("**a", "ba", true);
        // Time does not explode.
        check(&("*a".repeat(50) + "b"), &"a".repeat(200), false);
    }

    #[test]
    fn a_pattern_must_name_files_absolutely() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Glob::parse(text).unwrap_err().to_string(), expected);
        };
        check("tls/*.pem", "`tls/*.pem` is not an absolute path");
        check("/tls/", "`/tls/` does not name files: it ends with `/`");
        check("/tls/**", "`/tls/**` does not name files: it ends with `**`");
        check("/tls/[ab].pem", "`/tls/[ab].pem` uses `[`; only `*`, `**` and `?` are understood");
    }

    #[test]
    fn files_are_found_below_real_directories_and_hidden_ones_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for path in ["a/x.pem", "a/b/y.pem", "a/b/y.key", "..data/z.pem", "top.pem"] {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(&root, root.join("a/loop")).unwrap();
        std::os::unix::fs::symlink("..data/z.pem", root.join("z.pem")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("broken.pem")).unwrap();
        let check = |pattern: &str, expected: &[&str]| {
            let found = Glob::parse(&format!("{}/{pattern}", root.display())).unwrap().find();
            let names: Vec<_> =
                found.files.iter().map(|file| file.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
            assert_eq!(names, expected, "{pattern}");
            assert!(found.faults.is_empty() && !found.truncated, "{found:?}");
        };
        check("*.pem", &["broken.pem", "top.pem", "z.pem"]);
        check("**/*.pem", &["a/b/y.pem", "a/x.pem", "broken.pem", "top.pem", "z.pem"]);
        check("a/**/y.*", &["a/b/y.key", "a/b/y.pem"]);
        check("*/x.pem", &["a/x.pem"]);
        check("?/*/y.pem", &["a/b/y.pem"]);
        check("*/loop/top.pem", &["a/loop/top.pem"]);
        check("..*/z.pem", &["..data/z.pem"]);
        check("top.pem", &["top.pem"]);
        check("missing.pem", &["missing.pem"]);
        check("missing/*.pem", &[]);
        check("top.pem/*", &[]);
    }
}
