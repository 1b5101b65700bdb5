//! Functions of dates and timestamps.

use crate::model::{Labels, StartTimestamp};
use crate::promql::eval::Evaluator;
use crate::promql::eval::calendar::Civil;
use crate::promql::eval::matrix::{Cell, Cells, Row, StepMatrix};
use crate::promql::eval::selector::Instants;
use crate::promql::plan::{Kind, Node};
use crate::promql::steps::Steps;
use crate::promql::value::EvalError;

use super::arg;

/// The function of this name, if it reads values as dates.
pub(super) fn calendar(name: &str) -> Option<fn(&Civil) -> i64> {
    Some(match name {
        "day_of_month" => |date| date.day,
        "day_of_week" => |date| date.weekday,
        "day_of_year" => |date| date.day_of_year,
        "days_in_month" => Civil::days_in_month,
        "hour" => |date| date.hour,
        "minute" => |date| date.minute,
        "month" => |date| date.month,
        "year" => |date| date.year,
        _ => return None,
    })
}

impl Evaluator<'_> {
    /// Of each value as Unix time; without an argument of the instant.
    pub(super) fn calendar(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
        function: fn(&Civil) -> i64,
    ) -> Result<StepMatrix, EvalError> {
        let read = |seconds: i64| function(&Civil::from_unix(seconds)) as f64;
        let Some(arg) = args.first() else {
            let mut matrix = StepMatrix::new(steps.count);
            let cells: Vec<f64> = steps.iter().map(|at| read(at / 1000)).collect();
            matrix.push_cells(Row { labels: Labels::empty(), drop_name: false }, Cells::floats(&cells));
            return Ok(matrix);
        };
        let mut matrix = self.floats(arg, steps)?;
        matrix.map(|value| read(value as i64));
        self.nameless(matrix, steps)
    }

    /// `timestamp`: of a selector when its samples were taken, of anything else the instant.
    pub(super) fn timestamp(&mut self, args: &[Node<'_>], steps: Steps) -> Result<StepMatrix, EvalError> {
        let arg = arg(args, 0)?;
        let matrix = match &arg.kind {
            Kind::Instant(selector) => self.newest_points(
                selector,
                steps,
                |at, _| Cell::Float(at as f64 / 1000.0),
                |point| point.at as f64 / 1000.0,
            )?,
            _ => {
                let mut matrix = self.vector(arg, steps)?;
                matrix.map_by_step(|step, _| steps.at(step) as f64 / 1000.0);
                matrix.map_histograms(|step, _| Some(Cell::Float(steps.at(step) as f64 / 1000.0)));
                matrix
            }
        };
        self.nameless(matrix, steps)
    }

    /// `start_timestamp`: since when the samples of a selector count, 0 where that is not known; nothing of
    /// series of which it never is.
    pub(super) fn start_timestamp(
        &mut self,
        args: &[Node<'_>],
        steps: Steps,
    ) -> Result<StepMatrix, EvalError> {
        let arg = arg(args, 0)?;
        let Kind::Instant(selector) = &arg.kind else {
            // Other results have no start; they are computed for their errors and remarks.
            self.vector(arg, steps)?;
            return Ok(StepMatrix::new(steps.count));
        };
        let fetched = self.data.fetched(selector.fetch);
        let mut result = StepMatrix::of(&fetched.rows, steps.count);
        let instants = Instants { steps, reference: selector.reference, totals_only: false };
        let mut reader = fetched.samples.reader();
        while let Some(series) = reader.next_series()? {
            let starts = series.start_timestamps;
            if starts.is_empty() {
                continue;
            }
            let start = |at| StartTimestamp::of(starts, at).unwrap_or_default() as f64 / 1000.0;
            self.push_newest(
                &mut result,
                &series,
                instants,
                |at, _| Cell::Float(start(at)),
                |point| start(point.at),
            )?;
        }
        self.count_cells(&result);
        self.nameless(result, steps)
    }
}
