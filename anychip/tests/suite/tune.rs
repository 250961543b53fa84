//! The tuner: what is wrong may not win, however fast; what won is kept and planned with.

use crate::common::on_every_device;
use anychip::{
    DType, Device, Tensor,
    schedule::{Problem, Schedule, map, matmul, reduce, rows},
    tune::{self, Contest, Trial},
};
use std::time::Duration;

/// More than any problem here takes.
const BUDGET: Duration = Duration::from_secs(10);

fn product(n: usize) -> Problem {
    Problem::Matmul(matmul::Problem { dtype: DType::F32, batch: 1, rows: n, cols: n, inner: n, col_stride: 1 })
}

/// A contest, the result of its problem as a tensor expression, and the indices of the result's elements.
fn set_up(device: &Device, problem: &Problem, f: impl Fn(&[Tensor]) -> Tensor) -> (Contest, Tensor, Tensor) {
    let contest = Contest::new(&device.chain()[0], problem, BUDGET).unwrap();
    let inputs: Vec<Tensor> = contest.inputs().iter().map(|n| Tensor::from_node(n.clone(), device)).collect();
    let result = f(&inputs);
    let count = result.elem_count();
    let index = Tensor::arange(0u32, count as u32, device).unwrap().reshape(result.dims()).unwrap();
    (contest, result, index)
}

fn verdict(contest: &Contest, trial: Trial) -> Result<f64, String> {
    tune::judge(contest, trial).unwrap().0.result
}

#[test]
fn a_wrong_candidate_is_refused_even_where_one_element_is_wrong() {
    on_every_device(|device| {
        let n = 32;
        let (contest, right, index) = set_up(device, &product(n), |x| x[0].matmul(&x[1]).unwrap());
        let other = |name: &str, t: &Tensor| verdict(&contest, contest.other(name, t.node()).unwrap());
        // The same computed in another way is right; and so is every candidate of ours that the device runs.
        assert!(other("the same", &right).is_ok());
        let own = contest.trial(product(n).candidates(device.chain()[0].info())[0]).unwrap();
        assert!(verdict(&contest, own).is_ok());
        // Twice the bound is 2γ₃₃·Σ|ab|, about 1e-4 here.
        let by = |x: f32| Tensor::full(x, right.dims(), device).unwrap();
        let everywhere = right.add(by(1e-3)).unwrap();
        let why = other("off everywhere", &everywhere).unwrap_err();
        assert!(why.contains("1024 of 1024 elements are wrong; element 0 is "), "{why}");
        let last = index.eq((n * n - 1) as u32).unwrap();
        let why = other("off in the last element", &last.where_cond(&everywhere, &right).unwrap()).unwrap_err();
        assert!(why.contains("1 of 1024 elements are wrong; element 1023 is "), "{why}");
        // One term of each sum left out, in two rows: small beside the sums of the random operands, exact beside the others.
        let rows = index.lt((7 * n) as u32).unwrap().and(index.ge((5 * n) as u32).unwrap()).unwrap();
        let why = other("off in two rows", &rows.where_cond(&everywhere, &right).unwrap()).unwrap_err();
        assert!(why.contains("64 of 1024 elements are wrong; element 160 is "), "{why}");
        // NaN is inside no bound.
        let why = other("not a number", &last.where_cond(&by(f32::NAN), &right).unwrap()).unwrap_err();
        assert!(why.contains("NaN"), "{why}");
        // Much faster, and wrong.
        assert!(other("zeros", &by(0.0)).is_err());
        let e = contest.other("of another shape", right.sum_all().unwrap().node()).err().unwrap().to_string();
        assert!(e.contains("of another shape") && e.contains("[1, 32, 32]"), "{e}");
    });
}

#[test]
fn a_softmax_that_is_off_in_some_rows_is_refused() {
    let Ok(device) = Device::open("cpu") else { return };
    let problem = rows::Problem { row: rows::Kind::Softmax, dtype: DType::F32, rows: 16, cols: 64 };
    let (contest, right, index) = set_up(&device, &Problem::Rows(problem), |x| x[0].softmax(-1).unwrap());
    let other = |t: &Tensor| verdict(&contest, contest.other("softmax", t.node()).unwrap());
    assert!(other(&right).is_ok());
    let row = index.ge(15 * 64).unwrap();
    let off = row.where_cond(&right.mul(1.001).unwrap(), &right).unwrap();
    let why = other(&off).unwrap_err();
    assert!(why.contains("64 of 1024 elements are wrong; element 960 is "), "{why}");
}

