//! `kill -9` at any moment, again and again: whoever is on duty notices nothing of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::random::Random;
use crate::real::alertmanager::Alertmanager;
use crate::real::valmis::{COMMON, NO_DISK, Valmis};
use crate::real::webhook::Webhook;
use crate::real::{say, serve, turn};

/// How many things break and are repaired.
const THINGS: usize = 50;
/// How often valmis is killed; `VALMIS_KILLS` says otherwise.
const KILLS: usize = 20;
/// Until when a page must have come although valmis is killed every other second.
const PATIENCE: Duration = Duration::from_mins(2);

const RULES: &str = "groups:\n- name: things\n  rules:\n  - {alert: Broken, expr: broken == 1, for: 2s}\n";

/// Things of which a page of metrics says whether they are broken.
#[derive(Clone)]
struct Things(Arc<Mutex<[bool; THINGS]>>);

impl Things {
    async fn start() -> (Self, SocketAddr) {
        let things = Self(Arc::new(Mutex::new([false; THINGS])));
        let router = Router::new().route("/metrics", get(page)).with_state(things.clone());
        let address = serve(router).await;
        (things, address)
    }

    fn set(&self, thing: usize, broken: bool) {
        self.0.lock().unwrap()[thing] = broken;
    }
}

async fn page(State(things): State<Things>) -> impl IntoResponse {
    let mut page = String::new();
    for (thing, broken) in things.0.lock().unwrap().iter().enumerate() {
        writeln!(page, "broken{{thing=\"{thing}\"}} {}", u8::from(*broken)).unwrap();
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page)
}

/// Breaks and repairs each thing as soon as the change before has been told.
struct Driver {
    things: Things,
    webhook: Webhook,
    /// What should have been told of each thing, and since when the last of it is due.
    expected: Vec<(Vec<&'static str>, Instant)>,
}

impl Driver {
    fn new(things: Things, webhook: Webhook) -> Self {
        Self { things, webhook, expected: vec![(Vec::new(), Instant::now()); THINGS] }
    }

    /// Looks at what was told; `goes_on`: whether things break again. Says whether all are whole and told so.
    fn step(&mut self, goes_on: bool) -> bool {
        let mut told = BTreeMap::<usize, Vec<String>>::new();
        for one in self.webhook.all() {
            told.entry(one.labels["thing"].parse().unwrap()).or_default().push(one.status);
        }
        let mut all_whole = true;
        for (thing, (expected, since)) in self.expected.iter_mut().enumerate() {
            let told = told.remove(&thing).unwrap_or_default();
            let agree = told.iter().zip(&*expected).all(|(told, expected)| told == expected);
            assert!(agree && told.len() <= expected.len(), "thing {thing}: {told:?} instead of {expected:?}");
            if told.len() < expected.len() {
                all_whole = false;
                assert!(since.elapsed() < PATIENCE, "thing {thing}: {told:?} instead of {expected:?}");
                continue;
            }
            let broken = expected.last() == Some(&"firing");
            if broken || goes_on {
                all_whole = false;
                expected.push(if broken { "resolved" } else { "firing" });
                *since = Instant::now();
                self.things.set(thing, !broken);
            }
        }
        all_whole
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "how thorough a run is, is the developer's choice")]
async fn kill_9_at_any_moment_neither_loses_a_page_nor_makes_one() {
    let _turn = turn().await;
    let kills = std::env::var("VALMIS_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let webhook = Webhook::start().await;
    let (things, address) = Things::start().await;
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    let configuration = format!(
        "{COMMON}{NO_DISK}scrapes: [{{job: things, targets: ['{address}'], interval: 1s}}]\n\
         alertmanagers: [{{url: 'http://{}'}}]\n",
        alertmanager.address
    );
    let rules = [("things.yaml".to_owned(), RULES.to_owned())];
    let mut valmis = Valmis::start_with(&configuration, &rules).await;
    let mut driver = Driver::new(things, webhook.clone());
    let mut random = Random::stream(0, 0);
    for _ in 0..kills {
        // Any part of an evaluation, a commit or a delivery, of which there is one of each in a second.
        let end = Instant::now() + Duration::from_millis(random.below(2_500) as u64);
        while Instant::now() < end {
            driver.step(true);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        valmis.kill_9();
        valmis.restart().await;
    }
    while !driver.step(false) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    valmis.wait_two_evaluations().await;
    alertmanager.flush(&webhook).await;
    driver.step(false);
    let pages: usize = driver.expected.iter().map(|(expected, _)| expected.len()).sum();
    say(&format!("{kills} kills, {pages} changes told, each once"));
    assert!(pages >= 2 * THINGS, "every thing has been broken and repaired");
}
