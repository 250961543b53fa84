//! A soak: everything at once, for as long as the run was asked to, with every result looked at and memory watched.

use super::{numbers, rounding_network};
use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, bump, bytes, ensure, of_u32, read_all, same, step, to_u32},
    oracle::{Type, sample::Random},
};
use anychip::{
    DType, Program, Tensor,
    hal::device::{Checks, Grid, ScalarArg, Step},
};
use std::time::Instant;

pub(super) fn cases(all: &mut Vec<Case>) {
    all.push(Case::new("system/soak/mixed/any/everything", "soak", Some(Type::F32), "soak", soak).soaking());
}

/// Rounds of work in turn until the time is over; a program that lives through all of them, and buffers that come and go.
fn soak(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let begin = Instant::now();
    let d = s.chip();
    let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
    let first = rounding_network(&x, &w, &s.device)?.to_bytes()?;
    let weights = Tensor::from_vec(w.clone(), (32, 20), &s.device)?;
    let example = Tensor::zeros((24, 32), DType::F32, &s.device)?;
    let program = Program::new(&s.device, &[example], |x| Ok(vec![x[0].matmul(&weights)?.softmax(-1)?.sum(0)?]))?;
    let run = || program.run(&[Tensor::from_vec(x.clone(), (24, 32), &s.device)?])?[0].to_bytes();
    let said = run()?;
    let kernel = d.kernel(&bump()?, Checks::On)?;
    let keeper_data = bytes(r, 100_000);
    let keeper = d.alloc_from(&keeper_data)?;
    let counter = d.alloc_from(&of_u32([0; 64]))?;
    let (mut rounds, mut count, mut grown) = (0u64, 0u32, None);
    while begin.elapsed() < s.soak() || rounds < 3 {
        let at = |e: Failure| Failure::Broken(format!("round {rounds}, after {:?}: {e}", begin.elapsed()));
        let mut one = || -> End {
            // The same graph, the same bits.
            same("a graph", &rounding_network(&x, &w, &s.device)?.to_bytes()?, &first, seen)?;
            same("a program", &run()?, &said, seen)?;
            // Buffers of every size, written, copied, read.
            for _ in 0..4 {
                let n = 1 + r.below(200_000);
                let data = bytes(r, n);
                let (a, b) = (d.alloc_from(&data)?, d.alloc(n as u64)?);
                drop(d.submit(&[Step::Copy { src: a.all(), dst: b.all() }])?);
                drop(a);
                same("a copy", &read_all(d, &b)?, &data, seen)?;
            }
            // Many small launches under way at once.
            for n in 0..50u32 {
                drop(d.submit(&[step(&kernel, Grid::Linear(1), vec![counter.all()], &[ScalarArg::U32(n)])])?);
                count = count.wrapping_add(n);
            }
            same("a counter", &to_u32(&read_all(d, &counter)?), &[count; 64], seen)?;
            same("a buffer that nobody touches", &read_all(d, &keeper)?, &keeper_data, seen)?;
            // Now and then a handle of the same chip.
            if rounds % 16 == 15 {
                let other = s.again()?;
                let got = rounding_network(&x, &w, &other.device)?.to_bytes()?;
                same("another handle", &got, &first, seen)?;
            }
            s.check()
        };
        one().map_err(at)?;
        rounds += 1;
        let used = d.memory();
        match grown {
            None if rounds == 8 => grown = Some(used.in_use),
            Some(before) => ensure(used.in_use <= before + (8 << 20), || {
                format!("round {rounds}: {} bytes are in use, {before} were after round 8", used.in_use)
            })?,
            None => {}
        }
    }
    seen.notes.push(format!("{rounds} rounds in {:.0} s", begin.elapsed().as_secs_f64()));
    Ok(())
}
