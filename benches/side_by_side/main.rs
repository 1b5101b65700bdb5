//! How long queries take over HTTP beside a real Prometheus: the same machine, the same samples, the same
//! queries, in turns.
//!
//! `cargo bench --bench side_by_side -- [--rounds N] [FILTER]`
//!
//! Both start with what they have stored of the samples of Prometheus' own benchmarks. Then each query is
//! asked over one connection kept alive, first of the one and then of the other, in several rounds. Time is that until the last byte of the answer,
//! as the asker sees it; time on the cores is all that the process uses while the case lasts, what it does
//! afterwards (collecting garbage) included.
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]
#![expect(clippy::disallowed_methods, reason = "the folder of the servers can be shared between checkouts")]

mod answer;
mod cases;
mod connection;
mod data;
mod server;
#[path = "../eval/templates.rs"]
mod templates;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use tempfile::TempDir;
use valmis::clock::{Clock as _, SystemClock};
use valmis::exposition::remote_write::{self, Protocol};
use valmis::storage::Appender as _;
use valmis::tsdb::{self, Tsdb};

use answer::{Answer, Difference};
use cases::Case;
use server::{Program, Server};

/// Compares the times of queries with those of a real Prometheus.
#[derive(Parser)]
struct Options {
    /// Only cases that contain this, such as `topk` or `@1000`.
    #[arg(default_value = "")]
    filter: String,
    /// How often each server has its turn in each case.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Samples of each series.
    #[arg(long, default_value_t = data::INTERVALS)]
    intervals: i64,
    /// Another valmis than the one that is built for this.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_valmis"))]
    valmis: PathBuf,
    /// What cargo tells every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A turn consists of so many requests that it takes about this long, up to [`MOST_REQUESTS`]. A short one
/// would lie within one whim of the scheduler: small answers take several times as long while it wakes
/// another core for each.
const TURN: Duration = Duration::from_millis(30);
const MOST_REQUESTS: usize = 500;

fn main() -> Result<()> {
    let options = Options::parse();
    let prometheus = servers().join("sid/usr/bin/prometheus");
    if !prometheus.exists() {
        println!("skipped: there is no {}; `make servers` fetches it", prometheus.display());
        return Ok(());
    }
    run(&options, &prometheus)
}

/// Where `tests/servers.sh` unpacks servers.
fn servers() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers");
    std::env::var_os("VALMIS_SERVERS").map_or_else(default, PathBuf::from)
}

fn run(options: &Options, prometheus: &Path) -> Result<()> {
    let end = SystemClock.now() / data::INTERVAL_MS * data::INTERVAL_MS;
    let mut pair = load(options, prometheus, end)?;
    for server in &mut pair {
        server.wait_quiet()?;
        server.forget_peak()?;
        let resident = server.memory()?.1 as f64 / 1e6;
        println!("{}: {resident:.0} MB resident after the start", server.program.name);
    }
    let mut measured = Vec::new();
    println!("\n| Query | Steps | Prometheus, ms | valmis, ms | Ratio | of the fastest | of time on cores |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for case in cases::all(&options.filter) {
        let target = case.target(end);
        let faults = compare(&mut pair, &target)?;
        if let Err(Difference::Refused { by, error }) = &faults {
            println!("| `{}` | {} | {by} refuses it: {error} |", case.query, case.steps);
            continue;
        }
        let times = measure(&mut pair, &target, options.rounds)?;
        print_row(&case, &times, &faults);
        measured.push((case, times));
    }
    summarize(&measured);
    let peaks = [pair[0].memory()?.0, pair[1].memory()?.0].map(|bytes| bytes as f64 / 1e6);
    println!(
        "Peak of resident memory while the queries ran: Prometheus {:.0} MB, valmis {:.0} MB, ratio {:.2}",
        peaks[0],
        peaks[1],
        peaks[1] / peaks[0]
    );
    Ok(())
}

fn program_prometheus(path: PathBuf) -> Program {
    Program {
        name: "Prometheus",
        path,
        arguments: &[
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
            "--web.enable-remote-write-receiver",
            "--enable-feature=promql-experimental-functions",
        ],
        configuration: ("prometheus.yml", "{}"),
        // Source: prometheus/exporter-toolkit `web/tls_config.go`.
        address: |line| {
            let (_, rest) = line.split_once("msg=\"Listening on\"")?;
            rest.split_once("address=")?.1.split_whitespace().next()?.parse().ok()
        },
    }
}

/// valmis with nothing to do but this: a disk, since without any it watches all, looked at once an hour.
fn program_valmis(path: PathBuf) -> Program {
    Program {
        name: "valmis",
        path,
        arguments: &["serve", "--config=valmis.yaml", "--listen=127.0.0.1:0"],
        configuration: (
            "valmis.yaml",
            "storage: {path: data, retention: 72h, max_memory: 4GiB}\n\
             features: [promql-experimental-functions]\n\
             disks: [{path: /dev/shm, interval: 1h}]\n\
             rules: []\n",
        ),
        address: |line| {
            let (_, rest) = line.split_once("valmis is serving on http://127.0.0.1:")?;
            let port = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        },
    }
}

