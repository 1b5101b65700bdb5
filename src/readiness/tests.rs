use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::model::{Labels, Sample, is_stale};
use crate::probe::disk::{Discovery, Mount, MountTable, StatVfs, Usage, parse};
use crate::probe::{Deadline, HistoryLimits, Log, ProbeFailure, ProbeOutcome, Prober};
use crate::storage::{AppendError, RefHistogram, RefSample, SeriesRef};

/// A store that keeps everything and is as strict about time as the real one.
#[derive(Default)]
struct Memory(Mutex<(Vec<Labels>, Vec<Sample>)>);

impl Appender for Memory {
    fn reference(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let series = &mut self.0.lock().unwrap().0;
        let known = series.iter().position(|known| known == labels);
        let index = known.unwrap_or_else(|| {
            series.push(labels.clone());
            series.len() - 1
        });
        Ok(SeriesRef(index as u64))
    }

    fn append(&self, batch: &[RefSample]) -> Vec<(usize, AppendError)> {
        let (series, samples) = &mut *self.0.lock().unwrap();
        let mut refused = Vec::new();
        for (index, sample) in batch.iter().enumerate() {
            let labels = series[sample.series.0 as usize].clone();
            let newest = samples.iter().rev().find(|known| known.labels == labels).map(|known| known.at);
            match newest {
                Some(newest) if newest > sample.at => refused.push((index, AppendError::OutOfOrder)),
                Some(newest) if newest == sample.at => refused.push((index, AppendError::Duplicate)),
                _ => samples.push(Sample::new(labels, sample.at, sample.value)),
            }
        }
        refused
    }

    fn append_histograms(&self, _: &[RefHistogram]) -> Vec<(usize, AppendError)> {
        panic!("probes yield floats")
    }
}

impl Memory {
    /// The values of the series whose labels read `series`, in order.
    fn values(&self, series: &str) -> Vec<f64> {
        let samples = &self.0.lock().unwrap().1;
        samples.iter().filter(|s| s.labels.to_string() == series).map(|s| s.value).collect()
    }
}

/// What a fake prober does next.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Good,
    Bad,
    Blind,
    Hang,
    Panic,
    Silent,
}

struct Fake {
    act: Mutex<Act>,
    probes: AtomicUsize,
    running: AtomicUsize,
    overlapped: AtomicBool,
}

impl Prober for Fake {
    fn probe(&self, deadline: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        async move {
            if self.running.fetch_add(1, Ordering::SeqCst) > 0 {
                self.overlapped.store(true, Ordering::SeqCst);
            }
            self.probes.fetch_add(1, Ordering::SeqCst);
            let act = *self.act.lock().unwrap();
            let result = match act {
                Act::Good | Act::Silent => Ok(()),
                Act::Bad => Err(ProbeFailure::new("status", "503")),
                Act::Blind => Err(ProbeFailure::unknown("mounts", "no permission")),
                Act::Hang => {
                    tokio::time::sleep_until(deadline.instant()).await;
                    Err(ProbeFailure::new("timeout", "hung"))
                }
                Act::Panic => {
                    self.running.fetch_sub(1, Ordering::SeqCst);
                    panic!("broken prober");
                }
            };
            self.running.fetch_sub(1, Ordering::SeqCst);
            let labels = Labels::from_pairs([("__name__", "probe_success")]);
            let value = f64::from(result.is_ok());
            let samples = if act == Act::Silent { vec![] } else { vec![Sample::new(labels, 0, value)] };
            ProbeOutcome { result, samples, log: vec!["looked".to_owned()].into() }
        }
        .boxed()
    }
}

fn fake(name: &str, act: Act) -> (Component, Arc<Fake>) {
    let fake = Arc::new(Fake {
        act: Mutex::new(act),
        probes: AtomicUsize::new(0),
        running: AtomicUsize::new(0),
        overlapped: AtomicBool::new(false),
    });
    let component = Component {
        key: Key { kind: Kind::App, name: name.to_owned() },
        prober: fake.clone(),
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(100),
        thresholds: Thresholds::default(),
        job: "app".to_owned(),
        instance: format!("{name}:80"),
        labels: Labels::empty(),
        counts: true,
        module: None,
        revision: 1,
    };
    (component, fake)
}

