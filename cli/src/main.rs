//! The `anychip` command: which chips are here, what they can do, how fast they are.

mod bench;
mod conform;
mod devices;
mod tune;

use anychip::hal::probe::Helper;
use clap::{Parser, Subcommand, ValueEnum};
use std::{io::Write, process::ExitCode};

/// One API for every chip: what is here, and how fast it is.
#[derive(Parser)]
#[command(name = "anychip", version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every device of every backend, and for each backend that gives none, why
    #[command(after_help = devices::HELP)]
    Devices {
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
        /// Probe every driver and device again, whatever is recorded
        #[arg(long)]
        probe: bool,
    },
    /// Touches a driver or a device in place of the command: what kills it then kills this process
    #[command(hide = true)]
    Probe {
        /// DRIVER or DRIVER:ORDINAL
        target: String,
    },
    /// Time of one operation on one device: medians over changing inputs
    Bench(bench::Args),
    /// Measures kernel schedules on a device and keeps the fastest that compute the same
    Tune(tune::Args),
    /// Whether applications may move to a device: a level, and every failure with the line that replays it
    #[command(after_help = conform::HELP, args_conflicts_with_subcommands = true)]
    Conform(conform::Args),
    /// Runs conformance cases in place of the command: what kills it then kills this process
    #[command(hide = true, name = conform::SHARD)]
    ConformShard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

fn main() -> ExitCode {
    let command = Args::parse().command;
    match Helper::this_program() {
        Ok(helper) => anychip::probe_with(helper),
        Err(e) => eprintln!("anychip: drivers are not probed before they are used: {e}"),
    }
    let done = match command {
        Command::Devices { format, probe } => devices::run(format, probe),
        Command::Probe { target } => {
            let answered = anychip::answer_probe(&target, &mut std::io::stdout());
            return if answered.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Command::Bench(args) => bench::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Conform(args) => return conform::run(&args),
        Command::ConformShard => return conform::shard(),
    };
    match done.and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("anychip: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; a reader that has gone away is no error of ours.
fn print(text: &str) -> anychip::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(anychip::Error::io("standard output", &e)),
        _ => Ok(()),
    }
}
