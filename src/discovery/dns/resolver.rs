//! Asking the name servers of this machine.
//!
//! Small on purpose: discovery needs three record types, each name's records as they are, and to know
//! whether nobody could say or somebody said that there is nothing. Which names and servers are asked in
//! which order is Prometheus' (`discovery/dns/dns.go`, `lookupWithSearchPath`), so that a name finds
//! here what it finds there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::records::{HostError, Record, RecordType, records};
use crate::dns::{Class, Message, MessageError, Question, ResponseCode, UDP_SIZE, random_id};

/// How long a server may take to answer. Source: Prometheus' DNS client.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where the system says whom to ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The port of name servers.
const PORT: u16 = 53;

/// Asks name servers.
#[derive(Debug, Clone)]
pub struct Resolver(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The system's, as they are when something is asked.
    File(PathBuf),
    Fixed(Servers),
}

/// Whom to ask, and for which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// The name servers; the next one is asked if one does not answer.
    pub addresses: Vec<SocketAddr>,
    /// Domains that are appended to names.
    pub search: Vec<String>,
    /// A name with at least so many dots is first asked for as it is.
    pub ndots: usize,
}

/// Why nobody could say what there is.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The system does not say whom to ask.
    #[error("cannot read `{path}`: {source}")]
    Configuration {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no name server.
    #[error("there is no name server to ask")]
    NoServer,
    /// What is asked for is no name.
    #[error("`{0}` is no domain name")]
    Name(String),
    /// No server had an answer.
    #[error("could not resolve `{name}`: {failures}")]
    Unanswered {
        /// The name.
        name: String,
        /// What each server did instead.
        failures: String,
    },
}

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer within {}s", TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("the answer is to another question")]
    Other,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("it answered with code {0}")]
    Code(u16),
}

impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

impl Resolver {
    /// Asks whom the system asks; its file is read at every lookup.
    pub fn system() -> Self {
        Self(Source::File(RESOLV_CONF.into()))
    }

    /// Asks these servers.
    pub fn fixed(servers: Servers) -> Self {
        Self(Source::Fixed(servers))
    }

    /// The records of a name; none if all agree that there are none. An error says that it is not
    /// known what there is.
    pub(super) async fn lookup(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<Record>, LookupError> {
        let servers = match &self.0 {
            Source::Fixed(servers) => servers.clone(),
            Source::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                let text =
                    text.map_err(|source| LookupError::Configuration { path: path.clone(), source })?;
                Servers::parse(&text)
            }
        };
        if servers.addresses.is_empty() {
            return Err(LookupError::NoServer);
        }
        let mut unknown = None;
        for candidate in servers.candidates(name) {
            let question = Question::new(&candidate, record_type.code(), Class::IN)
                .map_err(|_| LookupError::Name(candidate.clone()))?;
            match ask_any(&servers.addresses, &question, record_type).await {
                Ok(Some(records)) => return Ok(records),
                Ok(None) => {}
                Err(failures) => unknown = Some(LookupError::Unanswered { name: candidate, failures }),
            }
        }
        unknown.map_or(Ok(Vec::new()), Err)
    }
}

impl Servers {
    /// Reads a `resolv.conf`. Without any server in it this machine is asked. Source: `resolv.conf(5)`.
    fn parse(text: &str) -> Self {
        let mut servers = Self { addresses: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // An IPv6 address may name its interface, which is not for us to resolve.
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    servers.addresses.extend(address.map(|address| SocketAddr::new(address, PORT)));
                }
                // The last one counts.
                Some("search" | "domain") => servers.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots =
                        words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    servers.ndots = ndots.map_or(servers.ndots, |ndots: usize| ndots.min(15));
                }
                _ => {}
            }
        }
        if servers.addresses.is_empty() {
            servers.addresses.push(SocketAddr::from(([127, 0, 0, 1], PORT)));
        }
        servers
    }

    /// The full names that a name may stand for, in the order in which they are asked for.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut names: Vec<String> =
            self.search.iter().map(|domain| format!("{name}.{}.", domain.trim_matches('.'))).collect();
        names.retain(|full| !full.ends_with(".."));
        let dots = name.matches('.').count();
        let as_it_is = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(as_it_is, format!("{name}."));
        names
    }
}

