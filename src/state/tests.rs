use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::*;
use crate::model::LineColumn;

fn key(rule: &str) -> RuleKey {
    RuleKey {
        file: "rules/db.yml".to_owned(),
        group: "db".to_owned(),
        rule: rule.to_owned(),
        labels: "{}".to_owned(),
        ordinal: 0,
    }
}

fn alert(instance: &str, value: f64) -> AlertRecord {
    AlertRecord {
        labels: Labels::from_pairs([("alertname", "Down"), ("instance", instance)]),
        annotations: Labels::from_pairs([("summary", "it is down")]),
        value,
        state: AlertState::Firing,
        active_at: 1_000,
        fired_at: Some(61_000),
        resolved_at: None,
        keep_firing_since: Some(121_000),
        absence: Some(Absence { seen_at: 61_000, missing_since: Some(121_000) }),
        severity: Some(Severity {
            current: "critical".to_owned(),
            lower_since: Some(3),
            former: vec![("warning".to_owned(), 2)],
        }),
    }
}

fn version() -> RuleVersion {
    RuleVersion {
        expr: "up == 0".to_owned(),
        version: "v1".to_owned(),
        place: LineColumn { line: 3, column: 5 },
        external_labels: Labels::from_pairs([("cluster", "c"), ("instance", "never")]),
    }
}

fn rule_changes(rule: &str, alerts: Vec<AlertRecord>, removed: Vec<u64>) -> Changes {
    let (key, rule) = (Arc::new(key(rule)), Arc::new(version()));
    let changes = RuleChanges { key, rule, evaluated_at: 7, alerts, removed, transitions: Vec::new() };
    Changes { rules: vec![changes], ..Changes::default() }
}

fn entry(fingerprint: u64, sequence: u64) -> OutboxEntry {
    OutboxEntry { alertmanager: "http://am:9093".to_owned(), fingerprint, sequence, payload: vec![1, 2] }
}

fn redb(folder: &Path) -> RedbStore {
    RedbStore::open(&folder.join("state.redb"), LedgerLimits::default(), metrics::Metrics::default())
        .expect("the store opens")
}

async fn both(check: impl AsyncFn(&dyn StateStore)) {
    check(&MemoryStore::default()).await;
    let folder = tempfile::tempdir().unwrap();
    check(&redb(folder.path())).await;
}

