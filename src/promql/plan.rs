//! What is to be done for an expression and a range: times are resolved, parts that do not depend on
//! the instant are marked, and the samples that are needed are listed.
//!
//! Fetching and evaluating both work from the plan, so they cannot disagree about which samples belong
//! to which selector.

use crate::model::{Matcher, Span, TimestampMs};
use crate::storage::SelectHints;

use super::ast::{
    AggregateExpr, AtModifier, BinaryExpr, BinaryOp, CallExpr, DurationExpr, Expr, ExprKind, MatrixSelector,
    RangeModifier, SubqueryExpr, UnaryOp, VectorSelector,
};
use super::durations::{QueryWindow, duration_ms};
use super::eval::{Function, InfoSource};
use super::options::EvalOptions;
use super::steps::Steps;
use super::value::{EvalError, EvalRange};

/// An expression made ready for a range.
pub(super) struct Plan<'a> {
    pub(super) root: Node<'a>,
    /// What selectors need, by their number.
    pub(super) fetches: Vec<Fetch>,
}

/// The samples that one selector needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fetch {
    pub(super) matchers: Vec<Matcher>,
    /// Absent: the selector is never evaluated.
    pub(super) hints: Option<SelectHints>,
}

pub(super) struct Node<'a> {
    pub(super) span: Span,
    pub(super) kind: Kind<'a>,
}

pub(super) enum Kind<'a> {
    Number(f64),
    String(&'a str),
    Negate(Box<Node<'a>>),
    /// With a plus sign, which makes a selector a vector like any other.
    Same(Box<Node<'a>>),
    Binary {
        expr: &'a BinaryExpr,
        left: Box<Node<'a>>,
        right: Box<Node<'a>>,
    },
    Aggregate {
        expr: &'a AggregateExpr,
        param: Option<Box<Node<'a>>>,
        input: Box<Node<'a>>,
    },
    Call(Call<'a>),
    Instant(Selector<'a>),
    Range(Range<'a>),
    /// The same at every instant: evaluated at the first one alone.
    Constant(Box<Node<'a>>),
}

pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) function: Function,
    pub(super) args: Vec<Node<'a>>,
    /// What `info()` needs beside its first argument.
    pub(super) info: Option<Box<InfoSource>>,
}

/// The instant that a selector looks at: the evaluated one or a pinned one, moved back by the offset.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reference {
    pub(super) pinned: Option<TimestampMs>,
    pub(super) offset_ms: i64,
}

impl Reference {
    pub(super) fn at(self, instant: TimestampMs) -> TimestampMs {
        self.pinned.unwrap_or(instant).saturating_sub(self.offset_ms)
    }
}

pub(super) struct Selector<'a> {
    /// Its number among the plan's fetches.
    pub(super) fetch: usize,
    pub(super) vector: &'a VectorSelector,
    pub(super) reference: Reference,
    /// Whether only the counts and sums of native histograms matter.
    pub(super) totals_only: bool,
}

/// A range selector or a subquery: windows of samples that end at each instant's reference.
pub(super) struct Range<'a> {
    /// What remarks on its samples are about: the selector. Those of a subquery come from a selector that
    /// Prometheus makes up, whose place is the beginning of the query.
    pub(super) span: Span,
    pub(super) source: Source<'a>,
    pub(super) length_ms: i64,
    pub(super) reference: Reference,
}

pub(super) enum Source<'a> {
    Selector(Selector<'a>),
    Subquery { inner: Box<Node<'a>>, step_ms: i64 },
}

impl Range<'_> {
    pub(super) fn modifier(&self) -> Option<RangeModifier> {
        match &self.source {
            Source::Selector(selector) => selector.vector.modifier,
            Source::Subquery { .. } => None,
        }
    }

    /// The instants at which a subquery is evaluated: multiples of its step, so that they do not
    /// depend on when the query is asked. Source: Prometheus `promql/engine.go`, `subqueryTimeRange`.
    pub(super) fn grid(&self, steps: Steps, step_ms: i64) -> Steps {
        let before = self.reference.at(steps.start).saturating_sub(self.length_ms);
        let last = self.reference.at(steps.last());
        let mut start = step_ms * (before / step_ms);
        if start <= before {
            start += step_ms;
        }
        let grid = Steps::between(start, last, step_ms);
        if steps.count == 0 { Steps { count: 0, ..grid } } else { grid }
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(expr: &'a Expr, range: &EvalRange, options: &EvalOptions) -> Result<Self, EvalError> {
        let mut planner = Planner {
            whole: *range,
            query: QueryWindow { step_ms: range.step_ms, range_ms: range.end - range.start },
            default_subquery_step_ms: options.default_subquery_step_ms.max(1),
            fetches: Vec::new(),
            reading: Reading::Anything,
        };
        let planned = planner.node(expr)?;
        let root = planned.constant_if_possible();
        let mut fetches = planner.fetches;
        Needs { fetches: &mut fetches, lookback_ms: options.lookback_delta_ms }.of(&root, Steps::of(range));
        Ok(Self { root, fetches })
    }
}

/// A node and whether it is the same at every instant.
struct Planned<'a> {
    node: Node<'a>,
    constant: bool,
    /// Whether it is worth marking: numbers and range selectors are not.
    mark: bool,
}

impl<'a> Planned<'a> {
    fn constant_if_possible(self) -> Node<'a> {
        if self.mark {
            Node { span: self.node.span, kind: Kind::Constant(Box::new(self.node)) }
        } else {
            self.node
        }
    }
}

