//! The program itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use ::valmis::artifacts::{Artifact, rules};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::process::Process;
use super::{eventually, http};

/// What every configuration of a test begins with. A firing alert is sent again after five seconds;
/// Alertmanager takes it for resolved when it has not been for four times that.
pub(crate) const COMMON: &str = "evaluation_interval: 1s\nresend_delay: 5s\nrules: [./rules/*.yaml]\n";

/// A disk that no rule judges, for tests that are about something else: without any, all disks of the
/// machine are watched, also the one that another test fills.
pub(crate) const NO_DISK: &str = "disks: [{path: /dev/shm, interval: 1s}]\n";

/// How long an alert of [`quick`] rules has to hold before it fires.
pub(crate) const FOR_SECONDS: u64 = 3;

/// The bundled rules with short times, as files for the folder `rules`. Those about valmis itself keep
/// their hold durations: most tests do on purpose what they warn of.
pub(crate) fn quick_rules() -> Vec<(String, String)> {
    bundled(|name, text| if name == "valmis-self" { every_second(text) } else { quick(text) })
}

/// All bundled rules with short times.
pub(crate) fn all_quick_rules() -> Vec<(String, String)> {
    bundled(|_, text| quick(text))
}

fn bundled(shorten: impl Fn(&str, &str) -> String) -> Vec<(String, String)> {
    let file = |rules: &Artifact| (format!("{}.yaml", rules.name), shorten(rules.name, rules.text));
    rules().iter().map(file).collect()
}

/// The same rules, expression by expression, evaluated every second, with a hold duration of
/// [`FOR_SECONDS`] and with rates over 15 seconds instead of minutes.
fn quick(text: &str) -> String {
    let lines = every_second(text);
    let lines = lines.lines().map(|line| match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: {FOR_SECONDS}s\n"),
        _ => {
            line.replace("[5m]", "[15s]")
                .replace("[3m]", "[15s]")
                .replace("[6m]", "[15s]")
                .replace("[15m]", "[15s]")
                .replace("* 300", "* 15")
                + "\n"
        }
    });
    lines.collect()
}

