//! Matrix fragments: products, epilogues, rows. Checked kernels are lowered everywhere; unchecked ones run on the chip's own units.

use super::table::{get, put};
use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, step},
    oracle::{
        Type,
        sample::{Random, Values, element},
    },
    subject::dtype,
};
use anychip::{
    DType,
    hal::{
        device::{Checks, Grid},
        ir::{
            Access, BinaryOp, Builder, Frag, FragOperand, FragRole, Kernel, Layout, Op, Place, ReduceOp, Scope,
            Swizzle, Type as Ty, Unroll,
        },
    },
};

/// What a kernel does with its accumulator before it stores it.
#[derive(Clone, Copy, PartialEq)]
enum Epilogue {
    Store,
    /// max(x, 0) by a visit of the elements.
    Each,
    /// x minus the largest of its row.
    Rows,
}

pub(super) fn cases(all: &mut Vec<Case>) {
    let ends = [("store", Epilogue::Store), ("each", Epilogue::Each), ("rows", Epilogue::Rows)];
    for (ty, acc) in [(Type::F16, Type::F32), (Type::BF16, Type::F32), (Type::F16, Type::F16), (Type::F32, Type::F32)] {
        for (name, end) in ends {
            if end == Epilogue::Rows && acc != Type::F32 {
                continue;
            }
            for layout in [Layout::RowMajor, Layout::ColMajor] {
                let order = if layout == Layout::RowMajor { "rows" } else { "columns" };
                let id = format!("core/ir/fragment-{name}/{}/{}-{order}", super::name(ty), super::name(acc));
                all.push(Case::new(id, format!("fragment-{name}"), Some(ty), "16x16x16", move |s, r, seen| {
                    let p = Product { a: ty, b: ty, acc, shape: [16, 16, 16], layout, end };
                    product(s, p, true, r, seen)
                }));
            }
        }
    }
    // The chip's own shapes, whatever they are: at most one case per list of rows, since lists are frozen.
    all.push(
        Case::new("core/ir/fragment-native/any/claimed", "fragment-native", None, "native", move |s, r, seen| {
            if s.info().fragments.is_empty() {
                return Err(Failure::Unsupported(format!("{} claims no matrix fragments", s.device)));
            }
            let of = |d: DType| Type::ALL.into_iter().find(|t| dtype(*t) == d);
            let mut left_out = vec![];
            for row in &s.info().fragments {
                let (Some(a), Some(b), Some(acc)) = (of(row.a), of(row.b), of(row.acc)) else {
                    left_out.push(format!("{}·{}", row.a, row.b));
                    continue;
                };
                if row.subgroups > 1 {
                    left_out.push(format!("{}x{}x{} of {} subgroups", row.m, row.n, row.k, row.subgroups));
                    continue;
                }
                for layout in [Layout::RowMajor, Layout::ColMajor] {
                    for (_, end) in ends {
                        let p = Product { a, b, acc, shape: [row.m, row.n, row.k], layout, end };
                        product(s, p, false, r, seen)?;
                    }
                }
            }
            if !left_out.is_empty() {
                left_out.sort();
                left_out.dedup();
                seen.notes.push(format!("claimed, and for the tensors' products alone: {}", left_out.join(", ")));
            }
            Ok(())
        })
        .optional(),
    );
}

/// A product of three tiles, one behind the other.
#[derive(Clone, Copy)]
struct Product {
    a: Type,
    b: Type,
    acc: Type,
    shape: [u16; 3],
    /// How the right operand lies.
    layout: Layout,
    end: Epilogue,
}

