//! Every case as a test of a backend's own `cargo test`.
//!
//! In `Cargo.toml` of the backend:
//! ```toml
//! [dev-dependencies]
//! anychip-conformance = { path = "../anychip/conformance" }    # the folder `conformance` of a checkout of anychip
//!
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//! and in `tests/conformance.rs`:
//! ```no_run
//! # use std::sync::Arc;
//! # fn my_driver() -> Arc<dyn anychip::hal::Driver> { Arc::new(anychip_cpu::CpuDriver::new()) }
//! anychip_conformance::tests!(my_driver());
//! ```
//! Then `cargo test --test conformance -- core/unary` runs what has that in its name. Cases run in children of the test's own program,
//! so that one that crashes or hangs fails, and the others go on; one case runs at a time, since some are about limits, memory and time
//! (`--test-threads` says otherwise).
//!
//! | variable | effect |
//! |---|---|
//! | `ANYCHIP_CONFORM_DEVICE` | the device, `name:0` of the driver otherwise |
//! | `ANYCHIP_CONFORM_LEVEL` | cases of this level and those below; 2 otherwise, since level 3 soaks for an hour |
//! | `ANYCHIP_CONFORM_FILTER` | only what matches, as `anychip conform --filter` takes it |
//! | `ANYCHIP_CONFORM_SEED` | the seed of all inputs |
//! | `ANYCHIP_CONFORM_SOAK` | seconds of soaking |

use crate::{
    Case, Subject, cases,
    run::{self, Host, Selection, Session, Settings, Verdict},
};
use anychip::hal::Driver;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::{
    env, io,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Set in the children.
const CHILD: &str = "ANYCHIP_CONFORM_CHILD";

/// Makes a test of every case for one driver: an expression that gives an `Arc<dyn Driver>`. A second one is the filter that holds
/// where `ANYCHIP_CONFORM_FILTER` is not set.
#[macro_export]
macro_rules! tests {
    ($driver:expr) => {
        $crate::tests!($driver, "");
    };
    ($driver:expr, $filter:expr) => {
        fn main() -> ::std::process::ExitCode {
            $crate::harness::main($driver, $filter)
        }
    };
}

/// What [`tests!`](crate::tests) runs.
pub fn main(driver: Arc<dyn Driver>, filter: &str) -> ExitCode {
    let name = driver.name().to_string();
    anychip::register(driver);
    if env::var_os(CHILD).is_some() {
        return match run::serve(io::stdin().lock(), &mut io::stdout(), cases::all(), Subject::open) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match trials(&name, filter) {
        Ok(trials) => {
            let mut arguments = Arguments::from_args();
            // Cases about limits, memory and time want the device to themselves; --test-threads says otherwise.
            arguments.test_threads.get_or_insert(1);
            libtest_mimic::run(&arguments, trials).exit_code()
        }
        Err(why) => {
            eprintln!("conformance of {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What a variable says.
fn said(name: &str) -> Option<String> {
    env::var(format!("ANYCHIP_CONFORM_{name}")).ok().filter(|v| !v.trim().is_empty())
}

fn number(name: &str) -> Result<Option<u64>, String> {
    let parsed = |v: String| v.trim().parse().map_err(|_| format!("ANYCHIP_CONFORM_{name}={v}: a number is meant"));
    said(name).map(parsed).transpose()
}

fn trials(driver: &str, filter: &str) -> Result<Vec<Trial>, String> {
    let mut settings = Settings::new(said("DEVICE").unwrap_or(format!("{driver}:0")));
    settings.seed = number("SEED")?.unwrap_or(0);
    settings.soak = number("SOAK")?.map_or(settings.soak, Duration::from_secs);
    let level = number("LEVEL")?.unwrap_or(2).min(3) as u8;
    let filter = said("FILTER").unwrap_or(filter.to_string());
    let chosen = run::select(cases::all(), &Selection::new(Some(level), Some(&filter))?);
    if chosen.is_empty() {
        return Err(format!("no case of level {level} matches {filter:?}: a run without cases says nothing"));
    }
    let host = Host::this_program().map_err(|e| e.to_string())?.variable(CHILD, "1");
    let pool = Arc::new(Pool { host, settings, idle: Mutex::default() });
    let trial = |case: Case| {
        let pool = pool.clone();
        Trial::ignorable_test(case.id.clone(), move || pool.run(&case))
    };
    Ok(chosen.into_iter().map(trial).collect())
}

/// Children that wait for a case; as many as the tests run threads.
struct Pool {
    host: Host,
    settings: Settings,
    idle: Mutex<Vec<Session>>,
}

impl Pool {
    fn run(&self, case: &Case) -> Result<Completion, Failed> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = match idle {
            Some(s) => s,
            None => self.host.session(&self.settings)?,
        };
        let outcome = session.run(case);
        if session.is_alive() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        }
        let why = outcome.why.unwrap_or_default();
        match outcome.verdict {
            Verdict::Pass => Ok(Completion::Completed),
            Verdict::Unsupported if !case.mandatory => Ok(Completion::ignored_with(why)),
            v => Err(format!("{}: {why}", v.name()).into()),
        }
    }
}
