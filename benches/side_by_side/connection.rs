//! One connection to a server: requests and answers of HTTP/1.1 over a socket that blocks, so that the
//! time of an answer is hardly that of the asker.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, bail};

/// The status of an answer that has no body.
const NO_CONTENT: u16 = 204;

/// A connection that is kept.
pub(crate) struct Connection {
    host: SocketAddr,
    stream: BufReader<TcpStream>,
    /// The line that was read last.
    line: String,
}

impl Connection {
    pub(crate) fn open(host: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        Ok(Self { host, stream: BufReader::with_capacity(256 << 10, stream), line: String::new() })
    }

    /// Asks for something and reads the answer into `body`: its status.
    pub(crate) fn get(&mut self, target: &str, body: &mut Vec<u8>) -> Result<u16> {
        self.send(&format!("GET {target}"), "", b"", body)
    }

    /// Sends something with further header lines, each with its line break.
    pub(crate) fn post(
        &mut self,
        target: &str,
        headers: &str,
        content: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<u16> {
        let headers = format!("{headers}Content-Length: {}\r\n", content.len());
        self.send(&format!("POST {target}"), &headers, content, body)
    }

    fn send(&mut self, what: &str, headers: &str, content: &[u8], body: &mut Vec<u8>) -> Result<u16> {
        let mut request = format!("{what} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host).into_bytes();
        request.extend_from_slice(content);
        self.stream.get_mut().write_all(&request)?;
        body.clear();
        let status = self.line()?.split(' ').nth(1).context("an answer without status")?.parse()?;
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => length = Some(value.parse()?),
                ("transfer-encoding", "chunked") => chunked = true,
                ("connection", "close") => bail!("the server does not keep the connection"),
                _ => {}
            }
        }
        match length {
            Some(length) => self.read(length, body)?,
            None if chunked => loop {
                let size = usize::from_str_radix(self.line()?, 16)?;
                self.read(size, body)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            },
            None if status == NO_CONTENT => {}
            None => bail!("an answer without length"),
        }
        Ok(status)
    }

    /// A line without its end.
    fn line(&mut self) -> Result<&str> {
        self.line.clear();
        if self.stream.read_line(&mut self.line)? == 0 {
            bail!("the server closes the connection");
        }
        Ok(self.line.trim_end())
    }

    fn read(&mut self, size: usize, body: &mut Vec<u8>) -> Result<()> {
        let before = body.len();
        body.resize(before + size, 0);
        Ok(self.stream.read_exact(&mut body[before..])?)
    }
}