struct Planner {
    whole: EvalRange,
    query: QueryWindow,
    default_subquery_step_ms: i64,
    fetches: Vec<Fetch>,
    reading: Reading,
}

/// What the functions around a selector read of native histograms.
/// Source: Prometheus `promql/engine.go`, `detectHistogramStatsDecoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Whatever there is.
    Anything,
    /// Counts and sums.
    Totals,
    /// The buckets, or samples whose counter resets can only be told from them.
    Buckets,
}

impl Planner {
    fn node<'a>(&mut self, expr: &'a Expr) -> Result<Planned<'a>, EvalError> {
        let outer = self.reading;
        if outer != Reading::Buckets {
            self.reading = reading(expr).unwrap_or(outer);
        }
        let planned = self.any_node(expr);
        self.reading = outer;
        planned
    }

    fn any_node<'a>(&mut self, expr: &'a Expr) -> Result<Planned<'a>, EvalError> {
        let span = expr.span;
        let leaf = |kind| Planned { node: Node { span, kind }, constant: true, mark: false };
        Ok(match &expr.kind {
            ExprKind::Number { value, .. } => leaf(Kind::Number(*value)),
            ExprKind::String(text) => leaf(Kind::String(text)),
            ExprKind::Paren(inner) => self.node(inner)?,
            ExprKind::Unary { op: UnaryOp::Plus, expr: inner } => {
                let Planned { node, constant, mark } = self.node(inner)?;
                Planned { node: Node { span, kind: Kind::Same(Box::new(node)) }, constant, mark }
            }
            ExprKind::Unary { op: UnaryOp::Minus, expr: inner } => {
                let Planned { node, constant, mark } = self.node(inner)?;
                Planned { node: Node { span, kind: Kind::Negate(Box::new(node)) }, constant, mark }
            }
            ExprKind::Binary(binary) => self.binary(span, binary)?,
            ExprKind::Aggregate(aggregate) => self.aggregate(span, aggregate)?,
            ExprKind::Call(call) => self.call(span, call)?,
            ExprKind::Vector(vector) => {
                let selector = self.selector(vector)?;
                let pinned = selector.reference.pinned.is_some();
                Planned { node: Node { span, kind: Kind::Instant(selector) }, constant: pinned, mark: pinned }
            }
            ExprKind::Matrix(matrix) => self.matrix(span, matrix)?,
            ExprKind::Subquery(subquery) => self.subquery(span, subquery)?,
        })
    }

    fn binary<'a>(&mut self, span: Span, expr: &'a BinaryExpr) -> Result<Planned<'a>, EvalError> {
        let left = self.node(&expr.left)?;
        let right = self.node(&expr.right)?;
        let constant = left.constant && right.constant;
        let settle =
            |side: Planned<'a>| Box::new(if constant { side.node } else { side.constant_if_possible() });
        let kind = Kind::Binary { expr, left: settle(left), right: settle(right) };
        Ok(Planned { node: Node { span, kind }, constant, mark: constant })
    }

    fn aggregate<'a>(&mut self, span: Span, expr: &'a AggregateExpr) -> Result<Planned<'a>, EvalError> {
        let param = expr.param.as_ref().map(|param| self.node(param)).transpose()?;
        let input = self.node(&expr.expr)?;
        let constant = input.constant && param.as_ref().is_none_or(|param| param.constant);
        let settle =
            |side: Planned<'a>| Box::new(if constant { side.node } else { side.constant_if_possible() });
        let kind = Kind::Aggregate { expr, param: param.map(settle), input: settle(input) };
        Ok(Planned { node: Node { span, kind }, constant, mark: constant })
    }

    fn call<'a>(&mut self, span: Span, call: &'a CallExpr) -> Result<Planned<'a>, EvalError> {
        let number =
            |value| Planned { node: Node { span, kind: Kind::Number(value) }, constant: true, mark: false };
        let EvalRange { start, end, .. } = self.whole;
        match call.function {
            "start" => return Ok(number(start as f64 / 1000.0)),
            "end" => return Ok(number(end as f64 / 1000.0)),
            "range" => return Ok(number(self.query.range_ms as f64 / 1000.0)),
            "step" => return Ok(number(if start == end { 0.0 } else { self.query.step_ms as f64 / 1000.0 })),
            _ => {}
        }
        let function = Function::named(call.function).ok_or_else(|| {
            EvalError::Execution(format!("unexpected nil implementation for function {:?}", call.function))
        })?;
        let info = matches!(function, Function::Info);
        let mut info_source = None;
        let mut planned = Vec::with_capacity(call.args.len());
        for (index, arg) in call.args.iter().enumerate() {
            if info && index == 1 {
                // The second argument of `info()` names labels; it is no vector of its own.
                continue;
            }
            planned.push(self.node(arg)?);
        }
        if info {
            let reference = planned.first().and_then(|arg| first_reference(&arg.node)).unwrap_or_default();
            let source = InfoSource::new(call.args.get(1), self.fetches.len(), reference)?;
            self.fetches.push(Fetch { matchers: source.all_matchers(), hints: None });
            info_source = Some(Box::new(source));
        }
        let args_constant = planned.iter().all(|arg| arg.constant);
        // `timestamp` of a selector is that of its samples; of anything else it is the instant.
        let own_timestamps = matches!(function, Function::Timestamp)
            && planned.first().is_some_and(|arg| matches!(arg.node.kind, Kind::Instant(_)));
        let constant = args_constant && (own_timestamps || !function.depends_on_instant(call.args.len()));
        let args = planned
            .into_iter()
            .map(|arg| if constant { arg.node } else { arg.constant_if_possible() })
            .collect();
        let kind = Kind::Call(Call { name: call.function, function, args, info: info_source });
        Ok(Planned { node: Node { span, kind }, constant, mark: constant })
    }

    fn selector<'a>(&mut self, vector: &'a VectorSelector) -> Result<Selector<'a>, EvalError> {
        let reference = self.reference(vector.at, vector.offset.as_ref())?;
        let fetch = self.fetches.len();
        self.fetches.push(Fetch { matchers: vector.matchers.clone(), hints: None });
        Ok(Selector { fetch, vector, reference, totals_only: self.reading == Reading::Totals })
    }

    fn matrix<'a>(&mut self, span: Span, matrix: &'a MatrixSelector) -> Result<Planned<'a>, EvalError> {
        let selector = self.selector(&matrix.selector)?;
        let length_ms = duration_ms(&matrix.range, self.query, false)?;
        let reference = selector.reference;
        let kind = Kind::Range(Range { span, source: Source::Selector(selector), length_ms, reference });
        Ok(Planned { node: Node { span, kind }, constant: reference.pinned.is_some(), mark: false })
    }

    fn subquery<'a>(&mut self, span: Span, subquery: &'a SubqueryExpr) -> Result<Planned<'a>, EvalError> {
        let reference = self.reference(subquery.at, subquery.offset.as_ref())?;
        let length_ms = duration_ms(&subquery.range, self.query, false)?;
        let step_ms = match &subquery.step {
            Some(step) => duration_ms(step, self.query, false)?.max(1),
            None => self.default_subquery_step_ms,
        };
        let inner = Box::new(self.node(&subquery.expr)?.constant_if_possible());
        let source = Source::Subquery { inner, step_ms };
        let kind = Kind::Range(Range { span: Span::new(0, 0), source, length_ms, reference });
        Ok(Planned { node: Node { span, kind }, constant: reference.pinned.is_some(), mark: false })
    }

    fn reference(
        &self,
        at: Option<AtModifier>,
        offset: Option<&DurationExpr>,
    ) -> Result<Reference, EvalError> {
        let pinned = at.map(|at| match at {
            AtModifier::At(at) => at,
            AtModifier::Start => self.whole.start,
            AtModifier::End => self.whole.end,
        });
        let offset_ms = offset.map_or(Ok(0), |offset| duration_ms(offset, self.query, true))?;
        Ok(Reference { pinned, offset_ms })
    }
}