struct Fixture {
    readiness: Readiness,
    memory: Arc<Memory>,
    token: CancellationToken,
    gauges: JoinHandle<()>,
}

fn start(components: Vec<Component>) -> Fixture {
    let memory = Arc::new(Memory::default());
    let config = Config { job: "valmis".to_owned(), instance: "here".to_owned() };
    let readiness = {
        let (clock, history) = (Arc::new(SystemClock), Arc::new(History::new(HistoryLimits::default())));
        Readiness::new(config, clock, memory.clone(), history, &mut Registry::default())
    };
    let token = CancellationToken::new();
    let (handle, child) = (readiness.clone(), token.clone());
    let gauges = tokio::spawn(async move { handle.run(child).await });
    readiness.apply("test", components);
    Fixture { readiness, memory, token, gauges }
}

/// Waits until `condition` holds.
async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Fixture {
    fn component(&self, name: &str) -> ComponentReport {
        let report = self.readiness.report();
        report.components.into_iter().find(|component| component.key.name == name).expect("a known component")
    }

    async fn wait_for_state(&self, name: &str, state: State) {
        wait_for(state.as_str(), || self.component(name).state == state).await;
    }
}

fn app_series(name: &str) -> String {
    format!(r#"{{__name__="probe_success", instance="{name}:80", job="app"}}"#)
}

#[tokio::test]
async fn components_are_probed_at_once_and_all_must_be_ready() {
    let (a, act_a) = fake("a", Act::Good);
    let (b, _) = fake("b", Act::Good);
    let fixture = start(vec![Component { interval: Duration::from_hours(1), ..a.clone() }, b]);
    assert!(!fixture.readiness.report().ready);
    assert_eq!(fixture.component("a").state, State::Unknown);
    wait_for("ready", || fixture.readiness.report().ready).await;
    assert!(fixture.readiness.first_round_done());
    assert_eq!(act_a.probes.load(Ordering::SeqCst), 1);
    let gauge = r#"{__name__="valmis_ready", instance="here", job="valmis"}"#;
    wait_for("the gauge", || fixture.memory.values(gauge).last() == Some(&1.0)).await;
    assert_eq!(fixture.memory.values(&app_series("a")), [1.0]);
    assert_eq!(fixture.readiness.stalled(), []);
}

#[tokio::test]
async fn nothing_to_watch_is_not_ready() {
    let fixture = start(vec![]);
    assert!(!fixture.readiness.report().ready);
    assert!(fixture.readiness.first_round_done());
    assert!(fixture.readiness.samples().is_empty());
}

#[tokio::test]
async fn a_restart_neither_pages_nor_ends_a_page_before_all_have_answered() {
    let (quick, _) = fake("quick", Act::Good);
    let (slow, _) = fake("slow", Act::Hang);
    let fixture = start(vec![quick, Component { timeout: Duration::from_millis(300), ..slow }]);
    fixture.wait_for_state("quick", State::Ready).await;
    let gauge = r#"{__name__="valmis_ready", instance="here", job="valmis"}"#;
    assert!(!fixture.readiness.first_round_done());
    assert_eq!(fixture.memory.values(gauge), [0.0; 0]);
    fixture.wait_for_state("slow", State::NotReady).await;
    wait_for("the gauge", || !fixture.memory.values(gauge).is_empty()).await;
    assert!(fixture.memory.values(gauge).iter().all(|value| *value == 0.0));
    let (third, _) = fake("third", Act::Good);
    fixture.readiness.apply("other", vec![third]);
    fixture.wait_for_state("third", State::Ready).await;
    assert!(fixture.memory.values(gauge).iter().all(|value| *value == 0.0));
}

#[tokio::test]
async fn a_failure_shows_its_reason_and_recovery_takes_two_results() {
    let (component, fake) = fake("a", Act::Good);
    let fixture = start(vec![component]);
    fixture.wait_for_state("a", State::Ready).await;
    *fake.act.lock().unwrap() = Act::Bad;
    fixture.wait_for_state("a", State::NotReady).await;
    let report = fixture.component("a");
    assert_eq!((report.failure_kind, report.reason.as_deref()), (Some("status"), Some("503")));
    assert_eq!(report.last_failure.as_ref().map(|failure| failure.log[0].text.as_str()), Some("looked"));
    *fake.act.lock().unwrap() = Act::Blind;
    wait_for("a blind probe", || fixture.component("a").failure_kind == Some("mounts")).await;
    assert_eq!(fixture.component("a").state, State::NotReady);
    *fake.act.lock().unwrap() = Act::Good;
    fixture.wait_for_state("a", State::Ready).await;
    let report = fixture.component("a");
    assert_eq!((report.reason, report.changes), (None, 3));
}

#[tokio::test]
async fn a_fault_is_confirmed_long_before_the_next_slot() {
    let (component, fake) = fake("a", Act::Good);
    let thresholds = Thresholds { failure: 4, success: 3 };
    let interval = Duration::from_secs(2);
    let fixture = start(vec![Component { interval, thresholds, ..component }]);
    fixture.wait_for_state("a", State::Ready).await;
    *fake.act.lock().unwrap() = Act::Bad;
    wait_for("a first failure", || fixture.component("a").last_failure.is_some()).await;
    let began = Instant::now();
    fixture.wait_for_state("a", State::NotReady).await;
    assert!(began.elapsed() < interval * 2, "{:?} for three more probes", began.elapsed());
    *fake.act.lock().unwrap() = Act::Good;
    fixture.wait_for_state("a", State::Ready).await;
    assert!(began.elapsed() < interval * 5, "{:?} to recover", began.elapsed());
}

#[tokio::test]
async fn a_component_that_hangs_or_panics_concerns_no_other() {
    let (hung, hung_fake) = fake("hung", Act::Hang);
    let (panicking, _) = fake("panicking", Act::Panic);
    let (good, good_fake) = fake("good", Act::Good);
    let fixture = start(vec![hung, panicking, good]);
    fixture.wait_for_state("good", State::Ready).await;
    fixture.wait_for_state("hung", State::NotReady).await;
    wait_for("the panic", || fixture.component("panicking").failure_kind == Some("panic")).await;
    assert_eq!(fixture.component("panicking").state, State::Unknown);
    assert_eq!(fixture.component("panicking").reason.as_deref(), Some("the probe panicked: broken prober"));
    let before = good_fake.probes.load(Ordering::SeqCst);
    wait_for("more probes", || good_fake.probes.load(Ordering::SeqCst) > before + 5).await;
    assert!(!hung_fake.overlapped.load(Ordering::SeqCst), "a hung probe overlapped itself");
    assert_eq!(fixture.component("good").state, State::Ready);
}

#[tokio::test]
async fn series_that_vanish_end_with_a_staleness_marker() {
    let (component, fake) = fake("a", Act::Good);
    let fixture = start(vec![component]);
    wait_for("a value", || !fixture.memory.values(&app_series("a")).is_empty()).await;
    *fake.act.lock().unwrap() = Act::Silent;
    wait_for("the end", || fixture.memory.values(&app_series("a")).last().is_some_and(|v| is_stale(*v)))
        .await;
    *fake.act.lock().unwrap() = Act::Good;
    wait_for("a value again", || fixture.memory.values(&app_series("a")).last() == Some(&1.0)).await;
    fixture.readiness.apply("test", vec![]);
    wait_for("the end", || fixture.memory.values(&app_series("a")).last().is_some_and(|v| is_stale(*v)))
        .await;
    assert!(fixture.readiness.report().components.is_empty());
    let gauge =
        r#"{__name__="valmis_component_ready", component="app", instance="here", job="valmis", name="a"}"#;
    wait_for("the gauge's end", || fixture.memory.values(gauge).last().is_some_and(|v| is_stale(*v))).await;
}

#[tokio::test]
async fn reloading_keeps_unchanged_components_and_replaces_changed_ones() {
    let (a, old_a) = fake("a", Act::Good);
    let (b, old_b) = fake("b", Act::Good);
    let fixture = start(vec![a, b]);
    wait_for("ready", || fixture.readiness.report().ready).await;
    let since = fixture.component("a").since;
    let (a, new_a) = fake("a", Act::Good);
    let (b, new_b) = fake("b", Act::Bad);
    fixture.readiness.apply("test", vec![a, Component { revision: 2, ..b }]);
    fixture.wait_for_state("b", State::NotReady).await;
    assert!(new_b.probes.load(Ordering::SeqCst) > 0);
    assert_eq!(fixture.component("a").since, since);
    assert_eq!(new_a.probes.load(Ordering::SeqCst), 0);
    let before = old_b.probes.load(Ordering::SeqCst);
    let a_before = old_a.probes.load(Ordering::SeqCst);
    wait_for("probes of a", || old_a.probes.load(Ordering::SeqCst) > a_before + 3).await;
    assert_eq!(old_b.probes.load(Ordering::SeqCst), before);
    assert!(fixture.readiness.first_round_done());
    let values = fixture.memory.values(&app_series("b"));
    assert_eq!(values.iter().filter(|value| is_stale(**value)).count(), 1, "{values:?}");
    assert_eq!(values.last(), Some(&0.0));
}

#[tokio::test]
async fn owners_do_not_disturb_one_another() {
    let (a, _) = fake("a", Act::Good);
    let (b, _) = fake("b", Act::Good);
    let (other_a, other_fake) = fake("a", Act::Bad);
    let fixture = start(vec![a]);
    fixture.readiness.apply("other", vec![other_a, b]);
    wait_for("ready", || fixture.readiness.report().ready).await;
    assert_eq!(other_fake.probes.load(Ordering::SeqCst), 0);
    fixture.readiness.apply("other", vec![]);
    assert_eq!(fixture.component("a").state, State::Ready);
    assert_eq!(fixture.readiness.report().components.len(), 1);
}

#[tokio::test]
async fn stopping_ends_the_probes_but_not_their_series() {
    let (component, fake) = fake("a", Act::Good);
    let fixture = start(vec![component]);
    fixture.wait_for_state("a", State::Ready).await;
    fixture.token.cancel();
    fixture.gauges.await.unwrap();
    let probes = fake.probes.load(Ordering::SeqCst);
    let values = fixture.memory.values(&app_series("a"));
    assert!(values.iter().all(|value| !is_stale(*value)), "{values:?}");
    tokio::task::yield_now().await;
    assert_eq!(fake.probes.load(Ordering::SeqCst), probes);
}

#[test]
fn a_result_that_is_too_old_makes_a_ready_component_unknown() {
    let (component, _) = fake("a", Act::Good);
    let check = |result: Result<(), ProbeFailure>, age: Duration, expected: State| {
        let cell = Cell::new(component.clone(), Instant::now());
        let outcome = ProbeOutcome { result, samples: vec![], log: Log::default() };
        let started = Instant::now();
        cell.record(SystemClock.now(), started, outcome, Arc::new([]), Dropped::default());
        cell.age_by(age);
        let report = cell.report();
        assert_eq!(report.state, expected, "{age:?}");
        report
    };
    // Three intervals of 20 ms and a timeout of 100 ms.
    check(Ok(()), Duration::from_millis(0), State::Ready);
    let report = check(Ok(()), Duration::from_secs(2), State::Unknown);
    assert_eq!(report.failure_kind, Some("silent"));
    assert_eq!(report.reason.as_deref(), Some("no result for 2s, though probed every 20ms"));
    let bad = Err(ProbeFailure::new("status", "503"));
    check(bad, Duration::from_secs(2), State::NotReady);
}

#[tokio::test]
async fn metrics_are_grouped_and_described() {
    let (a, _) = fake("a", Act::Good);
    let (b, _) = fake("b", Act::Bad);
    let fixture = start(vec![a, b]);
    wait_for("a first round", || fixture.readiness.first_round_done()).await;
    let families = fixture.readiness.samples();
    let mut described: Vec<_> =
        families.iter().map(|family| (family.name.as_str(), family.samples.len())).collect();
    described.sort_unstable();
    let expected = [
        ("probe_success", 2),
        ("valmis_component_last_probe_timestamp_seconds", 2),
        ("valmis_component_probe_age_seconds", 2),
        ("valmis_component_probe_duration_seconds", 2),
        ("valmis_component_ready", 2),
        ("valmis_component_series_dropped", 2),
        ("valmis_component_state", 6),
        ("valmis_component_state_changes_total", 2),
        ("valmis_ready", 1),
    ];
    assert_eq!(described, expected);
    let up = families.iter().find(|family| family.name == "probe_success").unwrap();
    assert_eq!(
        (up.metric_type, up.help.as_str()),
        ("gauge", "Displays whether or not the probe was a success")
    );
}

/// What a file of a job, or a query of the user without a limit, can bring.
struct Flood;

impl Prober for Flood {
    fn probe(&self, _: Deadline) -> BoxFuture<'_, ProbeOutcome> {
        let metric = |name: &'static str, series: u32| {
            (0..series).map(move |id| {
                let id = id.to_string();
                Sample::new(Labels::from_pairs([("__name__", name), ("id", id.as_str())]), 0, 1.0)
            })
        };
        let samples = metric("flood", 100_000).chain(metric("well", 3)).collect();
        std::future::ready(ProbeOutcome { result: Ok(()), samples, log: Log::default() }).boxed()
    }
}

