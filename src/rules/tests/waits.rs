//! What later rules of a group wait for, beside the values of their expressions.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_a_rule_delays_no_alerts_before_it_and_no_stop() {
    let mut stage = Stage::new().await;
    let remembered = r#"ALERTS_FOR_STATE{alertname="Remembered"}[1h]"#;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.world.answer("up == 1", vector(&[("b", 1.0)]));
    stage.world.answer(remembered, Value::Matrix(Vec::new()));
    stage.world.slow(remembered, Duration::from_secs(25));
    let rules = "
groups:
- name: g
  rules:
  - {alert: Down, expr: up == 0}
  - {alert: Remembered, expr: up == 1, for: 10m}
";
    stage.apply(rules).await;
    let asked = |stage: &Stage| stage.world.asked(remembered).len();
    stage.until("what is remembered is asked for", |stage| asked(stage) == 1).await;
    let asked_at = stage.now();
    stage.until("sent", |stage| !stage.world.sent().is_empty()).await;
    assert!(stage.now() - asked_at <= 3_000, "sent {} ms later", stage.now() - asked_at);
    let stopped_at = Instant::now();
    let stage = stage.restarted(rules).await;
    assert!(stopped_at.elapsed() < Duration::from_secs(1), "{:?}", stopped_at.elapsed());
    stage.until("it is asked for again", |stage| asked(stage) == 2).await;
}
