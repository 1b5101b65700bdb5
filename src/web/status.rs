//! The page at `/`: is it ready, why not, what fires, which rules there are.

use askama::Template;

use super::time::{ago, clock_time};
use crate::model::TimestampMs;

/// Everything the page shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusView {
    /// The version of valmis.
    pub version: String,
    /// When the page was made.
    pub now: TimestampMs,
    /// Components, in the order in which they are shown.
    pub components: Vec<ComponentView>,
    /// What is watched without counting, in the order in which it is shown.
    pub watched: Vec<ComponentView>,
    /// Pending and firing alerts.
    pub alerts: Vec<AlertView>,
    /// Rule groups.
    pub groups: Vec<GroupView>,
    /// Scrape targets.
    pub targets: Vec<TargetView>,
    /// Whether the last attempt to load the configuration failed.
    pub reload_failed: bool,
    /// Alertmanagers that alerts are sent to.
    pub alertmanagers: Vec<String>,
    /// Alerts that still have to be delivered.
    pub undelivered: usize,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentView {
    /// Its kind.
    pub component: String,
    /// Its name.
    pub name: String,
    /// `ready`, `not_ready` or `unknown`.
    pub state: &'static str,
    /// Why it is not ready.
    pub reason: String,
    /// Since when it has been in this state.
    pub since: TimestampMs,
    /// When it was last probed.
    pub last_probe: Option<TimestampMs>,
    /// How many series were left out because it told more than it may.
    pub series_dropped: usize,
    /// The metrics that they belong to, for people.
    pub metrics_dropped: String,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertView {
    /// Its name.
    pub name: String,
    /// `pending` or `firing`.
    pub state: &'static str,
    /// What identifies it in the ledger.
    pub fingerprint: String,
    /// Its severity, empty if it has none.
    pub severity: String,
    /// Its summary or, without one, its labels.
    pub summary: String,
    /// Since when its condition holds.
    pub since: TimestampMs,
    /// Where its runbook is, empty if it has none.
    pub runbook: String,
}

/// A rule group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// How often it is evaluated, for people.
    pub interval: String,
    /// When it was last evaluated.
    pub last_evaluation: Option<TimestampMs>,
    /// Its rules.
    pub rules: Vec<RuleView>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// Its name.
    pub name: String,
    /// `inactive`, `pending`, `firing`, or `recording` for a recording rule.
    pub state: &'static str,
    /// Its expression.
    pub query: String,
    /// `ok`, `err` or `unknown`.
    pub health: &'static str,
    /// The last error, empty if there was none.
    pub error: String,
}

/// A scrape target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetView {
    /// Its job.
    pub job: String,
    /// Its URL.
    pub url: String,
    /// `up`, `down` or `unknown`.
    pub health: &'static str,
    /// The last error, empty if there was none.
    pub error: String,
    /// When it was last scraped.
    pub last_scrape: Option<TimestampMs>,
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'a> {
    view: &'a StatusView,
    verdict: &'static str,
    headline: &'static str,
    firing: usize,
    pending: usize,
}

impl StatusPage<'_> {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates hand over references")]
    fn ago(&self, then: &TimestampMs) -> String {
        ago(self.view.now, *then)
    }

    #[expect(clippy::ref_option, reason = "templates hand over references")]
    fn age(&self, then: &Option<TimestampMs>) -> String {
        then.map_or_else(|| "never".to_owned(), |then| ago(self.view.now, then))
    }

    fn made_at(&self) -> String {
        clock_time(self.view.now)
    }
}

/// Renders the page.
pub fn status(view: &StatusView) -> String {
    let any = |state| view.components.iter().any(|component| component.state == state);
    let (verdict, headline) = if view.components.is_empty() {
        ("unknown", "Nothing is watched yet")
    } else if any("not_ready") {
        ("not_ready", "Not ready")
    } else if any("unknown") {
        ("unknown", "Not known yet")
    } else {
        ("ready", "Ready")
    };
    // An alert without severity, such as Watchdog, says that alerting works: nothing to count.
    let serious = |alert: &&AlertView| alert.severity != "none";
    let count = |state| view.alerts.iter().filter(serious).filter(|alert| alert.state == state).count();
    let page = StatusPage { view, verdict, headline, firing: count("firing"), pending: count("pending") };
    page.render().expect("rendering to a String cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, state: &'static str, reason: &str) -> ComponentView {
        ComponentView {
            component: "app".to_owned(),
            name: name.to_owned(),
            state,
            reason: reason.to_owned(),
            since: 0,
            last_probe: Some(59_000),
            series_dropped: 0,
            metrics_dropped: String::new(),
        }
    }

    fn page(components: Vec<ComponentView>) -> String {
        status(&StatusView { now: 61_000, components, ..StatusView::default() })
    }

    #[test]
    fn the_verdict_is_that_of_the_worst_component() {
        let check = |states: &[&'static str], expected: &str| {
            let components = states.iter().map(|state| component("a", state, "")).collect();
            let html = page(components);
            assert!(html.contains(&format!("<h1>{expected}</h1>")), "{states:?}: {html}");
        };
        check(&[], "Nothing is watched yet");
        check(&["ready", "ready"], "Ready");
        check(&["ready", "unknown"], "Not known yet");
        check(&["unknown", "not_ready"], "Not ready");
    }

    #[test]
    fn alerts_are_counted_but_not_the_proof_that_alerting_works() {
        let alert = |name: &str, severity: &str| AlertView {
            name: name.to_owned(),
            state: "firing",
            fingerprint: String::new(),
            severity: severity.to_owned(),
            summary: String::new(),
            since: 0,
            runbook: String::new(),
        };
        let alerts = vec![alert("DatabaseDown", "critical"), alert("Watchdog", "none")];
        let html = status(&StatusView { alerts, ..StatusView::default() });
        assert!(html.contains("1 alerts firing"), "{html}");
        assert!(html.contains("Watchdog"), "{html}");
    }

    #[test]
    fn a_component_shows_state_reason_and_age() {
        let html = page(vec![component("backend", "not_ready", "connection <refused>")]);
        for expected in ["backend", "not ready", "connection &#60;refused&#62;", "1m 1s", "2s"] {
            assert!(html.contains(expected), "no `{expected}` in {html}");
        }
    }

    #[test]
    fn what_does_not_count_is_shown_apart_and_changes_no_verdict() {
        let (components, watched) =
            (vec![component("a", "ready", "")], vec![component("b", "not_ready", "late")]);
        let html = status(&StatusView { now: 61_000, components, watched, ..StatusView::default() });
        assert!(html.contains("<h1>Ready</h1>"), "{html}");
        let probes = html.split("id=\"probes\"").nth(1).unwrap();
        assert!(
            probes.contains("<strong>b</strong>") && probes.contains("down") && probes.contains("late"),
            "{html}"
        );
        assert!(!page(Vec::new()).contains("id=\"probes\""));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let html = page(vec![component("a", "ready", "")]);
        for foreign in ["src=", "http://", "https://", "@import", "url("] {
            assert!(!html.contains(foreign), "`{foreign}` in {html}");
        }
    }
}
