//! The page at `/probes`: what probes found.

use askama::Template;

use super::time::{ago, clock_time};
use crate::model::TimestampMs;

/// Everything the page shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbesView {
    /// When the page was made.
    pub now: TimestampMs,
    /// The results, newest first.
    pub results: Vec<ProbeResultView>,
    /// How many results there are; not all need be shown.
    pub kept: usize,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResultView {
    /// Its number.
    pub id: u64,
    /// The module, or the kind of component.
    pub module: String,
    /// The target, or the component's name.
    pub target: String,
    /// Whether the configuration wanted the probe, and not someone who asked.
    pub scheduled: bool,
    /// When the probe began.
    pub at: TimestampMs,
    /// How long it took.
    pub milliseconds: u128,
    /// Why it failed, if it did.
    pub reason: Option<String>,
}

#[derive(Template)]
#[template(path = "probes.html")]
struct ProbesPage<'a> {
    view: &'a ProbesView,
}

impl ProbesPage<'_> {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates hand over references")]
    fn ago(&self, then: &TimestampMs) -> String {
        ago(self.view.now, *then)
    }

    fn made_at(&self) -> String {
        clock_time(self.view.now)
    }
}

/// Renders the page.
pub fn probes(view: &ProbesView) -> String {
    ProbesPage { view }.render().expect("rendering to a String cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_shows_what_was_probed_how_it_went_and_where_more_stands() {
        let result = |id, reason: Option<&str>| ProbeResultView {
            id,
            module: "http_2xx".to_owned(),
            target: "http://a/?<b>".to_owned(),
            scheduled: id == 1,
            at: 1_000,
            milliseconds: 42,
            reason: reason.map(ToOwned::to_owned),
        };
        let results = vec![result(2, Some("status <500>")), result(1, None)];
        let html = probes(&ProbesView { now: 61_000, results, kept: 2 });
        for expected in
            ["http://a/?&#60;b&#62;", "status &#60;500&#62;", "/logs?id=2", "/logs?id=1", "42 ms", "1m 0s"]
        {
            assert!(html.contains(expected), "no `{expected}` in {html}");
        }
        assert!(!html.contains("<b>"));
        assert!(probes(&ProbesView::default()).contains("Nothing has been probed"));
    }
}
