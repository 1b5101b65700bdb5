//! Reads scripts in Prometheus' test language (`promql/promqltest/README.md`).

use regex::Regex;

use valmis::model::{Labels, TimestampMs, parse_duration_ms, parse_float};
use valmis::promql::EvalRange;
use valmis::ruletest::{SeriesLine, parse_metric, parse_series};

use super::offsets::parse_offsets;

/// A command of a script.
#[derive(Debug)]
pub(crate) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// `load 5m`
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) step_ms: i64,
    pub(crate) series: Vec<SeriesLine>,
    /// Since when samples count, relative to their own times (`metric@st`), by place.
    pub(crate) start_offsets: Vec<(Labels, Vec<Option<i64>>)>,
    /// `load_with_nhcb`: classic histograms are loaded as native ones too.
    pub(crate) with_nhcb: bool,
}

/// `eval instant at 5m up` or `eval range from 0 to 5m step 1m up`
#[derive(Debug)]
pub(crate) struct Eval {
    /// Its line, from 1.
    pub(crate) line: usize,
    pub(crate) query: String,
    pub(crate) range: EvalRange,
    /// `expect range vector`: the instants of the points of an instant query's range vector.
    pub(crate) points: Option<EvalRange>,
    pub(crate) expected: Expected,
    pub(crate) ordered: bool,
    pub(crate) fail: Option<Text>,
    pub(crate) warn: Vec<Text>,
    pub(crate) info: Vec<Text>,
    pub(crate) no_warn: bool,
    pub(crate) no_info: bool,
}

/// What a query yields.
#[derive(Debug)]
pub(crate) enum Expected {
    Scalar(f64),
    String(String),
    Series(Vec<SeriesLine>),
}

/// What a message must be.
#[derive(Debug)]
pub(crate) enum Text {
    Any,
    Exactly(String),
    Like(Regex),
}

impl Text {
    pub(crate) fn matches(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(text) => text == message,
            Self::Like(regex) => regex.is_match(message),
        }
    }
}

/// Reads a script; what is wrong is told with its line.
pub(crate) fn read(script: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> =
        script.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        // A command takes all lines up to an empty one, or is alone on its line.
        let word = lines[at].split_whitespace().next().unwrap_or_default().to_lowercase();
        let body_end = lines[at..].iter().position(|line| line.is_empty()).map_or(lines.len(), |n| at + n);
        let placed = |error: String| format!("line {}: {error}", first + 1);
        at += 1;
        match word.as_str() {
            "" => {}
            "clear" => commands.push(Command::Clear),
            word if word.starts_with("load") => {
                commands.push(Command::Load(read_load(lines[first], &lines[at..body_end]).map_err(placed)?));
                at = body_end;
            }
            word if word.starts_with("eval") => {
                let (eval, used) =
                    read_eval(first + 1, lines[first], &lines[at..body_end]).map_err(placed)?;
                commands.push(Command::Eval(Box::new(eval)));
                at += used;
            }
            other => return Err(placed(format!("invalid command `{other}`"))),
        }
    }
    Ok(commands)
}

fn duration(text: &str) -> Result<i64, String> {
    parse_duration_ms(text).map_err(|error| format!("`{text}`: {error}"))
}

fn read_load(head: &str, body: &[&str]) -> Result<Load, String> {
    let (command, step) = head.split_once(char::is_whitespace).ok_or("load without step")?;
    let mut load = Load {
        step_ms: duration(step.trim())?,
        series: Vec::new(),
        start_offsets: Vec::new(),
        with_nhcb: command == "load_with_nhcb",
    };
    for line in body {
        let metric = line.split_whitespace().next().unwrap_or_default();
        match metric.strip_suffix("@st") {
            Some(name) => {
                let offsets = parse_offsets(&line[metric.len()..])?;
                load.start_offsets.push((parse_metric(name).map_err(|error| error.to_string())?, offsets));
            }
            None => load.series.push(parse_series(line).map_err(|error| error.to_string())?),
        }
    }
    Ok(load)
}

