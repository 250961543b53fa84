//! A contest between schedules for one problem: each trial must first compute the same as the plain schedule, then it is timed.

use super::{
    data,
    gate::{Facts, Rule, bounds, disagreement},
    store::roofline,
};
use crate::{
    graph::Node,
    plan::{Plan, plan, snapshot::Snapshot},
    run::exec::{Prepared, execute},
    schedule::{Problem, Schedule},
};
use anychip_hal::{Error, Result, device::Device};
use std::time::{Duration, Instant};

/// Operands with what comes out of them.
struct Set {
    leaves: Vec<Node>,
    reference: Vec<f64>,
    rule: Rule,
}

/// A problem on a device with operands and the plain schedule's results.
pub struct Contest {
    problem: Problem,
    device: Device,
    output: Node,
    sets: Vec<Set>,
}

/// A way to compute the problem's result.
pub struct Trial {
    /// What a reader calls it.
    pub name: String,
    /// Its schedule; `None` for one that is no schedule of ours.
    pub schedule: Option<Schedule>,
    plan: Plan,
    /// Leaves besides the operands.
    more: Vec<Node>,
}

impl Trial {
    /// Whether the device's library computes some of it.
    pub fn in_library(&self) -> bool {
        self.plan.launches.iter().any(|l| l.program.graph().is_some())
    }
}

/// Runs of a trial that are timed, at least and at most.
const RUNS: std::ops::RangeInclusive<usize> = 5..=50;
/// After how much time no more runs are added.
const ENOUGH: Duration = Duration::from_millis(100);

impl Contest {
    /// Makes operands and computes what must come out: up to three runs of the plain schedule, which are not begun where they should
    /// take longer than `budget`. A tenth of a second they always have; one trial is timed for as long.
    ///
    /// # Errors
    /// `Unsupported` for a problem that the tuner has no bound or no time for; what the device says of the plain schedule.
    pub fn new(device: &Device, problem: &Problem, budget: Duration) -> Result<Contest> {
        let problem = problem.class();
        let shapes = data::shapes(&problem)?;
        let runs = 1 + usize::from(data::has_magnitude(&problem)) + usize::from(data::has_exact(&problem));
        let seconds = runs as f64 * problem.plain_seconds(device.info(), &roofline(device.info()));
        let allowed = budget.max(ENOUGH).as_secs_f64();
        if seconds > allowed {
            return Err(Error::unsupported(
                format!("tuning {} {problem}", problem.family()),
                format!(
                    "its {runs} runs with the plain schedule on {}, which the others are compared with, should take {seconds:.1} s \
                     and the budget is {allowed:.1} s; a longer budget or a smaller problem is taken",
                    device.info().id
                ),
            ));
        }
        let dtype = problem.dtype();
        let make = |values: &[Vec<f64>]| -> Result<Vec<Node>> {
            values.iter().zip(&shapes).map(|(v, s)| data::leaf(v, s, dtype)).collect()
        };
        let count = |s: &[usize]| s.iter().product::<usize>();
        let values = |f: &dyn Fn(usize, u64) -> Vec<f64>| -> Vec<Vec<f64>> {
            shapes.iter().enumerate().map(|(i, s)| f(count(s), i as u64 + 1)).collect()
        };
        let random = values(&|n, seed| data::random(n, seed, dtype));
        let leaves = make(&random)?;
        let output = data::output(&problem, &leaves)?;
        let mut contest = Contest { problem, device: device.clone(), output, sets: vec![] };
        // Operands for the trial that follows; references come from it.
        contest.sets.push(Set { leaves: leaves.clone(), reference: vec![], rule: Rule::Equal });
        let plain = contest.trial(problem.plain(device.info()))?;
        let reference = contest.values(&plain, &leaves)?;
        let magnitude = match data::has_magnitude(&problem) {
            true => {
                let absolute: Vec<Vec<f64>> = random.iter().map(|v| v.iter().map(|x| x.abs()).collect()).collect();
                Some(contest.values(&plain, &make(&absolute)?)?)
            }
            false => None,
        };
        let facts =
            Facts { problem: &problem, inputs: &random, reference: &reference, magnitude: magnitude.as_deref() };
        let bounds = bounds(&facts, device.info());
        // A bound that is no number would let everything pass.
        if bounds.len() != reference.len() || !bounds.iter().chain(&reference).all(|x| x.is_finite()) {
            return Err(Error::unsupported(
                format!("tuning {} {problem}", problem.family()),
                format!("the plain schedule's result on {} is not finite, or has no finite bound", device.info().id),
            ));
        }
        contest.sets[0] = Set { leaves, reference, rule: Rule::Within(bounds) };
        if data::has_exact(&problem) {
            let leaves = make(&values(&|n, seed| data::exact(n, seed + 100)))?;
            let reference = contest.values(&plain, &leaves)?;
            contest.sets.push(Set { leaves, reference, rule: Rule::Equal });
        }
        Ok(contest)
    }

