//! The command line: one file a command, over the same parts as the server.
//!
//! Exit codes: 0 nothing to report, 1 findings (a bad file, a failed probe), 2 the command could not do
//! its work. Results go to standard output, everything else to standard error.

mod config;
mod dashboards;
mod drill;
mod explain;
mod export;
mod features;
mod findings;
mod init;
mod postgres;
mod probe;
mod query;
mod rules;
mod serve;
mod trust;
mod version;
mod why;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::api::parse_duration;
use crate::client::install_crypto_provider;
use crate::telemetry::{self, LogFormat, VERSION, start_logging};

/// Says at every moment, with evidence, whether a system is ready for production, and pages when it is
/// not.
#[derive(Debug, Parser)]
#[command(
    name = "valmis",
    version = VERSION,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command valmis serves. Exit codes: 0 nothing to report, 1 findings (a bad file, a \
                  failed probe), 2 the command could not do its work."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
    /// How log lines look.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "VALMIS_LOG_FORMAT",
        help_heading = "Logging"
    )]
    log_format: LogFormat,
    /// What is logged: a level, or levels per module such as `warn,valmis::scrape=debug`.
    #[arg(long, global = true, default_value = "info", env = "VALMIS_LOG", help_heading = "Logging")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Init(init::Init),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Rules(rules::Rules),
    Explain(explain::Explain),
    #[command(subcommand)]
    Drill(drill::Drill),
    #[command(subcommand)]
    Dashboards(dashboards::Dashboards),
    #[command(subcommand)]
    Query(query::Query),
    #[command(subcommand)]
    Postgres(postgres::Postgres),
    #[command(subcommand)]
    Probe(probe::Probe),
    Why(why::Why),
    Version(version::Version),
}

/// What an answer is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// What a command has to say by its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Nothing to report.
    Fine,
    /// Findings.
    Findings,
}

/// Runs the program with the arguments of the process.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap prints each where it belongs.
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nobody is left to tell if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    install_crypto_provider();
    let mut out = Output(io::stdout());
    let code = match execute(&arguments, &mut out) {
        Ok(Exit::Fine) => ExitCode::SUCCESS,
        Ok(Exit::Findings) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::say(&format!("valmis: {error:#}\n"));
            ExitCode::from(2)
        }
    };
    telemetry::flush_log();
    code
}

fn execute(arguments: &Arguments, out: &mut Output) -> Result<Exit> {
    start_logging(arguments.log_format, &arguments.log)
        .with_context(|| format!("`--log {}` is not a log filter", arguments.log))?;
    match &arguments.command {
        Some(Command::Init(args)) => init::run(args, out),
        Some(Command::Config(args)) => config::run(args, out),
        Some(Command::Rules(args)) => rules::run(args, out),
        Some(Command::Explain(args)) => explain::run(args, out),
        Some(Command::Drill(args)) => drill::run(args, out),
        Some(Command::Dashboards(args)) => dashboards::run(args, out),
        Some(Command::Query(args)) => query::run(args, out),
        Some(Command::Postgres(args)) => postgres::run(args, out),
        Some(Command::Probe(args)) => probe::run(args, out),
        Some(Command::Why(args)) => why::run(args, out),
        Some(Command::Version(_)) => version::run(out),
        Some(Command::Serve(args)) => serve::run(args, out),
        None => serve::run(&arguments.serve, out),
    }
}

/// A reader such as `head` that has seen enough is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let source = error.root_cause().downcast_ref::<io::Error>();
    source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Standard output, the only way to it.
struct Output(io::Stdout);

impl Output {
    fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.0, "{line}")
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())?;
        self.0.flush()
    }
}

/// Looks a variable of the environment up.
#[expect(clippy::disallowed_methods, reason = "the command line is where the environment comes in")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Tells whoever runs a command something that is no result.
fn note(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Reads a duration on the command line: Prometheus' notation, or seconds.
fn duration(text: &str) -> Result<Duration> {
    let ms = parse_duration(text).and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).context("write a duration such as `15s`, `5m` or `1h30m`")
}

/// A runtime for a command that does a little of I/O.
fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")
}
