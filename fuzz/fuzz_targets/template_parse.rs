//! Any text is a template or an error, and every template comes to an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valmis::model::{Labels, TimestampMs};
use valmis::template::{Context, Facts, QueryFn, Template};

struct Rows;

impl QueryFn for Rows {
    fn query(&self, expression: &str, _: TimestampMs) -> Result<Vec<(Labels, f64)>, String> {
        Ok(vec![(Labels::from_pairs([("query", expression)]), 1.5)])
    }
}

fuzz_target!(|text: &str| {
    let Ok(template) = Template::parse("fuzz", text) else { return };
    template.references();
    let labels = Labels::from_pairs([("instance", "a:9090"), ("job", "api")]);
    let context = Context {
        labels: &labels,
        external_labels: &labels,
        external_url: "http://localhost:9090/x",
        value: 0.5,
        at: 1_700_000_000_000,
        facts: Facts::default(),
        query: &Rows,
    };
    let _ = template.expand(&context); // an error is an answer
});
