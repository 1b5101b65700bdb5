//! `label_replace` and `label_join`: the labels change, the values do not.

use std::sync::Arc;

use crate::model::{GoRegex, Labels, METRIC_NAME, Point};
use crate::promql::eval::Evaluator;
use crate::promql::eval::RowSet;
use crate::promql::eval::error::{failure, too_many_samples};
use crate::promql::eval::matrix::{Row, StepMatrix};
use crate::promql::plan::Node;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::{arg, text};

/// The longest value that a function may give a label, in bytes. Labels are copied from series to series
/// by `group_left`; what is longer than this describes nothing.
const LONGEST_VALUE: usize = 1 << 20;

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql::eval) enum LabelFunction {
    /// `label_replace`
    Replace,
    /// `label_join`
    Join,
}

/// What happens to the labels of a series: the label `target` gets another value.
struct Change<'a> {
    target: &'a str,
    value: Value<'a>,
}

enum Value<'a> {
    Replace { regex: GoRegex, template: &'a str, source: &'a str },
    Join { separator: &'a str, sources: &'a [&'a str] },
}

impl<'a> Change<'a> {
    /// From the texts of a call's arguments.
    fn new(function: LabelFunction, texts: &'a [&'a str]) -> Result<Self, EvalError> {
        match (function, texts) {
            (LabelFunction::Replace, [target, template, source, pattern]) => {
                let regex = GoRegex::anchored(pattern).map_err(|_| {
                    failure(format!("invalid regular expression in label_replace(): {pattern}"))
                })?;
                check_name(target, "destination", "label_replace")?;
                Ok(Self { target, value: Value::Replace { regex, template, source } })
            }
            (LabelFunction::Join, [target, separator, sources @ ..]) => {
                for source in sources {
                    check_name(source, "source", "label_join")?;
                }
                check_name(target, "destination", "label_join")?;
                Ok(Self { target, value: Value::Join { separator, sources } })
            }
            _ => unreachable!("the parser checks the number of arguments"),
        }
    }

    /// How long the new value is at most, in bytes.
    fn size(&self, labels: &Labels) -> usize {
        match &self.value {
            Value::Replace { template, source, .. } => {
                // No group is longer than the whole text.
                let groups = template.matches('$').count();
                template.len() + groups.saturating_mul(labels.get(source).len())
            }
            Value::Join { separator, sources } => {
                sources.iter().map(|source| labels.get(source).len() + separator.len()).sum()
            }
        }
    }

    fn apply(&self, row: &mut Row) {
        let value = match &self.value {
            Value::Replace { regex, template, source } => regex.expand(row.labels.get(source), template),
            Value::Join { separator, sources } => {
                let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source)).collect();
                Some(values.join(separator))
            }
        };
        if let Some(value) = value {
            row.labels = row.labels.builder().set(self.target, &value).build();
            // Who sets the name wants to keep it.
            row.drop_name &= self.target != METRIC_NAME;
        }
    }
}

/// Rows with changed labels. Of series that stay the same they are kept: a rule's pattern is compiled
/// once, and matched once for each series.
#[derive(Debug)]
pub(in crate::promql::eval) struct Relabelled {
    function: LabelFunction,
    texts: Vec<String>,
    rows: Arc<RowSet>,
    /// How long the new values are at most, together.
    bytes: usize,
}

impl Relabelled {
    /// Whether this is what a call yields.
    pub(in crate::promql::eval) fn is_of(&self, function: LabelFunction, texts: &[&str]) -> bool {
        self.function == function && self.texts == texts
    }
}

impl Evaluator<'_> {
    pub(super) fn relabel(
        &mut self,
        function: LabelFunction,
        args: &[Node<'_>],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let texts = (1..args.len()).map(|index| text(args, index)).collect::<Result<Vec<_>, _>>()?;
        let mut matrix = self.vector(arg(args, 0)?, steps)?;
        let whole = matrix.is_whole_set();
        let (set, places) = matrix.set();
        let relabelled = if whole {
            set.relabelled(function, &texts, || self.relabelled(function, &texts, set, places))?
        } else {
            Arc::new(self.relabelled(function, &texts, set, places)?)
        };
        self.check_bytes(relabelled.bytes)?;
        matrix.renamed(&relabelled.rows);
        matrix.merge_same_labelsets()?;
        Ok(matrix)
    }

    /// Of values that repeat others again and again a few lines of query could make as many bytes as they
    /// like: it is known before how long one may become, and all together count as samples.
    fn relabelled(
        &mut self,
        function: LabelFunction,
        texts: &[&str],
        set: &RowSet,
        places: &[usize],
    ) -> Result<Relabelled, EvalError> {
        let change = Change::new(function, texts)?;
        let mut bytes = 0_usize;
        let mut rows = Vec::with_capacity(places.len());
        for place in places {
            let mut row = set.row(*place);
            let size = change.size(&row.labels);
            self.tick(size)?;
            bytes = bytes.saturating_add(size);
            if size > LONGEST_VALUE {
                return Err(too_many_samples());
            }
            self.check_bytes(bytes)?;
            change.apply(&mut row);
            rows.push(row);
        }
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        Ok(Relabelled { function, texts, rows: Arc::new(RowSet::listed(rows)), bytes })
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), EvalError> {
        let samples = self.samples.saturating_add(bytes / size_of::<Point>());
        if samples > self.options.max_samples { Err(too_many_samples()) } else { Ok(()) }
    }
}

/// Any text may name a label, except none.
fn check_name(name: &str, role: &str, function: &str) -> Result<(), EvalError> {
    if name.is_empty() {
        return Err(failure(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}
