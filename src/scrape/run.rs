//! The loop of one target.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::cache::{Outcome, SeriesCache, Surroundings};
use super::error::ScrapeError;
use super::fetch::{Fetched, fetch};
use super::report::Report;
use super::state::{Health, LastScrape, Observed};
use super::{Config, Metrics, Target};
use crate::client::RenewingClient;
use crate::clock::SharedClock;
use crate::exposition::PageType;
use crate::model::TimestampMs;
use crate::schedule::{Schedule, Slot, Ticker};
use crate::storage::Appender;

/// Up to this long after its slot, a scrape has the slot's timestamp: even distances compress far
/// better. Source: Prometheus 3.14 `scrape/scrape.go`, `ScrapeTimestampTolerance`; at most 1% of the
/// interval.
const TIMESTAMP_TOLERANCE: Duration = Duration::from_millis(2);

/// What a loop needs and shares with others.
pub(super) struct Context {
    pub(super) config: Arc<Config>,
    pub(super) target: Target,
    pub(super) client: RenewingClient,
    pub(super) appender: Arc<dyn Appender>,
    pub(super) clock: SharedClock,
    pub(super) metrics: Metrics,
    pub(super) observed: Arc<Observed>,
}

/// What a loop remembers between scrapes. It moves to a thread that may block and back.
pub(super) struct Memory {
    cache: SeriesCache,
    report: Report,
}

/// Stops a loop.
pub(super) struct Stop {
    token: CancellationToken,
    heir: Arc<Mutex<Option<oneshot::Sender<Memory>>>>,
}

/// What is left by the loop that scraped a target before.
pub(super) struct Legacy(oneshot::Receiver<Memory>);

impl Stop {
    /// Stops the loop; its series end, after a while in which the target might come back with a loop of its
    /// own.
    pub(super) fn end(&self) {
        self.token.cancel();
    }

    /// Stops the loop for another one of the same target, which goes on with its series.
    pub(super) fn hand_over(&self) -> Legacy {
        let (heir, legacy) = oneshot::channel();
        // Nothing panics while it is held.
        *self.heir.lock().unwrap_or_else(PoisonError::into_inner) = Some(heir);
        self.token.cancel();
        Legacy(legacy)
    }
}

/// A loop, to be spawned, and what stops it. It goes on with what one before it has left, and ends at once
/// when the process is about to end (`shutdown`).
pub(super) fn scrape_loop(
    context: Arc<Context>,
    legacy: Option<Legacy>,
    shutdown: CancellationToken,
) -> (Stop, impl Future<Output = ()>) {
    let stop = Stop { token: shutdown.child_token(), heir: Arc::default() };
    let (token, heir) = (stop.token.clone(), stop.heir.clone());
    let run = async move {
        let Some((memory, mut ticker)) = scrape(&context, legacy, &token, &shutdown).await else { return };
        let heir = heir.lock().unwrap_or_else(PoisonError::into_inner).take();
        match heir {
            // One that does not wait for it any more ends with the process.
            Some(heir) => drop(heir.send(memory)),
            None => end(&context, memory, &mut ticker, &shutdown).await,
        }
    };
    (stop, run)
}

/// Scrapes until `stop`. Yields what is remembered then, unless there is nothing or `shutdown` comes first.
async fn scrape(
    context: &Arc<Context>,
    legacy: Option<Legacy>,
    stop: &CancellationToken,
    shutdown: &CancellationToken,
) -> Option<(Memory, Ticker)> {
    let target = &context.target;
    let inherited = match legacy {
        // The loop before is perhaps about to store its last page. It may have had nothing to leave.
        Some(Legacy(legacy)) => shutdown.run_until_cancelled(legacy).await?.ok(),
        None => None,
    };
    let mut has_stored = inherited.is_some();
    let mut memory = inherited.map_or_else(|| Memory::new(target), Memory::for_successor);
    let schedule = Schedule::spread(target.interval, target.hash());
    let mut ticker = Ticker::new(schedule, context.clock.clone());
    let mut last_start: Option<Instant> = None;
    while let Some(slot) = ticker.tick(stop).await {
        context.metrics.missed_slots.inc_by(slot.missed);
        let start = Instant::now();
        if let Some(last) = last_start.replace(start) {
            context.metrics.observe_interval(target.interval, start - last);
        }
        let at = timestamp(slot, context.clock.now(), target.interval);
        let fetched = shutdown.run_until_cancelled(fetch_page(context)).await?;
        has_stored = true;
        memory = in_background(context, memory, move |context, memory| {
            store(context, memory, fetched, at, start);
        })
        .await;
    }
    has_stored.then_some((memory, ticker))
}