fn every_second(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("interval: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}interval: 1s\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// valmis with a folder of its own. It is killed when it is dropped.
pub(crate) struct Valmis {
    folder: TempDir,
    process: Process,
    pub(crate) address: SocketAddr,
    /// `http` or `https`.
    scheme: &'static str,
    /// Variables of its environment.
    environment: &'static [(&'static str, &'static str)],
    /// Whom it lets in.
    user: Option<(&'static str, &'static str)>,
}

impl Valmis {
    /// Starts it with this configuration on a free port, with [`quick_rules`] in the folder `rules`, and
    /// waits until it is ready.
    pub(crate) async fn start(configuration: &str) -> Self {
        Self::start_with(configuration, &quick_rules()).await
    }

    /// As [`Self::start`], with a configuration that lets this user in over TLS.
    pub(crate) async fn start_behind(configuration: &str, user: (&'static str, &'static str)) -> Self {
        Self::start_as(configuration, &quick_rules(), "https", Some(user), &[]).await
    }

    /// As [`Self::start`], with rule files of the test.
    pub(crate) async fn start_with(configuration: &str, rules: &[(String, String)]) -> Self {
        Self::start_as(configuration, rules, "http", None, &[]).await
    }

    /// As [`Self::start_behind`], with variables of the environment.
    pub(crate) async fn start_in(
        configuration: &str,
        user: (&'static str, &'static str),
        environment: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::start_as(configuration, &quick_rules(), "https", Some(user), environment).await
    }

    /// As [`Self::start`], within mounts of its own that a script makes; it runs in the folder of the
    /// configuration. None where that is not allowed: it takes root, and not every container lets it.
    pub(crate) async fn start_among_mounts(configuration: &str, script: &str) -> Option<Self> {
        let folder = TempDir::with_prefix("valmis-mounts-").unwrap();
        fs::write(folder.path().join(MOUNTS), format!("set -e\n{script}exec \"$@\"\n")).unwrap();
        let mut trial = among_mounts(folder.path(), Path::new("/bin/true"));
        if !trial.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            super::say("skipped: nothing can be mounted here");
            return None;
        }
        Some(Self::start_in_folder(folder, configuration, &quick_rules(), "http", None, &[]).await)
    }

    async fn start_as(
        configuration: &str,
        rules: &[(String, String)],
        scheme: &'static str,
        user: Option<(&'static str, &'static str)>,
        environment: &'static [(&'static str, &'static str)],
    ) -> Self {
        let folder = TempDir::with_prefix("valmis-").unwrap();
        Self::start_in_folder(folder, configuration, rules, scheme, user, environment).await
    }

    async fn start_in_folder(
        folder: TempDir,
        configuration: &str,
        rules: &[(String, String)],
        scheme: &'static str,
        user: Option<(&'static str, &'static str)>,
        environment: &'static [(&'static str, &'static str)],
    ) -> Self {
        fs::create_dir(folder.path().join("rules")).unwrap();
        for (name, text) in rules {
            fs::write(folder.path().join("rules").join(name), text).unwrap();
        }
        fs::write(folder.path().join("valmis.yaml"), configuration).unwrap();
        let (process, address) = run(folder.path(), environment).await;
        let valmis = Self { folder, process, address, scheme, environment, user };
        valmis.wait_ready().await;
        valmis
    }

    async fn wait_ready(&self) {
        eventually("readiness of valmis", async || match self.get("/ready").await {
            (StatusCode::OK, _) => Ok(()),
            other => Err(format!("{other:?}\n{}", self.log())),
        })
        .await;
    }

    /// Ends it without warning.
    pub(crate) fn kill_9(&mut self) {
        self.process.kill();
    }

    /// Asks it to end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.process.terminate().await
    }

    /// Starts it again with the same data. The port is another one.
    pub(crate) async fn restart(&mut self) {
        (self.process, self.address) = run(self.folder.path(), self.environment).await;
        self.wait_ready().await;
    }

    /// Writes another configuration; it is not read yet.
    pub(crate) fn configure(&self, configuration: &str) {
        fs::write(self.folder.path().join("valmis.yaml"), configuration).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The most memory it had until now, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.process.peak_memory()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Where it says how it is to everybody.
    pub(crate) fn health_address(&self) -> SocketAddr {
        let log = self.log();
        let (_, rest) = log.split_once("health and readiness are served on http://").expect("in the log");
        let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().expect("an address")
    }

    /// Asks for a page. A connection that fails counts as 502.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = http().get(format!("{}://{}{path}", self.scheme, self.address));
        let request = match self.user {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        match request.send().await {
            Ok(answer) => (answer.status(), answer.text().await.unwrap_or_default()),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
        }
    }

    pub(crate) async fn post(&self, path: &str) -> (StatusCode, String) {
        let answer = http().post(format!("http://{}{path}", self.address)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Tells it all the time that a job has run.
    pub(crate) fn ping_often(&self, job: &str) -> JoinHandle<()> {
        let url = format!("http://{}/ping/{job}", self.address);
        tokio::spawn(async move {
            let mut often = tokio::time::interval(Duration::from_millis(200));
            loop {
                often.tick().await;
                // It may not be there at the end of a test.
                let _ = http().get(&url).send().await;
            }
        })
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, text) = self.get(path).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {status}: {error}: {text}"))
    }

    /// One component of `/readiness`.
    pub(crate) async fn component(&self, kind: &str, name: &str) -> Value {
        let mut report = self.json("/readiness").await;
        let components = report["components"].as_array_mut().unwrap();
        let found = components.iter_mut().find(|one| one["component"] == kind && one["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} `{name}`")).take()
    }

    /// Waits until every component is ready.
    pub(crate) async fn wait_all_ready(&self) {
        eventually("readiness of all components", async || {
            let report = self.json("/readiness").await;
            if report["ready"] == true { Ok(()) } else { Err(format!("{report:#}")) }
        })
        .await;
    }

    /// The active alerts, without the watchdog: state and name.
    pub(crate) async fn alerts(&self) -> Vec<(String, String)> {
        let answer = self.json("/api/v1/alerts").await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let alerts = answer["data"]["alerts"].as_array().unwrap().iter();
        alerts
            .map(|alert| (text(&alert["state"]), text(&alert["labels"]["alertname"])))
            .filter(|(_, name)| name != "Watchdog")
            .collect()
    }

    /// Waits until an alert is in this state. Gives what the API says of it.
    pub(crate) async fn wait_for_alert(&self, state: &str, name: &str) -> Value {
        eventually(&format!("alert {name} {state}"), async || {
            let answer = self.json("/api/v1/alerts").await;
            let alerts = answer["data"]["alerts"].as_array().unwrap();
            let found = alerts.iter().find(|one| one["state"] == state && one["labels"]["alertname"] == name);
            found.cloned().ok_or_else(|| format!("{answer:#}"))
        })
        .await
    }

    /// Waits until no alert of this name is active.
    pub(crate) async fn wait_for_end(&self, name: &str) {
        eventually(&format!("end of {name}"), async || {
            let alerts = self.alerts().await;
            if alerts.iter().all(|(_, active)| active != name) { Ok(()) } else { Err(format!("{alerts:?}")) }
        })
        .await;
    }

    /// Waits until every group of rules has been evaluated twice more: whatever follows from what has
    /// happened until now has followed.
    pub(crate) async fn wait_two_evaluations(&self) {
        self.wait_two_evaluations_of(&[]).await;
    }

    /// The same of these groups alone; without any, of all.
    pub(crate) async fn wait_two_evaluations_of(&self, groups: &[&str]) {
        for _ in 0..2 {
            let before = self.evaluations(groups).await;
            eventually("another evaluation of every group", async || {
                let now = self.evaluations(groups).await;
                let all = before.iter().zip(&now).all(|(before, now)| before != now);
                if all { Ok(()) } else { Err(format!("{before:?} and then {now:?}")) }
            })
            .await;
        }
    }

    async fn evaluations(&self, wanted: &[&str]) -> Vec<String> {
        let answer = self.json("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().unwrap().iter();
        let groups =
            groups.filter(|group| wanted.is_empty() || wanted.contains(&group["name"].as_str().unwrap()));
        groups.map(|group| group["lastEvaluation"].to_string()).collect()
    }
}

/// The script that makes mounts, if the program is to have its own.
const MOUNTS: &str = "mounts.sh";

/// A command within mounts of its own, which nobody else sees and which end with it.
fn among_mounts(folder: &Path, program: &Path) -> Command {
    let mut command = Command::new("/usr/bin/unshare");
    command.current_dir(folder).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(["--mount", "/bin/sh", MOUNTS]).arg(program);
    command
}

/// The command without the environment of whoever runs the tests.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_valmis"));
    command.current_dir(folder).env_clear();
    command
}

async fn run(folder: &Path, environment: &[(&str, &str)]) -> (Process, SocketAddr) {
    let mut command = if folder.join(MOUNTS).exists() {
        among_mounts(folder, Path::new(env!("CARGO_BIN_EXE_valmis")))
    } else {
        command(folder)
    };
    command.envs(environment.iter().copied());
    command.args(["serve", "--config", "valmis.yaml", "--listen", "127.0.0.1:0"]);
    let mut process = Process::start(&mut command, folder);
    let address = process.in_log("address of valmis", address).await;
    (process, address)
}

/// The address in the line that tells people where to look.
pub(crate) fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("valmis is serving on http")?;
    let (_, rest) = rest.split_once("://127.0.0.1:")?;
    let port = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}
