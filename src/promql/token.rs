//! The words and signs of the language, and how messages call them.

use crate::model::{Span, quote};

use super::ast::{AggregateOp, BinaryOp};

/// A token with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

/// The kinds of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// The end of the text.
    End,
    /// Stands for text that is no token; the message has been recorded.
    Fault,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`
    Assign,
    /// `=~`
    RegexEqual,
    /// `!~`
    RegexNotEqual,
    At,
    Operator(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
    Identifier,
    /// A name with colons.
    MetricIdentifier,
    Number,
    Duration,
    String,
}

/// Words with a meaning of their own; where no such meaning is possible, most of them are names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Anchored,
    Bool,
    By,
    End,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    MaxOf,
    MinOf,
    Offset,
    On,
    Range,
    Smoothed,
    Start,
    Step,
    Without,
}

impl Keyword {
    /// Whether the word may be the name of a metric.
    pub(super) fn may_be_metric(self) -> bool {
        !matches!(self, Self::Bool | Self::On | Self::Ignoring | Self::GroupLeft | Self::GroupRight)
    }

    /// Whether the word begins a call: `start()` and its like are functions too.
    pub(super) fn may_be_function(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Step | Self::Range | Self::MaxOf | Self::MinOf)
    }
}

impl Token {
    /// How messages call the token.
    pub(super) fn describe(self, query: &str) -> String {
        let text = &query[self.span.start..self.span.end];
        match self.kind {
            TokenKind::End => "end of input".to_owned(),
            TokenKind::Identifier => format!("identifier {}", quote(text)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", quote(text)),
            TokenKind::Number => format!("number {}", shortened(text)),
            TokenKind::Duration => format!("duration {}", shortened(text)),
            TokenKind::String => format!("string {}", shortened(text)),
            TokenKind::Operator(_) | TokenKind::At | TokenKind::RegexEqual | TokenKind::RegexNotEqual => {
                format!("<op:{text}>")
            }
            TokenKind::Aggregator(_) => format!("<aggr:{text}>"),
            TokenKind::Keyword(keyword) if !keyword.may_be_function() => format!("<{text}>"),
            _ => shortened(text),
        }
    }
}

/// The text in quotes, of a long one its first ten characters.
fn shortened(text: &str) -> String {
    if text.len() > 10 {
        let head: String = text.chars().take(10).collect();
        format!("{}...", quote(&head))
    } else {
        quote(text).to_string()
    }
}

/// The keyword that `word` is, in whatever case.
pub(super) fn keyword(word: &str) -> Option<TokenKind> {
    const LONGEST: usize = "count_values".len();
    let mut buffer = [0_u8; LONGEST];
    let lower = buffer.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"and" => TokenKind::Operator(BinaryOp::And),
        b"or" => TokenKind::Operator(BinaryOp::Or),
        b"unless" => TokenKind::Operator(BinaryOp::Unless),
        b"atan2" => TokenKind::Operator(BinaryOp::Atan2),
        b"sum" => TokenKind::Aggregator(AggregateOp::Sum),
        b"avg" => TokenKind::Aggregator(AggregateOp::Avg),
        b"count" => TokenKind::Aggregator(AggregateOp::Count),
        b"min" => TokenKind::Aggregator(AggregateOp::Min),
        b"max" => TokenKind::Aggregator(AggregateOp::Max),
        b"group" => TokenKind::Aggregator(AggregateOp::Group),
        b"stddev" => TokenKind::Aggregator(AggregateOp::Stddev),
        b"stdvar" => TokenKind::Aggregator(AggregateOp::Stdvar),
        b"topk" => TokenKind::Aggregator(AggregateOp::Topk),
        b"bottomk" => TokenKind::Aggregator(AggregateOp::Bottomk),
        b"count_values" => TokenKind::Aggregator(AggregateOp::CountValues),
        b"quantile" => TokenKind::Aggregator(AggregateOp::Quantile),
        b"limitk" => TokenKind::Aggregator(AggregateOp::Limitk),
        b"limit_ratio" => TokenKind::Aggregator(AggregateOp::LimitRatio),
        b"offset" => TokenKind::Keyword(Keyword::Offset),
        b"smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        b"anchored" => TokenKind::Keyword(Keyword::Anchored),
        b"by" => TokenKind::Keyword(Keyword::By),
        b"without" => TokenKind::Keyword(Keyword::Without),
        b"on" => TokenKind::Keyword(Keyword::On),
        b"ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        b"group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        b"group_right" => TokenKind::Keyword(Keyword::GroupRight),
        b"fill" => TokenKind::Keyword(Keyword::Fill),
        b"fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        b"fill_right" => TokenKind::Keyword(Keyword::FillRight),
        b"bool" => TokenKind::Keyword(Keyword::Bool),
        b"start" => TokenKind::Keyword(Keyword::Start),
        b"end" => TokenKind::Keyword(Keyword::End),
        b"step" => TokenKind::Keyword(Keyword::Step),
        b"range" => TokenKind::Keyword(Keyword::Range),
        b"max_of" => TokenKind::Keyword(Keyword::MaxOf),
        b"min_of" => TokenKind::Keyword(Keyword::MinOf),
        b"inf" | b"nan" => TokenKind::Number,
        _ => return None,
    })
}