    /// The problem, as its class stands for it.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The operands, for a [`Contest::other`].
    pub fn inputs(&self) -> &[Node] {
        &self.sets[0].leaves
    }

    /// The problem with a schedule.
    ///
    /// # Errors
    /// `Unsupported` when the device cannot run it.
    pub fn trial(&self, schedule: Schedule) -> Result<Trial> {
        let s = Snapshot::take(std::slice::from_ref(&self.output), self.inputs());
        let plan = plan(&s, std::slice::from_ref(&self.device), Some(&schedule))?;
        let more = s.leaves[self.inputs().len()..].to_vec();
        Ok(Trial { name: schedule.to_string(), schedule: Some(schedule), plan, more })
    }

    /// Any other computation from the operands to a result of the same shape and type.
    ///
    /// # Errors
    /// `ShapeMismatch`, `DTypeMismatch`.
    pub fn other(&self, name: &str, output: &Node) -> Result<Trial> {
        if output.shape() != self.output.shape() {
            return Err(Error::ShapeMismatch(format!(
                "trial {name}: its result is {:?}, the problem's is {:?}",
                output.shape(),
                self.output.shape()
            )));
        }
        if output.dtype() != self.output.dtype() {
            return Err(Error::DTypeMismatch(format!(
                "trial {name}: its result is {}, the problem's is {}",
                output.dtype(),
                self.output.dtype()
            )));
        }
        let s = Snapshot::take(std::slice::from_ref(output), self.inputs());
        let plan = plan(&s, std::slice::from_ref(&self.device), None)?;
        let more = s.leaves[self.inputs().len()..].to_vec();
        Ok(Trial { name: name.to_string(), schedule: None, plan, more })
    }

    fn values(&self, t: &Trial, leaves: &[Node]) -> Result<Vec<f64>> {
        let leaves: Vec<Node> = leaves.iter().chain(&t.more).cloned().collect();
        let chain = std::slice::from_ref(&self.device);
        let (outputs, _) = execute(&t.plan, &t.plan.memory, chain, &leaves, false, Prepared::default())?;
        let out = outputs.first().ok_or_else(|| Error::invalid(format!("trial {} gives no result", t.name)))?;
        let mut bytes = vec![0; self.output.elements() * self.output.dtype().size()];
        out.wait()?;
        self.device.download(&out.buffer, 0, &mut bytes)?;
        Ok(data::decode(&bytes, self.output.dtype()))
    }

    /// `None` when the trial computes the same as the plain schedule inside the bound; else where it does not.
    ///
    /// # Errors
    /// What the device says.
    pub fn wrong(&self, t: &Trial) -> Result<Option<String>> {
        for set in &self.sets {
            if let Some(why) = disagreement(&set.reference, &self.values(t, &set.leaves)?, &set.rule) {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// The time of a run: the median on the device's clock, or, where it has none, of the wall.
    ///
    /// # Errors
    /// What the device says.
    pub fn time(&self, t: &Trial) -> Result<Duration> {
        let leaves: Vec<Node> = self.inputs().iter().chain(&t.more).cloned().collect();
        let chain = std::slice::from_ref(&self.device);
        let once = || -> Result<Duration> {
            let begin = Instant::now();
            let (_, under_way) = execute(&t.plan, &t.plan.memory, chain, &leaves, true, Prepared::default())?;
            let mut nanos = Some(0);
            for pending in &under_way {
                for span in pending.spans()? {
                    nanos = nanos.zip(span).map(|(n, s)| n + s.end.saturating_sub(s.begin));
                }
            }
            Ok(nanos.map_or(begin.elapsed(), Duration::from_nanos))
        };
        once()?;
        let begin = Instant::now();
        let mut times = vec![];
        while times.len() < *RUNS.start() || (begin.elapsed() < ENOUGH && times.len() < *RUNS.end()) {
            times.push(once()?);
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }
}
