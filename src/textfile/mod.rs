//! Metrics that jobs leave in files, for who runs and ends between two scrapes: backups, renewals, patches.
//!
//! A folder of `*.prom` files in the text format, as `node_exporter`'s textfile collector reads it. It is a
//! prober that knows the exposition format, which engines may not.

mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::exposition::MetricType;
use crate::model::{Labels, METRIC_NAME, Sample};
use crate::probe::{Deadline, ProbeFailure, ProbeOutcome, Prober, describe};
use file::{File, Help};

/// How long a help text may be that is passed on.
const MAX_HELP_BYTES: usize = 1024;

/// Types and help texts by metric family.
type Described = BTreeMap<String, (&'static str, String)>;

/// Reads the files of a folder.
pub struct TextfileProber {
    folder: PathBuf,
    /// What the files said of their metrics when they were last read.
    described: Arc<Mutex<Described>>,
    /// Held by the thread that reads, also beyond the deadline.
    reading: Arc<Semaphore>,
}

impl TextfileProber {
    /// A prober of `*.prom` files in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, described: Arc::default(), reading: Arc::new(Semaphore::new(1)) }
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let failed = |kind: &'static str, reason: String| ProbeOutcome {
            log: vec![reason.clone()].into(),
            result: Err(ProbeFailure::unknown(kind, reason)),
            samples: vec![scrape_error(true)],
        };
        let Ok(permit) = Arc::clone(&self.reading).try_acquire_owned() else {
            return failed("timeout", "an earlier probe still waits for the file system".to_owned());
        };
        let (folder, known) = (self.folder.clone(), Arc::clone(&self.described));
        let reading = tokio::task::spawn_blocking(move || {
            let found = read(&folder);
            drop(permit);
            found.map(|Found { samples, described, log }| {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = described;
                ProbeOutcome { result: Ok(()), samples, log: log.into() }
            })
        });
        match tokio::time::timeout_at(deadline.instant(), reading).await {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Ok(Err(error))) => {
                failed("textfile", format!("`{}` cannot be listed: {error}", self.folder.display()))
            }
            Ok(Err(stopped)) => failed("internal", stopped.to_string()),
            Err(_elapsed) => failed("timeout", "the file system gave no answer in time".to_owned()),
        }
    }
}

impl Prober for TextfileProber {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        self.run(deadline).boxed()
    }

    fn describe(&self, name: &str) -> Option<(&'static str, String)> {
        let described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        let own = described.get(name).cloned();
        own.or_else(|| describe(name).map(|(kind, help)| (kind, help.to_owned())))
    }
}

/// What all files have together.
#[derive(Default)]
struct Found {
    samples: Vec<Sample>,
    described: Described,
    /// What is wrong with files.
    log: Vec<String>,
}

/// Reads all files. Blocks.
fn read(folder: &Path) -> io::Result<Found> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "prom"));
    paths.sort();
    let mut found = Found::default();
    let mut known = HashSet::new();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for path in &paths {
        match File::read(path, &mut known) {
            Ok(file) => take(path, file, &mut families, &mut found),
            Err(error) => found.log.push(format!("`{}` {error}", path.display())),
        }
    }
    for (name, family) in families {
        let help = family.help.unwrap_or_else(|| format!("Metric read from {}", family.files.join(", ")));
        let end = help.floor_char_boundary(MAX_HELP_BYTES);
        found.described.insert(name, (as_text(family.kind), help[..end].to_owned()));
    }
    found.samples.push(scrape_error(!found.log.is_empty()));
    Ok(found)
}

fn scrape_error(failed: bool) -> Sample {
    let labels = Labels::from_pairs([(METRIC_NAME, "node_textfile_scrape_error")]);
    Sample::new(labels, 0, f64::from(u8::from(failed)))
}

/// A metric family as the files before have it.
struct Family {
    kind: MetricType,
    /// The first that a file has. Source: `node_exporter` `collector/textfile.go`, `Update`.
    help: Help,
    files: Vec<String>,
}

/// Adds what is in a file. A family that means something else in a file before is left out, and said.
fn take(path: &Path, file: File, families: &mut BTreeMap<String, Family>, found: &mut Found) {
    let path = path.display().to_string();
    for (name, own) in file.families {
        if let Some(first) = families.get(&name) {
            let other = if own.kind != first.kind {
                Some("type")
            } else if own.help.is_some() && first.help.is_some() && own.help != first.help {
                Some("help text")
            } else {
                None
            };
            if let Some(other) = other {
                let before = &first.files[0];
                found.log.push(format!("`{path}` has `{name}` with another {other} than `{before}`"));
                continue;
            }
        }
        found.samples.extend(own.samples);
        let new = || Family { kind: own.kind, help: None, files: Vec::new() };
        let family = families.entry(name).or_insert_with(new);
        family.help = family.help.take().or(own.help);
        family.files.push(path.clone());
    }
    let labels = [(METRIC_NAME, "node_textfile_mtime_seconds"), ("file", path.as_str())];
    found.samples.push(Sample::new(Labels::from_pairs(labels), 0, file.modified_seconds));
}

/// A type as `# TYPE` of the text format names it.
fn as_text(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Unknown => "untyped",
        kind => kind.as_str(),
    }
}
