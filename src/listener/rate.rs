//! How many requests are answered.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::config::RateLimit;

/// A token bucket.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: RateLimit,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, bucket: Mutex::new(Bucket { tokens: f64::from(limit.burst), at: now }) }
    }

    pub(super) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token, if there is one.
    pub(super) fn allows(&self, now: Instant) -> bool {
        // A bucket is whole whatever happened to who held it.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        let gained = passed / self.limit.interval.as_secs_f64();
        bucket.tokens = (bucket.tokens + gained).min(f64::from(self.limit.burst));
        bucket.at = bucket.at.max(now);
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_one_request_per_interval() {
        let start = Instant::now();
        let check = |interval_ms: u64, burst: u32, requests_at_ms: &[u64], expected: &str| {
            let limiter =
                Limiter::new(RateLimit { interval: Duration::from_millis(interval_ms), burst }, start);
            let outcome: String = requests_at_ms
                .iter()
                .map(|ms| if limiter.allows(start + Duration::from_millis(*ms)) { 'y' } else { 'n' })
                .collect();
            assert_eq!(outcome, expected, "{interval_ms} ms, {burst}: {requests_at_ms:?}");
        };
        check(1000, 1, &[0, 0, 999, 1000, 1001, 2000], "ynnyny");
        check(1000, 3, &[0, 0, 0, 0, 60_000, 60_000, 60_000, 60_000], "yyynyyyn");
        check(1000, 0, &[0, 5000], "nn");
    }
}
