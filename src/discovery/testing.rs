//! A name server for tests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::{Resolver, Servers};

/// A record of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Another name for the name; it is what resolvers find on the way to addresses.
    Alias,
    A([u8; 4]),
    Aaaa([u16; 8]),
    Srv(&'static str, u16),
}

/// Answers on one port over UDP and TCP, for as long as the test runs.
#[derive(Debug)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Debug, Default)]
struct Zone {
    /// `None` stands for a failure.
    names: HashMap<String, Option<Vec<Reply>>>,
    over_tcp: usize,
}

/// The largest answer over UDP here: less than was asked for, so that truncation is easy to get.
const MOST_OVER_UDP: usize = 1024;

impl NameServer {
    pub(crate) async fn start() -> Self {
        let zone = Arc::new(Mutex::new(Zone::default()));
        let (udp, tcp) = both().await;
        let address = tcp.local_addr().expect("bound");
        let over_udp = zone.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let mut answer = lock(&over_udp).answer(&buffer[..length]);
                if answer.len() > MOST_OVER_UDP {
                    answer.truncate(MOST_OVER_UDP);
                    answer[2] |= 2;
                }
                udp.send_to(&answer, from).await.expect("sent");
            }
        });
        let over_tcp = zone.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = stream.read_u16().await.expect("a length");
                let mut question = vec![0; usize::from(length)];
                stream.read_exact(&mut question).await.expect("a question");
                let answer = {
                    let mut zone = lock(&over_tcp);
                    zone.over_tcp += 1;
                    zone.answer(&question)
                };
                let length = u16::try_from(answer.len()).expect("it fits");
                stream.write_u16(length).await.expect("sent");
                stream.write_all(&answer).await.expect("sent");
            }
        });
        Self { address, zone }
    }

    /// A resolver that asks here.
    pub(crate) fn resolver(&self, search: &[&str]) -> Resolver {
        let search = search.iter().map(|&domain| domain.to_owned()).collect();
        Resolver::fixed(Servers { addresses: vec![self.address], search, ndots: 1 })
    }

    /// What is answered from now on.
    pub(crate) fn answer(&self, name: &str, replies: &[Reply]) {
        lock(&self.zone).names.insert(name.to_owned(), Some(replies.to_vec()));
    }

    /// Answers that something went wrong.
    pub(crate) fn fail(&self, name: &str) {
        lock(&self.zone).names.insert(name.to_owned(), None);
    }

    /// Answers that there is no such name.
    pub(crate) fn forget(&self, name: &str) {
        lock(&self.zone).names.remove(name);
    }

    pub(crate) fn asked_over_tcp(&self) -> usize {
        lock(&self.zone).over_tcp
    }
}

/// The same port twice. One that is free for TCP need not be for UDP.
async fn both() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("bound")).await {
            return (udp, tcp);
        }
    }
}

impl Zone {
    /// The answer to a question, whose only name begins after twelve bytes.
    fn answer(&self, question: &[u8]) -> Vec<u8> {
        let mut name = String::new();
        let mut at = 12;
        while question[at] > 0 {
            let end = at + 1 + usize::from(question[at]);
            name.push_str(std::str::from_utf8(&question[at + 1..end]).expect("text"));
            name.push('.');
            at = end;
        }
        let (code, replies): (u8, &[Reply]) = match self.names.get(&name) {
            Some(Some(replies)) => (0, replies),
            Some(None) => (2, &[]),
            None => (3, &[]),
        };
        let mut message = question[..at + 5].to_vec();
        message[2..4].copy_from_slice(&[0x81, 0x80 | code]);
        message[6..12].fill(0);
        message[6..8].copy_from_slice(&u16::try_from(replies.len()).expect("few").to_be_bytes());
        for reply in replies {
            let (kind, data): (u16, Vec<u8>) = match reply {
                Reply::Alias => (5, vec![192, 12]),
                Reply::A(address) => (1, address.to_vec()),
                Reply::Aaaa(words) => (28, words.iter().flat_map(|word| word.to_be_bytes()).collect()),
                Reply::Srv(host, port) => {
                    let mut data = [&[0, 1, 0, 1], port.to_be_bytes().as_slice()].concat();
                    for label in host.trim_end_matches('.').split('.') {
                        data.push(u8::try_from(label.len()).expect("short"));
                        data.extend_from_slice(label.as_bytes());
                    }
                    data.push(0);
                    (33, data)
                }
            };
            message.extend_from_slice(&[192, 12]);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 30]);
            message.extend_from_slice(&u16::try_from(data.len()).expect("short").to_be_bytes());
            message.extend_from_slice(&data);
        }
        message
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}
