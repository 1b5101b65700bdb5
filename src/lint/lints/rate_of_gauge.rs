//! `rate(node_load1[5m])`.

use crate::diag::Severity;
use crate::lint::finding::Finding;
use crate::lint::subject::Subject;
use crate::lint::tree::{bare, metric_name, walk, with_function};
use crate::lint::{Check, Lint, Settings};
use crate::promql::ExprKind;

pub(in crate::lint) const LINT: Lint = Lint {
    name: "rate-of-gauge",
    severity: Severity::Warning,
    what: "`rate`, `irate` or `increase` of what is a gauge by its name.",
    why: "Whenever the value falls, these take it for a counter that started again and add the whole value; what \
          comes out means nothing.",
    fix: "Use `deriv` or `delta`, or find the counter.",
    bad: "\
- alert: MemoryGrows
  expr: rate(process_resident_memory_bytes[5m]) > 1e6
",
    good: "\
- alert: MemoryGrows
  expr: deriv(process_resident_memory_bytes[5m]) > 1e6
",
    pint: &["promql/rate"],
    check: Check::Rule(check),
};

/// Gauges that everybody has.
const GAUGES: &[&str] = &[
    "up",
    "probe_success",
    "probe_duration_seconds",
    "node_load1",
    "node_load5",
    "node_load15",
    "go_goroutines",
    "go_threads",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_memory_rss",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "pg_up",
    "mysql_up",
    "redis_up",
];

/// Ends of names that counters do not have: <https://prometheus.io/docs/practices/naming/> gives counters
/// `_total`, and these say what they are.
const ENDINGS: &[&str] = &[
    "_ratio",
    "_percent",
    "_percentage",
    "_celsius",
    "_temperature",
    "_timestamp",
    "_timestamp_seconds",
    "_start_time_seconds",
    "_info",
    "_free_bytes",
    "_avail_bytes",
    "_available_bytes",
    "_size_bytes",
    "_limit_bytes",
    "_utilization",
];

fn check(subject: &Subject<'_>, _: Settings, found: &mut Vec<Finding>) {
    walk(&subject.rule.expr, &mut |node| {
        let ExprKind::Call(call) = &node.kind else { return };
        if !matches!(call.function, "rate" | "irate" | "increase") {
            return;
        }
        let Some(ExprKind::Matrix(matrix)) = call.args.first().map(|arg| &bare(arg).kind) else { return };
        let Some(name) = metric_name(&matrix.selector) else { return };
        if is_gauge_by_name(name) {
            let message = format!("`{name}` is a gauge by its name, and `{}` is for counters", call.function);
            let finding = Finding::expr(node.span, message);
            found.push(match call.function {
                "rate" => finding.hint("use `deriv`").fix(with_function(call, "deriv")),
                "increase" => finding.hint("use `delta`").fix(with_function(call, "delta")),
                _ => finding.hint("use `deriv` or `delta`"),
            });
        }
    });
}

/// Whether a metric is a gauge by its name. Of names with colons recording rules say more than the ending
/// does.
pub(super) fn is_gauge_by_name(name: &str) -> bool {
    let ending = || !name.contains(':') && ENDINGS.iter().any(|ending| name.ends_with(ending));
    GAUGES.contains(&name) || ending()
}
