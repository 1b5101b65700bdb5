//! Keystores that were opened once and have not changed.
//!
//! A password is hashed some thousand times before it opens one, up to a second of computing, which is
//! not to be spent at each probe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::{Contents, Password};
use crate::probe::small_file::FileIdentity;

/// How many certificates and faults are kept in all. More are read again each time.
const MAX_KEPT: usize = 2_000;

/// What keystores hold, by their path.
#[derive(Debug, Default)]
pub(super) struct Keystores(BTreeMap<PathBuf, Kept>);

#[derive(Debug)]
struct Kept {
    identity: FileIdentity,
    password: Password,
    contents: Arc<Contents>,
}

impl Keystores {
    /// What the keystore at `path` held when it was in this state and was opened with this password.
    pub(super) fn get(
        &self,
        path: &Path,
        identity: FileIdentity,
        password: &Password,
    ) -> Option<Arc<Contents>> {
        let kept = self.0.get(path)?;
        let is_same = kept.identity == identity && kept.password == *password;
        is_same.then(|| Arc::clone(&kept.contents))
    }

    /// Keeps what a keystore holds, if there is room. `now` is in seconds since the Unix epoch.
    pub(super) fn put(
        &mut self,
        path: &Path,
        identity: FileIdentity,
        password: &Password,
        contents: &Arc<Contents>,
        now: i64,
    ) {
        self.0.remove(path);
        let size = |contents: &Contents| contents.certificates.len() + contents.faults.len();
        let kept: usize = self.0.values().map(|kept| size(&kept.contents)).sum();
        if kept + size(contents) <= MAX_KEPT && identity.is_settled_at(now) {
            let (password, contents) = (password.clone(), Arc::clone(contents));
            self.0.insert(path.to_owned(), Kept { identity, password, contents });
        }
    }

    /// Forgets those that are not among `paths`, which are sorted.
    pub(super) fn retain(&mut self, paths: &[PathBuf]) {
        self.0.retain(|path, _| paths.binary_search(path).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;
    use crate::probe::small_file::identify_blocking;

    #[test]
    fn a_keystore_is_known_until_it_or_its_password_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (path, contents) = (file.path(), Arc::new(Contents::default()));
        let known = |password: &str| Password::Known(Secret::new(password));
        let before = identify_blocking(path).unwrap();
        let mut keystores = Keystores::default();
        keystores.put(path, before, &known("a"), &contents, 0);
        assert!(keystores.get(path, before, &known("a")).is_none(), "it may change unnoticed");
        keystores.put(path, before, &known("a"), &contents, i64::MAX);
        assert!(keystores.get(path, before, &known("a")).is_some());
        assert!(keystores.get(path, before, &known("b")).is_none());
        file.as_file().set_len(1).unwrap();
        let after = identify_blocking(path).unwrap();
        assert!(keystores.get(path, after, &known("a")).is_none());
        keystores.retain(&[path.to_owned()]);
        assert!(keystores.get(path, before, &known("a")).is_some());
        keystores.retain(&[]);
        assert!(keystores.get(path, before, &known("a")).is_none());
    }
}
