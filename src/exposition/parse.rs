//! The parser of both text formats: one pass over the bytes, without copying.
//!
//! What is accepted follows Prometheus 3.14 (`model/textparse`): the text format is lenient about
//! blanks, OpenMetrics is not. Stricter here: the whole page must be UTF-8, a label set is checked for
//! duplicates before it is stored, and a value never follows a bare metric name without a blank
//! (`foo-1` is not `foo` with the value -1).

use std::borrow::Cow;
use std::ops::Range;

use super::error::{Fault, ParseError};
use super::number::{format_bound, parse_value};
use super::{Format, MetricType};
use crate::model::{BUCKET_LABEL, Labels, LineColumn, METRIC_NAME, TimestampMs};

/// The label that holds a summary's quantile.
const QUANTILE_LABEL: &str = "quantile";

/// One thing that a page says. Comments are skipped.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<'a> {
    /// `# HELP`.
    Help {
        /// The metric family.
        family: Cow<'a, str>,
        /// What it means.
        help: Cow<'a, str>,
    },
    /// `# TYPE`.
    Type {
        /// The metric family.
        family: Cow<'a, str>,
        /// Its type.
        kind: MetricType,
    },
    /// `# UNIT`, in OpenMetrics.
    Unit {
        /// The metric family.
        family: Cow<'a, str>,
        /// Its unit.
        unit: &'a str,
    },
    /// A sample; [`Parser::labels`] has its labels.
    Sample(ParsedSample<'a>),
}

/// A sample as it stands on a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParsedSample<'a> {
    /// Metric name and labels as written. The same text means the same series, so it can be the key
    /// of a cache.
    pub series: &'a str,
    /// The value; every NaN is Prometheus' own.
    pub value: f64,
    /// When the value was taken, if the page says so.
    pub at: Option<TimestampMs>,
}

/// Reads a page entry by entry. After an error it is at its end.
///
/// ```
/// use valmis::exposition::{Entry, Format, Parser};
///
/// let mut parser = Parser::new(b"http_requests_total{code=\"200\"} 17\n", Format::Text)?;
/// while let Some(entry) = parser.next() {
///     if let Entry::Sample(sample) = entry? {
///         assert_eq!(sample.value, 17.0);
///         assert_eq!(parser.labels().get("code"), "200");
///     }
/// }
/// # Ok::<(), valmis::exposition::ParseError>(())
/// ```
#[derive(Debug)]
pub struct Parser<'a> {
    page: &'a str,
    format: Format,
    at: usize,
    finished: bool,
    /// The type that the last `# TYPE` named: it decides about the spelling of `le` and `quantile`.
    kind: MetricType,
    /// Of the last sample: where its metric name is, without quotes, and its labels.
    name: Range<usize>,
    labels: Vec<LabelPlace>,
}

/// Where a label's name and value are, without quotes.
#[derive(Debug, Clone)]
struct LabelPlace {
    name: Range<usize>,
    value: Range<usize>,
}

/// A fault and the offset at which it is.
type Faulty<T> = Result<T, (usize, Fault)>;