/// Ends the series of a target that is gone, unless it comes back soon.
async fn end(context: &Arc<Context>, memory: Memory, ticker: &mut Ticker, shutdown: &CancellationToken) {
    let Some(_) = ticker.tick(shutdown).await else { return };
    let ended_at = context.clock.now();
    // Were the target back, it would have been scraped by the slot after the next.
    let Some(_) = ticker.tick(shutdown).await else { return };
    let margin = tokio::time::sleep(context.target.interval / 10);
    let Some(()) = shutdown.run_until_cancelled(margin).await else { return };
    in_background(context, memory, move |context, memory| {
        memory.cache.store_nothing(context.surroundings(), ended_at);
        memory.report.end(&*context.appender, ended_at);
    })
    .await;
}

impl Memory {
    fn new(target: &Target) -> Self {
        Self { cache: SeriesCache::new(), report: Report::new(target) }
    }

    /// For a loop of the same target that is configured otherwise.
    fn for_successor(mut self) -> Self {
        self.cache.forget_texts();
        self
    }
}

impl Context {
    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            config: &self.config,
            target: &self.target,
            appender: &*self.appender,
            metrics: &self.metrics,
            metadata: &self.observed.metadata,
        }
    }
}

async fn fetch_page(context: &Context) -> Result<Fetched, ScrapeError> {
    let fetched = fetch(&context.client.current(), &context.config, &context.target).await;
    if fetched.is_err() {
        context.client.failed();
    }
    fetched
}

/// Works on the memory where blocking is allowed: reading and storing a large page takes milliseconds.
/// A panic there costs this target its memory and nothing else.
async fn in_background(
    context: &Arc<Context>,
    mut memory: Memory,
    work: impl FnOnce(&Context, &mut Memory) + Send + 'static,
) -> Memory {
    let shared = Arc::clone(context);
    let task = tokio::task::spawn_blocking(move || {
        work(&shared, &mut memory);
        memory
    });
    task.await.unwrap_or_else(|panic| {
        let url = super::fetch::shown(&context.target.url);
        error!(target_url = %url, %panic, "Storing the page of `{url}` failed: {panic}");
        let error = format!("internal error: {panic}");
        context.observed.set_last(LastScrape { health: Health::Down, error, ..context.observed.last() });
        Memory::new(&context.target)
    })
}

/// Stores what was fetched, and reports.
fn store(
    context: &Context,
    memory: &mut Memory,
    fetched: Result<Fetched, ScrapeError>,
    at: TimestampMs,
    start: Instant,
) {
    let limit = context.config.body_size_limit;
    let page = fetched.and_then(|fetched| {
        let content_type = fetched.content_type.clone();
        Ok((content_type, fetched.into_page(limit)?))
    });
    let page = page.and_then(|(content_type, page)| {
        // An empty page has no format that could matter.
        if page.is_empty() {
            return Ok(None);
        }
        let fallback = context.config.fallback_format;
        Ok(Some((page, PageType::of_content_type(content_type.as_deref(), fallback)?)))
    });
    let around = context.surroundings();
    let outcome = match page {
        Ok(Some((page, page_type))) => memory.cache.store_page(around, &page, page_type, at),
        other => {
            memory.cache.store_nothing(around, at);
            let result = other.map(|_| ());
            if matches!(result, Err(ScrapeError::BodySize)) {
                context.metrics.body_size_limit.inc();
            }
            Outcome { scraped: 0, added: 0, series_added: 0, result }
        }
    };
    let duration = start.elapsed();
    memory.report.store(&*context.appender, at, duration, &outcome);
    let (health, error) = match &outcome.result {
        Ok(()) => (Health::Up, String::new()),
        Err(error) => (Health::Down, error.to_string()),
    };
    if health == Health::Down {
        let url = super::fetch::shown(&context.target.url);
        debug!(target_url = %url, %error, "Scraping `{url}` failed: {error}");
    }
    context.observed.set_last(LastScrape { health, error, at: Some(at), duration });
}

/// The time that a scrape's samples get.
fn timestamp(slot: Slot, now: TimestampMs, interval: Duration) -> TimestampMs {
    let tolerance = TIMESTAMP_TOLERANCE.min(interval / 100).as_millis() as i64;
    if (0..=tolerance).contains(&(now - slot.at)) { slot.at } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_punctual_scrape_has_the_time_of_its_slot() {
        let check = |now, interval_ms, expected| {
            let slot = Slot { at: 1_000, missed: 0 };
            assert_eq!(timestamp(slot, now, Duration::from_millis(interval_ms)), expected);
        };
        check(1_000, 15_000, 1_000);
        check(1_002, 15_000, 1_000);
        check(1_003, 15_000, 1_003);
        check(1_001, 100, 1_000);
        check(1_002, 100, 1_002);
        check(999, 15_000, 999);
    }
}
