//! The functions of the language with their types.
//! Source: Prometheus 3.14 `promql/parser/functions.go`.

use super::value::ValueType;
use ValueType::{Matrix, Scalar, String, Vector};

/// What the parser knows about a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// The name, by which calls name it.
    pub name: &'static str,
    /// The types of the arguments; the last one is also that of all further arguments.
    pub args: &'static [ValueType],
    /// How the number of arguments may vary.
    pub variadic: Variadic,
    /// The type of the result.
    pub returns: ValueType,
    /// Whether it needs the feature `promql-experimental-functions`.
    pub experimental: bool,
}

/// How the number of a function's arguments may vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variadic {
    /// All arguments, no more.
    No,
    /// The last argument may be missing or, counting it, occur up to so many times.
    UpTo(usize),
    /// The last argument may be missing or occur any number of times.
    Any,
}

impl Function {
    /// The least and the largest number of arguments; `None`: any number.
    pub fn arity(&self) -> (usize, Option<usize>) {
        let count = self.args.len();
        match self.variadic {
            Variadic::No => (count, Some(count)),
            Variadic::UpTo(more) => (count - 1, Some(count - 1 + more)),
            Variadic::Any => (count - 1, None),
        }
    }
}

/// The function of that name; names are case-sensitive.
pub fn lookup(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|index| &FUNCTIONS[index])
}

/// All functions, sorted by name.
pub fn all() -> &'static [Function] {
    FUNCTIONS
}

const fn stable(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function { name, args, variadic: Variadic::No, returns, experimental: false }
}

const fn experimental(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function { experimental: true, ..stable(name, args, returns) }
}

const fn variadic(function: Function, variadic: Variadic) -> Function {
    Function { variadic, ..function }
}

/// From an instant vector to an instant vector.
const fn map(name: &'static str) -> Function {
    stable(name, &[Vector], Vector)
}

/// From a range vector to an instant vector.
const fn over_range(name: &'static str) -> Function {
    stable(name, &[Matrix], Vector)
}

/// A part of a date; without an argument, of the evaluation's instant.
const fn date_part(name: &'static str) -> Function {
    variadic(map(name), Variadic::UpTo(1))
}

const FUNCTIONS: &[Function] = &[
    map("abs"),
    map("absent"),
    over_range("absent_over_time"),
    map("acos"),
    map("acosh"),
    map("asin"),
    map("asinh"),
    map("atan"),
    map("atanh"),
    over_range("avg_over_time"),
    map("ceil"),
    over_range("changes"),
    stable("clamp", &[Vector, Scalar, Scalar], Vector),
    stable("clamp_max", &[Vector, Scalar], Vector),
    stable("clamp_min", &[Vector, Scalar], Vector),
    map("cos"),
    map("cosh"),
    over_range("count_over_time"),
    date_part("day_of_month"),
    date_part("day_of_week"),
    date_part("day_of_year"),
    date_part("days_in_month"),
    map("deg"),
    over_range("delta"),
    over_range("deriv"),
    experimental("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector),
    experimental("end", &[], Scalar),
    map("exp"),
    over_range("first_over_time"),
    map("floor"),
    map("histogram_avg"),
    map("histogram_count"),
    stable("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    stable("histogram_quantile", &[Scalar, Vector], Vector),
    variadic(
        experimental("histogram_quantiles", &[Vector, String, Scalar, Scalar], Vector),
        Variadic::UpTo(9),
    ),
    map("histogram_stddev"),
    map("histogram_stdvar"),
    map("histogram_sum"),
    date_part("hour"),
    over_range("idelta"),
    over_range("increase"),
    variadic(experimental("info", &[Vector, Vector], Vector), Variadic::UpTo(1)),
    over_range("irate"),
    variadic(stable("label_join", &[Vector, String, String, String], Vector), Variadic::Any),
    stable("label_replace", &[Vector, String, String, String, String], Vector),
    over_range("last_over_time"),
    map("ln"),
    map("log10"),
    map("log2"),
    experimental("mad_over_time", &[Matrix], Vector),
    experimental("max_of", &[Scalar, Scalar], Scalar),
    over_range("max_over_time"),
    experimental("min_of", &[Scalar, Scalar], Scalar),
    over_range("min_over_time"),
    date_part("minute"),
    date_part("month"),
    stable("pi", &[], Scalar),
    stable("predict_linear", &[Matrix, Scalar], Vector),
    over_range("present_over_time"),
    stable("quantile_over_time", &[Scalar, Matrix], Vector),
    map("rad"),
    experimental("range", &[], Scalar),
    over_range("rate"),
    over_range("resets"),
    variadic(stable("round", &[Vector, Scalar], Vector), Variadic::UpTo(1)),
    stable("scalar", &[Vector], Scalar),
    map("sgn"),
    map("sin"),
    map("sinh"),
    map("sort"),
    variadic(experimental("sort_by_label", &[Vector, String], Vector), Variadic::Any),
    variadic(experimental("sort_by_label_desc", &[Vector, String], Vector), Variadic::Any),
    map("sort_desc"),
    map("sqrt"),
    experimental("start", &[], Scalar),
    experimental("start_timestamp", &[Vector], Vector),
    over_range("stddev_over_time"),
    over_range("stdvar_over_time"),
    experimental("step", &[], Scalar),
    over_range("sum_over_time"),
    map("tan"),
    map("tanh"),
    stable("time", &[], Scalar),
    map("timestamp"),
    experimental("ts_of_first_over_time", &[Matrix], Vector),
    experimental("ts_of_last_over_time", &[Matrix], Vector),
    experimental("ts_of_max_over_time", &[Matrix], Vector),
    experimental("ts_of_min_over_time", &[Matrix], Vector),
    stable("vector", &[Scalar], Vector),
    date_part("year"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(all().is_sorted_by(|one, next| one.name < next.name));
        assert_eq!(all().len(), 90);
        assert_eq!(all().iter().filter(|function| function.experimental).count(), 17);
        assert!(all().iter().all(|function| lookup(function.name) == Some(function)));
        assert_eq!(lookup("RATE"), None);
    }

    #[test]
    fn arity_follows_from_arguments_and_variation() {
        let check = |name, expected| assert_eq!(lookup(name).map(Function::arity), Some(expected), "{name}");
        check("rate", (1, Some(1)));
        check("hour", (0, Some(1)));
        check("round", (1, Some(2)));
        check("label_join", (3, None));
        check("histogram_quantiles", (3, Some(12)));
        check("pi", (0, Some(0)));
    }
}
