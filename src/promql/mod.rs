//! Prometheus' query language: parsing, printing and evaluation.
//!
//! Evaluation is in two steps: fetching the samples that an expression needs (asynchronous, dull) and
//! computing (pure: no I/O, no clock). This module does not know where samples come from, what time it
//! is, or that HTTP exists.

mod ast;
mod durations;
mod eval;
mod features;
pub mod functions;
mod lexer;
mod literal;
mod numeric;
mod options;
mod parser;
mod plan;
mod prefetch;
mod pretty;
mod printer;
mod steps;
mod token;
mod value;

pub use ast::{
    AggregateExpr, AggregateOp, AtModifier, BinaryExpr, BinaryOp, CallExpr, DurationExpr, DurationOp, Expr,
    ExprKind, Fill, Grouping, MatchCardinality, MatrixSelector, RangeModifier, SubqueryExpr, UnaryOp,
    VectorMatching, VectorSelector,
};
pub use eval::eval;
pub use features::Features;
pub use options::{EvalOptions, Interrupt};
pub use parser::{MAX_DEPTH, ParseError, STACK_BYTES, parse, parse_selector, parse_selectors, parse_with};
pub use prefetch::{Prefetched, Resolved, prefetch};
pub use value::{
    Annotation, AnnotationKind, EvalError, EvalRange, InstantSample, Output, SampleStats, StepSamples, Value,
    ValueType,
};
