//! Work of this machine that takes as long as it likes: files on servers that are gone, names whose servers
//! are silent. No thread can be called back from it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Look-ups, one at a time for each key, and a bounded number in all: what hangs takes one thread, however
/// many ask for it and however often.
pub struct Lookups<K, T> {
    places: Arc<Semaphore>,
    /// Those that go on.
    under_way: Mutex<BTreeMap<K, watch::Receiver<Option<T>>>>,
}

/// A look-up that goes on, also when nobody waits for it any more.
pub struct UnderWay<T>(watch::Receiver<Option<T>>);

impl<T: Clone> UnderWay<T> {
    /// Its result. An error if the thread that looked has panicked, or the process ends.
    pub async fn result(mut self) -> io::Result<T> {
        let result = self.0.wait_for(Option::is_some).await.map_err(io::Error::other)?;
        Ok(result.clone().expect("that is waited for"))
    }
}

impl<K: Ord + Clone + Send + 'static, T: Clone + Send + Sync + 'static> Lookups<K, T> {
    /// At most so many look-ups at once.
    pub fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), under_way: Mutex::default() }
    }

    /// The result of looking `key` up. As long as an earlier look-up goes on its result is waited for; else
    /// `look` is called on a thread of its own, as soon as there is a place. This may wait for ever.
    pub async fn look_up(
        &'static self,
        key: K,
        look: impl FnOnce(&K) -> T + Send + 'static,
    ) -> io::Result<T> {
        self.begin(key, None, look).await.result().await
    }

    /// [`Self::look_up`] in two steps, of which this is the wait for a place; with a bound of its own on
    /// those who come by this `gate`.
    pub async fn begin(
        &'static self,
        key: K,
        gate: Option<&Arc<Semaphore>>,
        look: impl FnOnce(&K) -> T + Send + 'static,
    ) -> UnderWay<T> {
        if let Some(result) = self.lock().get(&key) {
            return UnderWay(result.clone());
        }
        let passed = match gate {
            Some(gate) => Some(place(gate).await),
            None => None,
        };
        let place = place(&self.places).await;
        let mut under_way = self.lock();
        if let Some(result) = under_way.get(&key) {
            return UnderWay(result.clone());
        }
        let (tell, result) = watch::channel(None);
        under_way.insert(key.clone(), result.clone());
        let listed = Listed { lookups: self, key };
        tokio::task::spawn_blocking(move || {
            let found = look(&listed.key);
            // Before anybody hears of it: who asks then asks anew.
            drop((listed, place, passed));
            tell.send_replace(Some(found));
        });
        UnderWay(result)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<K, watch::Receiver<Option<T>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    places.clone().acquire_owned().await.expect("it is never closed")
}

/// An entry of a look-up that goes on; it goes with it, also if that panics or never begins.
struct Listed<K: Ord + Clone + Send + 'static, T: Clone + Send + Sync + 'static> {
    lookups: &'static Lookups<K, T>,
    key: K,
}

impl<K: Ord + Clone + Send + 'static, T: Clone + Send + Sync + 'static> Drop for Listed<K, T> {
    fn drop(&mut self) {
        self.lookups.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    type Numbers = LazyLock<Lookups<&'static str, u8>>;

    /// What looks until it is let go.
    fn silent() -> (mpsc::Sender<()>, impl FnOnce(&&'static str) -> u8) {
        let (let_go, silence) = mpsc::channel::<()>();
        let look = move |_: &&'static str| {
            let _ = silence.recv();
            1
        };
        (let_go, look)
    }

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn what_hangs_takes_one_place_however_many_ask() {
        static LOOKUPS: Numbers = LazyLock::new(|| Lookups::new(2));
        let (let_go, look) = silent();
        let mut first = tokio::spawn(LOOKUPS.look_up("hung", look));
        tokio::time::timeout(SOON, &mut first).await.expect_err("it waits");
        let others: Vec<_> = (0..10)
            .map(|_| tokio::spawn(LOOKUPS.look_up("hung", |_| panic!("it was asked before"))))
            .collect();
        assert_eq!(LOOKUPS.look_up("good", |_| 2).await.unwrap(), 2);
        let_go.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 1);
        for other in others {
            assert_eq!(other.await.unwrap().unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn a_key_is_looked_up_anew_once_the_result_is_there_or_never_will_be() {
        static LOOKUPS: Numbers = LazyLock::new(|| Lookups::new(1));
        assert_eq!(LOOKUPS.look_up("a", |_| 1).await.unwrap(), 1);
        assert_eq!(LOOKUPS.look_up("a", |_| 2).await.unwrap(), 2);
        assert!(LOOKUPS.look_up("a", |_| panic!("as a test")).await.is_err());
        assert_eq!(LOOKUPS.look_up("a", |_| 3).await.unwrap(), 3);
        assert!(LOOKUPS.lock().is_empty());
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_place_leaves_nothing_behind() {
        static LOOKUPS: Numbers = LazyLock::new(|| Lookups::new(1));
        let (let_go, look) = silent();
        let mut first = tokio::spawn(LOOKUPS.look_up("hung", look));
        tokio::time::timeout(SOON, &mut first).await.expect_err("it has the place");
        let queued = LOOKUPS.look_up("queued", |_| panic!("there was no place"));
        tokio::time::timeout(SOON, queued).await.expect_err("it waits");
        assert!(!LOOKUPS.lock().contains_key("queued"));
        let_go.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(LOOKUPS.look_up("queued", |_| 2).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_gate_leaves_places_to_those_who_do_not_come_by_it() {
        static LOOKUPS: Numbers = LazyLock::new(|| Lookups::new(2));
        let gate = Arc::new(Semaphore::new(1));
        let (let_go, look) = silent();
        let hung = LOOKUPS.begin("hung", Some(&gate), look).await;
        let second = LOOKUPS.begin("second", Some(&gate), |_| 2);
        assert!(tokio::time::timeout(SOON, second).await.is_err(), "the gate is closed");
        assert_eq!(LOOKUPS.look_up("other", |_| 3).await.unwrap(), 3);
        let_go.send(()).unwrap();
        assert_eq!(hung.result().await.unwrap(), 1);
        let second = LOOKUPS.begin("second", Some(&gate), |_| 2).await;
        assert_eq!(second.result().await.unwrap(), 2);
    }
}
