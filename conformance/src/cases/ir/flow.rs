//! Control flow: branches, loops of every type, leaving them, variables that live through them.

use crate::{
    Case,
    cases::launch::{bytes, of_u32, run, same, to_u32},
    oracle::Type,
    subject::dtype,
};
use anychip::{
    DType,
    hal::{
        device::Grid,
        ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Op, Place, Unroll, Value, VarId},
    },
};

/// Lanes that run: three workgroups of 64, so that lanes of one take different ways.
const N: u32 = 192;

/// What a lane does with its number and its input; `out` writes its result, and may do so again.
type Code = fn(b: &mut Builder, i: Value, x: Value, out: &mut dyn FnMut(&mut Builder, Value));
/// The operation, the variant, the code and what it means.
type Row = (&'static str, &'static str, Code, fn(i: u32, x: u32) -> u32);

fn add_to(b: &mut Builder, v: VarId, by: Value) {
    let old = b.get(v);
    let new = b.add(old, by);
    b.set(v, new);
}

/// `x` modulo a number.
fn modulo(b: &mut Builder, x: Value, m: u32) -> Value {
    let m = b.u32(m);
    b.binary(BinaryOp::Rem, x, m)
}

fn below(b: &mut Builder, x: Value, m: u32) -> Value {
    let m = b.u32(m);
    b.compare(CmpOp::Lt, x, m)
}

fn is(b: &mut Builder, x: Value, m: u32) -> Value {
    let m = b.u32(m);
    b.compare(CmpOp::Eq, x, m)
}

/// `for j in (from..to).step_by(step)` over u32.
fn each(b: &mut Builder, from: u32, to: Value, step: u32, unroll: Unroll, f: impl FnOnce(&mut Builder, Value)) {
    let (from, step) = (b.u32(from), b.u32(step));
    let j = b.begin_for(from, to, step, unroll);
    f(b, j);
    b.end_for();
}

/// Sum of `j` over a loop to x % 40 with a way of unrolling.
fn unrolled(b: &mut Builder, x: Value, unroll: Unroll) -> Value {
    let zero = b.u32(0);
    let sum = b.var("sum", zero);
    let end = modulo(b, x, 40);
    each(b, 0, end, 1, unroll, |b, j| add_to(b, sum, j));
    b.get(sum)
}

fn triangle(n: u32) -> u32 {
    n * n.saturating_sub(1) / 2
}

