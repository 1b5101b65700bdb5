//! What happened during a probe, and when.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// An event of a probe, for people. As a text it is the event alone; it prints with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How long after the probe began; `None` if that was not noted.
    pub after: Option<Duration>,
    /// What happened.
    pub text: String,
}

impl Deref for LogLine {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(after) = self.after {
            write!(f, "[{:.3} s] ", after.as_secs_f64())?;
        }
        f.write_str(&self.text)
    }
}

/// The events of a probe, in their order. Made when the probe begins.
#[derive(Debug, Clone)]
pub struct Log {
    /// `None` if that was not noted.
    began: Option<Instant>,
    lines: Vec<LogLine>,
}

impl Default for Log {
    fn default() -> Self {
        Self { began: Some(Instant::now()), lines: Vec::new() }
    }
}

impl Log {
    /// Notes that something happens now.
    pub fn push(&mut self, text: impl Into<String>) {
        let after = self.began.map(|began| began.elapsed());
        self.lines.push(LogLine { after, text: text.into() });
    }

    /// Adds the events of a probe that began at the same time.
    pub fn append(&mut self, other: Self) {
        self.lines.extend(other.lines);
    }

    /// All events.
    pub fn into_lines(self) -> Vec<LogLine> {
        self.lines
    }
}

/// Events of which nobody noted when they happened.
impl From<Vec<String>> for Log {
    fn from(texts: Vec<String>) -> Self {
        let lines = texts.into_iter().map(|text| LogLine { after: None, text }).collect();
        Self { began: None, lines }
    }
}

impl Deref for Log {
    type Target = [LogLine];

    fn deref(&self) -> &[LogLine] {
        &self.lines
    }
}

/// Whether just these events happened, whenever that was.
impl<const COUNT: usize> PartialEq<[&str; COUNT]> for Log {
    fn eq(&self, texts: &[&str; COUNT]) -> bool {
        self.lines.iter().map(|line| line.text.as_str()).eq(texts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_print_with_their_time_and_are_searched_without() {
        let line = LogLine { after: Some(Duration::from_micros(12_345)), text: "connected".to_owned() };
        assert_eq!(line.to_string(), "[0.012 s] connected");
        assert!(line.starts_with("connected"));
        let unknown = Log::from(vec!["read".to_owned()]);
        assert_eq!(unknown[0].to_string(), "read");
    }

    #[test]
    fn events_have_a_time_if_their_probe_noted_when_it_began() {
        let mut timed = Log::default();
        timed.push("first");
        let mut untimed = Log::from(vec!["second".to_owned()]);
        untimed.push("third");
        timed.append(untimed);
        assert_eq!(timed, ["first", "second", "third"]);
        let found: Vec<_> =
            timed.into_lines().into_iter().map(|line| (line.after.is_some(), line.text)).collect();
        let expected = [(true, "first"), (false, "second"), (false, "third")];
        assert_eq!(found, expected.map(|(timed, text)| (timed, text.to_owned())));
    }
}