fn kernel(p: Product, depth: u32, lanes: u32) -> anychip::Result<Kernel> {
    let Product { a: ta, b: tb, acc, shape: [m, n, k], layout, end } = p;
    let frag = |role, t: Type| Ty::Frag(Frag { role, m, n, k, elem: dtype(t), scope: Scope::Subgroup });
    let order = if layout == Layout::RowMajor { "rows" } else { "cols" };
    let types = [ta, tb, acc].map(super::name).join("_");
    let name = format!("fragment_{types}_{m}x{n}x{k}_{order}_{}", end as u8);
    let mut b = Builder::new(&name, [lanes, 1, 1]);
    let (pa, pb) = (b.buffer("a", dtype(ta), Access::Read), b.buffer("b", dtype(tb), Access::Read));
    let out = b.buffer("out", dtype(acc), Access::Write);
    let zero = b.integer(dtype(acc), 0);
    let start = b.define(frag(FragRole::Acc, acc), Op::FragFill(zero));
    let sum = b.var("acc", start);
    let (first, end_k, step_k) = (b.u32(0), b.u32(depth), b.u32(u32::from(k)));
    let (wide, cols) = (b.u32(depth), b.u32(u32::from(n)));
    let at = b.begin_for(first, end_k, step_k, Unroll::Auto);
    let row = b.mul(at, cols);
    // B lies as it is said: rows of n, or columns of `depth`.
    let (index, stride) = match layout {
        Layout::RowMajor => (row, cols),
        Layout::ColMajor => (at, wide),
    };
    let load = |b: &mut Builder, role, ty, place, index, stride, layout| {
        let op = Op::FragLoad { place, index, stride, layout, swizzle: Swizzle::NONE, aligned: false };
        b.define(frag(role, ty), op)
    };
    let x = load(&mut b, FragRole::A, ta, Place::Buffer(pa), at, wide, Layout::RowMajor);
    let y = load(&mut b, FragRole::B, tb, Place::Buffer(pb), index, stride, layout);
    let old = b.get(sum);
    let mma = Op::FragMma { a: FragOperand::Reg(x), b: FragOperand::Reg(y), acc: old };
    let new = b.define(frag(FragRole::Acc, acc), mma);
    b.set(sum, new);
    b.end_for();
    match end {
        Epilogue::Store => {
            let (v, zero) = (b.get(sum), b.u32(0));
            b.effect(Op::FragStore {
                frag: v,
                place: Place::Buffer(out),
                index: zero,
                stride: cols,
                layout: Layout::RowMajor,
            });
        }
        Epilogue::Each => {
            let v = b.get(sum);
            let (row, col, x) = b.begin_each(v);
            let zero = b.integer(dtype(acc), 0);
            let x = b.binary(BinaryOp::Max, x, zero);
            let at = b.mul(row, cols);
            let at = b.add(at, col);
            b.store(Place::Buffer(out), at, x);
            b.end_each();
        }
        Epilogue::Rows => {
            let v = b.get(sum);
            let most = b.define(frag(FragRole::Rows, acc), Op::FragRows(ReduceOp::Max, v));
            b.map(sum, &[v, most], |b, _, of| b.sub(of[0], of[1]));
            let (v, zero) = (b.get(sum), b.u32(0));
            b.effect(Op::FragStore {
                frag: v,
                place: Place::Buffer(out),
                index: zero,
                stride: cols,
                layout: Layout::RowMajor,
            });
        }
    }
    b.finish()
}

/// A number of a type, exactly.
fn number(ty: Type, bits: u64) -> f64 {
    if ty.is_float() { ty.float_of_bits(bits) } else { ty.int_of_bits(bits) as f64 }
}

/// A product of small multiples of a quarter, or of whole numbers: exact in every accumulator, so that the result is known bit for bit.
fn product(s: &Subject, p: Product, checked: bool, r: &mut Random, seen: &mut Seen) -> End {
    let Product { a: ta, b: tb, acc, shape, layout, end } = p;
    let [m, n, k] = shape.map(usize::from);
    let depth = 3 * k;
    let lanes = match (checked, &s.info().subgroups) {
        (false, Some(sizes)) => sizes.max,
        _ => 32,
    };
    let kernel = kernel(p, depth as u32, lanes)?;
    let d = s.chip();
    let program = if checked {
        d.kernel(&kernel, Checks::On)?
    } else {
        // SAFETY: one workgroup reads m × depth and depth × n elements and writes m × n, as many as are bound below.
        unsafe { d.kernel_unchecked(&kernel)? }
    };
    let a: Vec<u64> = (0..m * depth).map(|_| element(ta, Values::Exact, r)).collect();
    let b: Vec<u64> = (0..depth * n).map(|_| element(tb, Values::Exact, r)).collect();
    let (pa, pb) = (d.alloc_from(&put(ta, &a))?, d.alloc_from(&put(tb, &b))?);
    let out = d.alloc((m * n * acc.bytes()) as u64)?;
    d.submit(&[step(&program, Grid::Linear(1), vec![pa.all(), pb.all(), out.all()], &[])])?.wait()?;
    let at_b = |p: usize, j: usize| if layout == Layout::RowMajor { p * n + j } else { j * depth + p };
    let sums: Vec<f64> = (0..m * n)
        .map(|i| (0..depth).map(|p| number(ta, a[i / n * depth + p]) * number(tb, b[at_b(p, i % n)])).sum())
        .collect();
    // Zeros of both signs are the same here.
    let bits = |x: f64| match acc.is_float() {
        true => acc.bits_of_float(x + 0.0),
        false => x as i64 as u64 & (u64::MAX >> (64 - 8 * acc.bytes())),
    };
    let want: Vec<u64> = sums
        .iter()
        .enumerate()
        .map(|(i, x)| match end {
            Epilogue::Store => *x,
            Epilogue::Each => x.max(0.0),
            Epilogue::Rows => x - sums[i / n * n..][..n].iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
        .map(bits)
        .collect();
    let got = get(acc, &crate::cases::launch::read_all(d, &out)?);
    let got: Vec<u64> = got.into_iter().map(|b| bits(number(acc, b))).collect();
    let what = format!("a product of fragments {m}x{n}x{k} of {} and {}", super::name(ta), super::name(tb));
    super::table::exactly(&what, acc, &got, &want, |i| format!("row {}, column {}", i / n, i % n), seen)
}
