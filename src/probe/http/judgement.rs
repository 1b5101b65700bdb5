//! Looking through a body: on threads of their own where that takes long, and within bounds on what they take.

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Kept;
use super::budget::{Budget, Share};
use super::config::HttpConfig;
use super::expectations::{Fault, check_body, check_json};
use crate::probe::outcome::waiting_here;
use crate::probe::{Pattern, ProbeFailure};

/// Up to which size a body is looked through where it is, which takes less than a millisecond; larger
/// ones go to a thread of their own.
const SMALL_BODY_BYTES: usize = 16 * 1024;

/// How many conditions are evaluated at once, by all probes: one may take as long as it likes, and as much
/// memory as the values that a body may have (`json::MAX_VALUES`).
const MAX_EVALUATIONS: usize = 2;

/// The evaluation of a prober's conditions. There is one at a time, also of those for which no probe waits
/// any more: an evaluation cannot be stopped.
#[derive(Debug, Clone)]
pub(super) struct Evaluation(Arc<Semaphore>);

impl Default for Evaluation {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Evaluation {
    /// Waits for the evaluations of earlier probes. The permits go with the evaluation.
    async fn begin(&self) -> [OwnedSemaphorePermit; 2] {
        static ALL: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_EVALUATIONS)));
        let acquire =
            async |places: &Arc<Semaphore>| places.clone().acquire_owned().await.expect("it is never closed");
        let all = async { [acquire(&self.0).await, acquire(&ALL).await] };
        waiting_here("waiting for the evaluation of other conditions", all).await
    }
}

/// Looks through a body, and gives it back.
pub(super) async fn judge_body(
    mut body: Kept,
    config: &HttpConfig,
    evaluation: &Evaluation,
) -> Result<(Kept, Result<(), Fault>), ProbeFailure> {
    let judged;
    (body, judged) = search(body, config).await?;
    if judged.is_err() || !config.has_cel() {
        return Ok((body, judged));
    }
    let (forbidden, required) =
        (config.fail_if_body_json_matches_cel.clone(), config.fail_if_body_json_not_matches_cel.clone());
    let begun = evaluation.begin().await;
    on_another_thread(move || {
        let judged = check_json(&body.bytes, forbidden.as_ref(), required.as_ref());
        drop(begun);
        (body, judged)
    })
    .await
}

/// Compares a body with the patterns, and gives it back.
async fn search(body: Kept, config: &HttpConfig) -> Result<(Kept, Result<(), Fault>), ProbeFailure> {
    let HttpConfig { fail_if_body_matches: forbidden, fail_if_body_not_matches: required, .. } = config;
    if body.bytes.len() <= SMALL_BODY_BYTES || forbidden.is_empty() && required.is_empty() {
        let judged = check_body(&body.bytes, forbidden, required);
        return Ok((body, judged));
    }
    let (body, needed) = on_another_thread(move || {
        let needed = Pattern::matching_takes_bytes(&body.bytes);
        (body, needed)
    })
    .await?;
    let mut text = Share::of(Budget::texts());
    text.grow_to(needed).await;
    let (forbidden, required) = (forbidden.clone(), required.clone());
    on_another_thread(move || {
        let judged = check_body(&body.bytes, &forbidden, &required);
        drop(text);
        (body, judged)
    })
    .await
}

async fn on_another_thread<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ProbeFailure> {
    let looked = tokio::task::spawn_blocking(look).await;
    looked.map_err(|stopped| ProbeFailure::unknown("internal", stopped.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use url::Url;

    use super::*;
    use crate::probe::http::CelProgram;

    #[tokio::test]
    async fn a_condition_waits_for_the_one_before_it() {
        let mut config = HttpConfig::new(Url::parse("http://a.example").unwrap());
        config.fail_if_body_json_not_matches_cel = Some(CelProgram::compile("body.n == 1").unwrap());
        let evaluation = Evaluation::default();
        let judge = async |text: &str| {
            let body = Kept::of(text.as_bytes().to_vec());
            let judged = judge_body(body, &config, &evaluation);
            tokio::time::timeout(Duration::from_millis(200), judged).await
        };
        let before = evaluation.0.clone().acquire_owned().await.unwrap();
        assert!(judge(r#"{"n": 1}"#).await.is_err(), "another is evaluated");
        drop(before);
        let judged = async |text: &str| judge(text).await.unwrap().unwrap().1.is_ok();
        assert!(judged(r#"{"n": 1}"#).await);
        assert!(!judged(r#"{"n": 2}"#).await);
    }

    #[tokio::test]
    async fn large_bodies_of_any_bytes_are_searched() {
        let mut config = HttpConfig::new(Url::parse("http://a.example").unwrap());
        config.fail_if_body_not_matches = vec![crate::probe::Pattern::new("end$").unwrap()];
        for (byte, end, expected) in [(b'a', "end", true), (0xff, "end", true), (0xff, "nd", false)] {
            let body = [vec![byte; 1 << 20], end.as_bytes().to_vec()].concat();
            let (back, judged) =
                judge_body(Kept::of(body.clone()), &config, &Evaluation::default()).await.unwrap();
            assert_eq!(judged.is_ok(), expected, "{byte} {end}");
            assert!(back.bytes == body);
        }
    }
}
