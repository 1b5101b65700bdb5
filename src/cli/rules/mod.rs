//! `valmis rules …`

mod backtest;
mod check;
mod export;
mod test;

use anyhow::Result;

use super::{Exit, Output};

/// Work with rule files.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Rules {
    Backtest(backtest::Backtest),
    Check(check::Check),
    Export(export::Export),
    Test(test::Test),
}

pub(super) fn run(command: &Rules, out: &mut Output) -> Result<Exit> {
    match command {
        Rules::Backtest(args) => backtest::run(args, out),
        Rules::Check(args) => check::run(args, out),
        Rules::Export(args) => export::run(args, out),
        Rules::Test(args) => test::run(args, out),
    }
}