#[test]
fn every_candidate_of_every_family_computes_the_same() {
    let Ok(device) = Device::open("cpu") else { return };
    let chip = &device.chain()[0];
    let mut problems = vec![product(64)];
    for dtype in [DType::F32, DType::F16, DType::F64] {
        problems.push(Problem::Matmul(matmul::Problem {
            dtype,
            batch: 2,
            rows: 5,
            cols: 70,
            inner: 33,
            col_stride: 1,
        }));
        for row in [rows::Kind::Softmax, rows::Kind::LayerNorm, rows::Kind::RmsNorm] {
            problems.push(Problem::Rows(rows::Problem { row, dtype, rows: 3, cols: 600 }));
        }
        problems.push(Problem::Map(map::Problem { dtype, elements: 5000, cols: 5000, reads: 3 }));
    }
    let op = anychip::hal::op::ReduceOp::Sum;
    for (results, reduced, across) in [(1, 100_000, true), (300, 64, false), (20, 3000, true)] {
        let p = reduce::Problem { op, dtype: DType::F32, results, reduced, across, along: !across };
        problems.push(Problem::Reduce(p));
    }
    for p in problems {
        let contest = Contest::new(chip, &p, BUDGET).unwrap_or_else(|e| panic!("{p}: {e}"));
        // Two ends and the middle of the list; all of it is what `anychip tune` is for.
        let list = p.class().candidates(chip.info());
        for s in [list[0], list[list.len() / 2], list[list.len() - 1], p.plain(chip.info())] {
            let trial = contest.trial(s).unwrap();
            assert_eq!(contest.wrong(&trial).unwrap(), None, "{p}: {s}");
        }
        if let Ok(trial) = contest.trial(Schedule::Library) {
            assert_eq!(contest.wrong(&trial).unwrap(), None, "{p}: what the device's library has");
        }
    }
}

#[test]
fn a_winner_is_kept_on_disk_and_planned_with() {
    let folder = tempfile::tempdir().unwrap();
    tune::keep_in(Some(folder.path()));
    on_every_device(|device| {
        let chip = &device.chain()[0];
        // A class that no other test plans, and no device's library takes.
        let op = anychip::hal::op::ReduceOp::Max;
        let p = reduce::Problem { op, dtype: DType::F32, results: 3, reduced: 1500, across: true, along: false };
        let problem = Problem::Reduce(p);
        let x = Tensor::ones((3, 1500), DType::F32, device).unwrap();
        x.realize().unwrap();
        let max = x.max(1).unwrap();
        assert!(max.explain().unwrap().contains("(cost model)"));
        let mut heard = 0;
        // No time but for the model's answer and what is timed beside it.
        let outcome = tune::tune(chip, &problem, Duration::ZERO, &mut |_, _, v| {
            heard += 1;
            assert!(v.result.is_ok(), "{v:?}");
        })
        .unwrap();
        assert_eq!((heard, outcome.unkept.as_ref()), (outcome.verdicts.len(), None));
        assert_eq!(outcome.winner.class, problem.class());
        assert!(outcome.winner.us > 0.0 && outcome.winner.us <= outcome.winner.model_us);
        assert!(outcome.left > 0);
        let text = max.explain().unwrap();
        assert!(text.contains("(tuned)"), "{text}");
        assert_eq!(max.to_vec::<f32>().unwrap(), [1.0; 3]);

        // Another winner, and this process forgets what it read: it comes back from the disk.
        let list = problem.class().candidates(chip.info());
        let other = list.into_iter().find(|s| *s != outcome.winner.schedule).unwrap();
        let w = tune::Winner { schedule: other, ..outcome.winner };
        tune::keep(chip.info(), &w).unwrap();
        // One that is none of the candidates is refused, and changes nothing.
        let Schedule::Reduce(model) = outcome.model else { panic!("{:?}", outcome.model) };
        let mut none = model;
        none.lanes.max = 0;
        let e = tune::keep(chip.info(), &tune::Winner { schedule: Schedule::Reduce(none), ..w.clone() }).unwrap_err();
        assert!(e.to_string().contains("none of its candidates"), "{e}");
        tune::keep_in(Some(folder.path()));
        assert_eq!(tune::winner(chip.info(), &problem), Some(w));
        // Of another version of the driver: unknown.
        let mut newer = chip.info().clone();
        newer.identity.version += "+1";
        assert_eq!(tune::winner(&newer, &problem), None);
        // Every file damaged: as good as none, and written anew.
        for file in std::fs::read_dir(folder.path().join("schedules")).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 0x20;
            std::fs::write(&path, bytes).unwrap();
        }
        tune::keep_in(Some(folder.path()));
        assert_eq!(tune::winner(chip.info(), &problem), None);
        let again = tune::tune(chip, &problem, Duration::ZERO, &mut |_, _, _| {}).unwrap();
        tune::keep_in(Some(folder.path()));
        assert_eq!(tune::winner(chip.info(), &problem), Some(again.winner));
    });
    tune::keep_in(None);
}

#[test]
fn problems_without_a_bound_or_time_are_refused_in_words() {
    let Ok(device) = Device::open("cpu") else { return };
    let chip = &device.chain()[0];
    let refused = |p: Problem| Contest::new(chip, &p, BUDGET).err().unwrap().to_string();
    let huge = matmul::Problem { dtype: DType::F32, batch: 1, rows: 1 << 20, cols: 1 << 20, inner: 8, col_stride: 1 };
    assert!(refused(Problem::Matmul(huge)).contains("elements"));
    // More than 100 GFLOP, three times, by a tile that reaches a small share of the peak.
    let e = Contest::new(chip, &product(4096), Duration::ZERO).err().unwrap().to_string();
    assert!(e.contains("3 runs with the plain schedule") && e.contains("the budget is 0.1 s"), "{e}");
    let whole = map::Problem { dtype: DType::I32, elements: 8, cols: 8, reads: 1 };
    assert!(refused(Problem::Map(whole)).contains("bounds for f16, bf16, f32 and f64 only"));
    let none = map::Problem { dtype: DType::F32, elements: 8, cols: 8, reads: 0 };
    assert!(refused(Problem::Map(none)).contains("operands"));
}
