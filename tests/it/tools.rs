//! The real programs that `tests/servers.sh` fetches.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A path in the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A program below the folder of fetched servers. One that is not there is said loudly, and fails the
/// test in CI, so that nothing goes unproved there.
pub(crate) fn tool(path: &str) -> Option<PathBuf> {
    let servers = variable("VALMIS_SERVERS").map_or_else(|| checkout("target/servers"), PathBuf::from);
    let program = servers.join(path);
    if program.is_file() {
        return Some(program);
    }
    let what = format!("{} is not there: run tests/servers.sh", program.display());
    assert!(variable("CI").as_deref() != Some("true"), "{what}");
    say(&format!("SKIPPED: {what}"));
    None
}

/// As [`tool`], for a program that not every machine can have: its absence never fails a test.
pub(crate) fn optional_tool(path: &str) -> Option<PathBuf> {
    let servers = variable("VALMIS_SERVERS").map_or_else(|| checkout("target/servers"), PathBuf::from);
    Some(servers.join(path)).filter(|program| program.is_file())
}

/// What a command that must succeed prints.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program can be started");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?} failed with {status}:\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "the environment says where tests find programs")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::print_stderr, reason = "a skipped proof has to be seen")]
fn say(text: &str) {
    eprintln!("{text}");
}
