//! Alerts as Alertmanager's API v2 takes them.
//! Source: prometheus/alertmanager `api/v2/openapi.yaml`, `postableAlerts`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Labels, TimestampMs};
use crate::rules::Alert;

/// One alert of the list that is posted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostableAlert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    generator_url: String,
}

/// An alert's labels and the external labels that it has no label of that name for.
pub(super) fn with_external(labels: &Labels, external: &Labels) -> Labels {
    let mut all = labels.builder();
    for (name, value) in external.iter().filter(|(name, _)| !labels.has(name)) {
        all.set(name, value);
    }
    all.build()
}

/// The JSON of one alert with these labels in place of its own.
pub(super) fn encode(alert: &Alert, labels: &Labels) -> Vec<u8> {
    let postable = PostableAlert {
        labels: labels.to_map(),
        annotations: alert.annotations.to_map(),
        starts_at: rfc3339(alert.starts_at),
        ends_at: rfc3339(alert.ends_at),
        generator_url: alert.generator_url.clone(),
    };
    serde_json::to_vec(&postable).expect("maps of strings are always JSON")
}

fn rfc3339(at: TimestampMs) -> String {
    // Out of range means thousands of years from now; the epoch then reads as "long ago".
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_posted_with_external_labels_that_do_not_override() {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "A"), ("cluster", "own")]),
            annotations: Labels::from_pairs([("summary", "s")]),
            starts_at: 1_000,
            ends_at: 2_500,
            resolved: false,
            generator_url: "http://v/graph".to_owned(),
        };
        let external = Labels::from_pairs([("cluster", "dev"), ("region", "eu")]);
        let json =
            String::from_utf8(encode(&alert, &with_external(&alert.labels, &external))).expect("UTF-8");
        assert_eq!(
            json,
            concat!(
                r#"{"labels":{"alertname":"A","cluster":"own","region":"eu"},"#,
                r#""annotations":{"summary":"s"},"startsAt":"1970-01-01T00:00:01.000Z","#,
                r#""endsAt":"1970-01-01T00:00:02.500Z","generatorURL":"http://v/graph"}"#
            )
        );
    }
}
