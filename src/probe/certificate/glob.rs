//! Finding files by a pattern: `/etc/tls/*.pem`, `/etc/**/tls.crt`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How many directory entries are looked at, how deep `**` goes, and how many files are taken.
const MAX_ENTRIES: usize = 100_000;
const MAX_DEPTH: usize = 16;
pub(super) const MAX_FILES: usize = 1_000;

/// A pattern for paths. In a path's component `?` stands for one character, `*` for any number, `[a-z]`
/// for one of these and `[!a-z]` for one that is none of them; the component `**` stands for any number of
/// directories. Names that begin with a dot are found only if the pattern's component begins with one: so
/// the hidden copies in a Kubernetes volume are not found twice. `**` does not follow links to
/// directories, which could lead in circles.
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
    /// A name with wildcards.
    Pattern(Vec<Token>),
    /// Any number of directories.
    AnyDepth,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Token {
    Exactly(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[a-z]`
    OneOf(Vec<(char, char)>),
    /// `[!a-z]`
    NoneOf(Vec<(char, char)>),
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
    #[error("`{0}` uses `{1}`; only `*`, `**`, `?` and `[…]` are understood")]
    Unsupported(String, char),
    /// A bracket without end, without characters, or with an end before its beginning.
    #[error("`{0}` has a `[` that is not followed by characters such as `a-z` and a `]`")]
    Brackets(String),
}

/// What a pattern found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The paths, sorted, at most [`MAX_FILES`].
    pub(super) files: Vec<PathBuf>,
    /// Directories that could not be looked into.
    pub(super) faults: Vec<(PathBuf, io::Error)>,
    /// Files beyond those.
    pub(super) left_out: usize,
    /// Whether not every directory was looked through: there are too many entries, they lie too deep, or
    /// there was not enough time.
    pub(super) truncated: bool,
}

impl Found {
    /// Takes a file. Of too many the first in the order of their names stay, so that it is the same ones
    /// each time, and what is held stays small.
    fn take(&mut self, file: PathBuf) {
        self.files.push(file);
        if self.files.len() >= 2 * MAX_FILES {
            self.cut();
        }
    }

    /// Notes once that a path could not be looked into, unless it is gone or no directory, and so has no
    /// files.
    fn fault(&mut self, path: PathBuf, error: io::Error) {
        let hides_nothing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        if !hides_nothing && !self.faults.iter().any(|(known, _)| *known == path) {
            self.faults.push((path, error));
        }
    }

    fn cut(&mut self) {
        self.files.sort_unstable();
        self.files.dedup();
        self.left_out += self.files.len().saturating_sub(MAX_FILES);
        self.files.truncate(MAX_FILES);
    }
}

impl Glob {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if !text.starts_with('/') {
            return Err(GlobError::NotAbsolute(text.to_owned()));
        }
        if let Some(character) = text.chars().find(|character| "{}\\".contains(*character)) {
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
            } else if name.contains(['*', '?', '[']) {
                let tokens = tokens(name).ok_or_else(|| GlobError::Brackets(text.to_owned()))?;
                components.push(Component::Pattern(tokens));
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

    /// Whether the pattern stands for this path.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.base) else { return false };
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
        fits(
            &self.components,
            &names,
            |component| *component == Component::AnyDepth,
            |component, name| match component {
                Component::Literal(literal) => literal == name,
                Component::Pattern(pattern) => name_fits(pattern, name),
                Component::AnyDepth => true,
            },
        )
    }

    /// Looks for files until `until`. Blocks. A path without wildcards is found whether it exists or not:
    /// that it does not is for the reader to report.
    pub(super) fn find(&self, until: Instant) -> Found {
        let mut found = Found::default();
        let mut entries = 0;
        // Paths that are reached, the components that are left, and how deep `**` has gone.
        let mut open: Vec<(PathBuf, &[Component], usize)> = vec![(self.base.clone(), &self.components, 0)];
        while let Some((path, components, depth)) = open.pop() {
            let Some((component, rest)) = components.split_first() else {
                found.take(path);
                continue;
            };
            if Instant::now() >= until {
                found.truncated = true;
                break;
            }
            if let Component::Literal(name) = component {
                let next = path.join(name);
                // A file is taken also if it is a broken link or behind one: for the reader to report.
                let looked = if rest.is_empty() { fs::symlink_metadata(&next) } else { fs::metadata(&next) };
                match looked {
                    Ok(_) => open.push((next, rest, depth)),
                    Err(error) => found.fault(next, error),
                }
                continue;
            }
            if *component == Component::AnyDepth {
                open.push((path.clone(), rest, depth));
            }
            let listing = match fs::read_dir(&path) {
                Ok(listing) => listing,
                Err(error) => {
                    found.fault(path, error);
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
                    Component::Pattern(pattern) if name_fits(pattern, &name) => {
                        // A directory is gone into, anything else is taken: a broken link too, for the
                        // reader to report.
                        let next = entry.path();
                        match (rest.is_empty(), fs::metadata(&next)) {
                            (true, Ok(found)) if found.is_dir() => {}
                            (true, _) => found.take(next),
                            (false, Ok(found)) if found.is_dir() => open.push((next, rest, depth)),
                            (false, Ok(_)) => {}
                            (false, Err(error)) => found.fault(next, error),
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
        found.cut();
        found
    }
}

/// Reads a name with wildcards; `None` if its brackets are wrong.
fn tokens(name: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = name;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        tokens.push(match character {
            '*' => Token::Many,
            '?' => Token::One,
            '[' => {
                let (inside, after) = rest.split_once(']')?;
                rest = after;
                match inside.strip_prefix('!') {
                    Some(inside) => Token::NoneOf(ranges(inside)?),
                    None => Token::OneOf(ranges(inside)?),
                }
            }
            character => Token::Exactly(character),
        });
    }
    Some(tokens)
}

/// Reads `a-zA-Z_`; `None` if there is nothing, or a range ends before it begins.
fn ranges(inside: &str) -> Option<Vec<(char, char)>> {
    let mut ranges = Vec::new();
    let mut left: &[char] = &inside.chars().collect::<Vec<_>>();
    while let Some((&first, rest)) = left.split_first() {
        let (last, rest) = match rest {
            ['-', last, rest @ ..] => (*last, rest),
            rest => (first, rest),
        };
        if first > last {
            return None;
        }
        ranges.push((first, last));
        left = rest;
    }
    (!ranges.is_empty()).then_some(ranges)
}

/// Whether a name fits a pattern.
fn name_fits(pattern: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    if name.first() == Some(&'.') && pattern.first() != Some(&Token::Exactly('.')) {
        return false;
    }
    let is_among = |ranges: &[(char, char)], character: char| {
        ranges.iter().any(|(first, last)| (*first..=*last).contains(&character))
    };
    fits(
        pattern,
        &name,
        |token| *token == Token::Many,
        |token, character| match token {
            Token::Exactly(exactly) => exactly == character,
            Token::One | Token::Many => true,
            Token::OneOf(ranges) => is_among(ranges, *character),
            Token::NoneOf(ranges) => !is_among(ranges, *character),
        },
    )
}

/// Whether `items` fit a pattern in which some parts stand for any number of them, and each other part for
/// one. Takes at most the product of both lengths.
fn fits<P, T>(
    pattern: &[P],
    items: &[T],
    stands_for_many: impl Fn(&P) -> bool,
    fits_one: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at_pattern, mut at_item) = (0, 0);
    // Where to go on if the rest does not fit: the last part for many takes one more.
    let mut retry: Option<(usize, usize)> = None;
    while at_item < items.len() {
        match pattern.get(at_pattern) {
            Some(part) if stands_for_many(part) => {
                retry = Some((at_pattern + 1, at_item));
                at_pattern += 1;
            }
            Some(part) if fits_one(part, &items[at_item]) => {
                at_pattern += 1;
                at_item += 1;
            }
            _ => match retry {
                Some((after, taken)) => {
                    retry = Some((after, taken + 1));
                    (at_pattern, at_item) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(stands_for_many)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn far_off() -> Instant {
        Instant::now() + Duration::from_mins(10)
    }

    #[test]
    fn names_match_patterns() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(name_fits(&tokens(pattern).unwrap(), name), expected, "{pattern} {name}");
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
        check("[a-c]x[_0-9]", "bx7", true);
        check("[a-c]x[_0-9]", "dx7", false);
        check("[!a-c].pem", "d.pem", true);
        check("[!a-c].pem", "b.pem", false);
        check("[!a].pem", "..pem", false);
        check("[a-]", "-", true);
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
        check("/tls/{a,b}", "`/tls/{a,b}` uses `{`; only `*`, `**`, `?` and `[…]` are understood");
        for pattern in ["/[", "/[]", "/[!]", "/[z-a]", "/[a/b]"] {
            let fault = "has a `[` that is not followed by characters such as `a-z` and a `]`";
            check(pattern, &format!("`{pattern}` {fault}"));
        }
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
            let found = Glob::parse(&format!("{}/{pattern}", root.display())).unwrap().find(far_off());
            let names: Vec<_> =
                found.files.iter().map(|file| file.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
            assert_eq!(names, expected, "{pattern}");
            assert!(found.faults.is_empty() && !found.truncated && found.left_out == 0, "{found:?}");
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

    #[test]
    fn what_cannot_be_reached_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("live/a")).unwrap();
        fs::create_dir(root.join("live/b")).unwrap();
        fs::write(root.join("live/README"), "").unwrap();
        std::os::unix::fs::symlink("../../archive/a/1.pem", root.join("live/a/chain.pem")).unwrap();
        // A link to itself is a directory that nobody can enter, not even the superuser.
        std::os::unix::fs::symlink("c", root.join("live/c")).unwrap();
        let check = |pattern: &str, files: &[&str], faults: &[&str]| {
            let found = Glob::parse(&format!("{}/{pattern}", root.display())).unwrap().find(far_off());
            let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            assert_eq!(found.files.iter().map(|file| name(file)).collect::<Vec<_>>(), files, "{pattern}");
            let at: Vec<_> = found.faults.iter().map(|(path, _)| name(path)).collect();
            assert_eq!(at, faults, "{pattern}");
        };
        check("live/*/chain.pem", &["live/a/chain.pem"], &["live/c"]);
        check("live/?/chain.pem", &["live/a/chain.pem"], &["live/c"]);
        check("l*/c/chain.pem", &[], &["live/c"]);
        check("l*/b/chain.pem", &[], &[]);
    }

    #[test]
    fn a_path_is_one_that_a_pattern_stands_for_or_not() {
        let check = |pattern: &str, path: &str, expected: bool| {
            assert_eq!(Glob::parse(pattern).unwrap().matches(Path::new(path)), expected, "{pattern} {path}");
        };
        check("/tls/*.pem", "/tls/a.pem", true);
        check("/tls/*.pem", "/tls/a/a.pem", false);
        check("/tls/*.pem", "/other/a.pem", false);
        check("/tls/a.pem", "/tls/a.pem", true);
        check("/**/old/*", "/tls/a/old/x.pem", true);
        check("/**/old/*", "/tls/a/new/x.pem", false);
        check("/tls/**/x.pem", "/tls/x.pem", true);
        let deep = "/a".repeat(40);
        check(&format!("{}/b", "/**/a".repeat(20)), &deep, false);
    }

    #[test]
    fn of_too_many_files_the_first_are_taken_and_the_others_counted() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..10_000 {
            fs::write(folder.path().join(format!("{number:04}.pem")), "").unwrap();
        }
        let glob = Glob::parse(&format!("{}/*.pem", folder.path().display())).unwrap();
        let found = glob.find(far_off());
        let last = found.files.last().and_then(|path| path.file_name()).unwrap();
        assert_eq!((found.files.len(), found.left_out, last.to_str()), (1000, 9000, Some("0999.pem")));
        let found = glob.find(Instant::now());
        assert!(found.truncated && found.files.is_empty());
    }
}
