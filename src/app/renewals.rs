//! What the store knows of renewals of certificates, so that the proof outlives a restart.

use std::time::Duration;

use tracing::warn;

use crate::model::{METRIC_NAME, Matcher, Point, TimestampMs, is_stale};
use crate::probe::certificate::{LAST_RENEWAL, RENEWALS, Renewals};
use crate::readiness::Kind;
use crate::storage::{Queryable, SelectError, SelectHints};

/// How far back the store is asked, one after the other until there is an answer: after a usual restart it
/// is minutes, and reading weeks would take long.
const WINDOWS: [Duration; 3] =
    [Duration::from_hours(1), Duration::from_hours(24), Duration::from_hours(24 * 40)];

/// The renewals of the server that samples call `instance`, as far as the store knows them at `now`.
pub(super) async fn of(store: &dyn Queryable, instance: &str, now: TimestampMs) -> Renewals {
    match read(store, instance, now).await {
        Ok(renewals) => renewals,
        Err(error) => {
            warn!(instance, %error, "What is known of renewals of `{instance}` cannot be read: {error}");
            Renewals::default()
        }
    }
}

async fn read(store: &dyn Queryable, instance: &str, now: TimestampMs) -> Result<Renewals, SelectError> {
    let named = |name: &str| {
        let job = Kind::Certificate.conventional_job();
        vec![
            Matcher::equal(METRIC_NAME, name),
            Matcher::equal("job", job),
            Matcher::equal("instance", instance),
        ]
    };
    let mut of_leaf = named("x509_cert_not_after");
    of_leaf.push(Matcher::equal("chain_position", "0"));
    Ok(Renewals {
        not_after: highest(store, &of_leaf, now).await?,
        last: highest(store, &named(LAST_RENEWAL), now).await?,
        count: highest(store, &named(RENEWALS), now).await?.map_or(0, |count| count as u64),
    })
}

/// The highest of the last values of the series, from the shortest window that has any.
async fn highest(
    store: &dyn Queryable,
    matchers: &[Matcher],
    now: TimestampMs,
) -> Result<Option<f64>, SelectError> {
    for window in WINDOWS {
        let start = now - i64::try_from(window.as_millis()).expect("some weeks are few milliseconds");
        let series = store.select(matchers, &SelectHints::between(start, now)).await?;
        let last = |points: Vec<Point>| {
            points.into_iter().rev().map(|point| point.value).find(|value| !is_stale(*value))
        };
        let highest = series.into_iter().filter_map(|series| last(series.points)).reduce(f64::max);
        if highest.is_some() {
            return Ok(highest);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, stale_nan};
    use crate::storage::MemoryStorage;

    #[tokio::test]
    async fn the_last_that_was_known_counts_however_long_ago_it_was() {
        const DAY: TimestampMs = 24 * 3600 * 1000;
        let store = MemoryStorage::new();
        let load = |name: &str, more: &[(&str, &str)], points: &[(TimestampMs, f64)]| {
            let labels = [(METRIC_NAME, name), ("job", "certificates"), ("instance", "a:443")];
            let points = points.iter().map(|(at, value)| Point { at: *at, value: *value });
            store.load(&Labels::from_pairs(labels.iter().chain(more).copied()), points);
        };
        let leaf = ("chain_position", "0");
        load("x509_cert_not_after", &[leaf, ("serial_number", "1")], &[(DAY, 100.0), (2 * DAY, stale_nan())]);
        load("x509_cert_not_after", &[leaf, ("serial_number", "2")], &[(2 * DAY, 200.0)]);
        load("x509_cert_not_after", &[("chain_position", "1")], &[(2 * DAY, 900.0)]);
        load(LAST_RENEWAL, &[], &[(2 * DAY, 172.8)]);
        load(RENEWALS, &[], &[(DAY, 2.0), (2 * DAY, 3.0)]);
        let known = Renewals { not_after: Some(200.0), last: Some(172.8), count: 3 };
        assert_eq!(of(&store, "a:443", 2 * DAY + 1000).await, known);
        assert_eq!(of(&store, "a:443", 20 * DAY).await, known);
        assert_eq!(of(&store, "a:443", 60 * DAY).await, Renewals::default());
        assert_eq!(of(&store, "b:443", 2 * DAY).await, Renewals::default());
    }
}
