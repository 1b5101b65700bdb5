//! A server in a process and a folder of its own, and one connection to it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::connection::Connection;

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
    connection: Connection,
    /// The body of the last answer.
    body: Vec<u8>,
    /// Time on the cores, and that of each thread when it was last looked at, in nanoseconds.
    cpu: Duration,
    threads: HashMap<OsString, u64>,
}

impl Server {
    pub(crate) fn start(program: Program, folder: TempDir) -> Result<Self> {
        let (name, text) = program.configuration;
        fs::write(folder.path().join(name), text)?;
        let mut child = spawn(&program, folder.path())?;
        let address = listening(&program, folder.path(), &mut child)?;
        let connection = Connection::open(address)?;
        let (body, cpu, threads) = Default::default();
        Ok(Self { program, folder, child, connection, body, cpu, threads })
    }

    /// Ends it in an orderly way and starts it again with the same data: what loading them has left in
    /// memory is gone.
    pub(crate) fn restart(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                bail!("{} does not end", self.program.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = spawn(&self.program, self.folder.path())?;
        let address = listening(&self.program, self.folder.path(), &mut self.child)?;
        self.connection = Connection::open(address)?;
        let began = Instant::now();
        while self.get("/-/ready")?.0 != 200 {
            if began.elapsed() > PATIENCE {
                bail!("{} does not become ready", self.program.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks: the status of the answer and its body.
    pub(crate) fn get(&mut self, target: &str) -> Result<(u16, &[u8])> {
        let status = self.connection.get(target, &mut self.body)?;
        Ok((status, &self.body))
    }

    /// Asks and tells how long it took until the last byte.
    pub(crate) fn time(&mut self, target: &str) -> Result<Duration> {
        let began = Instant::now();
        self.get(target)?;
        Ok(began.elapsed())
    }

    /// Sends a body of remote write.
    pub(crate) fn write(&mut self, body: &[u8]) -> Result<()> {
        let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                       X-Prometheus-Remote-Write-Version: 0.1.0\r\n";
        let status = self.connection.post("/api/v1/write", headers, body, &mut self.body)?;
        if !(200..300).contains(&status) {
            let text = String::from_utf8_lossy(&self.body);
            bail!("{} answers {status}: {text}", self.program.name);
        }
        Ok(())
    }

    /// Waits until it has done what it does by itself after loading and starting.
    pub(crate) fn wait_quiet(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            let (since, before) = (Instant::now(), self.cpu()?);
            std::thread::sleep(Duration::from_secs(3));
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

fn listening(program: &Program, folder: &Path, child: &mut Child) -> Result<SocketAddr> {
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
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn log(folder: &Path) -> String {
    String::from_utf8_lossy(&fs::read(folder.join("log")).unwrap_or_default()).into_owned()
}
