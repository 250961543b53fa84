//! `anychip conform`: whether applications may move to a device.
//!
//! This process never touches the driver: children do ([`shard`]), one case after another. What they find is judged, shown and,
//! where a bundle is asked for, written down.

mod show;

use anychip_conformance::{
    Subject, cases, levels,
    report::{self, Asked, Facts, Report, matrix},
    run::{self, Host, Progress, Selection, Settings, Verdict},
    verdict::Waivers,
};
use clap::{Args as Arguments, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs,
    io::{stdin, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// The hidden subcommand of the children.
pub const SHARD: &str = "conform-shard";

/// What stands below the options in `--help`.
pub const HELP: &str = concat!(
    "Levels: 0 runtime, 1 core, 2 inference, 3 system; each asks for those below it too. The exit code is 0 only when the level that\n",
    "was asked for is reached. A run with a filter reaches no level: its exit code is 0 when nothing of it failed.\n\n",
    "Cases run in child processes, each with a limit of time, so that a driver that crashes or hangs costs one case.\n",
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
    /// Write a bundle: report.html to look at, and everything that someone else needs to check it without the chip
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// The minisign key, in base64, with which SHA256SUMS is going to be signed
    #[arg(long, requires = "report")]
    signer: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Recomputes the level of a bundle without the chip; refuses one that is altered or incomplete
    Verify {
        /// The folder that --report wrote
        folder: PathBuf,
        /// Its author's minisign key, in base64: SHA256SUMS.minisig must be made with it
        #[arg(long)]
        key: Option<String>,
        /// Accept a bundle whose report.html and junit.xml another version of this command made: these two are not checked then
        #[arg(long)]
        other_page: bool,
    },
    /// The support matrix of bundles, or of their statements, in Markdown
    Matrix {
        /// Folders of bundles, or statement.toml files
        #[arg(required = true)]
        bundles: Vec<PathBuf>,
    },
}

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
        Some(Command::Verify { folder, key, other_page }) => return verify(folder, key.as_deref(), *other_page),
        Some(Command::Matrix { bundles }) => {
            let all: Result<Vec<_>, _> = bundles.iter().map(|b| matrix::statement(b)).collect();
            return put(&matrix::page(&all?)).map(|()| true);
        }
        None => {}
    }
    let selection = Selection::new(Some(args.level), args.filter.as_deref())?;
    let mut chosen = run::select(cases::all(), &selection);
    if args.list {
        return put(&show::list(&chosen, !selection.is_all())).map(|()| true);
    }
    if let (true, Some(filter)) = (chosen.is_empty(), &args.filter) {
        return Err(format!(
            "no case is asked for: --filter {filter} matches none up to level {}; --list counts them by area",
            args.level
        ));
    }
    if let Some(chain) = args.device.as_ref().filter(|d| d.contains(',')) {
        return Err(format!("--device {chain}: one device is judged at a time; a chain is none"));
    }
    if let Some(unused) = selection.patterns.iter().find(|p| !chosen.iter().any(|c| p.matches(&c.id))) {
        return Err(format!(
            "--filter: {unused} matches no case up to level {}; --list counts them by area",
            args.level
        ));
    }
    if let Some(signer) = &args.signer {
        report::verify::public_key(signer).map_err(|e| format!("--signer: {e}"))?;
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
    if let Some(folder) = &args.report {
        report::writable(folder)?;
        // What judges is the list: what is not on it is no evidence.
        chosen.retain(|c| levels::listed().iter().any(|l| l.id == c.id));
    }
    let (info, environment) = host.inspect(&settings)?;
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
    let asked = Asked {
        device: settings.device.clone(),
        level: args.level,
        filter: args.filter.clone(),
        seed: args.seed,
        soak: args.soak.into(),
    };
    // What is run is of the code; what is judged is of the lists.
    let judged = report::judged(&asked, &outcomes, &waivers)?;
    put(&show::verdict(&info, &asked, &outcomes, &judged))?;
    if let Some(folder) = &args.report {
        let (peaks, no_peaks) = match host.peaks(&settings) {
            Ok(p) => (Some(p), None),
            Err(why) => (None, Some(why)),
        };
        let facts = Facts { device: info, environment, peaks, no_peaks };
        let (mut bundle, _) = Report::new(asked, facts, outcomes.clone(), waivers)?;
        bundle.statement.signer = args.signer.clone();
        bundle.write(folder)?;
        put(&format!("{}: written; `anychip conform verify {0}` checks it\n", folder.display()))?;
    }
    Ok(match selection.is_all() {
        true => judged.level >= Some(args.level),
        // Nothing failed, and something ran.
        false => {
            let failed = outcomes.iter().any(|o| o.verdict.is_failure());
            judged.short.is_empty() && !failed && outcomes.iter().any(|o| o.verdict == Verdict::Pass)
        }
    })
}

/// Checks a bundle and says what it claims, and by what evidence.
fn verify(folder: &Path, key: Option<&str>, other_page: bool) -> Result<bool, String> {
    let v = report::verify::verify(folder, key).map_err(|e| format!("{} is refused: {e}", folder.display()))?;
    let mut text = format!("{}\n{}\n", report::verify::words(&v), v.evidence.words());
    if !v.page {
        text += "report.html and junit.xml were made by another version of this command: they could not be made again, and were not checked\n";
        if !other_page {
            text += "with --other-page that is accepted\n";
        }
    }
    put(&text).map(|()| v.page || other_page)
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
