//! `valmis_severities`: which severity an alert has at which value.

use std::fmt;

use crate::model::format_float;

/// What goes before and after the names of steps.
const EXPECTED: &str =
    "a list of severities, each worse than the one before, such as `warning > 80, critical > 95`";

/// Severities from the least to the worst.
#[derive(Debug, Clone, PartialEq)]
pub struct Severities {
    /// At least one.
    steps: Vec<Step>,
}

/// From which value on a severity holds.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    severity: String,
    comparison: Comparison,
    threshold: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Comparison {
    /// Longer ones first, since shorter ones begin them.
    const ALL: [Self; 4] = [Self::GreaterOrEqual, Self::LessOrEqual, Self::Greater, Self::Less];

    fn is_upwards(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Greater => value > threshold,
            Self::GreaterOrEqual => value >= threshold,
            Self::Less => value < threshold,
            Self::LessOrEqual => value <= threshold,
        }
    }
}

/// The text is no such list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoSeverities;

impl fmt::Display for NoSeverities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }
}

impl Severities {
    /// Reads a list such as `warning > 80, critical > 95`.
    pub(super) fn parse(text: &str) -> Result<Self, NoSeverities> {
        let steps: Option<Vec<Step>> = text.split(',').map(step).collect();
        Self::ordered(steps.ok_or(NoSeverities)?).ok_or(NoSeverities)
    }

    /// These steps, if each is worse than the one before.
    fn ordered(steps: Vec<Step>) -> Option<Self> {
        let worse = |pair: &[Step]| {
            let [one, other] = pair else { return true };
            let up = one.comparison.is_upwards();
            up == other.comparison.is_upwards()
                && if up { one.threshold < other.threshold } else { one.threshold > other.threshold }
        };
        let distinct = |(index, step): (usize, &Step)| {
            steps[..index].iter().all(|before| before.severity != step.severity)
        };
        let good = steps.windows(2).all(worse) && steps.iter().enumerate().all(distinct);
        good.then_some(Self { steps })
    }

    /// The severities with their thresholds, from the least to the worst.
    pub fn steps(&self) -> impl Iterator<Item = (&str, f64)> {
        self.steps.iter().map(|step| (step.severity.as_str(), step.threshold))
    }

    /// The same with another threshold for one of them; none if it would not be worse than the one before
    /// any more.
    pub fn with_threshold(&self, step: usize, threshold: f64) -> Option<Self> {
        let mut steps = self.steps.clone();
        steps.get_mut(step)?.threshold = threshold;
        Self::ordered(steps)
    }

    /// The worst severity that holds at a value.
    pub fn at(&self, value: f64) -> Option<&str> {
        let mut steps = self.steps.iter().rev();
        steps.find(|step| step.comparison.holds(value, step.threshold)).map(|step| step.severity.as_str())
    }

    /// How bad a severity is: those of the list from 1 on, any other 0.
    pub fn rank(&self, severity: &str) -> usize {
        self.steps.iter().position(|step| step.severity == severity).map_or(0, |place| place + 1)
    }
}

/// As it is written in a rule.
impl fmt::Display for Severities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Step { severity, comparison, threshold }) in self.steps.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{severity} {} {}", comparison.sign(), format_float(*threshold))?;
        }
        Ok(())
    }
}

fn step(text: &str) -> Option<Step> {
    let (at, comparison) = Comparison::ALL
        .into_iter()
        .find_map(|comparison| Some((text.find(comparison.sign())?, comparison)))?;
    let severity = text[..at].trim();
    let threshold: f64 = text[at + comparison.sign().len()..].trim().parse().ok()?;
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let good = !severity.is_empty() && severity.chars().all(is_word) && threshold.is_finite();
    good.then(|| Step { severity: severity.to_owned(), comparison, threshold })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_severity_that_holds_counts() {
        let check = |text: &str, value: f64, expected: Option<&str>| {
            assert_eq!(Severities::parse(text).expect(text).at(value), expected, "{text} at {value}");
        };
        let rising = "warning > 80, critical >= 95";
        check(rising, 80.0, None);
        check(rising, 80.5, Some("warning"));
        check(rising, 95.0, Some("critical"));
        check(rising, f64::NAN, None);
        let falling = "low<10,empty<=0";
        check(falling, 10.0, None);
        check(falling, 9.0, Some("low"));
        check(falling, 0.0, Some("empty"));
        check("page > -1.5e3", 0.0, Some("page"));
        let severities = Severities::parse(rising).unwrap();
        assert_eq!(["critical", "warning", "info"].map(|severity| severities.rank(severity)), [2, 1, 0]);
    }

    #[test]
    fn a_list_goes_from_bad_to_worse() {
        let check = |text: &str| assert_eq!(Severities::parse(text), Err(NoSeverities), "{text}");
        check("");
        check("warning");
        check("warning > ");
        check("> 80");
        check("warning > 80%");
        check("warning > 80, ");
        check("warning == 80");
        check("warning > 80, critical > 80");
        check("critical > 95, warning > 80");
        check("low < 5, lower < 10");
        check("warning > 80, critical < 95");
        check("warning > 80, warning > 95");
        check("warning > NaN");
        check("warning > +Inf");
        check("{{ $value }} > 5");
    }
}