/// The records of a name as the first server has them that can say, `None` if there is no such name; or
/// what each server did instead.
async fn ask_any(
    servers: &[SocketAddr],
    question: &Question,
    record_type: RecordType,
) -> Result<Option<Vec<Record>>, String> {
    let mut failures = Vec::new();
    for server in servers {
        let answer = ask(*server, question).await.and_then(|answer| match answer.code {
            ResponseCode::NO_ERROR => Ok(Some(records(&answer, record_type)?)),
            ResponseCode::NX_DOMAIN => Ok(None),
            ResponseCode(code) => Err(ServerError::Code(code)),
        });
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => failures.push(format!("{server}: {error}")),
        }
    }
    Err(failures.join(", "))
}

/// Asks over UDP, and over TCP what does not fit.
async fn ask(server: SocketAddr, question: &Question) -> Result<Message, ServerError> {
    let answer = timeout(TIMEOUT, ask_udp(server, question)).await.map_err(|_| ServerError::Timeout)??;
    if !answer.truncated {
        return Ok(answer);
    }
    timeout(TIMEOUT, ask_tcp(server, question)).await.map_err(|_| ServerError::Timeout)?
}

async fn ask_udp(server: SocketAddr, question: &Question) -> Result<Message, ServerError> {
    let local: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((local, 0)).await?;
    // Connected: nobody else's datagrams arrive.
    socket.connect(server).await?;
    let id = random_id();
    socket.send(&question.encode(id, true, true)).await?;
    let mut buffer = vec![0; usize::from(UDP_SIZE)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is something else is forged, or late from an earlier question: the right one may still
        // come.
        if let Some(answer) = Message::read_answer(&buffer[..length], id, question)? {
            return Ok(answer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &Question) -> Result<Message, ServerError> {
    let mut stream = TcpStream::connect(server).await?;
    let id = random_id();
    let message = question.encode(id, true, false);
    let length = u16::try_from(message.len()).expect("a question is short");
    stream.write_all(&[&length.to_be_bytes(), message.as_slice()].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Message::read_answer(&answer, id, question)?.ok_or(ServerError::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_file_is_read_as_its_manual_says() {
        let text = "# comment\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nnameserver ::1 ; local\n\
                    domain ignored.example\nsearch a.example b.example.\noptions rotate ndots:5 timeout:1\n";
        let servers = Servers::parse(text);
        let addresses: Vec<String> = servers.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.53:53", "[::1]:53"]);
        assert_eq!(servers.search, ["a.example", "b.example."]);
        assert_eq!(servers.ndots, 5);
        let empty = Servers::parse("");
        assert_eq!((empty.addresses[0].to_string().as_str(), empty.ndots), ("127.0.0.1:53", 1));
    }

    #[test]
    fn names_are_completed_in_the_order_of_the_search_list() {
        let check = |name, ndots, search: &[&str], expected: &[&str]| {
            let search = search.iter().map(|&domain| domain.to_owned()).collect();
            let servers = Servers { addresses: Vec::new(), search, ndots };
            assert_eq!(servers.candidates(name), expected, "{name} {ndots}");
        };
        check("am.", 1, &["x."], &["am."]);
        check("am", 1, &[], &["am."]);
        check("am", 1, &["x", "y."], &["am.x.", "am.y.", "am."]);
        check("am.ns", 1, &["x"], &["am.ns.", "am.ns.x."]);
        check("am.ns.svc", 5, &["x"], &["am.ns.svc.x.", "am.ns.svc."]);
        check("am", 1, &["."], &["am."]);
    }
}