const ROWS: &[Row] = &[
    (
        "if",
        "then",
        |b, _, x, out| {
            let low = below(b, x, 1 << 31);
            out(b, x);
            b.when(low, |b| {
                let three = b.u32(3);
                let y = b.mul(x, three);
                out(b, y);
            });
        },
        |_, x| if x < 1 << 31 { x.wrapping_mul(3) } else { x },
    ),
    (
        "if",
        "else",
        |b, i, x, out| {
            let odd = modulo(b, x, 2);
            let odd = is(b, odd, 1);
            b.begin_if(odd);
            out(b, i);
            b.begin_else();
            out(b, x);
            b.end_if();
        },
        |i, x| if x % 2 == 1 { i } else { x },
    ),
    (
        "if",
        "nested",
        |b, i, x, out| {
            out(b, x);
            let m = modulo(b, x, 8);
            let one = below(b, m, 6);
            b.when(one, |b| {
                let two = below(b, m, 4);
                b.begin_if(two);
                let three = below(b, m, 2);
                b.when(three, |b| out(b, i));
                b.begin_else();
                let y = b.add(i, x);
                out(b, y);
                b.end_if();
            });
        },
        |i, x| match x % 8 {
            0 | 1 => i,
            4 | 5 => i.wrapping_add(x),
            _ => x,
        },
    ),
    (
        "if",
        "chain",
        |b, i, x, out| {
            let m = modulo(b, x, 5);
            for k in 0..4 {
                let here = is(b, m, k);
                b.begin_if(here);
                let c = b.u32(1000 * (k + 1));
                let y = b.add(i, c);
                out(b, y);
                b.begin_else();
            }
            out(b, x);
            (0..4).for_each(|_| b.end_if());
        },
        |i, x| if x % 5 < 4 { i + 1000 * (x % 5 + 1) } else { x },
    ),
    (
        "if",
        "whole-workgroup",
        |b, i, x, out| {
            out(b, x);
            let g = b.builtin(Builtin::GroupId(0));
            let g = b.cast(DType::U32, g);
            let second = is(b, g, 1);
            b.when(second, |b| out(b, i));
        },
        |i, x| if i / 64 == 1 { i } else { x },
    ),
    (
        "if",
        "one-lane",
        |b, i, x, out| {
            out(b, x);
            let l = b.builtin(Builtin::LocalId(0));
            let last = is(b, l, 63);
            b.when(last, |b| out(b, i));
        },
        |i, x| if i % 64 == 63 { i } else { x },
    ),
    (
        "variable",
        "set-in-branches",
        |b, i, x, out| {
            let v = b.var("v", x);
            let m = modulo(b, i, 3);
            let a = is(b, m, 0);
            b.either(a, |b| add_to(b, v, i), |b| b.set(v, i));
            let c = is(b, m, 2);
            b.when(c, |b| add_to(b, v, x));
            let y = b.get(v);
            out(b, y);
        },
        |i, x| match i % 3 {
            0 => x.wrapping_add(i),
            1 => i,
            _ => i.wrapping_add(x),
        },
    ),
    (
        "variable",
        "vector",
        |b, i, x, out| {
            let both = b.vector(&[i, x]);
            let v = b.var("v", both);
            let ten = b.u32(10);
            each(b, 0, ten, 1, Unroll::Auto, |b, _| {
                let old = b.get(v);
                let (p, q) = (b.extract(old, 0), b.extract(old, 1));
                let sum = b.add(p, q);
                let new = b.vector(&[q, sum]);
                b.set(v, new);
            });
            let end = b.get(v);
            let y = b.extract(end, 1);
            out(b, y);
        },
        |i, x| (0..10).fold((i, x), |(p, q), _| (q, p.wrapping_add(q))).1,
    ),
    (
        "for",
        "count-of-each-lane",
        |b, _, x, out| {
            let y = unrolled(b, x, Unroll::Auto);
            out(b, y);
        },
        |_, x| triangle(x % 40),
    ),
    (
        "for",
        "never-unrolled",
        |b, _, x, out| {
            let y = unrolled(b, x, Unroll::Never);
            out(b, y);
        },
        |_, x| triangle(x % 40),
    ),
    (
        "for",
        "unrolled-by-3",
        |b, _, x, out| {
            let y = unrolled(b, x, Unroll::By(3));
            out(b, y);
        },
        |_, x| triangle(x % 40),
    ),
    (
        "for",
        "unrolled-by-4",
        |b, _, x, out| {
            let y = unrolled(b, x, Unroll::By(4));
            out(b, y);
        },
        |_, x| triangle(x % 40),
    ),
    (
        "for",
        "unrolled-fully",
        |b, i, x, out| {
            let v = b.var("v", x);
            let end = b.u32(13);
            each(b, 2, end, 3, Unroll::Full, |b, j| {
                let p = b.mul(j, i);
                add_to(b, v, p);
            });
            let y = b.get(v);
            out(b, y);
        },
        |i, x| x.wrapping_add(i * (2 + 5 + 8 + 11)),
    ),
    (
        "for",
        "steps-of-7",
        |b, i, _, out| {
            let zero = b.u32(0);
            let v = b.var("v", zero);
            each(b, 5, i, 7, Unroll::Auto, |b, j| add_to(b, v, j));
            let y = b.get(v);
            out(b, y);
        },
        |i, _| (5..i).step_by(7).sum(),
    ),
    (
        "for",
        "no-rounds",
        |b, i, x, out| {
            let v = b.var("v", x);
            let zero = b.u32(0);
            each(b, 9, zero, 1, Unroll::Auto, |b, _| b.set(v, i));
            each(b, 0, zero, 1, Unroll::Full, |b, _| b.set(v, i));
            let y = b.get(v);
            out(b, y);
        },
        |_, x| x,
    ),
    (
        "for",
        "step-of-0-counts-as-1",
        |b, i, _, out| {
            let zero = b.u32(0);
            let v = b.var("v", zero);
            let (end, step) = (modulo(b, i, 9), b.var("step", zero));
            let step = b.get(step);
            let j = b.begin_for(zero, end, step, Unroll::Never);
            add_to(b, v, j);
            let y = b.u32(100);
            add_to(b, v, y);
            b.end_for();
            let y = b.get(v);
            out(b, y);
        },
        |i, _| triangle(i % 9) + 100 * (i % 9),
    ),
    (
        "for",
        "break",
        |b, i, x, out| {
            let v = b.var("v", x);
            let end = b.u32(100);
            each(b, 0, end, 1, Unroll::Auto, |b, j| {
                let far = b.compare(CmpOp::Gt, j, i);
                b.when(far, |b| b.effect(Op::Break));
                add_to(b, v, j);
            });
            let y = b.get(v);
            out(b, y);
        },
        |i, x| x.wrapping_add(triangle(i.min(99) + 1)),
    ),
    (
        "for",
        "continue",
        |b, i, x, out| {
            let v = b.var("v", x);
            let end = b.u32(50);
            each(b, 0, end, 1, Unroll::Auto, |b, j| {
                let s = b.add(i, j);
                let m = modulo(b, s, 3);
                let skip = is(b, m, 0);
                b.when(skip, |b| b.effect(Op::Continue));
                add_to(b, v, j);
            });
            let y = b.get(v);
            out(b, y);
        },
        |i, x| (0..50).filter(|j| (i + j) % 3 != 0).fold(x, u32::wrapping_add),
    ),
    (
        "for",
        "nested-leaves-inner",
        |b, i, x, out| {
            let v = b.var("v", x);
            let (outer, inner) = (modulo(b, i, 7), b.u32(20));
            each(b, 0, outer, 1, Unroll::Auto, |b, p| {
                each(b, 0, inner, 1, Unroll::Auto, |b, q| {
                    let far = b.compare(CmpOp::Gt, q, p);
                    b.when(far, |b| b.effect(Op::Break));
                    let one = b.u32(1);
                    add_to(b, v, one);
                });
                let hundred = b.u32(100);
                add_to(b, v, hundred);
            });
            let y = b.get(v);
            out(b, y);
        },
        |i, x| (0..i % 7).fold(x, |v, p| v.wrapping_add(p + 1 + 100)),
    ),
    (
        "for",
        "six-deep",
        |b, i, _, out| {
            let zero = b.u32(0);
            let v = b.var("v", zero);
            let m = modulo(b, i, 3);
            let one = b.u32(1);
            let end = b.add(m, one);
            let index: Vec<Value> = (0..6).map(|_| b.begin_for(zero, end, one, Unroll::Auto)).collect();
            let sum = index.into_iter().reduce(|p, q| b.add(p, q)).unwrap_or(zero);
            add_to(b, v, sum);
            (0..6).for_each(|_| b.end_for());
            let y = b.get(v);
            out(b, y);
        },
        |i, _| {
            let n = i % 3 + 1;
            6 * triangle(n) * n.pow(5)
        },
    ),
    (
        "for",
        "ten-thousand-rounds",
        |b, i, x, out| {
            let v = b.var("v", x);
            let end = b.u32(10_000);
            each(b, 0, end, 1, Unroll::Auto, |b, j| {
                let old = b.get(v);
                let (m, a) = (b.u32(1_664_525), b.add(j, i));
                let p = b.mul(old, m);
                let p = b.add(p, a);
                b.set(v, p);
            });
            let y = b.get(v);
            out(b, y);
        },
        |i, x| (0..10_000u32).fold(x, |v, j| v.wrapping_mul(1_664_525).wrapping_add(j + i)),
    ),
    (
        "while",
        "of-each-lane",
        |b, i, x, out| {
            // Halving until nothing is left, with a head that computes.
            let (v, n) = (b.var("v", x), b.var("n", i));
            b.begin_while();
            let (old, one) = (b.get(v), b.u32(1));
            let less = b.binary(BinaryOp::Shr, old, one);
            let zero = b.u32(0);
            let more = b.compare(CmpOp::Ne, less, zero);
            b.while_cond(more);
            b.set(v, less);
            add_to(b, n, one);
            b.end_while();
            let y = b.get(n);
            out(b, y);
        },
        |i, x| i + x.checked_ilog2().unwrap_or(0),
    ),
    (
        "while",
        "never",
        |b, i, x, out| {
            let v = b.var("v", x);
            b.begin_while();
            let no = below(b, i, 0);
            b.while_cond(no);
            b.set(v, i);
            b.end_while();
            let y = b.get(v);
            out(b, y);
        },
        |_, x| x,
    ),
    (
        "while",
        "break",
        |b, i, _, out| {
            let zero = b.u32(0);
            let v = b.var("v", zero);
            b.begin_while();
            let yes = b.bool(true);
            b.while_cond(yes);
            let n = b.get(v);
            let square = b.mul(n, n);
            let far = b.compare(CmpOp::Gt, square, i);
            b.when(far, |b| b.effect(Op::Break));
            let one = b.u32(1);
            add_to(b, v, one);
            b.end_while();
            let y = b.get(v);
            out(b, y);
        },
        |i, _| i.isqrt() + 1,
    ),
    (
        "while",
        "continue",
        |b, i, x, out| {
            let (v, n, one) = (b.var("v", x), b.var("n", i), b.u32(1));
            b.begin_while();
            let left = b.get(n);
            let zero = b.u32(0);
            let more = b.compare(CmpOp::Ne, left, zero);
            b.while_cond(more);
            let next = b.sub(left, one);
            b.set(n, next);
            let m = modulo(b, left, 4);
            let skip = is(b, m, 0);
            b.when(skip, |b| b.effect(Op::Continue));
            add_to(b, v, left);
            b.end_while();
            let y = b.get(v);
            out(b, y);
        },
        |i, x| (1..=i).filter(|n| n % 4 != 0).fold(x, u32::wrapping_add),
    ),
    (
        "return",
        "some-lanes",
        |b, i, x, out| {
            out(b, x);
            let m = modulo(b, i, 5);
            let stop = is(b, m, 2);
            b.when(stop, |b| b.effect(Op::Return));
            out(b, i);
        },
        |i, x| if i % 5 == 2 { x } else { i },
    ),
    (
        "return",
        "from-a-loop",
        |b, i, x, out| {
            let v = b.var("v", x);
            let end = b.u32(30);
            each(b, 0, end, 1, Unroll::Auto, |b, j| {
                add_to(b, v, j);
                let y = b.get(v);
                out(b, y);
                let there = b.compare(CmpOp::Eq, j, i);
                b.when(there, |b| b.effect(Op::Return));
            });
            out(b, i);
        },
        |i, x| if i < 30 { x.wrapping_add(triangle(i + 1)) } else { i },
    ),
    (
        "return",
        "whole-workgroup",
        |b, i, x, out| {
            out(b, x);
            let g = b.builtin(Builtin::GroupId(0));
            let g = b.cast(DType::U32, g);
            let first = is(b, g, 0);
            b.when(first, |b| b.effect(Op::Return));
            out(b, i);
        },
        |i, x| if i < 64 { x } else { i },
    ),
];

