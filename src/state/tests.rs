use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::*;

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
    }
}

fn rule_changes(rule: &str, alerts: Vec<AlertRecord>, removed: Vec<u64>) -> Changes {
    let changes =
        RuleChanges { key: Arc::new(key(rule)), evaluated_at: 7, alerts, removed, transitions: Vec::new() };
    Changes { rules: vec![changes], ..Changes::default() }
}

fn entry(fingerprint: u64, sequence: u64) -> OutboxEntry {
    OutboxEntry { alertmanager: "http://am:9093".to_owned(), fingerprint, sequence, payload: vec![1, 2] }
}

fn redb(folder: &Path) -> RedbStore {
    RedbStore::open(&folder.join("state.redb"), metrics::Metrics::default()).expect("the store opens")
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
        let store = RedbStore::open(&path, metrics.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
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
    let store = RedbStore::open(&path, metrics.clone()).unwrap();
    assert_eq!(metrics.files_moved_aside.get(), 1);
    assert_eq!(store.rules().await.unwrap(), []);
}

#[tokio::test]
async fn a_file_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _open = redb(folder.path());
    let second = RedbStore::open(&folder.path().join("state.redb"), metrics::Metrics::default());
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