/// Gives both the same samples and starts them with what they have stored.
///
/// valmis writes about itself from its start on, and nothing is stored that is much older than the newest
/// sample: its store is filled before, with the same requests.
fn load(options: &Options, prometheus: &Path, end: i64) -> Result<[Server; 2]> {
    let mut prometheus = Server::start(program_prometheus(prometheus.canonicalize()?), temporary()?)?;
    let folder = temporary()?;
    let clock = Arc::new(SystemClock);
    let config = tsdb::Config {
        path: Some(folder.path().join("data/tsdb")),
        retention: Duration::from_hours(72),
        max_memory: 4 << 30,
        ..tsdb::Config::new(clock)
    };
    let (store, _) = Tsdb::open(config)?;
    store.start_background()?;
    let (mut samples, mut took) = (0, [Duration::ZERO; 2]);
    for (size, body) in data::bodies(end, options.intervals) {
        samples += size;
        let began = Instant::now();
        prometheus.write(&body).with_context(|| prometheus.log())?;
        took[0] += began.elapsed();
        let began = Instant::now();
        let decoded = remote_write::decode(Protocol::V1, &body, remote_write::DEFAULT_LIMIT)?;
        ensure!(store.append_samples(&decoded.samples).is_empty(), "valmis refuses a sample");
        took[1] += began.elapsed();
    }
    store.close()?;
    drop(store);
    println!("{samples} samples stored in {:.1} s and {:.1} s", took[0].as_secs_f64(), took[1].as_secs_f64());
    prometheus.wait_quiet()?;
    prometheus.restart()?;
    Ok([prometheus, Server::start(program_valmis(options.valmis.canonicalize()?), folder)?])
}

fn temporary() -> Result<TempDir> {
    Ok(TempDir::with_prefix("valmis-side-by-side-")?)
}

/// What the answers of both differ in.
fn compare(pair: &mut [Server; 2], target: &str) -> Result<Result<(), Difference>> {
    let mut answers = Vec::new();
    for server in pair.iter_mut() {
        let name = server.program.name;
        let (status, body) = server.get(target)?;
        let answer: Answer =
            serde_json::from_slice(body).with_context(|| format!("{name} answers {status}"))?;
        answers.push(answer);
    }
    Ok(answers[0].compare(pair[0].program.name, &answers[1], pair[1].program.name))
}

/// What was measured of one case, of Prometheus and of valmis, in milliseconds.
struct Times {
    median: [f64; 2],
    least: [f64; 2],
    /// Of one request.
    on_cores: [f64; 2],
}

fn measure(pair: &mut [Server; 2], target: &str, rounds: usize) -> Result<Times> {
    let mut requests = [1; 2];
    for (server, requests) in pair.iter_mut().zip(&mut requests) {
        let once = server.time(target)?;
        *requests = ((TURN.as_secs_f64() / once.as_secs_f64()) as usize).clamp(1, MOST_REQUESTS);
    }
    let before = [pair[0].cpu()?, pair[1].cpu()?];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((server, times), requests) in pair.iter_mut().zip(&mut times).zip(requests) {
            for _ in 0..requests {
                times.push(server.time(target)?.as_secs_f64() * 1e3);
            }
            server.cpu()?;
        }
    }
    let mut on_cores = [0.0; 2];
    for (index, server) in pair.iter_mut().enumerate() {
        let used = server.cpu()?.saturating_sub(before[index]).as_secs_f64() * 1e3;
        on_cores[index] = used / times[index].len() as f64;
    }
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    Ok(Times {
        median: [0, 1].map(|index| times[index][times[index].len() / 2]),
        least: [0, 1].map(|index| times[index][0]),
        on_cores,
    })
}

/// The second in proportion to the first.
fn ratio(pair: [f64; 2]) -> f64 {
    pair[1] / pair[0]
}

fn print_row(case: &Case, times: &Times, faults: &Result<(), Difference>) {
    let note = faults.as_ref().err().map(|fault| format!(" **{fault}**")).unwrap_or_default();
    println!(
        "| `{}`{note} | {} | {:.2} | {:.2} | {:.3} | {:.3} | {:.3} |",
        case.query,
        case.steps,
        times.median[0],
        times.median[1],
        ratio(times.median),
        ratio(times.least),
        ratio(times.on_cores)
    );
}

/// The geometric means of the ratios, and the worst cases.
fn summarize(measured: &[(Case, Times)]) {
    let mean = |pick: fn(&Times) -> [f64; 2]| {
        let sum: f64 = measured.iter().map(|(_, times)| ratio(pick(times)).ln()).sum();
        (sum / measured.len() as f64).exp()
    };
    println!(
        "\nGeometric mean of {} ratios: {:.3}; of the fastest times {:.3}; of time on cores {:.3}",
        measured.len(),
        mean(|times| times.median),
        mean(|times| times.least),
        mean(|times| times.on_cores)
    );
    let mut worst: Vec<_> = measured.iter().map(|(case, times)| (ratio(times.median), case)).collect();
    worst.sort_by(|one, other| other.0.total_cmp(&one.0));
    println!("Worst cases:");
    for (ratio, case) in worst.iter().take(10) {
        println!("  {ratio:.3} {} @{}", case.query, case.steps);
    }
}
