//! What annotations whose names begin with `valmis_` tell the evaluator to do.
//!
//! They are annotations so that the same file still loads in Prometheus, for which they are texts like
//! any other. Here they are never sent.

use std::fmt;
use std::sync::Arc;

use super::severities::{NoSeverities, Severities};
use crate::diag::closest;
use crate::model::{format_duration_ms, parse_duration_ms};
use crate::promql::Expr;

/// What the names of instructions begin with.
const PREFIX: &str = "valmis_";

/// Sets [`Instructions::on_missing`].
pub const ON_MISSING: &str = "valmis_on_missing";
/// Sets [`Instructions::resolved_value`].
pub const RESOLVED_VALUE: &str = "valmis_resolved_value";
/// Sets [`Instructions::resolve_expr`].
pub const RESOLVE_EXPR: &str = "valmis_resolve_expr";
/// Sets [`Instructions::severities`].
pub const SEVERITIES: &str = "valmis_severities";

/// All instructions there are.
const NAMES: [&str; 4] = [ON_MISSING, RESOLVED_VALUE, RESOLVE_EXPR, SEVERITIES];

/// What a rule's annotations tell the evaluator to do otherwise than Prometheus does it.
#[derive(Debug, Clone, Default)]
pub struct Instructions {
    /// What becomes of a firing alert when the series that it came from are gone.
    pub on_missing: Option<OnMissing>,
    /// The annotation in which the news of an alert's end has the value with which its condition ended.
    pub resolved_value: Option<String>,
    /// What must have a result before an alert ends.
    pub resolve_expr: Option<Arc<Expr>>,
    /// Which severity an alert has at which value.
    pub severities: Option<Severities>,
}

/// What becomes of a firing alert when the series that it came from are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// It ends, as in Prometheus.
    Resolve,
    /// It goes on firing.
    Hold {
        /// For how long at most, in milliseconds; none: as long as when a query fails.
        for_ms: Option<i64>,
        /// Whether one alert more tells that there are no data.
        alert: bool,
    },
}

/// As it is written in a rule.
impl fmt::Display for OnMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve => f.write_str("resolve"),
            Self::Hold { for_ms, alert } => {
                f.write_str(if *alert { "alert" } else { "hold" })?;
                for_ms.map_or(Ok(()), |ms| write!(f, " {}", format_duration_ms(ms)))
            }
        }
    }
}

/// What is wrong with an instruction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// There is no such instruction.
    #[error("unknown instruction `{0}`; annotations that begin with `{PREFIX}` are instructions to valmis")]
    Unknown(String),
    /// Its value says nothing that it knows.
    #[error("`{instruction}` is {expected}, but found `{found}`")]
    Value {
        /// Which instruction.
        instruction: &'static str,
        /// What it could be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// It is no list of severities.
    #[error("`{SEVERITIES}` is {NoSeverities}, but found `{0}`")]
    Severities(String),
    /// There is no series that could be missing.
    #[error("`{ON_MISSING}` has no effect: the expression selects no series")]
    NoSelector,
}

impl Fault {
    /// How to put it right.
    pub(super) fn hint(&self) -> Option<String> {
        let Self::Unknown(name) = self else { return None };
        closest(name, NAMES).map(|found| format!("did you mean `{found}`?"))
    }
}

/// Whether an annotation is an instruction, which is not sent.
pub fn is_instruction(annotation: &str) -> bool {
    annotation.starts_with(PREFIX)
}

impl Instructions {
    /// Takes in what the annotation `name` of a rule with this expression says.
    pub(super) fn set(&mut self, name: &str, text: &str, expr: Option<&Expr>) -> Result<(), Fault> {
        match name {
            ON_MISSING => {
                self.on_missing = Some(on_missing(text)?);
                if expr.is_some_and(|expr| !expr.has_selector()) {
                    return Err(Fault::NoSelector);
                }
            }
            RESOLVED_VALUE => self.resolved_value = Some(annotation_name(text)?),
            SEVERITIES => {
                let fault = |_| Fault::Severities(text.to_owned());
                self.severities = Some(Severities::parse(text).map_err(fault)?);
            }
            // An expression is parsed where its place in the file is known.
            RESOLVE_EXPR => {}
            _ => return Err(Fault::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

fn annotation_name(text: &str) -> Result<String, Fault> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name =
        !text.is_empty() && text.chars().all(is_word) && !text.starts_with(|c: char| c.is_ascii_digit());
    if !is_name || is_instruction(text) {
        let expected = "the name of an annotation, of letters, digits and underscores";
        return Err(Fault::Value { instruction: RESOLVED_VALUE, expected, found: text.to_owned() });
    }
    Ok(text.to_owned())
}

fn on_missing(text: &str) -> Result<OnMissing, Fault> {
    let mut words = text.split_whitespace();
    let (policy, limit) = (words.next().unwrap_or_default(), words.next());
    let for_ms = limit.map(|limit| parse_duration_ms(limit).ok().filter(|ms| *ms > 0));
    let alert = match (policy, for_ms, words.next()) {
        ("resolve", None, None) => return Ok(OnMissing::Resolve),
        ("hold", None | Some(Some(_)), None) => false,
        ("alert", None | Some(Some(_)), None) => true,
        _ => {
            return Err(Fault::Value {
                instruction: ON_MISSING,
                expected: "`resolve`, `hold` or `alert`, the latter two with or without a duration such as `30m`",
                found: text.to_owned(),
            });
        }
    };
    Ok(OnMissing::Hold { for_ms: for_ms.flatten(), alert })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_value_goes_into_an_annotation() {
        let check =
            |text: &str, expected: bool| assert_eq!(annotation_name(text).is_ok(), expected, "{text}");
        check("resolved_value", true);
        check("now2", true);
        check("", false);
        check("2now", false);
        check("resolved value", false);
        check("{{ $resolvedValue }}", false);
        check("valmis_resolved_value", false);
    }

    #[test]
    fn policies_for_missing_data_may_have_a_limit() {
        let check = |text: &str, expected: Option<OnMissing>| {
            assert_eq!(on_missing(text).ok(), expected, "{text}");
        };
        let hold = |for_ms, alert| Some(OnMissing::Hold { for_ms, alert });
        check("resolve", Some(OnMissing::Resolve));
        check("hold", hold(None, false));
        check(" hold  30m ", hold(Some(1_800_000), false));
        check("alert", hold(None, true));
        check("alert 1h", hold(Some(3_600_000), true));
        check("", None);
        check("Hold", None);
        check("hold on", None);
        check("hold 0s", None);
        check("hold 1m 2m", None);
        check("resolve 5m", None);
        check("{{ $value }}", None);
    }
}
