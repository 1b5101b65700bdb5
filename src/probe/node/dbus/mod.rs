//! A client of D-Bus that asks and waits: as much of the protocol as it takes to ask systemd.
//!
//! Source: the D-Bus Specification 0.43. Blocks, until a moment that is given when connecting.

mod wire;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};

pub(super) use wire::{Body, Call, WireError};

/// How many questions wait for their answers at once. A bus allows a client at least 128.
const AT_ONCE: usize = 64;
/// The longest line that is read while a connection is authenticated.
const MAX_LINE: usize = 512;

/// What goes wrong with a connection; nothing can be asked over it any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// The system refuses, or the time is over.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bus does not let this process in.
    #[error("the bus answers `{0}` to the authentication")]
    Refused(String),
    /// What comes is not D-Bus.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// A question without which nothing else makes sense was answered with an error.
    #[error("`{member}` is answered with {name}")]
    Answered {
        /// What was asked for.
        member: &'static str,
        /// The name of the error.
        name: String,
    },
}

/// What came back for a question: a body, or the name of an error.
pub(super) type Answer = Result<Body, String>;

/// A connection to a bus.
pub(super) struct Bus {
    stream: UnixStream,
    until: Instant,
    serial: u32,
}

impl Bus {
    /// Connects to the bus at a socket and makes itself known.
    pub(super) fn connect(path: &Path, patience: Duration) -> Result<Self, BusError> {
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).map_err(io::Error::from)?;
        // Connecting waits as well, where many others want in.
        set_socket_timeout(&socket, Timeout::Send, Some(patience)).map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
        connect(&socket, &address).map_err(io::Error::from)?;
        let mut bus = Self { stream: UnixStream::from(socket), until: Instant::now() + patience, serial: 0 };
        bus.authenticate()?;
        let hello = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            arguments: &[],
        };
        bus.ask(&hello)?;
        Ok(bus)
    }

    /// Who asks is told by the socket itself: no name is given, so that none can be wrong in a container
    /// whose users have other numbers.
    fn authenticate(&mut self) -> Result<(), BusError> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\n")?;
        loop {
            let line = self.line()?;
            if line.starts_with("OK ") {
                break;
            }
            if line.trim_end() != "DATA" {
                return Err(BusError::Refused(line));
            }
        }
        self.send(b"BEGIN\r\n")?;
        Ok(())
    }

    /// Asks one thing that must be answered.
    pub(super) fn ask(&mut self, call: &Call<'_>) -> Result<Body, BusError> {
        let mut answers = self.ask_all(std::slice::from_ref(call))?;
        let answer = answers.pop().expect("each question has an answer");
        answer.map_err(|name| BusError::Answered { member: call.member, name })
    }

    /// Asks many things, and has the answers in the order of the questions. Asking them together takes a
    /// fraction of the time that it takes one after the other.
    pub(super) fn ask_all(&mut self, calls: &[Call<'_>]) -> Result<Vec<Answer>, BusError> {
        let mut answers = Vec::with_capacity(calls.len());
        for calls in calls.chunks(AT_ONCE) {
            let first = self.serial + 1;
            let mut messages = Vec::new();
            for call in calls {
                self.serial += 1;
                call.write(self.serial, &mut messages);
            }
            self.send(&messages)?;
            let mut open: HashMap<u32, Answer> = HashMap::new();
            while open.len() < calls.len() {
                let header = wire::Header::parse(&self.bytes(wire::HEADER_BYTES)?)?;
                let rest = self.bytes(header.rest_bytes())?;
                // Signals, such as that this connection has got a name, answer nothing.
                if let Some((serial, answer)) = header.answer(rest)? {
                    if (first..=self.serial).contains(&serial) {
                        open.insert(serial, answer);
                    }
                }
            }
            answers.extend((first..=self.serial).filter_map(|serial| open.remove(&serial)));
        }
        Ok(answers)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes)
    }

    fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// A line of the authentication. What comes next is not touched.
    fn line(&mut self) -> Result<String, BusError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < MAX_LINE {
            line.extend(self.bytes(1)?);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What a bus that says `replies`, one for each time that something comes, is thought of.
    fn against(replies: &'static [&'static [u8]]) -> BusError {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = [0; 1024];
            for reply in replies {
                let _ = stream.read(&mut read);
                let _ = stream.write_all(reply);
            }
            // Until the other side has had enough.
            while stream.read(&mut read).is_ok_and(|read| read > 0) {}
        });
        let error = Bus::connect(&path, Duration::from_millis(300)).err().unwrap();
        server.join().unwrap();
        error
    }

    #[test]
    fn a_bus_that_behaves_badly_ends_the_connection_in_time() {
        let check = |replies: &'static [&'static [u8]], expected: &str| {
            let error = against(replies).to_string();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        check(&[b"REJECTED EXTERNAL\r\n"], "answers `REJECTED EXTERNAL` to the authentication");
        check(&[b"DATA\r\nOK 1234\r\n"], "timed out");
        check(&[], "timed out");
        check(&[b"DATA\r\nOK 1234\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"], "no message of D-Bus");
        // 256 MiB.
        check(&[b"DATA\r\nOK 1\r\n", b"l\x02\0\x01\0\0\0\x10\x01\0\0\0\0\0\0\0"], "longer than");
        let nowhere = Bus::connect(Path::new("/nowhere/bus"), Duration::from_millis(10)).err().unwrap();
        assert!(nowhere.to_string().contains("No such file"), "{nowhere}");
    }
}
