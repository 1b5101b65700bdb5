//! `label_replace` and `label_join`: the labels change, the values do not.

use crate::model::{GoRegex, Labels, METRIC_NAME};
use crate::promql::eval::Evaluator;
use crate::promql::eval::error::failure;
use crate::promql::eval::matrix::StepMatrix;
use crate::promql::plan::Node;
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::{arg, text};

impl Evaluator<'_> {
    pub(super) fn label_replace(&mut self, args: &[Node<'_>], steps: Steps) -> Result<StepMatrix, EvalError> {
        let (target, template) = (text(args, 1)?, text(args, 2)?);
        let (source, pattern) = (text(args, 3)?, text(args, 4)?);
        let regex = GoRegex::anchored(pattern)
            .map_err(|_| failure(format!("invalid regular expression in label_replace(): {pattern}")))?;
        check_name(target, "destination", "label_replace")?;
        self.relabel(args, steps, target, |labels| regex.expand(labels.get(source), template))
    }

    pub(super) fn label_join(&mut self, args: &[Node<'_>], steps: Steps) -> Result<StepMatrix, EvalError> {
        let (target, separator) = (text(args, 1)?, text(args, 2)?);
        let sources = (3..args.len()).map(|index| text(args, index)).collect::<Result<Vec<_>, _>>()?;
        for source in &sources {
            check_name(source, "source", "label_join")?;
        }
        check_name(target, "destination", "label_join")?;
        self.relabel(args, steps, target, |labels| {
            let values: Vec<&str> = sources.iter().map(|source| labels.get(source)).collect();
            Some(values.join(separator))
        })
    }

    /// Sets the label `target` to the value found, if one is.
    fn relabel(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
        target: &str,
        value: impl Fn(&Labels) -> Option<String>,
    ) -> Result<StepMatrix, EvalError> {
        let mut matrix = self.vector(arg(args, 0)?, steps)?;
        for row in matrix.rows_mut() {
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
