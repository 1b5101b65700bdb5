//! The addresses of hosts: from the machine's own table, or from the system's resolver, with a bound on what
//! that takes.

mod hosts;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

/// How many names are looked up at once by all probes; others wait until their deadlines. With name servers
/// that do not answer a look-up takes a thread for ten seconds or more, also when nobody waits for it any
/// more.
const MAX_LOOKUPS: usize = 64;

static LOOKUPS: Lookups = Lookups::new(MAX_LOOKUPS);

/// The addresses of a host, with this port.
///
/// # Errors
///
/// What the system's resolver says.
pub(super) async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = match hosts::addresses(host).await {
        Some(addresses) => addresses,
        None => LOOKUPS.look_up(host, ask_system).await?,
    };
    for address in &mut addresses {
        address.set_port(port);
    }
    Ok(addresses)
}

fn ask_system(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

/// What a resolver said; nothing as long as it is being asked.
type Answer = Option<Result<Vec<SocketAddr>, (io::ErrorKind, String)>>;

/// Look-ups, one at a time for each name: a name whose servers are silent takes one place, however many ask
/// for it.
struct Lookups {
    places: Semaphore,
    /// The last one of each name, as long as another has not begun since it ended.
    begun: Mutex<BTreeMap<String, watch::Receiver<Answer>>>,
}

impl Lookups {
    const fn new(places: usize) -> Self {
        Self { places: Semaphore::const_new(places), begun: Mutex::new(BTreeMap::new()) }
    }

    async fn look_up(
        &'static self,
        host: &str,
        ask: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let under_way = self.under_way(host);
        let mut answer = match under_way {
            Some(answer) => answer,
            None => self.begin(host, ask).await,
        };
        let answer = answer.wait_for(Option::is_some).await.map_err(io::Error::other)?;
        match answer.as_ref().expect("that is waited for") {
            Ok(addresses) => Ok(addresses.clone()),
            Err((kind, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }

    fn under_way(&self, host: &str) -> Option<watch::Receiver<Answer>> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(host).filter(|answer| is_open(answer)).cloned()
    }

    /// Waits for a place, and asks if nobody else did meanwhile.
    async fn begin(
        &'static self,
        host: &str,
        ask: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> watch::Receiver<Answer> {
        let place = self.places.acquire().await.expect("it is never closed");
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, answer| is_open(answer));
        if let Some(answer) = begun.get(host) {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        begun.insert(host.to_owned(), answer.clone());
        let host = host.to_owned();
        tokio::task::spawn_blocking(move || {
            let said = ask(&host).map_err(|error| (error.kind(), error.to_string()));
            drop(place);
            tell.send_replace(Some(said));
        });
        answer
    }
}

/// Whether somebody still asks.
fn is_open(answer: &watch::Receiver<Answer>) -> bool {
    answer.borrow().is_none() && answer.has_changed().is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn loopback() -> Vec<SocketAddr> {
        vec![([127, 0, 0, 1], 0).into()]
    }

    #[tokio::test]
    async fn a_silent_name_takes_one_place_however_many_ask() {
        static LOOKUPS: Lookups = Lookups::new(2);
        let (let_go, silence) = mpsc::channel::<()>();
        let silent = LOOKUPS.look_up("silent.example", move |_| {
            let _ = silence.recv();
            Ok(loopback())
        });
        let mut first = tokio::spawn(silent);
        tokio::time::timeout(Duration::from_millis(50), &mut first).await.expect_err("it waits");
        let others: Vec<_> = (0..10)
            .map(|_| {
                let asked = LOOKUPS.look_up("silent.example", |_| panic!("it was asked before"));
                tokio::spawn(asked)
            })
            .collect();
        assert_eq!(LOOKUPS.look_up("good.example", |_| Ok(loopback())).await.unwrap(), loopback());
        let_go.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), loopback());
        for other in others {
            assert_eq!(other.await.unwrap().unwrap(), loopback());
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_anew_once_the_answer_is_there() {
        static LOOKUPS: Lookups = Lookups::new(1);
        let failed = LOOKUPS.look_up("a.example", |_| Err(io::ErrorKind::NotFound.into())).await;
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(LOOKUPS.look_up("a.example", |_| Ok(loopback())).await.unwrap(), loopback());
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_place_leaves_nothing_behind() {
        static LOOKUPS: Lookups = Lookups::new(1);
        let (let_go, silence) = mpsc::channel::<()>();
        let mut silent = tokio::spawn(LOOKUPS.look_up("silent.example", move |_| {
            let _ = silence.recv();
            Ok(loopback())
        }));
        tokio::time::timeout(Duration::from_millis(50), &mut silent).await.expect_err("it has the place");
        let queued = LOOKUPS.look_up("queued.example", |_| panic!("there was no place"));
        tokio::time::timeout(Duration::from_millis(50), queued).await.expect_err("it waits");
        assert!(LOOKUPS.under_way("queued.example").is_none());
        let_go.send(()).unwrap();
        silent.await.unwrap().unwrap();
        assert_eq!(LOOKUPS.look_up("queued.example", |_| Ok(loopback())).await.unwrap(), loopback());
    }

    #[tokio::test]
    async fn the_system_knows_this_host_and_says_why_it_does_not_know_another() {
        let found = look_up("localhost", 80).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80), "{found:?}");
        assert!(look_up("no.such.name.invalid", 80).await.is_err());
    }
}
