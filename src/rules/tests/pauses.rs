//! Slots that went by, and time in which the process did not run.

use tokio::time::advance;

use super::*;

const SECOND: i64 = 1_000;

const RULES: &str = "
groups:
- name: g
  interval: 10s
  rules:
  - {record: r, expr: sum(up)}
  - {alert: Down, expr: up == 0, for: 2m}
";

/// After a pause it takes twenty seconds until everything has been scraped again.
fn config() -> Config {
    Config { settle_ms: 20_000, ..Config::default() }
}

async fn stage(alone: bool) -> Stage {
    let mut stage = Stage::new().await;
    stage.world.alone.store(alone, Ordering::Relaxed);
    stage.world.answer("sum(up)", Value::Scalar { at: 0, value: 1.0 });
    stage.world.answer("up == 0", vector(&[]));
    stage.manager.apply(&files(RULES), config(), &Origins::new()).await;
    stage.until("five evaluations", |stage| stage.world.asked("sum(up)").len() == 5).await;
    stage
}

impl Stage {
    /// The distances, in slots, of the instants of evaluations.
    fn distances(&self) -> Vec<i64> {
        let asked = self.world.asked("sum(up)");
        asked.windows(2).map(|pair| (pair[1] - pair[0]) / (10 * SECOND)).collect()
    }

