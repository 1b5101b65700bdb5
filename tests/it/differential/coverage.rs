//! What a run has reached: every function, operator, aggregation and modifier, each with a result.

use std::collections::BTreeMap;

use valmis::promql::{AggregateOp, BinaryOp, Expr, functions};

use super::generator::DEPTH;
use super::syntax::{depth, features};

/// What has a result only over native histograms, which the store does not keep.
const ONLY_HISTOGRAMS: &[&str] =
    &["histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"];

const OPERATORS: [BinaryOp; 16] = {
    use BinaryOp::{
        Add, And, Atan2, Div, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Mod, Mul, NotEqual, Or, Pow,
        Sub, Unless,
    };
    [
        Add,
        Sub,
        Mul,
        Div,
        Mod,
        Pow,
        Atan2,
        Equal,
        NotEqual,
        Less,
        Greater,
        LessOrEqual,
        GreaterOrEqual,
        And,
        Or,
        Unless,
    ]
};

const AGGREGATIONS: [AggregateOp; 14] = {
    use AggregateOp::{
        Avg, Bottomk, Count, CountValues, Group, LimitRatio, Limitk, Max, Min, Quantile, Stddev, Stdvar, Sum,
        Topk,
    };
    [
        Sum,
        Avg,
        Count,
        Min,
        Max,
        Group,
        Stddev,
        Stdvar,
        Topk,
        Bottomk,
        CountValues,
        Quantile,
        Limitk,
        LimitRatio,
    ]
};

const OTHERS: &[&str] = &[
    "modifier bool",
    "modifier on",
    "modifier ignoring",
    "modifier group_left",
    "modifier group_right",
    "modifier by",
    "modifier without",
    "modifier offset",
    "modifier @",
    "modifier @ start()",
    "modifier @ end()",
    "modifier offset of a subquery",
    "matcher =",
    "matcher !=",
    "matcher =~",
    "matcher !~",
    "range",
    "subquery",
    "duration expression",
    "sign -",
    "sign +",
    "parentheses",
    "literal number",
    "literal duration",
    "literal string",
];

/// How often something occurred.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    asked: usize,
    with_data: usize,
}

/// What has occurred in queries so far.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    features: BTreeMap<String, Count>,
    /// How deeply the most deeply nested one with a result was nested.
    depth: usize,
}

impl Coverage {
    /// A query that was answered; whether with data.
    pub(super) fn add(&mut self, expr: &Expr, with_data: bool) {
        if with_data {
            self.depth = self.depth.max(depth(expr));
        }
        for feature in features(expr) {
            let count = self.features.entry(feature).or_default();
            count.asked += 1;
            count.with_data += usize::from(with_data);
        }
    }

    /// What should have occurred with a result and has not, of the functions those that `is_known` to the
    /// other side.
    pub(super) fn missing(&self, is_known: impl Fn(&str) -> bool) -> Vec<String> {
        let names = functions::all().iter().map(|function| function.name);
        let functions = names.filter(|name| is_known(name)).map(|name| format!("function {name}"));
        let operators = OPERATORS.iter().map(|op| format!("operator {op}"));
        let aggregations = AGGREGATIONS.iter().map(|op| format!("aggregation {op}"));
        let others = OTHERS.iter().map(|name| (*name).to_owned());
        let shallow = (self.depth < DEPTH).then(|| format!("no query was nested {DEPTH} levels deep"));
        functions
            .chain(operators)
            .chain(aggregations)
            .chain(others)
            .filter_map(|feature| {
                let count = self.features.get(&feature).copied().unwrap_or_default();
                let empty = ONLY_HISTOGRAMS.iter().any(|name| feature == format!("function {name}"));
                if count.asked == 0 {
                    Some(format!("{feature} was never asked for"))
                } else if count.with_data == 0 && !empty {
                    Some(format!("{feature} never had a result in {} queries", count.asked))
                } else {
                    None
                }
            })
            .chain(shallow)
            .collect()
    }
}
