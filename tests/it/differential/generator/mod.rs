//! Queries from a seed: a grammar whose rules know types and labels, so that nearly all queries are valid
//! and most have a result.

mod call;
mod combine;
mod leaf;

use valmis::model::TimestampMs;
use valmis::promql::{Expr, ExprKind, Features, ValueType, functions, parse_with};

use super::data::SPAN_MS;
use crate::random::Random;

/// How deeply expressions are nested at most.
pub(super) const DEPTH: usize = 4;

/// A query with the instants at which it is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    pub(super) text: String,
    pub(super) when: When,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum When {
    Instant(TimestampMs),
    Range { start: TimestampMs, end: TimestampMs, step_ms: i64 },
}

/// An instant vector, or the range vector over it.
#[derive(Debug, Clone)]
struct Vector {
    text: String,
    /// The labels that its series may have, beside the name.
    labels: Vec<&'static str>,
}

impl Vector {
    fn new(text: String, labels: &[&'static str]) -> Self {
        Self { text, labels: labels.to_vec() }
    }

    /// The same series computed by something else.
    fn map(self, text: impl FnOnce(&str) -> String) -> Self {
        Self { text: text(&self.text), labels: self.labels }
    }
}

/// What a query is made of at its root. Going through all of them makes sure that none is left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Production {
    Function(&'static str),
    Operator(&'static str),
    Aggregation(&'static str),
    Form(Form),
}

/// What is neither of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Selector,
    Range,
    Scalar,
    Text,
    Sign,
    GroupLeft,
    GroupRight,
    SubqueryOver,
}

const OPERATORS: &[&str] =
    &["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">=", "and", "or", "unless"];

const AGGREGATIONS: &[&str] = &[
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];

const FORMS: &[Form] = &[
    Form::Selector,
    Form::Range,
    Form::Scalar,
    Form::Text,
    Form::Sign,
    Form::GroupLeft,
    Form::GroupRight,
    Form::SubqueryOver,
];

/// What may stand where it does not belong.
const STRAY: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    " @ ",
    " offset ",
    " by ",
    " on ",
    " bool ",
    " + ",
    " == ",
    "=~",
    "!",
    " 5m ",
    " 0x ",
    " \"text\" ",
    " 'open",
    " # rest",
    " and ",
    " sum ",
    " rate ",
    " metric ",
    ";",
    "é",
];

/// Writes queries.
pub(super) struct Generator {
    random: Random,
    /// When the samples begin.
    start: TimestampMs,
    productions: Vec<Production>,
    functions: Vec<&'static str>,
}

impl Generator {
    /// Queries over samples from `start` on, with the functions that `is_known` on the other side.
    pub(super) fn new(seed: u64, start: TimestampMs, is_known: impl Fn(&str) -> bool) -> Self {
        let names = functions::all().iter().map(|function| function.name);
        let functions: Vec<_> = names.filter(|name| is_known(name)).collect();
        let productions = functions
            .iter()
            .map(|name| Production::Function(name))
            .chain(OPERATORS.iter().map(|symbol| Production::Operator(symbol)))
            .chain(AGGREGATIONS.iter().map(|name| Production::Aggregation(name)))
            .chain(FORMS.iter().map(|form| Production::Form(*form)))
            .collect();
        Self { random: Random::stream(seed, u64::MAX), start, productions, functions }
    }

    /// The query of this number; each follows from those before it. Odd ones are range queries.
    pub(super) fn query(&mut self, number: usize) -> Query {
        // An instant query and a range query of each.
        let production = self.productions[number / 2 % self.productions.len()];
        let range = number % 2 == 1;
        let depth = 1 + self.random.below(DEPTH);
        let text = match production {
            Production::Form(Form::Range | Form::Text) if range => self.scalar(depth),
            Production::Form(Form::Range) => self.any_range(depth).text,
            Production::Form(Form::Text) => self.text(),
            other => self.root(other, depth),
        };
        let text = if number % 16 == 15 { self.broken(&text) } else { text };
        Query { text, when: self.when(range) }
    }

    /// The query with a word or sign of it left out, doubled or replaced by another one. Most of the time it
    /// is none any more, and the message is what is compared.
    fn broken(&mut self, text: &str) -> String {
        let words = words(text);
        let place = self.random.below(words.len());
        let mut broken = words.clone();
        match self.random.below(4) {
            0 => drop(broken.remove(place)),
            1 => broken.insert(place, words[place]),
            2 => broken[place] = self.random.pick(&words),
            _ => broken.insert(place, self.random.pick(STRAY)),
        }
        broken.concat()
    }

    fn root(&mut self, production: Production, depth: usize) -> String {
        match production {
            Production::Function(name) => self.function(name, depth).text,
            Production::Operator(symbol) => self.binary(symbol, depth).text,
            Production::Aggregation(name) => self.aggregation(name, depth).text,
            Production::Form(Form::GroupLeft | Form::GroupRight) => {
                let symbol = self.random.pick(&OPERATORS[..13]);
                self.many_to_one(symbol, depth, production == Production::Form(Form::GroupLeft)).text
            }
            Production::Form(Form::Sign) => self.signed(depth).text,
            Production::Form(Form::Scalar) => self.scalar(depth),
            Production::Form(Form::SubqueryOver) => {
                let name = self.random.pick(&["max_over_time", "sum_over_time", "rate", "last_over_time"]);
                let range = self.subquery(depth);
                format!("{name}({})", range.text)
            }
            Production::Form(_) => self.selector().text,
        }
    }

    fn when(&mut self, range: bool) -> When {
        // Some instants lie before the first sample or after the last one, where little is left.
        let mut instant = |from: i64, to: i64| {
            let at = self.start + self.random.between(from..=to);
            // Half of them are instants of samples, which are on the boundary of a range.
            if self.random.chance(50) { at - at.rem_euclid(15_000) } else { at }
        };
        if !range {
            return When::Instant(instant(2 * 60_000, SPAN_MS + 2 * 60_000));
        }
        let start = instant(-2 * 60_000, SPAN_MS / 2);
        let end = start + self.random.between(1..=SPAN_MS * 2 / 3);
        let step_ms = self.random.pick(&[15_000, 30_000, 60_000, 97_000, 150_000, 301_001]);
        // No more than some fifty steps.
        When::Range { start, end: end.min(start + 50 * step_ms), step_ms }
    }

    /// An instant vector of anything.
    fn vector(&mut self, depth: usize) -> Vector {
        if depth == 0 {
            return self.selector();
        }
        match self.random.below(100) {
            0..20 => self.selector(),
            20..50 => {
                let name = self.random.pick(&self.functions.clone());
                if returns_vector(name) { self.function(name, depth) } else { self.selector() }
            }
            50..72 => {
                let symbol = self.random.pick(OPERATORS);
                self.binary(symbol, depth)
            }
            72..95 => {
                let name = self.random.pick(AGGREGATIONS);
                self.aggregation(name, depth)
            }
            _ => self.signed(depth),
        }
    }

    fn signed(&mut self, depth: usize) -> Vector {
        let inner = self.operand(depth - 1);
        let sign = if self.random.chance(70) { "-" } else { "+" };
        inner.map(|text| format!("{sign}{text}"))
    }

    /// A vector as an operand: nearly always in parentheses if it has operators itself.
    fn operand(&mut self, depth: usize) -> Vector {
        let inner = self.vector(depth);
        if is_primary(&inner.text) || self.random.chance(10) {
            return inner;
        }
        inner.map(|text| format!("({text})"))
    }

    fn scalar(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.number();
        }
        match self.random.below(100) {
            0..45 => self.number(),
            45..55 => "time()".to_owned(),
            55..60 => "pi()".to_owned(),
            60..75 => {
                let one = self.aggregation_to_one(depth - 1);
                format!("scalar({one})")
            }
            75..80 => format!("-{}", self.number()),
            _ => {
                let symbol = self.random.pick(&OPERATORS[..13]);
                let word = if is_comparison(symbol) { format!("{symbol} bool") } else { symbol.to_owned() };
                let (left, right) = (self.scalar(depth - 1), self.scalar(depth - 1));
                format!("({left} {word} {right})")
            }
        }
    }
}

fn returns_vector(function: &str) -> bool {
    functions::lookup(function).is_some_and(|function| function.returns == ValueType::Vector)
}

fn is_comparison(symbol: &str) -> bool {
    matches!(symbol, "==" | "!=" | "<" | ">" | "<=" | ">=")
}

/// Whether an operator beside it leaves it whole.
fn is_primary(text: &str) -> bool {
    parsed(text).is_some_and(|expr| {
        matches!(
            expr.kind,
            ExprKind::Paren(_) | ExprKind::Call(_) | ExprKind::Aggregate(_) | ExprKind::Vector(_)
        )
    })
}

fn is_selector(text: &str) -> bool {
    parsed(text).is_some_and(|expr| matches!(expr.kind, ExprKind::Vector(_)))
}

fn parsed(text: &str) -> Option<Expr> {
    parse_with(text, Features::ALL).ok()
}

/// Words, and everything between them sign by sign.
fn words(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end =
            if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (word, tail) = rest.split_at(end);
        words.push(word);
        rest = tail;
    }
    words
}
