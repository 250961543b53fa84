//! The tuner: times candidates on the device, lets only those win that compute the same as the plain schedule inside the bound,
//! and keeps winners on disk.

mod contest;
mod data;
mod gate;
pub mod peak;
mod store;

pub use contest::{Contest, Trial};
pub use store::{Winner, keep, keep_in, keep_roofline, roofline, winner};

use crate::schedule::{self, Problem, Schedule};
use anychip_hal::{Error, Result, device::Device, info::Numerics, wait::may_time};
use std::{
    cell::Cell,
    sync::LazyLock,
    time::{Duration, Instant},
};

/// How a trial ended.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The schedule, or what else was tried.
    pub name: String,
    /// Its schedule.
    pub schedule: Option<Schedule>,
    /// Microseconds, or why it may not win.
    pub result: std::result::Result<f64, String>,
}

/// What tuning a problem gave.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The winner, which was kept.
    pub winner: Winner,
    /// What the cost model picks.
    pub model: Schedule,
    /// Every trial, in the order in which they ran; the first is the model's.
    pub verdicts: Vec<Verdict>,
    /// Candidates for which there was no time.
    pub left: usize,
    /// Why the winner is known to this process only, if it could not be written down.
    pub unkept: Option<String>,
}

impl Outcome {
    /// Trials that may not win.
    pub fn refused(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|v| v.result.is_err())
    }
}

/// Within this of the model's time a candidate is no better: clocks are no finer.
const WORTH: f64 = 0.97;

/// Times the candidates of a problem on a device, as far as the budget goes, and keeps the fastest of those that compute the same as
/// the plain schedule. `progress` hears of every trial: done, all, and the verdict.
///
/// # Errors
/// `Unsupported` for a problem without a bound, or whose plain runs alone would outlast the budget; what the device says of the plain schedule and of the model's.
pub fn tune(
    device: &Device,
    problem: &Problem,
    budget: Duration,
    progress: &mut dyn FnMut(usize, usize, &Verdict),
) -> Result<Outcome> {
    may_time("tuning")?;
    let begin = Instant::now();
    let info = device.info();
    if info.numerics == Numerics::Exact {
        return Err(Error::unsupported(
            format!("tuning {}", info.id),
            "the schedules of exact numerics are the same on every chip; tune the device without them",
        ));
    }
    let contest = Contest::new(device, problem, budget)?;
    let problem = *contest.problem();
    let library = match problem {
        Problem::Matmul(_) | Problem::Rows(_) | Problem::Reduce(_) => {
            contest.trial(Schedule::Library).ok().filter(Trial::in_library)
        }
        Problem::Map(_) => None,
    };
    let model = match &problem {
        _ if library.is_some() => Schedule::Library,
        Problem::Map(_) => Schedule::Map(schedule::map::pick(info)),
        Problem::Rows(_) => Schedule::Rows(schedule::rows::pick(info)),
        Problem::Reduce(p) => Schedule::Reduce(schedule::reduce::pick(info, p)),
        Problem::Matmul(p) => {
            let list = schedule::matmul::candidates(info, p.dtype);
            Schedule::Matmul(schedule::matmul::pick(&list, p, info, &roofline(info)))
        }
    };
    let mut list = problem.candidates(info);
    list.retain(|s| *s != model);
    list.insert(0, model);
    let (mut verdicts, mut tried) = (vec![], vec![]);
    for (n, schedule) in list.iter().enumerate() {
        // The model's answer is always there to compare with.
        if n > 0 && begin.elapsed() > budget {
            break;
        }
        let trial = contest.trial(*schedule);
        let result = trial.and_then(|t| judge(&contest, t));
        let (verdict, trial) = match result {
            Ok((verdict, trial)) => (verdict, Some(trial)),
            // A device that refuses a candidate goes without it; one that is gone ends the tuning.
            Err(e) if e.is_lost() || n == 0 => return Err(e),
            Err(e) => {
                (Verdict { name: schedule.to_string(), schedule: Some(*schedule), result: Err(e.to_string()) }, None)
            }
        };
        progress(n + 1, list.len(), &verdict);
        if let (Some(trial), Ok(us)) = (trial, &verdict.result) {
            tried.push((*us, trial));
        }
        verdicts.push(verdict);
    }
    let left = list.len() - verdicts.len();
    let winner = decide(&contest, tried, model)?;
    let unkept = keep(info, &winner).err().map(|e| e.to_string());
    // Plans made before have other schedules.
    crate::run::forget(device);
    Ok(Outcome { winner, model, verdicts, left, unkept })
}

