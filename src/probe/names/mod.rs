//! The addresses of hosts: from the machine's own table, or from the system's resolver, with a bound on what
//! that takes.

mod hosts;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

use super::outcome::waiting_here;
use crate::client::Lookups;

/// How many names are looked up at once by all probes; others wait until their deadlines. With name servers
/// that do not answer a look-up takes a thread for ten seconds or more, also when nobody waits for it any
/// more.
const MAX_LOOKUPS: usize = 64;

/// How many of these may be for probes that somebody asks for: who asks chooses the names.
const MAX_ASKED_FOR: usize = 32;

/// What a resolver said.
type Answer = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;

static LOOKUPS: LazyLock<Lookups<String, Answer>> = LazyLock::new(|| Lookups::new(MAX_LOOKUPS));

static ASKED_FOR: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_ASKED_FOR)));

/// The addresses of a host, with this port.
///
/// # Errors
///
/// What the system's resolver says.
pub(super) async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    find(host, port, None).await
}

/// [`look_up`] for a probe that somebody asks for: of the names that such probes have looked up at once there
/// are fewer, so that they never take all places.
///
/// # Errors
///
/// What the system's resolver says.
pub(super) async fn look_up_asked_for(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    find(host, port, Some(&*ASKED_FOR)).await
}

async fn find(host: &str, port: u16, gate: Option<&Arc<Semaphore>>) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = match hosts::addresses(host).await {
        Some(addresses) => addresses,
        None => {
            let begin = LOOKUPS.begin(host.to_owned(), gate, |host| ask_system(host));
            let waits_for = format!("waiting for a place to look up `{host}`");
            let answer = waiting_here(waits_for, begin).await.result().await?;
            answer.map_err(|(kind, text)| io::Error::new(kind, text))?
        }
    };
    for address in &mut addresses {
        address.set_port(port);
    }
    Ok(addresses)
}

fn ask_system(host: &str) -> Answer {
    let said = (host, 0).to_socket_addrs();
    said.map(Iterator::collect).map_err(|error| (error.kind(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_this_host_and_says_why_it_does_not_know_another() {
        let found = look_up("localhost", 80).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80), "{found:?}");
        assert!(look_up("no.such.name.invalid", 80).await.is_err());
        assert!(look_up_asked_for("no.such.name.invalid", 80).await.is_err());
    }
}
