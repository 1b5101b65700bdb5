//! Real servers, run as processes on a free port in a temporary directory.

pub(crate) mod postgres;

use std::path::PathBuf;

/// What to do about a program that is not on this machine: its tests are skipped on a desk and fail in
/// CI, where everything is expected to be there.
#[expect(clippy::disallowed_methods, reason = "CI tells itself by its environment")]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn missing(program: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "`{program}` is missing");
    eprintln!("skipped: `{program}` is not on this machine");
}

/// Where `tests/servers.sh` unpacks servers.
#[expect(clippy::disallowed_methods, reason = "the folder can be shared between checkouts")]
pub(crate) fn cache() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/servers");
    std::env::var_os("VALMIS_SERVERS").map_or_else(default, PathBuf::from)
}