/// When the info series of `info(expr)` are looked at: at the instant that the first selector of `expr`
/// looks at, subqueries around it included. Source: Prometheus `promql/info.go`,
/// `infoSelectTimestampAndOffset`.
fn first_reference(node: &Node<'_>) -> Option<Reference> {
    match &node.kind {
        Kind::Number(_) | Kind::String(_) => None,
        Kind::Negate(inner) | Kind::Same(inner) | Kind::Constant(inner) => first_reference(inner),
        Kind::Binary { left, right, .. } => first_reference(left).or_else(|| first_reference(right)),
        Kind::Aggregate { input, .. } => first_reference(input),
        Kind::Call(call) => call.args.iter().find_map(first_reference),
        Kind::Instant(selector) => Some(selector.reference),
        Kind::Range(Range { source: Source::Selector(selector), .. }) => Some(selector.reference),
        Kind::Range(Range { source: Source::Subquery { inner, .. }, reference, .. }) => {
            let inner = first_reference(inner)?;
            Some(match inner.pinned {
                Some(_) => inner,
                None => {
                    Reference { pinned: reference.pinned, offset_ms: inner.offset_ms + reference.offset_ms }
                }
            })
        }
    }
}

/// What a node reads of the native histograms below it, if it decides that.
fn reading(expr: &Expr) -> Option<Reading> {
    match &expr.kind {
        ExprKind::Subquery(_) => Some(Reading::Buckets),
        ExprKind::Binary(binary) if matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => {
            Some(Reading::Buckets)
        }
        ExprKind::Call(call) => match call.function {
            "histogram_count" | "histogram_sum" | "histogram_avg" => Some(Reading::Totals),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => Some(Reading::Buckets),
            _ => None,
        },
        _ => None,
    }
}

