//! A program of its own, with what it writes in files. It is killed when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

pub(crate) struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts a program; what it writes becomes the contents of files in the folder.
    pub(crate) fn start(command: &mut Command, folder: &Path) -> Self {
        let stderr = File::create(folder.join("stderr")).unwrap();
        Self::start_with(command, folder, stderr.into())
    }

    /// Starts a program whose standard error is a pipe that nobody reads.
    pub(crate) fn start_unread(command: &mut Command, folder: &Path) -> Self {
        Self::start_with(command, folder, Stdio::piped())
    }

    fn start_with(command: &mut Command, folder: &Path, error: Stdio) -> Self {
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        command.stdin(Stdio::null()).stdout(File::create(&stdout).unwrap()).stderr(error);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self { child, stdout, stderr }
    }

    /// What it has written to standard output until now.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it has written until now.
    pub(crate) fn log(&self) -> String {
        self.output() + &String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default())
    }

    /// Waits until `find` finds something in a line of the log.
    pub(crate) async fn in_log<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        eventually(what, async || {
            let log = self.log();
            let found = log.lines().find_map(&find);
            if found.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                panic!("it ended with {status}:\n{}", self.log());
            }
            found.ok_or(log)
        })
        .await
    }

    /// The most memory it had until now, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:").strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        self.status("Threads:").parse().unwrap()
    }

    /// What the kernel says of it.
    fn status(&self, key: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // One that has ended in the meantime needs no signal.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        eventually("the end of the process", async || {
            self.child.try_wait().unwrap().ok_or_else(|| self.log())
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
