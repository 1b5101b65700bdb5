//! Groups whose evaluation panics.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_group_that_panics_is_told_of_and_begins_anew_with_the_next_configuration() {
    let mut stage = Stage::new().await;
    let panicked = stage.manager.panicked();
    stage.world.answer("up == 0", vector(&[]));
    stage.apply(DOWN).await;
    stage.until("an evaluation", |stage| stage.rule("Down").last_evaluation.is_some()).await;
    // A change is no panic.
    stage.apply(&DOWN.replace("for: 3m", "for: 4m")).await;
    assert!(!panicked.is_cancelled());
    // The world panics over what it has no answer for.
    stage.world.answers.lock().unwrap().clear();
    panicked.cancelled().await;
    stage.world.answer("up == 0", vector(&[("a", 0.0)]));
    stage.apply(&DOWN.replace("for: 3m", "for: 4m")).await;
    stage.until("an alert", |stage| stage.alert("Down").is_some()).await;
}
