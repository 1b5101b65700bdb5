//! One file of metrics.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::exposition::{Entry, Format, MetricType, ParseError, Parser};
use crate::model::{Labels, Sample};

/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 20;
/// How many series all files may have together.
pub(super) const MAX_SERIES: usize = 10_000;

/// Why a file is left out, whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextfileError {
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

/// What a file says that a metric means, if it does.
pub(super) type Help = Option<String>;

/// A metric family with its samples.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) kind: MetricType,
    pub(super) help: Help,
    pub(super) samples: Vec<Sample>,
}

/// What a file has.
#[derive(Debug)]
pub(super) struct File {
    /// By name; none without samples.
    pub(super) families: BTreeMap<String, Family>,
    /// When it was written, in seconds since 1970.
    pub(super) modified_seconds: f64,
}

impl File {
    /// Reads a file. One with any fault yields nothing. `known` are the series of the files before.
    pub(super) fn read(path: &Path, known: &mut HashSet<Labels>) -> Result<Self, TextfileError> {
        let metadata = path.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file").into());
        }
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(TextfileError::TooLarge);
        }
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut parser = Parser::new(&bytes, Format::Text)?;
        while let Some(entry) = parser.next() {
            let sample = match entry? {
                Entry::Help { family, help } => {
                    families.entry(family.into_owned()).or_default().help = Some(help.into_owned());
                    continue;
                }
                Entry::Type { family, kind } => {
                    families.entry(family.into_owned()).or_default().kind = kind;
                    continue;
                }
                Entry::Unit { .. } => continue,
                Entry::Sample(sample) => sample,
            };
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
            let name = family_of(labels.metric_name(), &families).to_owned();
            families.entry(name).or_default().samples.push(Sample::new(labels, 0, sample.value));
        }
        known.extend(seen);
        families.retain(|_, family| !family.samples.is_empty());
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { families, modified_seconds: modified.as_secs_f64() })
    }
}

/// The family of a sample: a histogram's and a summary's have longer names than their family.
fn family_of<'a>(name: &'a str, families: &BTreeMap<String, Family>) -> &'a str {
    let whole = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
    let mut typed = whole.filter(|whole| {
        let kind = families.get(*whole).map(|family| family.kind);
        matches!(kind, Some(MetricType::Histogram | MetricType::Summary))
    });
    typed.next().unwrap_or(name)
}
