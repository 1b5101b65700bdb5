//! What Alertmanager counts of its notifications.
//! Source: prometheus/alertmanager `notify/notify.go`, `NewMetrics`.

use std::collections::BTreeMap;

use crate::exposition::{Entry, Format, Parser};

/// Attempts to tell somebody, by integration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counters(BTreeMap<String, Count>);

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    /// Requests to whoever is told.
    requests: f64,
    /// Those of them that failed; some are tried again.
    failed_requests: f64,
    /// Notifications that were given up.
    failed: f64,
}

/// What happened between two readings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Since {
    /// The integrations of which a request succeeded.
    pub(super) working: Vec<String>,
    /// The integrations of which a request failed.
    pub(super) failing: Vec<String>,
    /// Whether a notification was given up.
    pub(super) given_up: bool,
}

impl Counters {
    /// What a page of Alertmanager's metrics says. What cannot be read is left out.
    pub(super) fn read(page: &[u8]) -> Self {
        let mut counters = Self::default();
        let Ok(mut parser) = Parser::new(page, Format::Text) else { return counters };
        while let Some(Ok(entry)) = parser.next() {
            let Entry::Sample(sample) = entry else { continue };
            if !sample.series.starts_with("alertmanager_notification") {
                continue;
            }
            let labels = parser.labels();
            let count = counters.0.entry(labels.get("integration").to_owned()).or_default();
            match labels.metric_name() {
                "alertmanager_notification_requests_total" => count.requests += sample.value,
                "alertmanager_notification_requests_failed_total" => count.failed_requests += sample.value,
                "alertmanager_notifications_failed_total" => count.failed += sample.value,
                _ => {}
            }
        }
        counters
    }

    /// What happened since an earlier reading.
    pub(super) fn since(&self, before: &Self) -> Since {
        let mut since = Since::default();
        for (integration, now) in &self.0 {
            let before = before.0.get(integration).copied().unwrap_or_default();
            let failed = now.failed_requests - before.failed_requests;
            let given_up = now.failed > before.failed;
            if now.requests - before.requests > failed {
                since.working.push(integration.clone());
            }
            if failed > 0.0 || given_up {
                since.failing.push(integration.clone());
            }
            since.given_up |= given_up;
        }
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_say_which_integrations_work_and_which_fail() {
        let page = |webhook: [u8; 3], email: [u8; 3]| {
            let lines = [("webhook", webhook), ("email", email)].map(|(integration, [all, failed, given_up])| {
                format!(
                    "alertmanager_notification_requests_total{{integration=\"{integration}\"}} {all}\n\
                     alertmanager_notification_requests_failed_total{{integration=\"{integration}\"}} {failed}\n\
                     alertmanager_notifications_failed_total{{integration=\"{integration}\",reason=\"other\"}} \
                     {given_up}\n\
                     alertmanager_notifications_failed_total{{integration=\"{integration}\",reason=\"clientError\"}} 0\n"
                )
            });
            Counters::read(("# HELP x y\nup 1\n".to_owned() + &lines.concat()).as_bytes())
        };
        let check = |webhook, email, working: &[&str], failing: &[&str], given_up| {
            let since = page(webhook, email).since(&page([5, 1, 1], [0, 0, 0]));
            assert_eq!((since.working, since.failing), (own(working), own(failing)));
            assert_eq!(since.given_up, given_up);
        };
        check([5, 1, 1], [0, 0, 0], &[], &[], false);
        check([6, 1, 1], [0, 0, 0], &["webhook"], &[], false);
        check([6, 1, 1], [1, 1, 0], &["webhook"], &["email"], false);
        check([7, 2, 1], [1, 1, 1], &["webhook"], &["email", "webhook"], true);
        assert_eq!(Counters::read(b"<html>"), Counters::default());
    }

    fn own(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }
}