/// Finds the time range that each selector needs by walking the plan with the instants at which each
/// part will be evaluated.
struct Needs<'p> {
    fetches: &'p mut [Fetch],
    lookback_ms: i64,
}

impl Needs<'_> {
    fn of(&mut self, node: &Node<'_>, steps: Steps) {
        match &node.kind {
            Kind::Number(_) | Kind::String(_) => {}
            Kind::Negate(inner) | Kind::Same(inner) => self.of(inner, steps),
            Kind::Constant(inner) => self.of(inner, steps.first()),
            Kind::Binary { left, right, .. } => {
                self.of(left, steps);
                self.of(right, steps);
            }
            Kind::Aggregate { param, input, .. } => {
                if let Some(param) = param {
                    self.of(param, steps);
                }
                self.of(input, steps);
            }
            Kind::Call(call) => {
                for arg in &call.args {
                    self.of(arg, steps);
                }
                if let Some(info) = &call.info {
                    self.need(info.fetch, info.reference, steps, self.lookback_ms, 0);
                }
            }
            Kind::Instant(selector) => {
                let smoothed = selector.vector.modifier == Some(RangeModifier::Smoothed);
                let after = if smoothed { self.lookback_ms } else { 0 };
                self.need(selector.fetch, selector.reference, steps, self.lookback_ms, after);
                if selector.totals_only
                    && let Some(hints) = &mut self.fetches[selector.fetch].hints
                {
                    // Whether a counter was reset is told from the histogram before.
                    hints.newest_only = false;
                }
            }
            Kind::Range(range) => self.of_range(range, steps),
        }
    }

    fn of_range(&mut self, range: &Range<'_>, steps: Steps) {
        match &range.source {
            Source::Subquery { inner, step_ms } => self.of(inner, range.grid(steps, *step_ms)),
            Source::Selector(selector) => {
                let (before, after) = match range.modifier() {
                    None => (range.length_ms, 0),
                    Some(RangeModifier::Anchored) => (range.length_ms + self.lookback_ms, 0),
                    Some(RangeModifier::Smoothed) => (range.length_ms + self.lookback_ms, self.lookback_ms),
                };
                self.need(selector.fetch, range.reference, steps, before, after);
                if let Some(hints) = &mut self.fetches[selector.fetch].hints {
                    hints.newest_only = false;
                }
            }
        }
    }

    /// Notes that a selector needs the samples from `before` the first to `after` the last reference;
    /// windows do not contain their left boundary.
    fn need(&mut self, fetch: usize, reference: Reference, steps: Steps, before: i64, after: i64) {
        if steps.count == 0 {
            return;
        }
        let (first, last) = (reference.at(steps.start), reference.at(steps.last()));
        let start = first.saturating_sub(before).saturating_add(1);
        let end = last.saturating_add(after);
        self.fetches[fetch].hints = Some(SelectHints {
            newest_only: first == last && after == 0,
            ..SelectHints::between(start, end)
        });
    }
}
