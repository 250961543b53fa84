//! The same bits from run to run: of one program, of another handle, beside other work, from several threads.

use super::{numbers, rounding_network};
use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, same},
    oracle::{Type, sample::Random},
};
use anychip::{DType, Device, Program, Result, Tensor};

/// How often a thing is done again.
const RUNS: usize = 20;

fn work(name: &str, x: &[f32], w: &[f32], on: &Device) -> Result<Vec<u8>> {
    let t = || Tensor::from_vec(x.to_vec(), (24, 32), on);
    match name {
        "chain" => rounding_network(x, w, on)?.to_bytes(),
        "sum" => t()?.exp()?.sum([0, 1])?.to_bytes(),
        "matmul" => t()?.exp()?.matmul(&Tensor::from_vec(w.to_vec(), (32, 20), on)?.sin()?)?.to_bytes(),
        "softmax" => t()?.mul(1.7)?.softmax(-1)?.to_bytes(),
        "norm" => t()?.layer_norm(None, None, 1e-5)?.to_bytes(),
        "scan" => t()?.exp()?.cumsum(1)?.to_bytes(),
        _ => t()?.to_dtype(DType::F16)?.exp()?.mean(0)?.to_bytes(),
    }
}

const NAMES: [&str; 7] = ["chain", "sum", "matmul", "softmax", "norm", "scan", "half"];

pub(super) fn cases(all: &mut Vec<Case>) {
    for name in NAMES {
        let mut case = |how: &str, run: fn(&Subject, &str, &mut Random, &mut Seen) -> End| {
            all.push(Case::new(
                format!("system/determinism/{name}/f32/{how}"),
                "determinism",
                Some(Type::F32),
                "repeated",
                move |s, r, seen| run(s, name, r, seen),
            ));
        };
        case("runs", |s, name, r, seen| {
            let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
            let first = work(name, &x, &w, &s.device)?;
            for n in 1..RUNS {
                same(
                    format!("{name}, run {n}, compared with the first"),
                    &work(name, &x, &w, &s.device)?,
                    &first,
                    seen,
                )?;
            }
            Ok(())
        });
        case("handles", |s, name, r, seen| {
            let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
            let first = work(name, &x, &w, &s.device)?;
            for n in 0..3 {
                let other = s.again()?;
                same(format!("{name} on handle {n}"), &work(name, &x, &w, &other.device)?, &first, seen)?;
            }
            Ok(())
        });
        case("threads", |s, name, r, seen| {
            let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
            let first = work(name, &x, &w, &s.device)?;
            let all: Vec<Result<Vec<u8>, Failure>> = std::thread::scope(|t| {
                let each: Vec<_> = (0..4).map(|_| t.spawn(|| Ok(work(name, &x, &w, &s.device)?))).collect();
                each.into_iter()
                    .map(|t| t.join().unwrap_or_else(|_| Err(Failure::Broken("a thread panicked".into()))))
                    .collect()
            });
            for (n, got) in all.into_iter().enumerate() {
                same(format!("{name} in thread {n}"), &got?, &first, seen)?;
            }
            Ok(())
        });
    }
    all.push(Case::new(
        "system/determinism/program/f32/runs",
        "determinism",
        Some(Type::F32),
        "repeated",
        |s, r, seen| {
            // Captured once: the third run may be of a recorded list.
            let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
            let example = Tensor::zeros((24, 32), DType::F32, &s.device)?;
            let weights = Tensor::from_vec(w, (32, 20), &s.device)?;
            let program = Program::new(&s.device, &[example], |x| {
                let y = x[0].matmul(&weights)?.softmax(-1)?;
                Ok(vec![y.matmul(&weights.t()?)?.add(&x[0])?.tanh()?])
            })?;
            let run = || program.run(&[Tensor::from_vec(x.clone(), (24, 32), &s.device)?])?[0].to_bytes();
            let first = run()?;
            let (zero, other) = (Tensor::zeros((24, 32), DType::F32, &s.device)?, 7);
            for n in 1..RUNS {
                if n % other == 0 {
                    program.run(std::slice::from_ref(&zero))?;
                }
                same(format!("run {n} of a program"), &run()?, &first, seen)?;
            }
            Ok(())
        },
    ));
}
