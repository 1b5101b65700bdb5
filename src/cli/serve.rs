//! `valmis serve`, which is also what `valmis` alone does.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Exit, Output, environment};
use crate::app;
use crate::config::{MachinePaths, parse_address};
use crate::promql::STACK_BYTES;
use crate::telemetry;

/// Watch, evaluate, page and serve until a signal says stop.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Serve {
    /// The configuration; without one valmis watches this machine and itself.
    #[arg(long, short, env = "VALMIS_CONFIG")]
    config: Option<PathBuf>,
    /// Listen here instead of where the configuration says; `:9797` is all interfaces.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// A web configuration file as Prometheus' exporters have it (TLS, passwords, headers, limits) instead
    /// of the one that the configuration names.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// Serve /health and /ready here too, in plain HTTP and to everybody.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    health_listen: Option<SocketAddr>,
    /// Keep data here instead of where the configuration says.
    #[arg(long, env = "VALMIS_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    machine: Machine,
}

/// Where the machine's files are, for a process in a container that watches its host. The names are
/// `node_exporter`'s.
#[derive(Debug, Default, clap::Args)]
struct Machine {
    /// Where the machine's /proc is mounted.
    #[arg(long = "path.procfs", value_name = "FOLDER")]
    procfs: Option<PathBuf>,
    /// Where the machine's /sys is mounted.
    #[arg(long = "path.sysfs", value_name = "FOLDER")]
    sysfs: Option<PathBuf>,
    /// Where the machine's root is mounted.
    #[arg(long = "path.rootfs", value_name = "FOLDER")]
    rootfs: Option<PathBuf>,
}

pub(super) fn run(args: &Serve, out: &mut Output) -> Result<Exit> {
    telemetry::queue_log().context("cannot start the thread of the log")?;
    let options = app::Options {
        file: args.config.clone(),
        listen: args.listen,
        web_config_file: args.web_config_file.clone(),
        health_listen: args.health_listen,
        data_folder: args.data_dir.clone(),
        machine: MachinePaths {
            procfs: args.machine.procfs.clone(),
            sysfs: args.machine.sysfs.clone(),
            rootfs: args.machine.rootfs.clone(),
        },
        environment,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("valmis")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let announce = |url: &str| {
        // A closed standard output is no reason not to serve.
        let _ = out.line(&format!("valmis is serving on {url}"));
    };
    let outcome = runtime.block_on(app::run(options, announce));
    // Threads that hang in a file system must not keep the process.
    runtime.shutdown_background();
    outcome.map(|()| Exit::Fine)
}
