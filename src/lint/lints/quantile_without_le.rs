//! `histogram_quantile(0.9, sum by (job) (rate(x_bucket[5m])))`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::labels::Labels;
use crate::lint::subject::Subject;
use crate::lint::tree::{metric_name, selectors, walk};
use crate::lint::{Check, Lint, Settings};
use crate::model::BUCKET_LABEL;
use crate::promql::ExprKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "quantile-without-le",
    severity: Severity::Error,
    what: "A quantile of buckets (`…_bucket`) whose label `le` has been aggregated away.",
    why: "The bounds of the buckets are in `le`; without it `histogram_quantile` has no result.",
    fix: "Aggregate `by (le, …)`.",
    bad: "\
- alert: Slow
  expr: histogram_quantile(0.9, sum by (job) (rate(request_seconds_bucket[5m]))) > 1
",
    good: "\
- alert: Slow
  expr: histogram_quantile(0.9, sum by (le, job) (rate(request_seconds_bucket[5m]))) > 1
",
    pint: &[],
    check: Check::Rule(check),
};

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Call(call) = &node.kind else { return };
        let buckets = match call.function {
            "histogram_quantile" => call.args.get(1),
            "histogram_fraction" => call.args.get(2),
            _ => None,
        };
        let Some(buckets) = buckets else { return };
        let selectors = selectors(buckets);
        let classic = |name: &str| name.ends_with("_bucket");
        let all_classic = selectors.iter().all(|(selector, _)| metric_name(selector).is_some_and(classic));
        if !selectors.is_empty() && all_classic && Labels::of(buckets).get(BUCKET_LABEL).is_absent() {
            let message = format!("`{}` needs the label `le`, which its argument has not", call.function);
            found.push(Finding::expr(buckets.span, message).hint("add `le` to `by (…)`"));
        }
    });
}
