//! How alerts get to real Alertmanagers: by every way in which they are found and reached, and whatever
//! happens to some of them.

mod reached;

use crate::real::valmis::{COMMON, NO_DISK};

/// The start of every configuration here.
fn common() -> String {
    format!("{COMMON}{NO_DISK}")
}

/// Rules of which one always fires.
fn watchdog() -> Vec<(String, String)> {
    let text = "groups:\n- name: watchdog\n  rules:\n  - {alert: Watchdog, expr: vector(1)}\n";
    vec![("watchdog.yaml".to_owned(), text.to_owned())]
}