pub(super) fn cases(all: &mut Vec<Case>) {
    for &(op, variant, code, want) in ROWS {
        all.push(Case::new(
            format!("core/ir/{op}/u32/lanes/{variant}"),
            op,
            Some(Type::U32),
            "lanes",
            move |s, r, seen| {
                let mut b = Builder::new(&format!("{op}_{}", variant.replace('-', "_")), [64, 1, 1]);
                let input = b.buffer("x", DType::U32, Access::Read);
                let result = b.buffer("out", DType::U32, Access::Write);
                let g = b.builtin(Builtin::GlobalId(0));
                let i = b.cast(DType::U32, g);
                let x = b.load(Place::Buffer(input), g);
                code(&mut b, i, x, &mut |b, v| b.store(Place::Buffer(result), g, v));
                let x = to_u32(&bytes(r, 4 * N as usize));
                let mut buffers = [of_u32(x.iter().copied()), vec![0xee; 4 * N as usize]];
                run(s, &b.finish()?, Grid::covering(u64::from(N), 64), &mut buffers, &[])?;
                let want: Vec<u32> = (0..N).zip(&x).map(|(i, x)| want(i, *x)).collect();
                same(format!("{op}, {variant}"), &to_u32(&buffers[1]), &want, seen)
            },
        ));
    }
    for ty in super::ints::INTS {
        typed(all, ty);
    }
}

