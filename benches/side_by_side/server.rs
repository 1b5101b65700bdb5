//! A server in a process and a folder of its own, and one connection to it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// How long anything may take that is no query.
const PATIENCE: Duration = Duration::from_mins(5);

/// A process that uses less than this part of a core has nothing to do.
const QUIET: f64 = 0.02;

/// How to start one.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) arguments: &'static [&'static str],
    /// Name and text of the configuration.
    pub(crate) configuration: (&'static str, &'static str),
    /// The address in a line of the log.
    pub(crate) address: fn(&str) -> Option<SocketAddr>,
}

/// A running one. It is killed when it is dropped.
pub(crate) struct Server {
    pub(crate) program: Program,
    folder: TempDir,
    child: Child,
    address: SocketAddr,
    connection: SendRequest<Full<Bytes>>,
    /// Time on the cores, and that of each thread when it was last looked at, in nanoseconds.
    cpu: Duration,
    threads: HashMap<OsString, u64>,
}

impl Server {
    pub(crate) async fn start(program: Program, folder: TempDir) -> Result<Self> {
        let (name, text) = program.configuration;
        fs::write(folder.path().join(name), text)?;
        let mut child = spawn(&program, folder.path())?;
        let address = listening(&program, folder.path(), &mut child).await?;
        let connection = connect(address).await?;
        let (cpu, threads) = Default::default();
        Ok(Self { program, folder, child, address, connection, cpu, threads })
    }

    /// Ends it in an orderly way and starts it again with the same data: what loading them has left in
    /// memory is gone.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                bail!("{} does not end", self.program.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.child = spawn(&self.program, self.folder.path())?;
        self.address = listening(&self.program, self.folder.path(), &mut self.child).await?;
        self.connection = connect(self.address).await?;
        let began = Instant::now();
        while self.get("/-/ready").await?.0 != StatusCode::OK {
            if began.elapsed() > PATIENCE {
                bail!("{} does not become ready", self.program.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Asks and reads the whole answer.
    pub(crate) async fn get(&mut self, target: &str) -> Result<(StatusCode, Bytes)> {
        let answer = self.ask(target).await?;
        Ok((answer.status(), answer.into_body().collect().await?.to_bytes()))
    }

    /// Asks, lets the answer pass by, and tells how long that took.
    pub(crate) async fn time(&mut self, target: &str) -> Result<Duration> {
        let began = Instant::now();
        let mut body = self.ask(target).await?.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(began.elapsed())
    }

    async fn ask(&mut self, target: &str) -> Result<hyper::Response<hyper::body::Incoming>> {
        self.send(Request::get(target).body(Full::default())?).await
    }

    /// Sends a body of remote write.
    pub(crate) async fn write(&mut self, body: Bytes) -> Result<()> {
        let request = Request::post("/api/v1/write")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(Full::new(body))?;
        let answer = self.send(request).await?;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{} answers {status}: {}", self.program.name, String::from_utf8_lossy(&text));
        }
        Ok(())
    }

    async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<hyper::Response<hyper::body::Incoming>> {
        request.headers_mut().insert("host", self.address.to_string().parse()?);
        self.connection.ready().await?;
        Ok(self.connection.send_request(request).await?)
    }

    /// Waits until it has done what it does by itself after loading and starting.
    pub(crate) async fn wait_quiet(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            let (since, before) = (Instant::now(), self.cpu()?);
            tokio::time::sleep(Duration::from_secs(3)).await;
            let used = (self.cpu()?.saturating_sub(before)).as_secs_f64() / since.elapsed().as_secs_f64();
            if used < QUIET {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!("{} is still busy", self.program.name);
            }
        }
    }

    /// Time on the cores since the start. Threads come and go: of one that has ended, what it did since
    /// the last look is lost, so that it is looked at often.
    pub(crate) fn cpu(&mut self) -> Result<Duration> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let thread = thread?;
            // A thread may end while we look.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let used = text.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
            let known = self.threads.entry(thread.file_name()).or_default();
            // A number may be used again.
            self.cpu += Duration::from_nanos(used.checked_sub(*known).unwrap_or(used));
            *known = used;
        }
        Ok(self.cpu)
    }

    /// Lets the kernel begin anew with finding the peak. Source: proc(5), `clear_refs`.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// Resident bytes: the most since [`Self::forget_peak`], and now.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).context("a field is missing")?;
            let kilobytes =
                line.trim_start_matches(':').split_whitespace().next().context("an empty field")?;
            anyhow::Ok(kilobytes.parse::<u64>()? * 1024)
        };
        Ok((field("VmHWM")?, field("VmRSS")?))
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        log(self.folder.path())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Program, folder: &Path) -> Result<Child> {
    let log = File::create(folder.join("log"))?;
    Command::new(&program.path)
        .args(program.arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", program.path.display()))
}

async fn listening(program: &Program, folder: &Path, child: &mut Child) -> Result<SocketAddr> {
    let began = Instant::now();
    loop {
        let log = log(folder);
        if let Some(address) = log.lines().find_map(program.address) {
            return Ok(address);
        }
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status}:\n{log}", program.name);
        }
        if began.elapsed() > PATIENCE {
            bail!("{} does not listen:\n{log}", program.name);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn log(folder: &Path) -> String {
    String::from_utf8_lossy(&fs::read(folder.join("log")).unwrap_or_default()).into_owned()
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