#[tokio::test]
async fn a_component_that_tells_too_much_loses_its_largest_metrics() {
    let (mut component, _) = fake("a", Act::Good);
    component.prober = Arc::new(Flood);
    component.timeout = Duration::from_secs(30);
    component.interval = Duration::from_mins(1);
    let fixture = start(vec![component]);
    wait_for("a first round", || fixture.readiness.first_round_done()).await;
    let families = fixture.readiness.samples();
    let series = |name: &str| {
        families.iter().find(|family| family.name == name).map_or(0, |family| family.samples.len())
    };
    assert_eq!((series("flood"), series("well")), (0, 3));
    let stored = fixture.memory.0.lock().unwrap();
    assert!(stored.0.iter().all(|labels| labels.metric_name() != "flood"));
}

struct Table(Mutex<String>);

impl MountTable for Table {
    fn mounts(&self) -> std::io::Result<Vec<Mount>> {
        Ok(parse(&*self.0.lock().unwrap()).0)
    }
}

struct HalfFull;

impl StatVfs for HalfFull {
    fn resolve(&self, path: &std::path::Path) -> std::io::Result<std::path::PathBuf> {
        Ok(path.to_owned())
    }

    fn statvfs(&self, _path: &std::path::Path) -> std::io::Result<Usage> {
        Ok(Usage {
            block_size_bytes: 4096,
            blocks: 100,
            blocks_free: 50,
            blocks_available: 50,
            files: 0,
            files_free: 0,
        })
    }
}