/// Loops that count in a type: from negative numbers, and to the end of the type without running over it.
fn typed(all: &mut Vec<Case>, ty: Type) {
    let (low, high) = ty.range().unwrap_or((0, 0));
    let ranges: [(i128, i128, i128); 6] = [
        (low.max(-20), 20, 3),
        (high - 5, high, 4),
        (low, low + 7, 2),
        (high - 2, high, 1),
        (5.min(high), 5, 1),
        (low, high, (high / 2).max(1)),
    ];
    let name = super::name(ty);
    all.push(Case::new(format!("core/ir/for/{name}/edges/count"), "for", Some(ty), "edges", move |s, _, seen| {
        // Bounds come as scalars and as constants, so that compilers know them or not.
        let d = dtype(ty);
        let mut b = Builder::new(&format!("count_in_{name}"), [32, 1, 1]);
        let out = b.buffer("out", DType::U32, Access::Write);
        let args: Vec<Value> = (0..3 * ranges.len()).map(|n| b.scalar(&format!("s{n}"), d)).collect();
        let at = b.builtin(Builtin::GlobalId(0));
        let zero = b.u32(0);
        let total = b.var("total", zero);
        for (n, (from, to, step)) in ranges.into_iter().enumerate() {
            let constants = [from, to, step].map(|x| b.integer(d, x as i64));
            for [from, to, step] in [[args[3 * n], args[3 * n + 1], args[3 * n + 2]], constants] {
                b.begin_for(from, to, step, Unroll::Auto);
                let one = b.u32(1 << (4 * n));
                add_to(&mut b, total, one);
                b.end_for();
            }
        }
        let y = b.get(total);
        b.store(Place::Buffer(out), at, y);
        let scalars: Vec<_> =
            ranges.iter().flat_map(|&(x, y, z)| [x, y, z]).map(|x| super::scalars::argument(ty, x as u64)).collect();
        let mut buffers = [vec![0xee; 128]];
        run(s, &b.finish()?, Grid::Linear(1), &mut buffers, &scalars)?;
        let rounds = |(from, to, step): (i128, i128, i128)| ((to - from).max(0) + step - 1) / step;
        let want: u32 =
            ranges.into_iter().enumerate().map(|(n, x)| (2 * rounds(x) as u32) << (4 * n)).fold(0, u32::wrapping_add);
        same(format!("rounds of loops over {name}"), &to_u32(&buffers[0]), &[want; 32], seen)
    }));
}