/// Checks, then times.
///
/// # Errors
/// What the device says.
pub fn judge(contest: &Contest, trial: Trial) -> Result<(Verdict, Trial)> {
    let result = match contest.wrong(&trial)? {
        Some(why) => Err(why),
        None => Ok(contest.time(&trial)?.as_secs_f64() * 1e6),
    };
    Ok((Verdict { name: trial.name.clone(), schedule: trial.schedule, result }, trial))
}

/// The fastest few are timed once more beside the model's, since a machine may have drifted between the first and the last.
fn decide(contest: &Contest, mut tried: Vec<(f64, Trial)>, model: Schedule) -> Result<Winner> {
    const AGAIN: usize = 3;
    let at = tried.iter().position(|(_, t)| t.schedule == Some(model));
    let Some(at) = at else {
        return Err(Error::unsupported(
            format!("tuning {} {}", contest.problem().family(), contest.problem()),
            format!("what the cost model picks ({model}) does not compute the same as the plain schedule"),
        ));
    };
    let (mut model_us, of_model) = tried.swap_remove(at);
    tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    tried.truncate(AGAIN);
    for _ in 0..2 {
        model_us = model_us.min(contest.time(&of_model)?.as_secs_f64() * 1e6);
        for (us, t) in &mut tried {
            *us = us.min(contest.time(t)?.as_secs_f64() * 1e6);
        }
    }
    let best = tried.iter().min_by(|a, b| a.0.total_cmp(&b.0));
    let (us, schedule) = match best {
        Some((us, t)) if *us < model_us * WORTH => (*us, t.schedule.unwrap_or(model)),
        _ => (model_us, model),
    };
    Ok(Winner { class: *contest.problem(), schedule, us, model_us })
}

/// `ANYCHIP_TUNE=1`: planning measures what was not measured yet.
static ASKED: LazyLock<bool> =
    LazyLock::new(|| std::env::var("ANYCHIP_TUNE").is_ok_and(|v| !matches!(v.trim(), "" | "0")));

/// How long planning may measure one problem.
const IN_PLANNING: Duration = Duration::from_secs(3);

thread_local! {
    /// Set while this thread tunes: what the tuner plans is not tuned in turn.
    static TUNING: Cell<bool> = const { Cell::new(false) };
}

/// What was measured for a problem on a device; measured now, if that is asked for.
pub(crate) fn winner_or_tune(device: &Device, p: &Problem) -> Option<Winner> {
    let info = device.info();
    let known = winner(info, p);
    // Once per class and process: neither what failed nor a winner that does not fit this problem gets better by another try.
    let try_it = || !TUNING.get() && winner(info, &p.class()).is_none() && store::first_try(info, p);
    if known.is_some() || !*ASKED || !try_it() {
        return known;
    }
    TUNING.set(true);
    // A problem that cannot be tuned is planned by the cost model; the device's own errors come up again there.
    let outcome = tune(device, p, IN_PLANNING, &mut |_, _, _| {});
    TUNING.set(false);
    if outcome.as_ref().is_err_and(|e| e.is_lost()) {
        // That was the device, not the problem.
        store::forget_try(info, p);
    }
    outcome.ok().map(|o| o.winner).filter(|w| p.fits(&w.schedule))
}

#[cfg(test)]
pub(crate) fn test_device() -> anychip_hal::DeviceInfo {
    use anychip_hal::{
        DeviceInfo, Memory,
        info::{DeviceClass, Identity, Limits, MemoryInfo},
    };
    DeviceInfo {
        id: "test".into(),
        backend: "test".into(),
        identity: Identity::new("maker", "chip", "driver", "1", "slot 0"),
        class: DeviceClass::Software,
        units: 2,
        vector: 1,
        vector_bytes: 0,
        memory: MemoryInfo { total: 1 << 30, max_alloc: 1 << 30, unified: true, kinds: vec![Memory::Device] },
        types: Default::default(),
        features: Default::default(),
        fragments: vec![],
        subgroups: None,
        limits: Limits {
            max_workgroup: 1024,
            max_workgroup_dim: [1024; 3],
            max_groups: [u32::MAX; 3],
            max_shared: 32 << 10,
            max_bindings: 64,
            max_binding_bytes: 1 << 30,
            binding_align: 4,
            copy_align: 4,
            max_scalars: 256,
            queues: 1,
        },
        clock: None,
        serialised: false,
        kernels: true,
        arithmetic: Default::default(),
        numerics: Default::default(),
    }
}