#[tokio::test]
async fn disks_come_and_go_with_the_table_of_mounts() {
    let root = "1 0 8:1 / / rw - ext4 /dev/sda1 rw";
    let table = Arc::new(Table(Mutex::new(root.to_owned())));
    let fixture = start(vec![]);
    let config = disks::Config {
        refresh: Duration::from_millis(10),
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        thresholds: Thresholds::default(),
        job: "node".to_owned(),
        instance: "host".to_owned(),
    };
    let disks = disks::Disks::new(config, Discovery::default(), table.clone(), Arc::new(HalfFull));
    let (readiness, token) = (fixture.readiness.clone(), fixture.token.clone());
    let search = tokio::spawn(async move { disks.run(&readiness, token).await });
    let names = || {
        let report = fixture.readiness.report();
        report.components.into_iter().map(|component| component.key.name).collect::<Vec<_>>()
    };
    wait_for("the root", || names() == ["/"]).await;
    fixture.wait_for_state("/", State::Ready).await;
    *table.0.lock().unwrap() = format!("{root}\n2 1 8:2 / /data rw - xfs /dev/sdb rw");
    wait_for("the new disk", || names() == ["/", "/data"]).await;
    fixture.wait_for_state("/data", State::Ready).await;
    *table.0.lock().unwrap() = root.to_owned();
    wait_for("its end", || names() == ["/"]).await;
    fixture.token.cancel();
    search.await.unwrap();
}