/// Reads `eval` and its lines; says how many of them belong to it.
fn read_eval(line: usize, head: &str, body: &[&str]) -> Result<(Eval, usize), String> {
    let (command, rest) = head.split_once(char::is_whitespace).ok_or("eval without query")?;
    let legacy = command.strip_prefix("eval").unwrap_or_default();
    let (query, range) = read_when(rest.trim_start())?;
    let any = |mode: &str| if legacy == mode { vec![Text::Any] } else { Vec::new() };
    let mut eval = Eval {
        line,
        query: query.to_owned(),
        range,
        points: None,
        expected: Expected::Series(Vec::new()),
        ordered: legacy == "_ordered",
        fail: (legacy == "_fail").then_some(Text::Any),
        warn: any("_warn"),
        info: any("_info"),
        no_warn: false,
        no_info: false,
    };
    let mut series = Vec::new();
    for (used, text) in body.iter().enumerate() {
        if let Some(message) = text.strip_prefix("expected_fail_message") {
            eval.fail = Some(Text::Exactly(message.trim().to_owned()));
            return Ok((eval, used + 1));
        }
        if let Some(pattern) = text.strip_prefix("expected_fail_regexp") {
            eval.fail = Some(like(pattern)?);
            return Ok((eval, used + 1));
        }
        if text.split(' ').next() == Some("expect") {
            eval.expect(text.strip_prefix("expect").unwrap_or_default().trim())?;
            continue;
        }
        if let Some(number) = parse_float(text) {
            eval.expected = Expected::Scalar(number);
            return Ok((eval, used + 1));
        }
        series.push(parse_series(text).map_err(|error| error.to_string())?);
    }
    if !matches!(eval.expected, Expected::String(_)) {
        eval.expected = Expected::Series(series);
    }
    Ok((eval, body.len()))
}

impl Eval {
    fn expect(&mut self, what: &str) -> Result<(), String> {
        if let Some(range) = what.strip_prefix("range vector ") {
            let (rest, range) = read_range(range.trim())?;
            if !rest.is_empty() {
                return Err(format!("`{rest}` after a range vector's range"));
            }
            self.points = Some(range);
            self.range = EvalRange::instant(range.end);
            return Ok(());
        }
        if let Some(text) = what.strip_prefix("string ") {
            let quoted = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
            let text = quoted('"').or_else(|| quoted('\'')).or_else(|| quoted('`'));
            self.expected = Expected::String(text.ok_or("expected a quoted string")?.to_owned());
            return Ok(());
        }
        let (kind, condition) = match what.split_once(char::is_whitespace) {
            Some((kind, condition)) => (kind, condition.trim()),
            None => (what, ""),
        };
        let text = match (condition.strip_prefix("msg:"), condition.strip_prefix("regex:")) {
            (Some(message), _) => Text::Exactly(message.trim().to_owned()),
            (_, Some(pattern)) => like(pattern)?,
            _ if condition.is_empty() => Text::Any,
            _ => return Err(format!("invalid expect statement `{what}`")),
        };
        match kind {
            "ordered" => self.ordered = true,
            "fail" => self.fail = Some(text),
            "warn" => self.warn.push(text),
            "info" => self.info.push(text),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            other => return Err(format!("invalid expected type `{other}`")),
        }
        Ok(())
    }
}

fn like(pattern: &str) -> Result<Text, String> {
    Regex::new(pattern.trim()).map(Text::Like).map_err(|error| error.to_string())
}

/// `instant at 5m query` or `range from 0 to 5m step 1m query`.
fn read_when(text: &str) -> Result<(&str, EvalRange), String> {
    let (kind, rest) = text.split_once(char::is_whitespace).ok_or("neither instant nor range")?;
    match kind {
        "instant" => {
            let (at, query) = labelled(rest, "at")?;
            Ok((query, EvalRange::instant(at)))
        }
        "range" => read_range(rest),
        other => Err(format!("neither instant nor range: `{other}`")),
    }
}

/// `from 0 to 5m step 1m`, then anything.
fn read_range(text: &str) -> Result<(&str, EvalRange), String> {
    let (start, rest) = labelled(text, "from")?;
    let (end, rest) = labelled(rest, "to")?;
    let (step_ms, rest) = labelled(rest, "step")?;
    Ok((rest, EvalRange { start, end, step_ms }))
}

/// `word 5m`, then anything.
fn labelled<'t>(text: &'t str, word: &str) -> Result<(TimestampMs, &'t str), String> {
    let rest =
        text.trim_start().strip_prefix(word).ok_or_else(|| format!("expected `{word}` at `{text}`"))?;
    let rest = rest.trim_start();
    let (value, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
    Ok((duration(value)?, rest.trim_start()))
}

#[test]
fn commands_are_read_with_their_expectations() {
    let script = "\
load 5m
  up{job=\"a\"} 1 0x2

# A comment.
eval range from 0 to 10m step 5m up
  expect no_warn
  expect info msg: PromQL info: x
  up{job=\"a\"} 1 0 0

clear
eval instant at 1m 1+1
  2
";
    let commands = read(script).expect("a script");
    assert_eq!(commands.len(), 4);
    let Command::Eval(eval) = &commands[1] else { panic!("not an eval: {:?}", commands[1]) };
    assert_eq!((eval.line, eval.range.end, eval.no_warn), (5, 600_000, true));
    assert!(eval.info[0].matches("PromQL info: x") && !eval.info[0].matches("PromQL info: xy"));
    let Command::Eval(eval) = &commands[3] else { panic!("not an eval: {:?}", commands[3]) };
    assert!(matches!(eval.expected, Expected::Scalar(2.0)));
    assert!(read("evil instant").is_err());
}
