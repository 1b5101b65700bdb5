//! Binary operators with all their modifiers, and aggregations.

use super::call::label_list;
use super::{Generator, Vector, is_comparison};

impl Generator {
    pub(super) fn binary(&mut self, symbol: &'static str, depth: usize) -> Vector {
        let set = matches!(symbol, "and" | "or" | "unless");
        match self.random.below(100) {
            0..25 if !set => self.with_scalar(symbol, depth),
            0..45 => self.same_labels(symbol, depth),
            45..70 => self.one_to_one(symbol, depth),
            70..92 if !set => {
                let left = self.random.chance(60);
                self.many_to_one(symbol, depth, left)
            }
            _ => {
                let (left, right) = (self.operand(depth - 1), self.operand(depth - 1));
                let word = self.word(symbol);
                Vector::new(format!("{} {word} {}", left.text, right.text), &left.labels)
            }
        }
    }

    /// The operator, of comparisons with `bool` at times.
    fn word(&mut self, symbol: &str) -> String {
        if is_comparison(symbol) && self.random.chance(40) {
            return format!("{symbol} bool");
        }
        symbol.to_owned()
    }

    fn with_scalar(&mut self, symbol: &str, depth: usize) -> Vector {
        let (vector, scalar) = (self.operand(depth - 1), self.scalar(depth - 1));
        let word = self.word(symbol);
        let first = self.random.chance(30);
        vector.map(
            |text| if first { format!("{scalar} {word} {text}") } else { format!("{text} {word} {scalar}") },
        )
    }

    /// Two operands over the same series.
    fn same_labels(&mut self, symbol: &str, depth: usize) -> Vector {
        let left = self.operand(depth - 1);
        let scalar = self.number();
        let text = &left.text;
        let right = match self.random.below(4) {
            0 => text.clone(),
            1 => format!("abs({text})"),
            2 => format!("({text} * {scalar})"),
            _ => format!("({text} > {scalar})"),
        };
        let word = self.word(symbol);
        left.map(|text| format!("{text} {word} {right}"))
    }

    /// `on` or `ignoring`, where each side has one series for each combination of labels.
    fn one_to_one(&mut self, symbol: &str, depth: usize) -> Vector {
        let (left, right) = (self.operand(depth - 1), self.operand(depth - 1));
        let mut on = common(&left, &right);
        if on.len() > 1 && self.random.chance(30) {
            on.remove(0);
        }
        let word = self.word(symbol);
        let (by, left, right) = (label_list(&on), left.text, right.text);
        let one = self.random.pick(&["max", "sum", "avg"]);
        let matching = match self.random.below(3) {
            0 => String::new(),
            1 => format!(" on ({by})"),
            _ => " ignoring (absent, code)".to_owned(),
        };
        let sides = format!("{one} by ({by}) ({left}) {word}{matching} max by ({by}) ({right})");
        Vector::new(sides, &on)
    }

    /// `group_left` if the left side is that of the many, else `group_right`.
    pub(super) fn many_to_one(&mut self, symbol: &str, depth: usize, left: bool) -> Vector {
        let (many, one) = (self.operand(depth - 1), self.operand(depth - 1));
        let mut on = common(&many, &one);
        if on.len() > 1 && self.random.chance(50) {
            on.remove(0);
        }
        // Labels of the one side that the many side gets.
        let others: Vec<_> = one.labels.iter().copied().filter(|label| !on.contains(label)).collect();
        let include: Vec<_> = if others.is_empty() { Vec::new() } else { self.random.some_of(&others[..1]) };
        let mut by = on.clone();
        if self.random.chance(70) {
            by.extend(&include);
        }
        let matching = if self.random.chance(75) {
            format!("on ({})", label_list(&on))
        } else {
            let ignored: Vec<_> = many
                .labels
                .iter()
                .copied()
                .filter(|label| !on.contains(label))
                .chain(include.clone())
                .collect();
            format!("ignoring ({})", label_list(&ignored))
        };
        let word = self.word(symbol);
        let one = format!("max by ({}) ({})", label_list(&by), one.text);
        let side = if left { "group_left" } else { "group_right" };
        let include_text = match include.as_slice() {
            // A parenthesis behind it would be taken for its labels.
            [] if left && self.random.chance(50) => String::new(),
            include => format!(" ({})", label_list(include)),
        };
        let labels = [&many.labels[..], &include].concat();
        let text = if left {
            format!("{} {word} {matching} {side}{include_text} {one}", many.text)
        } else {
            format!("{one} {word} {matching} {side}{include_text} {}", many.text)
        };
        Vector::new(text, &labels)
    }

    pub(super) fn aggregation(&mut self, name: &'static str, depth: usize) -> Vector {
        let mut inner = self.vector(depth - 1);
        let parameter = match name {
            "topk" | "bottomk" | "limitk" => Some(match self.random.below(10) {
                0 => self.scalar(depth - 1),
                1 => "0".to_owned(),
                2 => "1.9".to_owned(),
                _ => self.random.between(1..=6).to_string(),
            }),
            "limit_ratio" => {
                Some(self.random.pick(&["0.5", "-0.5", "0.1", "1", "-1", "2", "0.75"]).to_owned())
            }
            "quantile" if self.random.chance(15) => Some(self.scalar(depth - 1)),
            "quantile" => Some(self.share()),
            "count_values" => {
                // Labels tell values that differ in their last digit apart.
                if !super::is_selector(&inner.text) {
                    inner = inner.map(|text| format!("round({text}, 0.25)"));
                }
                Some(self.random.pick(&["\"value\"", "\"job\"", "'v'", "\"with.dot\""]).to_owned())
            }
            _ => None,
        };
        let arguments = match &parameter {
            Some(parameter) => format!("({parameter}, {})", inner.text),
            None => format!("({})", inner.text),
        };
        let mut named = self.random.some_of(&inner.labels);
        if self.random.chance(10) {
            named.push("absent");
        }
        let (clause, kept) = match self.random.below(10) {
            0..3 => (String::new(), Vec::new()),
            3..7 => (format!("by ({})", label_list(&named)), named),
            _ => {
                let rest = inner.labels.iter().copied().filter(|label| !named.contains(label)).collect();
                (format!("without ({})", label_list(&named)), rest)
            }
        };
        // These keep series as they are.
        let selects = matches!(name, "topk" | "bottomk" | "limitk" | "limit_ratio");
        let labels = if selects { inner.labels } else { kept };
        let text = match (clause.is_empty(), self.random.chance(50)) {
            (true, _) => format!("{name}{arguments}"),
            (false, true) => format!("{name} {clause} {arguments}"),
            (false, false) => format!("{name}{arguments} {clause}"),
        };
        Vector::new(text, &labels)
    }

    /// A vector of one series at most.
    pub(super) fn aggregation_to_one(&mut self, depth: usize) -> String {
        let inner = self.vector(depth);
        let name = self.random.pick(&["sum", "max", "count", "avg"]);
        format!("{name}({})", inner.text)
    }
}

/// The labels that both have, or that of all metrics.
fn common(one: &Vector, other: &Vector) -> Vec<&'static str> {
    let mut both: Vec<_> =
        one.labels.iter().copied().filter(|label| other.labels.contains(label) && *label != "le").collect();
    both.dedup();
    if both.is_empty() { vec!["job"] } else { both }
}