    fn metric(&mut self, name: &str) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.manager.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
            .to_owned()
    }

    /// Lets the process stand still.
    async fn stopped(&self, seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_slow_makes_up_for_what_it_missed() {
    let mut stage = stage(false).await;
    stage.world.slow("up == 0", Duration::from_secs(35));
    stage.until("a slow evaluation", |stage| stage.world.asked("up == 0").len() == 6).await;
    stage.world.slow("up == 0", Duration::ZERO);
    stage.until("twelve evaluations", |stage| stage.world.asked("sum(up)").len() >= 12).await;
    assert_eq!(stage.distances()[..11], [1; 11], "no slot is left out, and none comes too early");
    let stored = stage.world.samples.lock().unwrap();
    let at: Vec<_> =
        stored.iter().filter(|sample| sample.labels.metric_name() == "r").map(|sample| sample.at).collect();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] == 10 * SECOND), "a recorded series has no holes");
    drop(stored);
    assert_eq!(stage.metric("prometheus_rule_group_iterations_missed_total"), "2");
    assert_eq!(stage.metric("valmis_rule_group_iterations_caught_up_total"), "2");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_always_slow_falls_no_further_behind() {
    let mut stage = stage(false).await;
    stage.world.slow("up == 0", Duration::from_secs(14));
    stage.until("ten evaluations", |stage| stage.world.asked("up == 0").len() == 10).await;
    let caught_up = stage.metric("valmis_rule_group_iterations_caught_up_total");
    stage.until("fifty evaluations", |stage| stage.world.asked("up == 0").len() == 50).await;
    assert_eq!(stage.metric("valmis_rule_group_iterations_caught_up_total"), caught_up);
    let late = stage.now() - stage.world.asked("up == 0").last().unwrap();
    assert!(late <= 10 * SECOND, "{late}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_concluded_from_time_in_which_nothing_was_scraped() {
    let mut stage = stage(false).await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.until("it fires", |stage| stage.world.sent().len() == 1).await;
    let evaluated = stage.world.asked("sum(up)").len();
    // Everything in the store is out of date by then.
    stage.world.answer("up == 0", vector(&[]));
    stage.stopped(600).await;
    let back = stage.now();
    stage.until("sent again", |stage| stage.world.sent().len() == 2).await;
    assert!(stage.now() - back <= 10 * SECOND, "at once");
    let again = stage.world.sent()[1].clone();
    assert!(!again.resolved);
    assert_eq!(
        again.annotations.get("evaluation_error"),
        "nothing was scraped while the process did not run"
    );
    stage.until("evaluated", |stage| stage.world.asked("sum(up)").len() > evaluated).await;
    let first = stage.world.asked("sum(up)")[evaluated];
    assert!((back + 20 * SECOND..back + 30 * SECOND).contains(&first), "when everything was scraped again");
    stage.until("it ends", |stage| stage.world.sent().last().unwrap().resolved).await;
    assert_eq!(stage.metric("valmis_process_pauses_total"), "1");
    assert_eq!(stage.metric("valmis_rule_group_iterations_caught_up_total"), "0");
}

#[tokio::test(start_paused = true)]
async fn a_pause_does_not_count_as_held() {
    let stage = stage(false).await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.until("it is pending", |stage| stage.alert("Down").is_some()).await;
    let pending = stage.now();
    stage.stopped(600).await;
    stage.until("it fires", |stage| !stage.world.sent().is_empty()).await;
    assert!(stage.now() - pending >= (600 + 120) * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_goes_on_alone_is_asked_what_happened_meanwhile() {
    let stage = stage(true).await;
    let down_at = stage.now() + 300 * SECOND;
    stage.world.answer_from("up == 0", down_at, vector(&[("a", 0.0)]));
    stage.stopped(600).await;
    stage.until("it fires", |stage| !stage.world.sent().is_empty()).await;
    assert_eq!(stage.distances().iter().max(), Some(&1), "every slot was evaluated");
    let fired = stage.world.sent()[0].clone();
    assert!(
        (down_at + 120 * SECOND..down_at + 131 * SECOND).contains(&fired.starts_at),
        "when it would have"
    );
    assert!(fired.ends_at > stage.now(), "Alertmanager must not take it for resolved");
}

#[tokio::test(start_paused = true)]
async fn what_came_and_went_meanwhile_pages_nobody() {
    let stage = stage(true).await;
    let down_at = stage.now() + 100 * SECOND;
    stage.world.answer_from("up == 0", down_at, vector(&[("a", 0.0)]));
    stage.world.answer_from("up == 0", down_at + 200 * SECOND, vector(&[]));
    stage.stopped(600).await;
    stage.until("all is evaluated", |stage| stage.world.asked("up == 0").len() > 66).await;
    let sent = stage.world.sent();
    assert!(sent.iter().all(|alert| alert.resolved), "{sent:?}");
    let fires = r#"{__name__="ALERTS", alertname="Down", alertstate="firing", instance="a"}"#;
    assert!(!stage.world.points(fires).is_empty(), "it can be looked up");
}

#[tokio::test(start_paused = true)]
async fn how_much_is_made_up_for_is_limited() {
    let mut stage = stage(true).await;
    let limited = Config { catch_up_ms: 60_000, ..config() };
    stage.manager.apply(&files(RULES), limited, &Origins::new()).await;
    stage.until("it goes on", |stage| stage.world.asked("sum(up)").len() == 6).await;
    stage.stopped(600).await;
    stage.until("evaluated", |stage| stage.world.asked("sum(up)").len() > 12).await;
    assert_eq!(stage.metric("valmis_rule_group_iterations_caught_up_total"), "6");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_source_that_went_on_is_asked_what_was_missed() {
    let stage = stage(true).await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.until("it is pending", |stage| stage.alert("Down").is_some()).await;
    let since = stage.alert("Down").unwrap().active_at;
    let Stage { world, began, manager } = stage;
    manager.shutdown().await;
    sleep(Duration::from_mins(10)).await;
    let mut stage = Stage::with(world, began).await;
    stage.manager.apply(&files(RULES), config(), &Origins::new()).await;
    stage.until("it fires", |stage| !stage.world.sent().is_empty()).await;
    assert_eq!(stage.world.sent()[0].starts_at, since + 120 * SECOND);
    assert_eq!(stage.distances().iter().max(), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_ends_before_everything_was_scraped_again() {
    let check = async |newest_seconds_ago: Option<i64>, waits: bool| {
        let stage = stage(false).await;
        stage.world.answer("up == 0", vector(&[("a", 0.0)]));
        stage.until("it fires", |stage| !stage.world.sent().is_empty()).await;
        let Stage { world, began, manager } = stage;
        manager.shutdown().await;
        world.sent.lock().unwrap().clear();
        sleep(Duration::from_secs(400)).await;
        if let Some(seconds) = newest_seconds_ago {
            let at = (RuntimeClock(began).now() / SECOND - seconds) as f64;
            let newest = Value::Vector(vec![InstantSample::float(Labels::empty(), 0, at)]);
            world.answer(crate::rules::manager::NEWEST_SAMPLE, newest);
        }
        world.answer("up == 0", vector(&[]));
        let mut stage = Stage::with(world, began).await;
        stage.manager.apply(&files(RULES), config(), &Origins::new()).await;
        stage.until("sent", |stage| !stage.world.sent().is_empty()).await;
        assert_eq!(stage.world.sent()[0].resolved, !waits, "{newest_seconds_ago:?}");
        stage.until("it ends", |stage| stage.world.sent().last().unwrap().resolved).await;
    };
    check(None, true).await;
    check(Some(100), true).await;
    check(Some(15), false).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_ends_and_begins_nothing() {
    for (set_ms, direction) in [(3_600 * SECOND, "forward"), (-300 * SECOND, "backward")] {
        let mut stage = stage(false).await;
        stage.world.answer("up == 0", vector(&[("a", 0.0)]));
        stage.until("it fires", |stage| stage.world.sent().len() == 1).await;
        // What the store says about other times is not what is now.
        stage.world.answer("up == 0", vector(&[("b", 0.0)]));
        let (before, evaluated) = (stage.now(), stage.world.asked("sum(up)").len());
        stage.world.clock_set.store(set_ms, Ordering::Relaxed);
        sleep(Duration::from_secs(15)).await;
        assert_eq!(stage.world.asked("sum(up)").len(), evaluated, "{direction}");
        assert!(stage.world.sent().iter().all(|alert| !alert.resolved), "{direction}");
        assert_eq!(stage.rule("Down").alerts.len(), 1, "{direction}");
        stage.until("evaluated", |stage| stage.world.asked("sum(up)").len() > evaluated).await;
        assert!(stage.now() > before, "{direction}");
        assert_eq!(stage.metric(&format!(r#"valmis_clock_steps_total{{direction="{direction}"}}"#)), "1");
    }
}

/// A group that has been evaluated five times, in a process that waits ten minutes for a clock that was set
/// back. One alert fires.
async fn firing(world: Arc<World>, began: Instant) -> Stage {
    world.answer("sum(up)", Value::Scalar { at: 0, value: 1.0 });
    world.answer("up == 0", vector(&[("a", 0.0)]));
    let mut stage = Stage::with(world, began).await;
    stage.manager.apply(&files(RULES), Config { error_hold_ms: 600_000, ..config() }, &Origins::new()).await;
    stage.until("it fires", |stage| !stage.world.sent().is_empty()).await;
    stage
}

#[tokio::test(start_paused = true)]
async fn a_process_that_began_with_the_clock_ahead_is_not_blind_until_then() {
    for ahead in [7_200 * SECOND, 365 * 86_400 * SECOND] {
        let world = Arc::<World>::default();
        world.clock_set.store(ahead, Ordering::Relaxed);
        let stage = firing(world, Instant::now()).await;
        let (set_back, evaluated) = (Instant::now(), stage.world.asked("sum(up)").len());
        stage.world.sent.lock().unwrap().clear();
        stage.world.clock_set.store(0, Ordering::Relaxed);
        stage.until("evaluated", |stage| stage.world.asked("sum(up)").len() > evaluated).await;
        let waited = set_back.elapsed().as_secs();
        assert!((590..=630).contains(&waited), "{waited}: as long as a clock is waited for");
        let sent = stage.world.sent();
        assert!(sent.len() >= 8, "it is sent on meanwhile: {}", sent.len());
        assert!(sent.iter().all(|alert| !alert.resolved && alert.starts_at <= stage.now()), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_the_clock_set_back_concludes_nothing_from_what_was_before() {
    let check = async |newest: bool, reload: bool| {
        let Stage { world, began, manager } = firing(Arc::default(), Instant::now()).await;
        let before = RuntimeClock(began).now();
        manager.shutdown().await;
        if newest {
            // What is stored says less than the samples.
            let at = (before / SECOND) as f64;
            let newest = Value::Vector(vec![InstantSample::float(Labels::empty(), 0, at)]);
            world.answer(crate::rules::manager::NEWEST_SAMPLE, newest);
            let keys = world.store.rules().await.unwrap().into_iter().map(|rule| Arc::new(rule.key));
            let changes = Changes { removed_rules: keys.collect(), ..Changes::default() };
            world.store.commit(changes).await.unwrap();
        }
        let evaluated = world.asked("sum(up)").len();
        world.clock_set.store(-300 * SECOND, Ordering::Relaxed);
        let mut stage = Stage::with(world, began).await;
        stage.manager.apply(&files(RULES), config(), &Origins::new()).await;
        if reload {
            sleep(Duration::from_secs(15)).await;
            let changed = RULES.replace("for: 2m", "for: 3m");
            stage.manager.apply(&files(&changed), config(), &Origins::new()).await;
        }
        stage.until("evaluated", |stage| stage.world.asked("sum(up)").len() > evaluated).await;
        let first = stage.world.asked("sum(up)")[evaluated];
        assert!(first >= before + 20 * SECOND, "{newest} {reload}");
    };
    check(false, false).await;
    check(true, false).await;
    check(false, true).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_first_start_nothing_is_concluded_before_everything_was_scraped() {
    let mut stage = Stage::new().await;
    stage.world.answer("sum(up)", Value::Scalar { at: 0, value: 1.0 });
    stage.world.answer("up == 0", vector(&[]));
    stage.manager.apply(&files(RULES), config(), &Origins::new()).await;
    stage.until("evaluated", |stage| !stage.world.asked("sum(up)").is_empty()).await;
    let first = stage.world.asked("sum(up)")[0] - BEGIN;
    assert!((20 * SECOND..30 * SECOND).contains(&first), "{first}");
}

#[tokio::test(start_paused = true)]
async fn time_that_the_clock_was_set_over_is_not_made_up_for() {
    let mut stage = stage(true).await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.until("it is pending", |stage| stage.alert("Down").is_some()).await;
    let pending = Instant::now();
    stage.world.clock_set.store(1_800 * SECOND, Ordering::Relaxed);
    stage.until("it fires", |stage| !stage.world.sent().is_empty()).await;
    assert!(pending.elapsed().as_secs() >= 110, "it was held for two minutes");
    assert_eq!(stage.metric("valmis_rule_group_iterations_caught_up_total"), "0");
}