#[tokio::test]
async fn alerts_are_read_back_as_written() {
    both(async |store| {
        let alerts = vec![alert("a", f64::NEG_INFINITY), alert("b", crate::model::stale_nan())];
        store.commit(rule_changes("Down", alerts.clone(), vec![])).await.unwrap();
        let stored = store.rules().await.unwrap();
        assert_eq!(stored.len(), 1);
        assert_eq!((&stored[0].key, stored[0].evaluated_at), (&key("Down"), 7));
        for alert in &stored[0].alerts {
            let written = alerts.iter().find(|written| written.labels == alert.labels).unwrap();
            assert_eq!(alert.value.to_bits(), written.value.to_bits());
            assert_eq!(
                AlertRecord { value: 0.0, ..alert.clone() },
                AlertRecord { value: 0.0, ..written.clone() }
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_rule_without_alerts_leaves_nothing_behind() {
    both(async |store| {
        let fingerprint = alert("a", 1.0).labels.hash64();
        store.commit(rule_changes("Down", vec![alert("a", 1.0)], vec![])).await.unwrap();
        store.commit(rule_changes("Up", vec![alert("a", 1.0), alert("b", 1.0)], vec![])).await.unwrap();
        store.commit(rule_changes("Down", vec![], vec![fingerprint])).await.unwrap();
        let stored = store.rules().await.unwrap();
        assert_eq!(stored.iter().map(|rule| rule.key.rule.as_str()).collect::<Vec<_>>(), ["Up"]);
        let removed = Changes { removed_rules: vec![Arc::new(key("Up"))], ..Changes::default() };
        store.commit(removed).await.unwrap();
        assert_eq!(store.rules().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_newer_outbox_entry_replaces_the_older_and_outlives_its_acknowledgement() {
    both(async |store| {
        let put = |entry| Changes { outbox: vec![entry], ..Changes::default() };
        let done = |fingerprint, sequence| Changes {
            delivered: vec![OutboxKey { alertmanager: "http://am:9093".to_owned(), fingerprint, sequence }],
            ..Changes::default()
        };
        store.commit(put(entry(2, 1))).await.unwrap();
        store.commit(put(entry(1, 2))).await.unwrap();
        store.commit(put(entry(2, 3))).await.unwrap();
        assert_eq!(store.outbox().await.unwrap(), [entry(1, 2), entry(2, 3)]);
        store.commit(done(2, Some(1))).await.unwrap();
        store.commit(done(1, Some(2))).await.unwrap();
        assert_eq!(store.outbox().await.unwrap(), [entry(2, 3)]);
        store.commit(done(2, None)).await.unwrap();
        assert_eq!(store.outbox().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = redb(folder.path());
    store.commit(rule_changes("Down", vec![alert("a", 1.0)], vec![])).await.unwrap();
    store.commit(Changes { outbox: vec![entry(1, 1)], ..Changes::default() }).await.unwrap();
    drop(store);
    let store = redb(folder.path());
    assert_eq!(store.rules().await.unwrap()[0].alerts, [alert("a", 1.0)]);
    assert_eq!(store.outbox().await.unwrap(), [entry(1, 1)]);
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_crash() {
    // A copy of the file while it is open is what a killed process leaves behind.
    let folder = tempfile::tempdir().unwrap();
    let store = redb(folder.path());
    store.commit(rule_changes("Down", vec![alert("a", 1.0)], vec![])).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("state.redb"), other.path().join("state.redb")).unwrap();
    assert_eq!(redb(other.path()).rules().await.unwrap()[0].alerts, [alert("a", 1.0)]);
}

#[tokio::test]
async fn commits_of_many_at_once_are_all_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = redb(folder.path());
    let all = (0..200)
        .map(|number| store.commit(rule_changes(&format!("rule-{number}"), vec![alert("a", 1.0)], vec![])));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(store.rules().await.unwrap().len(), 200);
}

type Damage = fn(&Path);

#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_never_overwritten() {
    let damage: [(&str, Damage); 4] = [
        ("no database", |path| {
            fs::write(path, "this is no database, but it is long enough to be one").unwrap();
        }),
        ("cut short", |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4096).unwrap();
        }),
        ("header overwritten", |path| {
            let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all(&[0xAB; 512]).unwrap();
        }),
        ("pages overwritten", |path| {
            let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
            file.seek(SeekFrom::Start(4096)).unwrap();
            file.write_all(&vec![0xAB; usize::try_from(length).unwrap() - 4096]).unwrap();
        }),
    ];
    for (name, damage) in damage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let store = redb(folder.path());
        store.commit(rule_changes("Down", vec![alert("a", 1.0)], vec![])).await.unwrap();
        drop(store);
        damage(&path);
        let damaged = fs::read(&path).unwrap();

        let metrics = metrics::Metrics::default();
        let store = RedbStore::open(&path, LedgerLimits::default(), metrics.clone())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(metrics.files_moved_aside.get(), 1, "{name}");
        assert_eq!(store.rules().await.unwrap(), [], "{name}");
        let aside = fs::read(folder.path().join("state.redb.damaged-1")).unwrap();
        assert_eq!(aside.len(), damaged.len(), "{name}");
        store.commit(rule_changes("Down", vec![alert("a", 1.0)], vec![])).await.unwrap();
        assert_eq!(store.rules().await.unwrap().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_file_of_a_later_version_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    {
        let database = ::redb::Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = ::redb::TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(table).unwrap().insert("schema", 99).unwrap();
        transaction.commit().unwrap();
    }
    let metrics = metrics::Metrics::default();
    let store = RedbStore::open(&path, LedgerLimits::default(), metrics.clone()).unwrap();
    assert_eq!(metrics.files_moved_aside.get(), 1);
    assert_eq!(store.rules().await.unwrap(), []);
}

#[tokio::test]
async fn a_file_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _open = redb(folder.path());
    let second = RedbStore::open(
        &folder.path().join("state.redb"),
        LedgerLimits::default(),
        metrics::Metrics::default(),
    );
    assert!(matches!(second, Err(StateError::InUse(_))), "{second:?}");
}

#[test]
fn a_fresh_store_is_small() {
    let folder = tempfile::tempdir().unwrap();
    drop(redb(folder.path()));
    let size = fs::metadata(folder.path().join("state.redb")).unwrap().len();
    assert!(size < 2_000_000, "{size} bytes");
}

#[test]
fn a_record_with_fields_of_a_later_version_can_be_read() {
    let text = r#"{"labels":[["a","b"]],"value_bits":0,"state":"pending","active_at":5,"mood":"good"}"#;
    let alert = record::decode(text.as_bytes()).unwrap();
    assert_eq!((alert.state, alert.active_at, alert.fired_at), (AlertState::Pending, 5, None));
    assert!(record::decode(b"{}").is_err());
}

fn transition(at: TimestampMs, to: Phase, instance: &str) -> Transition {
    let labels = Labels::from_pairs([("alertname", "Down"), ("instance", instance)]);
    let input = Input { labels: labels.without_metric_name(), value: f64::NEG_INFINITY };
    let evidence = Evidence { selector: "up".to_owned(), inputs: vec![input], more: true };
    Transition {
        at,
        from: Some(Phase::Pending),
        to,
        labels,
        severity: None,
        value: f64::INFINITY,
        active_at: 5,
        error: (to == Phase::Held).then(|| "boom".to_owned()),
        evidence: Some(vec![evidence]),
    }
}

fn with_transitions(transitions: Vec<Transition>) -> Changes {
    let mut changes = rule_changes("Down", vec![], vec![]);
    changes.rules[0].transitions = transitions;
    changes
}

#[tokio::test]
async fn the_ledger_is_read_back_newest_first_by_fingerprint_name_and_time() {
    both(async |store| {
        let steps = [(10, Phase::Firing, "a"), (10, Phase::Held, "b"), (20, Phase::Resolved, "a")];
        let steps = steps.map(|(at, to, instance)| transition(at, to, instance));
        store.commit(with_transitions(steps[..2].to_vec())).await.unwrap();
        store.commit(with_transitions(steps[2..].to_vec())).await.unwrap();
        let check = async |question: LedgerQuestion, expected: &[usize]| {
            let found = store.ledger(question.clone()).await.unwrap();
            let found: Vec<_> = found.into_iter().map(|entry| entry.transition).collect();
            let expected: Vec<_> = expected.iter().map(|place| steps[*place].clone()).collect();
            assert_eq!(found, expected, "{question:?}");
        };
        let all = LedgerQuestion { limit: 9, ..LedgerQuestion::default() };
        check(all.clone(), &[2, 1, 0]).await;
        check(LedgerQuestion { limit: 2, ..all.clone() }, &[2, 1]).await;
        check(LedgerQuestion { since: Some(11), ..all.clone() }, &[2]).await;
        check(LedgerQuestion { alert: Some("Up".to_owned()), ..all.clone() }, &[]).await;
        check(LedgerQuestion { alert: Some("Down".to_owned()), ..all.clone() }, &[2, 1, 0]).await;
        let own = fingerprint(&steps[0].labels);
        check(LedgerQuestion { fingerprint: Some(own), ..all.clone() }, &[2, 0]).await;
        let sent = fingerprint(&steps[0].labels.with("cluster", "c"));
        check(LedgerQuestion { fingerprint: Some(sent), ..all.clone() }, &[2, 0]).await;
        let entry = &store.ledger(all).await.unwrap()[0];
        assert_eq!((&*entry.rule, entry.key.group.as_str()), (&version(), "db"));
        assert_eq!((entry.fingerprint(), entry.own_fingerprint()), (sent, own));
    })
    .await;
}

#[tokio::test]
async fn a_step_that_stands_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = redb(folder.path());
    let steps = |number: usize| {
        let steps = [(Phase::Firing, "a"), (Phase::Firing, "b"), (Phase::Held, "a")];
        with_transitions(steps[..number].iter().map(|(to, instance)| transition(10, *to, instance)).collect())
    };
    // As after commits that took too long, but succeeded.
    for number in [1, 2, 2, 3] {
        store.commit(steps(number)).await.unwrap();
    }
    let mut other = steps(1);
    other.rules[0].key = Arc::new(key("Up"));
    store.commit(other).await.unwrap();
    let all = LedgerQuestion { limit: 9, ..LedgerQuestion::default() };
    let entries = store.ledger(all).await.unwrap();
    let found: Vec<_> = entries.iter().map(|entry| (entry.key.rule.as_str(), entry.transition.to)).collect();
    let expected =
        [("Up", Phase::Firing), ("Down", Phase::Held), ("Down", Phase::Firing), ("Down", Phase::Firing)];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn whoever_relies_on_the_store_can_tell_that_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = redb(folder.path());
    let ended = store.ended();
    store.commit(rule_changes("Down", vec![alert("a", 1.0)], vec![])).await.unwrap();
    assert!(!ended.is_cancelled());
    drop(store);
    assert!(ended.is_cancelled());
}

#[tokio::test]
async fn the_ledger_forgets_what_is_too_old_and_what_is_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let limits = LedgerLimits { retention_ms: 100, max_entries: 3 };
    let open = || RedbStore::open(&folder.path().join("state.redb"), limits, metrics::Metrics::default());
    let store = open().unwrap();
    let all = LedgerQuestion { limit: 9, ..LedgerQuestion::default() };
    let instants = async |store: &RedbStore| {
        let entries = store.ledger(all.clone()).await.unwrap();
        entries.iter().map(|entry| entry.transition.at).collect::<Vec<_>>()
    };
    assert!(instants(&store).await.is_empty());
    for at in [0, 50, 100] {
        store.commit(with_transitions(vec![transition(at, Phase::Firing, "a")])).await.unwrap();
    }
    assert_eq!(instants(&store).await, [100, 50, 0]);
    store.commit(with_transitions(vec![transition(101, Phase::Firing, "a")])).await.unwrap();
    assert_eq!(instants(&store).await, [101, 100, 50]);
    let twice = vec![transition(102, Phase::Firing, "a"), transition(102, Phase::Firing, "b")];
    store.commit(with_transitions(twice)).await.unwrap();
    drop(store);
    assert_eq!(instants(&open().unwrap()).await, [102, 102, 101], "also after a start");
}
#[tokio::test]
async fn heartbeats_are_replaced_and_removed_by_name() {
    both(async |store| {
        assert_eq!(store.heartbeats().await.unwrap(), []);
        let (one, other) = (HeartbeatRecord::declared("one", 5), HeartbeatRecord::declared("other", 6));
        let put =
            |record: &HeartbeatRecord| Changes { heartbeats: vec![record.clone()], ..Changes::default() };
        store.commit(put(&one)).await.unwrap();
        store.commit(put(&other)).await.unwrap();
        let told =
            HeartbeatRecord { last_success: Some(7), last_start: Some(8), last_failure: Some(9), ..one };
        store.commit(put(&told)).await.unwrap();
        assert_eq!(store.heartbeats().await.unwrap(), [told.clone(), other]);
        let removed = Changes { removed_heartbeats: vec!["other".to_owned()], ..Changes::default() };
        store.commit(removed).await.unwrap();
        assert_eq!(store.heartbeats().await.unwrap(), [told]);
    })
    .await;
}
