//! What happens to alerts that are refused, and to those beside them.

use super::*;

fn failures(notifier: &Notifier) -> u64 {
    notifier.0.services.metrics.failures(&notifier.alertmanagers()[0])
}

/// It does not end by itself while a test runs.
fn firing(name: &str) -> Alert {
    Alert { ends_at: SystemClock.now() + 60_000, ..alert(name) }
}

#[tokio::test]
async fn an_alert_that_is_refused_holds_up_no_other_and_is_kept() {
    let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
    let notifier = notifier(&store).await;
    notifier.apply(&config(&[&fake.start().await])).expect("usable");
    notifier.send(vec![alert("A"), alert("bad"), alert("B")]);
    fake.wait_for(&["A", "B"]).await;
    notifier.send(vec![alert("C")]);
    fake.wait_for(&["A", "B", "C"]).await;
    wait_until(|| failures(&notifier) > 0, "counted").await;
    assert!(notifier.last_acknowledged().is_some());
    assert_eq!(notifier.waiting(), 1);
    // Nobody waits for it.
    notifier.shutdown(Duration::from_mins(10)).await;
    assert_eq!(store.outbox().await.expect("readable").len(), 1);
}

#[tokio::test]
async fn whoever_refuses_everything_has_acknowledged_nothing() {
    for status in [400, 403, 413, 422, 401, 500, 302] {
        let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
        fake.status.store(status, Ordering::SeqCst);
        let notifier = notifier(&store).await;
        let mut config = config(&[&fake.start().await]);
        config.proof_interval = Some(Duration::from_mins(10));
        notifier.apply(&config).expect("usable");
        wait_until(|| failures(&notifier) > 0, &format!("{status} is a failure with nothing to tell")).await;
        notifier.send(vec![alert("A"), alert("B")]);
        let before = failures(&notifier);
        wait_until(|| failures(&notifier) > before + 3, &format!("{status} is a failure")).await;
        assert_eq!((notifier.last_acknowledged(), notifier.waiting()), (None, 2), "{status}");
        fake.status.store(0, Ordering::SeqCst);
        fake.wait_for(&["A", "B"]).await;
        wait_until(|| notifier.last_acknowledged().is_some(), "acknowledged").await;
        notifier.shutdown(Duration::from_secs(10)).await;
        assert_eq!(notifier.waiting(), 0, "{status}");
    }
}

#[tokio::test]
async fn an_empty_list_proves_nothing_where_alerts_are_refused() {
    let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
    let notifier = notifier(&store).await;
    notifier.send(vec![firing("bad")]);
    let mut config = config(&[&fake.start().await]);
    config.proof_interval = Some(Duration::from_millis(5));
    notifier.apply(&config).expect("usable");
    wait_until(|| fake.empty.load(Ordering::SeqCst) > 3, "proofs").await;
    assert_eq!((notifier.last_acknowledged(), notifier.waiting()), (None, 1));
    assert!(failures(&notifier) > 0);
    // Another one shows that it is this alert alone.
    notifier.send(vec![alert("A")]);
    fake.wait_for(&["A"]).await;
    wait_until(|| notifier.last_acknowledged().is_some(), "acknowledged").await;
    let accepted = notifier.last_acknowledged();
    wait_until(|| notifier.last_acknowledged() > accepted, "proofs count again").await;
    notifier.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved() {
    let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
    fake.most.store(10, Ordering::SeqCst);
    let notifier = notifier(&store).await;
    notifier.apply(&config(&[&fake.start().await])).expect("usable");
    let names: Vec<String> = (100..400).map(|number| format!("A{number}")).collect();
    notifier.send(names.iter().map(|name| alert(name)).collect());
    fake.wait_for(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    notifier.shutdown(Duration::from_secs(10)).await;
    assert_eq!(failures(&notifier), 0);
}

#[tokio::test]
async fn those_behind_many_that_are_refused_get_their_turn() {
    let (fake, store) = (Fake::default(), Arc::new(MemoryStore::default()));
    let notifier = notifier(&store).await;
    let bad = (0..40).map(|number| firing(&format!("bad{number}")));
    notifier.send(bad.collect());
    notifier.apply(&config(&[&fake.start().await])).expect("usable");
    notifier.send(vec![alert("A")]);
    fake.wait_for(&["A"]).await;
    wait_until(|| notifier.waiting() == 40, "the others wait").await;
    notifier.shutdown(Duration::ZERO).await;
}
