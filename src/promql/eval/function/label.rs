//! `label_replace` and `label_join`: the labels change, the values do not.

use crate::model::{GoRegex, Labels, METRIC_NAME, Point};
use crate::promql::eval::Evaluator;
use crate::promql::eval::error::{failure, too_many_samples};
use crate::promql::eval::matrix::StepMatrix;
use crate::promql::plan::Node;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::{arg, text};

/// The longest value that a function may give a label, in bytes. Labels are copied from series to series
/// by `group_left`; what is longer than this describes nothing.
const LONGEST_VALUE: usize = 1 << 20;

impl Evaluator<'_> {
    pub(super) fn label_replace(&mut self, args: &[Node<'_>], steps: Steps) -> Result<StepMatrix, EvalError> {
        let (target, template) = (text(args, 1)?, text(args, 2)?);
        let (source, pattern) = (text(args, 3)?, text(args, 4)?);
        let regex = GoRegex::anchored(pattern)
            .map_err(|_| failure(format!("invalid regular expression in label_replace(): {pattern}")))?;
        check_name(target, "destination", "label_replace")?;
        // No group is longer than the whole text.
        let groups = template.matches('$').count();
        let size = |labels: &Labels| template.len() + groups.saturating_mul(labels.get(source).len());
        self.relabel(args, steps, target, size, |labels| regex.expand(labels.get(source), template))
    }

    pub(super) fn label_join(&mut self, args: &[Node<'_>], steps: Steps) -> Result<StepMatrix, EvalError> {
        let (target, separator) = (text(args, 1)?, text(args, 2)?);
        let sources = (3..args.len()).map(|index| text(args, index)).collect::<Result<Vec<_>, _>>()?;
        for source in &sources {
            check_name(source, "source", "label_join")?;
        }
        check_name(target, "destination", "label_join")?;
        let size = |labels: &Labels| {
            sources.iter().map(|source| labels.get(source).len() + separator.len()).sum::<usize>()
        };
        self.relabel(args, steps, target, size, |labels| {
            let values: Vec<&str> = sources.iter().map(|source| labels.get(source)).collect();
            Some(values.join(separator))
        })
    }

    /// Sets the label `target` to the value found, if one is. Of values that repeat others again and
    /// again a few lines of query could make as many bytes as they like: `size` says how long one may
    /// become, and all together count as samples.
    fn relabel(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
        target: &str,
        size: impl Fn(&Labels) -> usize,
        value: impl Fn(&Labels) -> Option<String>,
    ) -> Result<StepMatrix, EvalError> {
        let mut matrix = self.vector(arg(args, 0)?, steps)?;
        let mut bytes = 0_usize;
        for row in matrix.rows_mut() {
            self.tick(1)?;
            let size = size(&row.labels);
            bytes = bytes.saturating_add(size);
            let samples = self.samples.saturating_add(bytes / size_of::<Point>());
            if size > LONGEST_VALUE || samples > self.options.max_samples {
                return Err(too_many_samples());
            }
            if let Some(value) = value(&row.labels) {
                row.labels = row.labels.builder().set(target, &value).build();
                // Who sets the name wants to keep it.
                row.drop_name &= target != METRIC_NAME;
            }
        }
        matrix.merge_same_labelsets()?;
        Ok(matrix)
    }
}

/// Any text may name a label, except none.
fn check_name(name: &str, role: &str, function: &str) -> Result<(), EvalError> {
    if name.is_empty() {
        return Err(failure(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}
