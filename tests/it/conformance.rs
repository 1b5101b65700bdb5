//! Where the data of others lies that tests read: beside the checkout, or where the environment says.

use std::path::{Path, PathBuf};

/// The folder of conformance data, if there is one; if not, says that the test does nothing.
#[expect(clippy::disallowed_methods, reason = "a test is told by the environment where its data lies")]
#[expect(clippy::print_stderr, reason = "a test that did nothing says so")]
pub(crate) fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let found = std::env::var_os("VALMIS_CONFORMANCE").map_or_else(beside, PathBuf::from).canonicalize();
    if found.is_err() {
        eprintln!("skipped: there is no conformance data beside the checkout");
    }
    found.ok()
}

/// All files with that extension below a folder, sorted.
pub(crate) fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
