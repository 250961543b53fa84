//! `anychip conform`: whether applications may move to a device.
//!
//! This process never touches the driver: children do ([`shard`]), one case after another. What they find is judged, shown and,
//! where a bundle is asked for, written down.

mod show;

use anychip_conformance::{
    Subject, cases, levels,
    run::{self, Host, Progress, Selection, Settings, Verdict},
    verdict::{Waivers, judge},
};
use clap::{Args as Arguments, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs,
    io::{stdin, stdout},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

/// The hidden subcommand of the children.
pub const SHARD: &str = "conform-shard";

/// What stands below the options in `--help`.
pub const HELP: &str = concat!(
    "Levels: 0 runtime, 1 core, 2 inference, 3 system; each asks for those below it too. The exit code is 0 only when the level that\n",
    "was asked for is reached. A run with a filter reaches no level: its exit code is 0 when nothing of it failed.\n\n",
    "Every case runs in a process of its own kind with a limit of time, so that a driver that crashes or hangs costs one case.\n",
    "Inputs depend on the suite's version, the case and the seed, so that a failure is the same again:\n\n",
    "  anychip conform --device vulkan:0 --filter core/unary/exp/f32/prime --seed 0",
);

#[derive(Arguments)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The device: its id in `anychip devices`
    #[arg(long, required_unless_present = "list")]
    device: Option<String>,
    /// The level that is asked for
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    level: u8,
    /// Only cases that match one of these patterns, separated by commas: core/unary/*/f32/*, runtime/
    #[arg(long)]
    filter: Option<String>,
    /// The seed of all inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print how many cases there are by operation, type, shape and level, with a filter their ids too, and run none
    #[arg(long)]
    list: bool,
    /// Seconds that the soak lasts; what is shorter than an hour stands in the verdict
    #[arg(long, default_value_t = 3600)]
    soak: u32,
    /// Seconds that a case may take
    #[arg(long, default_value_t = 120)]
    limit: u32,
    /// Processes at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Failures that are known, with their reasons: TOML, `[[waiver]]` with `id` and `reason`. Each caps the level
    #[arg(long, value_name = "FILE")]
    waivers: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {}

/// Runs what is asked for.
pub fn run(args: &Args) -> ExitCode {
    match execute(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("anychip: conform: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The child's side.
pub fn shard() -> ExitCode {
    match run::serve(stdin().lock(), &mut stdout(), cases::all(), Subject::open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// True when what was asked for is reached.
fn execute(args: &Args) -> Result<bool, String> {
    match &args.command {
        Some(other) => match *other {},
        None => {}
    }
    let selection = Selection::new(Some(args.level), args.filter.as_deref())?;
    let chosen = run::select(cases::all(), &selection);
    if args.list {
        return put(&show::list(&chosen, !selection.is_all())).map(|()| true);
    }
    let waivers = match &args.waivers {
        None => Waivers::default(),
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
            Waivers::read(&text).map_err(|e| format!("{}: {e}", file.display()))?
        }
    };
    let settings = Settings {
        device: args.device.clone().unwrap_or_default(),
        seed: args.seed,
        soak: Duration::from_secs(args.soak.into()),
        limit: Duration::from_secs(args.limit.max(1).into()),
        jobs: args.jobs,
    };
    let host = Host::this_program().map_err(|e| format!("the path of this program: {e}"))?.argument(SHARD);
    let (info, _environment) = host.inspect(&settings)?;
    let bar = bar(chosen.len() as u64);
    let mut failures = 0;
    let outcomes = host.run(&settings, &chosen, &mut |p| match p {
        Progress::Begins(id) => bar.set_message(id.to_string()),
        Progress::Ended(o) => {
            failures += u64::from(o.verdict.is_failure());
            bar.set_prefix(if failures == 0 { String::new() } else { format!("{failures} failed ") });
            bar.inc(1);
        }
    });
    bar.finish_and_clear();
    let outcomes = outcomes?;
    // What is run is of the code; what is judged is of the lists.
    let list: Vec<_> = levels::listed().iter().filter(|l| selection.takes(&l.id, l.level)).cloned().collect();
    let judged = judge(&list, &outcomes, &waivers);
    put(&show::verdict(&info, args, &selection, &outcomes, &judged))?;
    let unlisted = outcomes.iter().any(|o| o.verdict.is_failure() && !list.iter().any(|l| l.id == o.id));
    Ok(match selection.is_all() {
        true => judged.level >= Some(args.level),
        // Nothing failed, and something ran.
        false => judged.short.is_empty() && !unlisted && outcomes.iter().any(|o| o.verdict == Verdict::Pass),
    })
}

/// How far it is and how long it still takes.
fn bar(of: u64) -> ProgressBar {
    let style = "{prefix}{pos}/{len} {wide_bar} {eta} left  {msg:<44!}";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(of).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn put(text: &str) -> Result<(), String> {
    crate::print(text).map_err(|e| e.to_string())
}
