//! Syntax trees to text over several lines, byte for byte as Prometheus formats queries
//! (`promql/parser/prettier.go`).

use std::fmt::{self, Display, Write};

use super::ast::{Expr, ExprKind};
use super::printer::{AggregateHead, BinaryHead, SubqueryTail};

/// The longest line that an expression is left in whole, in bytes.
const LONGEST_LINE: usize = 100;

impl Expr {
    /// The expression on one line or, if that would be too long, with its parts on lines of their own.
    pub fn pretty(&self) -> String {
        let mut text = String::new();
        self.write_pretty(&mut text, 0);
        text
    }

    /// Writes the expression with its indentation. What is written is only what fits or is split here, so
    /// the work does not grow with the square of the depth.
    fn write_pretty(&self, out: &mut String, level: usize) {
        let indentation = "  ".repeat(level);
        let mut add = |text: &dyn Display| write!(out, "{text}").expect("writing to a String cannot fail");
        match &self.kind {
            ExprKind::Unary { op, expr } => {
                add(&format_args!("{indentation}{op}"));
                let mut inner = String::new();
                expr.write_pretty(&mut inner, level);
                out.push_str(inner.trim());
            }
            // Prometheus gives a subquery no indentation of its own.
            ExprKind::Subquery(_) if fits(self) => add(self),
            ExprKind::Subquery(subquery) => {
                subquery.expr.write_pretty(out, level);
                write!(out, "{}", SubqueryTail(subquery)).expect("writing to a String cannot fail");
            }
            ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
                add(&format_args!("{indentation}{self}"));
            }
            _ if fits(self) => add(&format_args!("{indentation}{self}")),
            ExprKind::Paren(inner) => {
                add(&format_args!("{indentation}(\n"));
                inner.write_pretty(out, level + 1);
                write!(out, "\n{indentation})").expect("writing to a String cannot fail");
            }
            ExprKind::Binary(binary) => {
                binary.left.write_pretty(out, level + 1);
                write!(out, "\n{indentation}{}\n", BinaryHead(binary))
                    .expect("writing to a String cannot fail");
                binary.right.write_pretty(out, level + 1);
            }
            ExprKind::Aggregate(aggregate) => {
                add(&format_args!("{indentation}{}", AggregateHead(aggregate)));
                let parts = aggregate.param.iter().chain([&aggregate.expr]);
                write_parts(out, parts, level);
            }
            ExprKind::Call(call) => {
                add(&format_args!("{indentation}{}", call.function));
                write_parts(out, call.args.iter(), level);
            }
        }
    }
}

/// Parts in parentheses, each on its line.
fn write_parts<'e>(out: &mut String, parts: impl Iterator<Item = &'e Expr>, level: usize) {
    out.push_str("(\n");
    for (index, part) in parts.enumerate() {
        if index > 0 {
            out.push_str(",\n");
        }
        part.write_pretty(out, level + 1);
    }
    out.push('\n');
    out.push_str(&"  ".repeat(level));
    out.push(')');
}

/// Whether the expression fits on a line. Printing stops where it does not.
fn fits(expr: &Expr) -> bool {
    struct Line {
        room: usize,
    }
    impl Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.room = self.room.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    write!(Line { room: LONGEST_LINE }, "{expr}").is_ok()
}

#[cfg(test)]
mod tests {
    use crate::promql::{Features, parse_with};

    fn check(query: &str, expected: &str) {
        let expr = parse_with(query, Features::ALL).expect("a valid query");
        assert_eq!(expr.pretty(), expected);
    }

    #[test]
    fn what_fits_on_a_line_stays_on_it() {
        check("sum  by(job)(rate(up [5m]))", "sum by (job) (rate(up[5m]))");
        check("- x", "-x");
        let name = "a".repeat(200);
        check(&name, &name);
        check(&format!("-{name}"), &format!("-{name}"));
    }

    #[test]
    fn long_expressions_are_split_into_their_parts() {
        let (a, b) = ("a".repeat(60), "b".repeat(60));
        check(&format!("{a}+{b}"), &format!("  {a}\n+\n  {b}"));
        check(
            &format!("{a} == bool on(x) group_left(y) {b}"),
            &format!("  {a}\n== bool on (x) group_left (y)\n  {b}"),
        );
        check(
            &format!("quantile without(x)(0.9,{a}-{b})"),
            &format!("quantile without (x) (\n  0.9,\n    {a}\n  -\n    {b}\n)"),
        );
        check(
            &format!("label_replace({a},'x','y','{b}','')"),
            &format!("label_replace(\n  {a},\n  \"x\",\n  \"y\",\n  \"{b}\",\n  \"\"\n)"),
        );
        check(&format!("-({a}*({b}/x))"), &format!("-(\n    {a}\n  *\n    ({b} / x)\n)"));
    }

    #[test]
    fn a_subquery_has_the_indentation_of_its_expression() {
        let (a, b) = ("a".repeat(60), "b".repeat(60));
        check(&format!("({a}+{b})[5m:1m]"), &format!("(\n    {a}\n  +\n    {b}\n)[5m:1m]"));
        check(&format!("max_over_time({a}[5m:1m]) + {b}"), &format!("  max_over_time({a}[5m:1m])\n+\n  {b}"));
        check(
            &format!("predict_linear({a}[5m:1m] offset 5m, 1234567890123456789 * 12345678901234567890)"),
            &format!(
                "predict_linear(\n{a}[5m:1m] offset 5m,\n  1234567890123456800 * 12345678901234567000\n)"
            ),
        );
    }
}
