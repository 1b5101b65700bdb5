//! Checking passwords, which is slow on purpose.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bcrypt::HashParts;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::model::Secret;

/// How many requests may wait for their password to be checked.
const QUEUE: usize = 16;
/// How long one may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many wrong passwords are remembered.
const REMEMBERED_REFUSALS: usize = 64;
/// The cost of the hash for users that do not exist, where there is no user at all.
const USUAL_COST: u32 = 10;
/// Salt and hash of a password that nobody has: no text is known to have this hash.
const DECOY: &str = "Tw9gWGPzSnm1Lfk0eXQyRuJ3vC5dB7aH8iK2oM4pN6qU0sY9xZcAe";

/// What came of a user and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They belong together.
    Accepted,
    /// They do not.
    Refused,
    /// Too many others are being checked.
    Busy,
}

/// A keyed hash of user, hash and password: of no use to who does not know the key, which is made anew
/// by every process.
type Fingerprint = [u8; 32];

/// The users, and what is known of the passwords that they gave.
///
/// One password is checked at a time, on a thread that may be busy. What was right is remembered for each
/// user, apart from what was wrong: wrong passwords, however many, do not drive out the right ones.
#[derive(Debug)]
pub(super) struct Passwords {
    hashes: BTreeMap<String, Secret>,
    key: Key,
    known: Mutex<Known>,
    queue: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

#[derive(Debug, Default)]
struct Known {
    accepted: HashMap<String, Fingerprint>,
    refused: VecDeque<Fingerprint>,
}

impl Passwords {
    /// The hashes are known to be well formed.
    pub(super) fn new(hashes: BTreeMap<String, Secret>) -> Self {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).expect("the system's random numbers do not fail once they are there");
        Self {
            hashes,
            key: Key(key),
            known: Mutex::default(),
            queue: Arc::new(Semaphore::new(QUEUE)),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) fn hashes(&self) -> &BTreeMap<String, Secret> {
        &self.hashes
    }

    /// Whether the password is that of the user. An unknown user takes as long as a known one.
    pub(super) async fn check(&self, user: &str, password: &str) -> Verdict {
        let known_user = self.hashes.contains_key(user);
        let hash = self.hashes.get(user).map_or_else(|| self.decoy(user), |hash| hash.expose().to_owned());
        let fingerprint = self.fingerprint(&[user, &hash, password]);
        if let Some(verdict) = self.recall(user, &fingerprint) {
            return verdict;
        }
        let Ok(place) = self.queue.clone().try_acquire_owned() else { return Verdict::Busy };
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, self.turn.clone().acquire_owned()).await else {
            return Verdict::Busy;
        };
        // Another request with the same password may have had its turn.
        if let Some(verdict) = self.recall(user, &fingerprint) {
            return verdict;
        }
        let password = Secret::new(password);
        let checking = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(password.expose(), &hash);
            // Held here, so that a client that hangs up does not let another check begin beside this one.
            drop((place, turn));
            right
        });
        // A check that panics or a hash that cannot be read lets nobody in.
        let right = matches!(checking.await, Ok(Ok(true)));
        let accepted = known_user && right;
        self.remember(user, fingerprint, accepted);
        if accepted { Verdict::Accepted } else { Verdict::Refused }
    }

    fn recall(&self, user: &str, fingerprint: &Fingerprint) -> Option<Verdict> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.accepted.get(user) == Some(fingerprint) {
            Some(Verdict::Accepted)
        } else {
            known.refused.contains(fingerprint).then_some(Verdict::Refused)
        }
    }

    fn remember(&self, user: &str, fingerprint: Fingerprint, accepted: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if accepted {
            known.accepted.insert(user.to_owned(), fingerprint);
            return;
        }
        if known.refused.len() == REMEMBERED_REFUSALS {
            known.refused.pop_front();
        }
        known.refused.push_back(fingerprint);
    }

    /// A hash for a user that does not exist. It costs what the hash of some user costs, always the same
    /// one for the same name.
    fn decoy(&self, user: &str) -> String {
        let [first, ..] = self.fingerprint(&[user]);
        let some_user = self.hashes.values().nth(usize::from(first) % self.hashes.len().max(1));
        let parts = some_user.and_then(|hash| HashParts::from_str(hash.expose()).ok());
        let cost = parts.map_or(USUAL_COST, |parts| parts.get_cost());
        format!("$2y${cost:02}${DECOY}")
    }

    fn fingerprint(&self, parts: &[&str]) -> Fingerprint {
        let mut hasher = Sha256::new();
        hasher.update(self.key.0);
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of `secret` with the lowest cost.
    fn users(names: &[&str]) -> BTreeMap<String, Secret> {
        let hash = || Secret::new(bcrypt::hash("secret", 4).unwrap());
        names.iter().map(|name| ((*name).to_owned(), hash())).collect()
    }

    #[tokio::test]
    async fn only_the_users_own_password_is_accepted_again_and_again() {
        let passwords = Passwords::new(users(&["ann", "bob"]));
        for _ in 0..2 {
            assert_eq!(passwords.check("ann", "secret").await, Verdict::Accepted);
            assert_eq!(passwords.check("bob", "secret").await, Verdict::Accepted);
            assert_eq!(passwords.check("ann", "Secret").await, Verdict::Refused);
            assert_eq!(passwords.check("eve", "secret").await, Verdict::Refused);
            assert_eq!(passwords.check("", "").await, Verdict::Refused);
        }
        assert_eq!(passwords.known.lock().unwrap().accepted.len(), 2);
        assert_eq!(passwords.known.lock().unwrap().refused.len(), 3);
    }

    #[tokio::test]
    async fn wrong_passwords_do_not_drive_out_the_right_one() {
        let passwords = Passwords::new(users(&["ann"]));
        assert_eq!(passwords.check("ann", "secret").await, Verdict::Accepted);
        for number in 0..REMEMBERED_REFUSALS + 5 {
            assert_eq!(passwords.check("ann", &number.to_string()).await, Verdict::Refused);
        }
        let known = passwords.known.lock().unwrap();
        assert_eq!((known.accepted.len(), known.refused.len()), (1, REMEMBERED_REFUSALS));
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_is_told_to_come_again_and_the_known_are_let_in() {
        let passwords = Passwords::new(users(&["ann"]));
        assert_eq!(passwords.check("ann", "secret").await, Verdict::Accepted);
        let _all = passwords.queue.try_acquire_many(QUEUE as u32).unwrap();
        assert_eq!(passwords.check("ann", "other").await, Verdict::Busy);
        assert_eq!(passwords.check("ann", "secret").await, Verdict::Accepted);
    }

    #[test]
    fn an_unknown_user_costs_what_a_known_one_costs() {
        let hash = |cost: u32| Secret::new(format!("$2y${cost:02}${DECOY}"));
        let passwords =
            Passwords::new(BTreeMap::from([("a".to_owned(), hash(5)), ("b".to_owned(), hash(12))]));
        let cost = |user: &str| HashParts::from_str(&passwords.decoy(user)).unwrap().get_cost();
        let costs: std::collections::BTreeSet<u32> = (0..100).map(|n| cost(&n.to_string())).collect();
        assert_eq!(costs, [5, 12].into());
        assert_eq!(cost("eve"), cost("eve"));
        assert!(Passwords::new(BTreeMap::new()).decoy("eve").starts_with("$2y$10$"));
    }
}