impl<'a> Parser<'a> {
    /// A parser of `page`; fails if that is not UTF-8.
    pub fn new(page: &'a [u8], format: Format) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(page).map_err(|error| {
            let valid = String::from_utf8_lossy(&page[..error.valid_up_to()]);
            ParseError { place: LineColumn::of(&valid, valid.len()), fault: Fault::InvalidUtf8 }
        })?;
        Ok(Self {
            page: text,
            format,
            at: 0,
            finished: false,
            kind: MetricType::Unknown,
            name: 0..0,
            labels: Vec::new(),
        })
    }

    /// The labels of the sample that was yielded last, metric name included. In histograms and
    /// summaries the bounds in `le` and `quantile` get OpenMetrics' spelling (`1.0` for `1`), so that
    /// series keep their identity when a target changes its format.
    pub fn labels(&self) -> Labels {
        let mut builder = Labels::empty().builder();
        builder.set(METRIC_NAME, &unescape(&self.page[self.name.clone()], true));
        let bound = match self.kind {
            MetricType::Histogram => BUCKET_LABEL,
            MetricType::Summary => QUANTILE_LABEL,
            _ => "",
        };
        for label in &self.labels {
            let name = unescape(&self.page[label.name.clone()], true);
            let value = unescape(&self.page[label.value.clone()], true);
            match crate::model::parse_float(&value).filter(|_| name == bound) {
                Some(number) => builder.set(&name, &format_bound(number)),
                None => builder.set(&name, &value),
            };
        }
        builder.build()
    }

    fn next_entry(&mut self) -> Faulty<Option<Entry<'a>>> {
        loop {
            self.blanks();
            let start = self.at;
            match self.peek() {
                None if self.format == Format::OpenMetrics => return Err((start, Fault::MissingEof)),
                None => return Ok(None),
                Some(b'\n') if self.format == Format::Text => self.at += 1,
                Some(b'#') if self.format == Format::OpenMetrics => return self.open_metrics_metadata(),
                Some(b'#') => {
                    if let Some(entry) = self.text_metadata()? {
                        return Ok(Some(entry));
                    }
                }
                Some(byte) if byte == b'{' || is(byte, NAME_START) => return self.sample().map(Some),
                Some(_) => return Err(self.expected("a metric name, `{` or `#`")),
            }
        }
    }

    /// `# HELP name text`, `# TYPE name type`; everything else after `#` is a comment.
    fn text_metadata(&mut self) -> Faulty<Option<Entry<'a>>> {
        self.at += 1;
        let blank = self.blanks();
        let keyword = ["HELP", "TYPE"].into_iter().find(|keyword| {
            let rest = self.rest();
            blank
                && rest.starts_with(keyword)
                && matches!(rest.as_bytes().get(keyword.len()), Some(b' ' | b'\t'))
        });
        let Some(keyword) = keyword else {
            self.at = self.line_end();
            return Ok(None);
        };
        self.at += keyword.len();
        self.blanks();
        let family = self.family()?;
        // One character, normally a blank, separates the name from the text.
        self.at += self.rest().chars().next().filter(|next| *next != '\n').map_or(0, char::len_utf8);
        let start = self.at;
        self.at = self.line_end();
        let text = &self.page[start..self.at];
        let entry = if keyword == "HELP" {
            Entry::Help { family, help: unescape(text, false) }
        } else {
            self.kind =
                MetricType::from_text(text).ok_or_else(|| (start, Fault::InvalidType(text.to_owned())))?;
            Entry::Type { family, kind: self.kind }
        };
        Ok(Some(entry))
    }

    /// `# HELP`, `# TYPE`, `# UNIT` or `# EOF`: OpenMetrics has no comments.
    fn open_metrics_metadata(&mut self) -> Faulty<Option<Entry<'a>>> {
        let rest = self.rest();
        if let Some(after) = rest.strip_prefix("# EOF") {
            let end = self.at + "# EOF".len();
            return if after.is_empty() || after == "\n" {
                Ok(None)
            } else {
                Err((end, Fault::DataAfterEof))
            };
        }
        let keyword = ["# HELP ", "# TYPE ", "# UNIT "].into_iter().find(|keyword| rest.starts_with(keyword));
        let Some(keyword) = keyword else {
            return Err(self.expected("`# HELP`, `# TYPE`, `# UNIT` or `# EOF`"));
        };
        self.at += keyword.len();
        let family = self.family()?;
        if self.peek() != Some(b' ') {
            return Err(self.expected("a space and text after the metric name"));
        }
        let start = self.at + 1;
        self.at = self.line_end();
        if self.peek().is_none() {
            return Err((self.at, Fault::MissingEof));
        }
        let text = &self.page[start..self.at];
        self.at += 1;
        Ok(Some(match keyword {
            "# HELP " => Entry::Help { family, help: unescape(text, true) },
            "# TYPE " => {
                self.kind = MetricType::from_open_metrics(text)
                    .ok_or_else(|| (start, Fault::InvalidType(text.to_owned())))?;
                Entry::Type { family, kind: self.kind }
            }
            _ => {
                let is_suffix =
                    text.is_empty() || family.strip_suffix(text).is_some_and(|before| before.ends_with('_'));
                if !is_suffix {
                    let (unit, family) = (text.to_owned(), family.into_owned());
                    return Err((start, Fault::UnitNotSuffix { unit, family }));
                }
                Entry::Unit { family, unit: text }
            }
        }))
    }

    /// The name of a metric family in a metadata line, bare or quoted.
    fn family(&mut self) -> Faulty<Cow<'a, str>> {
        let place = match self.peek() {
            Some(b'"') => self.quoted()?,
            Some(byte) if is(byte, NAME_START) => self.run(NAME),
            _ => return Err(self.expected("a metric name")),
        };
        Ok(unescape(&self.page[place], true))
    }

    fn sample(&mut self) -> Faulty<Entry<'a>> {
        let start = self.at;
        self.labels.clear();
        self.name = self.run(NAME);
        let mut end = self.at;
        let blank = self.blanks();
        if self.peek() == Some(b'{') {
            self.at += 1;
            self.braces(0, false)?;
            end = self.at;
            if self.name.is_empty() {
                return Err((start, Fault::MissingName));
            }
            self.blanks();
        } else if !blank && self.peek() != Some(b' ') {
            return Err(self.expected("a blank or `{` after the metric name"));
        }
        let value = self.value()?;
        let mut at = None;
        let more = self.blanks();
        match (self.format, self.peek()) {
            (_, Some(b'\n')) | (Format::Text, None) => {}
            (Format::Text, Some(b'0'..=b'9' | b'-')) if more => at = Some(self.milliseconds()?),
            (Format::OpenMetrics, Some(b' ')) if !self.rest().starts_with(" # {") => {
                at = Some(self.seconds()?);
            }
            (Format::OpenMetrics, _) => {}
            (Format::Text, _) => return Err(self.expected("a timestamp in milliseconds or a new line")),
        }
        if self.format == Format::OpenMetrics && self.rest().starts_with(" # {") {
            self.exemplar()?;
        }
        self.blanks();
        match self.peek() {
            Some(b'\n') => self.at += 1,
            None if self.format == Format::Text => {}
            None => return Err((self.at, Fault::MissingEof)),
            Some(_) => return Err(self.expected("a new line after the sample")),
        }
        Ok(Entry::Sample(ParsedSample { series: &self.page[start..end], value, at }))
    }

    /// What stands in braces, up to and including the closing one. Labels before index `first` belong
    /// to another set. Only a sample's braces may hold the metric name.
    fn braces(&mut self, first: usize, exemplar: bool) -> Faulty<()> {
        let mut seen = 0_u64;
        loop {
            self.blanks();
            let quoted = match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'"') => true,
                Some(byte) if is(byte, LABEL_START) => false,
                _ => return Err(self.expected("a label name")),
            };
            let start = self.at;
            let name = if quoted { self.quoted()? } else { self.run(LABEL) };
            self.blanks();
            match self.peek() {
                Some(b'=') => self.at += 1,
                Some(b',' | b'}') if quoted && !exemplar => {
                    if !self.name.is_empty() {
                        return Err((start, Fault::SecondName));
                    }
                    self.name = name;
                    self.at += usize::from(self.peek() == Some(b','));
                    continue;
                }
                _ => return Err(self.expected("`=`")),
            }
            if name.is_empty() {
                return Err((start, Fault::Expected { what: "a label name", found: "`\"\"`".to_owned() }));
            }
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a label value in double quotes"));
            }
            let value = self.quoted()?;
            self.check_unique(&name, first, &mut seen).map_err(|fault| (start, fault))?;
            self.labels.push(LabelPlace { name, value });
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                _ if self.format == Format::Text => {}
                _ => return Err(self.expected("`,` or `}`")),
            }
        }
    }

    /// Whether a label of this name is new to its set. `seen` holds a bit per kind of name, so that
    /// names are compared only when their bits collide.
    fn check_unique(&self, name: &Range<usize>, first: usize, seen: &mut u64) -> Result<(), Fault> {
        let text = &self.page.as_bytes()[name.clone()];
        let kind = match text {
            [first, .., last] => text.len() * 7 + usize::from(*first) * 3 + usize::from(*last) * 5,
            _ => text.first().map_or(0, |byte| usize::from(*byte)),
        };
        let bit = 1_u64 << (kind % 64);
        let collides = *seen & bit != 0
            && self.labels[first..].iter().any(|label| &self.page.as_bytes()[label.name.clone()] == text);
        *seen |= bit;
        if collides || text == METRIC_NAME.as_bytes() {
            return Err(Fault::DuplicateLabel(self.page[name.clone()].to_owned()));
        }
        Ok(())
    }

    /// ` # {labels} value [timestamp]`: checked like everything else, but not kept.
    fn exemplar(&mut self) -> Faulty<()> {
        self.at += " # {".len();
        let own = self.labels.len();
        self.braces(own, true)?;
        self.labels.truncate(own);
        self.value()?;
        if self.peek() == Some(b' ') {
            self.seconds()?;
        }
        Ok(())
    }

    /// A value; in OpenMetrics with the one space before it.
    fn value(&mut self) -> Faulty<f64> {
        self.strict_space("a space and a value")?;
        let place = self.run(TOKEN);
        if place.is_empty() {
            return Err(self.expected("a value"));
        }
        let text = &self.page[place.clone()];
        parse_value(text).ok_or_else(|| (place.start, Fault::InvalidValue(text.to_owned())))
    }

    /// The text format's timestamp: whole milliseconds.
    fn milliseconds(&mut self) -> Faulty<TimestampMs> {
        let place = self.run(TOKEN);
        let text = &self.page[place.clone()];
        text.parse().map_err(|_| (place.start, Fault::InvalidTimestamp(text.to_owned())))
    }

    /// OpenMetrics' timestamp with the space before it: seconds with a fraction, rounded to
    /// milliseconds. (Prometheus cuts off, which turns 1.001 s into 1000 ms.)
    fn seconds(&mut self) -> Faulty<TimestampMs> {
        self.strict_space("a space and a timestamp")?;
        let place = self.run(TOKEN);
        let text = &self.page[place.clone()];
        parse_value(text)
            .map(|seconds| (seconds * 1000.0).round())
            // Beyond 2^63 ms a cast would saturate and claim another time than the page does.
            .filter(|ms| ms.abs() < 9.2e18)
            .map(|ms| ms as TimestampMs)
            .ok_or_else(|| (place.start, Fault::InvalidTimestamp(text.to_owned())))
    }

    /// A quoted text; the place is that of its inside.
    fn quoted(&mut self) -> Faulty<Range<usize>> {
        let bytes = self.page.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += bytes[at..].iter().take_while(|byte| !is(**byte, QUOTED_END)).count();
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') if !matches!(bytes.get(at + 1), None | Some(b'\n')) => at += 2,
                // The text format lets a line break stand in quotes.
                Some(b'\n') if self.format == Format::Text => at += 1,
                _ => {
                    self.at = at.min(bytes.len());
                    return Err(self.expected("a closing double quote"));
                }
            }
        }
        self.at = at + 1;
        Ok(start..at)
    }

    /// Skips spaces and tabs where the format allows them; says whether there were any.
    fn blanks(&mut self) -> bool {
        let start = self.at;
        if self.format == Format::Text {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
        }
        self.at > start
    }

    /// In OpenMetrics, exactly one space.
    fn strict_space(&mut self, what: &'static str) -> Faulty<()> {
        if self.format == Format::OpenMetrics {
            if self.peek() != Some(b' ') {
                return Err(self.expected(what));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// The longest run of bytes of this class from here.
    fn run(&mut self, class: u8) -> Range<usize> {
        let start = self.at;
        self.at += self.page.as_bytes()[start..].iter().take_while(|byte| is(**byte, class)).count();
        start..self.at
    }

    fn peek(&self) -> Option<u8> {
        self.page.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        &self.page[self.at..]
    }

    fn line_end(&self) -> usize {
        self.page.as_bytes()[self.at..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(self.page.len(), |length| self.at + length)
    }

    fn expected(&self, what: &'static str) -> (usize, Fault) {
        let found = match self.rest().chars().next() {
            None => "end of page".to_owned(),
            Some('\n') => "end of line".to_owned(),
            Some(control) if control.is_control() => format!("`{}`", control.escape_debug()),
            Some(other) => format!("`{other}`"),
        };
        (self.at, Fault::Expected { what, found })
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Entry<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let entry = self
            .next_entry()
            .map_err(|(offset, fault)| ParseError { place: LineColumn::of(self.page, offset), fault });
        self.finished = !matches!(entry, Ok(Some(_)));
        entry.transpose()
    }
}

/// Replaces `\\`, `\n` and, where quotes are escaped too, `\"`; every other backslash stands for
/// itself.
fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.clone().next() {
            Some('\\') => plain.push('\\'),
            Some('n') => plain.push('\n'),
            Some('"') if quotes => plain.push('"'),
            _ => {
                plain.push('\\');
                continue;
            }
        }
        characters.next();
    }
    Cow::Owned(plain)
}

// Classes of bytes, as bits in `CLASSES`.
const NAME_START: u8 = 1;
const NAME: u8 = 2;
const LABEL_START: u8 = 4;
const LABEL: u8 = 8;
/// What may stand in a value or a timestamp; what does not belong there is found when it is read.
const TOKEN: u8 = 16;
/// What ends or interrupts a quoted text.
const QUOTED_END: u8 = 32;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let letter = byte.is_ascii_alphabetic() || byte == b'_';
        if letter {
            classes[index] |= NAME_START | NAME | LABEL_START | LABEL;
        }
        if byte == b':' {
            classes[index] |= NAME_START | NAME;
        }
        if byte.is_ascii_digit() {
            classes[index] |= NAME | LABEL;
        }
        if !matches!(byte, b' ' | b'\t' | b'\n' | b'{') {
            classes[index] |= TOKEN;
        }
        if matches!(byte, b'"' | b'\\' | b'\n') {
            classes[index] |= QUOTED_END;
        }
        index += 1;
    }
    classes
};

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

#[cfg(test)]
mod tests;
