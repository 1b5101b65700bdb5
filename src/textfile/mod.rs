//! Metrics that jobs leave in files, for who runs and ends between two scrapes: backups, renewals, patches.
//!
//! A folder of `*.prom` files in the text format, as `node_exporter`'s textfile collector reads it. It is a
//! prober that knows the exposition format, which engines may not.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::exposition::{Entry, Format, ParseError, Parser};
use crate::model::{Labels, METRIC_NAME, Sample};
use crate::probe::{Deadline, ProbeFailure, ProbeOutcome, Prober};

/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 20;
/// How many series all files may have together.
const MAX_SERIES: usize = 10_000;

/// Why a file is left out, whole.
#[derive(Debug, thiserror::Error)]
enum TextfileError {
    /// The system refuses.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is far larger than such files are.
    #[error("is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// It is not in the text format.
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// A time of its own: the sample would be refused as soon as it is a few minutes old.
    #[error("`{0}` has a timestamp, which is not supported")]
    Timestamp(String),
    /// Another file has the same series, or this one twice.
    #[error("`{0}` occurs twice")]
    Duplicate(String),
    /// Files without end.
    #[error("has more series than the {MAX_SERIES} that all files may have")]
    TooMany,
}

/// Reads the files of a folder.
pub struct TextfileProber {
    folder: PathBuf,
    /// Held by the thread that reads, also beyond the deadline.
    reading: Arc<Semaphore>,
}

impl TextfileProber {
    /// A prober of `*.prom` files in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, reading: Arc::new(Semaphore::new(1)) }
    }

    async fn run(&self, deadline: Deadline) -> ProbeOutcome {
        let failed = |kind: &'static str, reason: String| ProbeOutcome {
            log: vec![reason.clone()].into(),
            result: Err(ProbeFailure::unknown(kind, reason)),
            samples: Vec::new(),
        };
        let Ok(permit) = Arc::clone(&self.reading).try_acquire_owned() else {
            return failed("timeout", "an earlier probe still waits for the file system".to_owned());
        };
        let folder = self.folder.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let found = read(&folder);
            drop(permit);
            found
        });
        match tokio::time::timeout_at(deadline.instant(), reading).await {
            Ok(Ok(Ok((samples, log)))) => ProbeOutcome { result: Ok(()), samples, log: log.into() },
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
}

/// All samples, and what is wrong with files. Blocks.
fn read(folder: &Path) -> io::Result<(Vec<Sample>, Vec<String>)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "prom"));
    files.sort();
    let (mut samples, mut log) = (Vec::new(), Vec::new());
    let mut known = HashSet::new();
    for file in &files {
        match read_file(file, &mut known) {
            Ok((own, modified)) => {
                samples.extend(own);
                let path = file.display().to_string();
                let labels = [(METRIC_NAME, "node_textfile_mtime_seconds"), ("file", path.as_str())];
                samples.push(Sample::new(Labels::from_pairs(labels), 0, modified));
            }
            Err(error) => log.push(format!("`{}` {error}", file.display())),
        }
    }
    let error = Labels::from_pairs([(METRIC_NAME, "node_textfile_scrape_error")]);
    samples.push(Sample::new(error, 0, f64::from(u8::from(!log.is_empty()))));
    Ok((samples, log))
}

/// The samples of one file and when it was changed. A file with any fault yields none.
fn read_file(file: &Path, known: &mut HashSet<Labels>) -> Result<(Vec<Sample>, f64), TextfileError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file").into());
    }
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(TextfileError::TooLarge);
    }
    let mut own = Vec::new();
    let mut seen = HashSet::new();
    let mut parser = Parser::new(&bytes, Format::Text)?;
    while let Some(entry) = parser.next() {
        let Entry::Sample(sample) = entry? else { continue };
        if sample.at.is_some() {
            return Err(TextfileError::Timestamp(sample.series.to_owned()));
        }
        let labels = parser.labels();
        if known.contains(&labels) || !seen.insert(labels.clone()) {
            return Err(TextfileError::Duplicate(labels.to_string()));
        }
        if known.len() + seen.len() > MAX_SERIES {
            return Err(TextfileError::TooMany);
        }
        own.push(Sample::new(labels, 0, sample.value));
    }
    known.extend(seen);
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((own, modified.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn look(folder: &Path) -> ProbeOutcome {
        TextfileProber::new(folder.to_owned()).probe(Deadline::after(Duration::from_secs(20))).await
    }

    fn value(outcome: &ProbeOutcome, series: &str) -> Option<f64> {
        let found = outcome.samples.iter().find(|sample| sample.labels.to_string() == series);
        found.map(|sample| sample.value)
    }

    const ERROR: &str = r#"{__name__="node_textfile_scrape_error"}"#;

    #[tokio::test]
    async fn what_jobs_leave_is_told_with_the_time_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup.prom");
        fs::write(&file, "# TYPE backup_bytes gauge\nbackup_bytes{db=\"shop\"} 5e9\nbackup_ok 1\n").unwrap();
        fs::write(folder.path().join("backup.prom.tmp"), "half a li").unwrap();
        let outcome = look(folder.path()).await;
        assert_eq!(outcome.result, Ok(()));
        assert_eq!(value(&outcome, r#"{__name__="backup_bytes", db="shop"}"#), Some(5e9));
        assert_eq!(value(&outcome, r#"{__name__="backup_ok"}"#), Some(1.0));
        assert_eq!(value(&outcome, ERROR), Some(0.0));
        let mtime = format!(r#"{{__name__="node_textfile_mtime_seconds", file="{}"}}"#, file.display());
        assert!(value(&outcome, &mtime).unwrap() > 1.6e9, "{:?}", outcome.samples);
        assert_eq!(outcome.samples.len(), 4);
    }

    #[tokio::test]
    async fn a_faulty_file_is_left_out_whole_and_named() {
        let check = async |text: &str, reason: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("a.prom"), "good 1\n").unwrap();
            fs::write(folder.path().join("b.prom"), text).unwrap();
            let outcome = look(folder.path()).await;
            assert_eq!(value(&outcome, r#"{__name__="good"}"#), Some(1.0), "{text}");
            assert_eq!(value(&outcome, r#"{__name__="other"}"#), None, "{text}");
            assert_eq!(value(&outcome, ERROR), Some(1.0), "{text}");
            assert!(
                outcome.log[0].contains("b.prom` ") && outcome.log[0].contains(reason),
                "{:?}",
                outcome.log
            );
        };
        check("other 1\nnot a sample\n", "line 2").await;
        check("other 1 1395066363000\n", "has a timestamp, which is not supported").await;
        check("other 1\ngood 2\n", r#"`{__name__="good"}` occurs twice"#).await;
        let many: Vec<String> = (0..=MAX_SERIES).map(|index| format!("m{index} 1\n")).collect();
        check(&format!("other 1\n{}", many.concat()), "has more series").await;
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_unknown() {
        let outcome = look(Path::new("/nowhere/at/all")).await;
        let failure = outcome.result.unwrap_err();
        assert!(
            failure.unknown && failure.reason.contains("`/nowhere/at/all` cannot be listed"),
            "{failure:?}"
        );
    }
}
