//! Tensors and programs that move: to the CPU and back, between two handles of one chip, with their history and without.

use super::{cpu, network, numbers, same_tensors};
use crate::{
    Case, Failure,
    cases::{launch::ensure, support::Trial},
    oracle::{
        Array, Type,
        compare::compare_bits,
        sample::{Values, element},
    },
};
use anychip::{Program, Tensor};

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in Type::ALL {
        for n in [1usize, 1009] {
            let name = crate::cases::ir::name(ty);
            let shape = if n == 1 { "one" } else { "prime" };
            let case =
                Case::new(format!("system/move/tensor/{name}/{shape}"), "move", Some(ty), shape, move |s, r, seen| {
                    if ty == Type::F64 {
                        super::needs(s, anychip::DType::F64)?;
                    }
                    let bits =
                        Array::build(&[n], |_| crate::cases::ir::table::plain(s, ty, element(ty, Values::Special, r)));
                    let here = Trial { on: s, r, seen }.tensor(ty, &bits)?;
                    let mut is = |x: &Tensor| -> Result<(), Failure> {
                        seen.elements += n as u64;
                        Ok(compare_bits(ty, &x.to_bytes()?, &bits)?)
                    };
                    // Computed there, then moved: not only bytes that the host still has.
                    let here = here.realize()?.clone();
                    let there = here.to_device(&cpu()?)?;
                    is(&there)?;
                    let back = there.to_device(&s.device)?;
                    ensure(back.device().same_as(&s.device), || {
                        format!("moved to {} and lies on {}", s.device, back.device())
                    })?;
                    is(&back)
                });
            all.push(if ty == Type::F64 { case.optional() } else { case });
        }
    }
    all.push(Case::new("system/move/tensor/f32/computed", "move", Some(Type::F32), "graph", |s, r, seen| {
        let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
        let want = network(&x, &w, &cpu()?)?;
        let here = network(&x, &w, &s.device)?;
        // Lazily, and after it was computed.
        same_tensors("a pending value that is moved", &here.to_device(&cpu()?)?, &want, seen)?;
        here.realize()?;
        same_tensors("a computed value that is moved", &here.to_device(&cpu()?)?, &want, seen)
    }));
    all.push(Case::new("system/move/tensor/f32/goes-on-there", "move", Some(Type::F32), "graph", |s, r, seen| {
        // Half of the work here, half there, in both directions.
        let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
        let half = |on: &anychip::Device| -> anychip::Result<Tensor> {
            Tensor::from_vec(x.clone(), (24, 32), on)?.matmul(&Tensor::from_vec(w.clone(), (32, 20), on)?)
        };
        let rest = |y: &Tensor| y.mul(0.5)?.add(1.0)?.sum(-1);
        let cpu = cpu()?;
        let want = rest(&half(&cpu)?)?;
        same_tensors("begun on the device, ended on the CPU", &rest(&half(&s.device)?.to_device(&cpu)?)?, &want, seen)?;
        let back = rest(&half(&cpu)?.to_device(&s.device)?)?;
        same_tensors("begun on the CPU, ended on the device", &back, &want, seen)
    }));
    all.push(Case::new("system/move/tensor/f32/two-handles", "move", Some(Type::F32), "graph", |s, r, seen| {
        let other = s.again()?;
        let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
        let want = network(&x, &w, &cpu()?)?;
        let here = network(&x, &w, &s.device)?.realize()?.to_device(&other.device)?;
        same_tensors("a value moved to another handle of the chip", &here, &want, seen)?;
        same_tensors("and back", &here.add(0.0)?.to_device(&s.device)?, &want, seen)
    }));
    for rows in [1usize, 24] {
        let id = format!("system/move/program/f32/{rows}-rows");
        all.push(Case::new(id, "move", Some(Type::F32), "program", move |s, r, seen| {
            // One computation, captured on both: the same results, on new inputs each time.
            let w = numbers(32 * 20, r);
            let capture = |on: &anychip::Device| -> anychip::Result<Program> {
                let w = Tensor::from_vec(w.clone(), (32, 20), on)?;
                let x = Tensor::zeros((rows, 32), anychip::DType::F32, on)?;
                Program::new(on, &[x], |x| {
                    let y = x[0].matmul(&w)?.maximum(0.25)?;
                    Ok(vec![y.matmul(&w.t()?)?.add(&x[0])?, y.sum(-1)?])
                })
            };
            let cpu = cpu()?;
            let (here, there) = (capture(&s.device)?, capture(&cpu)?);
            for round in 0..6 {
                let x = numbers(rows * 32, r);
                let run = |p: &Program, on: &anychip::Device| p.run(&[Tensor::from_vec(x.clone(), (rows, 32), on)?]);
                let (got, want) = (run(&here, &s.device)?, run(&there, &cpu)?);
                for (n, (got, want)) in got.iter().zip(&want).enumerate() {
                    same_tensors(&format!("result {n} of a program, round {round}"), got, want, seen)?;
                }
            }
            Ok(())
        }));
    }
    for (ty, name) in [(Type::I64, "integers"), (Type::U8, "bytes")] {
        all.push(Case::new(
            format!("system/move/computed/{}/{name}", crate::cases::ir::name(ty)),
            "move",
            Some(ty),
            "graph",
            move |s, r, seen| {
                let bits = Array::build(&[37, 11], |_| element(ty, Values::AnyBits, r));
                let t = Trial { on: s, r, seen };
                let work = |x: &Tensor| x.mul(3i64)?.add(&x.flip(0)?)?.sum(1);
                let here = work(&t.tensor(ty, &bits)?)?;
                let cpu = cpu()?;
                let there = work(&t.tensor(ty, &bits)?.to_device(&cpu)?)?;
                same_tensors("integers computed here and there", &here, &there, t.seen)
            },
        ));
    }
}
