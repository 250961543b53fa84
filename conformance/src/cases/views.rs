//! Views and copies: every view of every width of element, chains of them, rank 8, joining, padding, places beyond 32 bits.
//!
//! Elements of any bits move; they are compared bit for bit.

use super::support::case;
use crate::Case;
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Type,
    index::{self, Rim},
    sample::Values,
};

type Bits = Array<u64>;

/// A view: of what shape, what it does to the tensor, what it means.
struct View {
    op: &'static str,
    variant: &'static str,
    dims: &'static [usize],
    tensor: fn(&Tensor) -> Result<Tensor>,
    meaning: fn(&Bits) -> Bits,
}

const fn view(
    op: &'static str,
    variant: &'static str,
    dims: &'static [usize],
    tensor: fn(&Tensor) -> Result<Tensor>,
    meaning: fn(&Bits) -> Bits,
) -> View {
    View { op, variant, dims, tensor, meaning }
}

/// Rank 8, 1080 elements.
const EIGHT: &[usize] = &[2, 1, 3, 2, 3, 5, 2, 3];

fn repeated(x: &Bits, times: &[usize]) -> Bits {
    let lead = times.len() - x.rank();
    let shape: Vec<usize> =
        times.iter().enumerate().map(|(i, n)| n * if i < lead { 1 } else { x.shape[i - lead] }).collect();
    Array::build(&shape, |i| *x.at(&i[lead..].iter().zip(&x.shape).map(|(i, n)| i % n).collect::<Vec<_>>()))
}

static VIEWS: [View; 38] = [
    view("reshape", "", &[7, 147], |x| x.reshape((21, 49)), |x| x.reshape(&[21, 49])),
    view("reshape", "what-is-left", &[7, 147], |x| x.reshape((3, -1)), |x| x.reshape(&[3, 343])),
    view(
        "reshape",
        "of-permuted",
        &[6, 35, 4],
        |x| x.permute((2, 0, 1))?.reshape((8, 105)),
        |x| x.permute(&[2, 0, 1]).reshape(&[8, 105]),
    ),
    view("flatten", "", &[3, 7, 5, 11], |x| x.flatten(1, 2), |x| x.reshape(&[3, 35, 11])),
    view("squeeze", "", &[7, 1, 147], |x| x.squeeze(1), |x| x.reshape(&[7, 147])),
    view("unsqueeze", "", &[7, 147], |x| x.unsqueeze(1), |x| x.reshape(&[7, 1, 147])),
    view("permute", "rank-3", &[7, 11, 13], |x| x.permute((2, 0, 1)), |x| x.permute(&[2, 0, 1])),
    view("permute", "rank-4", &[3, 7, 5, 11], |x| x.permute((0, 2, 1, 3)), |x| x.permute(&[0, 2, 1, 3])),
    view("permute", "rank-8", EIGHT, |x| x.permute((7, 2, 5, 0, 4, 1, 6, 3)), |x| x.permute(&[7, 2, 5, 0, 4, 1, 6, 3])),
    view("transpose", "", &[33, 65], |x| x.transpose(0, 1), |x| x.swap(0, 1)),
    view("transpose", "aligned", &[64, 32], |x| x.transpose(0, 1), |x| x.swap(0, 1)),
    view("t", "", &[3, 17, 19], |x| x.t(), |x| x.swap(1, 2)),
    view("movedim", "", &[3, 7, 5, 11], |x| x.movedim(0, 2), |x| x.permute(&[1, 2, 0, 3])),
    view("broadcast_as", "row", &[37], |x| x.broadcast_as((29, 37)), |x| x.expand(&[29, 37])),
    view("broadcast_as", "column", &[29, 1], |x| x.broadcast_as((29, 37)), |x| x.expand(&[29, 37])),
    view(
        "expand",
        "rank-8",
        &[2, 1, 3, 1, 1, 5, 1, 3],
        |x| x.expand((2, 4, 3, 2, 1, 5, 2, 3)),
        |x| x.expand(&[2, 4, 3, 2, 1, 5, 2, 3]),
    ),
    view("narrow", "odd-offset", &[1021], |x| x.narrow(0, 7, 1009), |x| x.slice(0, 7, 1, 1009)),
    view("narrow", "rows", &[37, 31], |x| x.narrow(0, 3, 29), |x| x.slice(0, 3, 1, 29)),
    view("narrow", "columns", &[37, 31], |x| x.narrow(1, 5, 23), |x| x.slice(1, 5, 1, 23)),
    view("narrow", "last-element", &[1021], |x| x.narrow(0, 1020, 1), |x| x.slice(0, 1020, 1, 1)),
    view("narrow", "nothing", &[37, 31], |x| x.narrow(1, 31, 0), |x| x.slice(1, 31, 1, 0)),
    view("slice", "", &[13, 17, 19], |x| x.slice((2..11, .., 3..)), |x| x.slice(0, 2, 1, 9).slice(2, 3, 1, 16)),
    view("step_by", "rows", &[37, 31], |x| x.step_by(0, 3), |x| x.slice(0, 0, 3, 13)),
    view("step_by", "columns", &[37, 31], |x| x.step_by(1, 2), |x| x.slice(1, 0, 2, 16)),
    view("get", "", &[13, 7, 19], |x| x.get(11), |x| x.slice(0, 11, 1, 1).reshape(&[7, 19])),
    view("flip", "line", &[1009], |x| x.flip(0), |x| x.flip(0)),
    view("flip", "rows", &[37, 31], |x| x.flip(0), |x| x.flip(0)),
    view("flip", "both", &[37, 31], |x| x.flip([0, 1]), |x| x.flip(0).flip(1)),
    view("flip", "rank-8", EIGHT, |x| x.flip([0, 5, 7]), |x| x.flip(0).flip(5).flip(7)),
    view("roll", "forwards", &[7, 147], |x| x.roll(5, 1), |x| x.roll(1, 5)),
    view("roll", "backwards-and-around", &[147, 7], |x| x.roll(-150, 0), |x| x.roll(0, -150)),
    view("repeat", "", &[7, 13], |x| x.repeat((2, 3, 4)), |x| repeated(x, &[2, 3, 4])),
    view("tile", "", &[3, 7, 13], |x| x.tile((2, 3)), |x| repeated(x, &[1, 2, 3])),
    view(
        "repeat_interleave",
        "",
        &[7, 13, 3],
        |x| x.repeat_interleave(3, 1),
        |x| Array::build(&[7, 39, 3], |i| *x.at(&[i[0], i[1] / 3, i[2]])),
    ),
    view(
        "unfold",
        "",
        &[3, 41],
        |x| x.unfold(1, 7, 3),
        |x| Array::build(&[3, 12, 7], |i| *x.at(&[i[0], i[1] * 3 + i[2]])),
    ),
    view(
        "chain",
        "flip-permute-step",
        &[9, 11, 13],
        |x| x.flip(2)?.permute((2, 0, 1))?.step_by(0, 2),
        |x| x.flip(2).permute(&[2, 0, 1]).slice(0, 0, 2, 7),
    ),
    view(
        "chain",
        "narrow-expand-flatten",
        &[9, 11, 1],
        |x| x.narrow(1, 3, 7)?.expand((9, 7, 5))?.flatten(0, 1),
        |x| x.slice(1, 3, 1, 7).expand(&[9, 7, 5]).reshape(&[63, 5]),
    ),
    view(
        "chain",
        "step-flip-transpose",
        &[29, 31],
        |x| x.step_by(1, 3)?.flip(1)?.t()?.narrow(0, 2, 8),
        |x| x.slice(1, 0, 3, 11).flip(1).swap(0, 1).slice(0, 2, 1, 8),
    ),
];

/// Types that are moved; what is not f32 moves through fewer views.
const MOVED: [Type; 5] = [Type::F32, Type::I64, Type::U8, Type::Bool, Type::F16];

/// Views that the widest and the narrowest elements are asked.
const COMMON: [(&str, &str); 4] =
    [("transpose", ""), ("flip", "line"), ("narrow", "odd-offset"), ("step_by", "columns")];

/// What sort of shape a view is of.
fn class(v: &View) -> &'static str {
    match v.dims {
        _ if v.variant == "aligned" => "aligned",
        _ if v.variant == "nothing" => "empty",
        d if d.len() == 8 => "rank 8",
        d if d.len() == 1 => "prime",
        _ => "unaligned",
    }
}

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [views(), random_chains(), parts(), joins(), pads(), far(), refusals()].into_iter().flatten().collect()
}

fn views() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in MOVED {
        for v in &VIEWS {
            let asked = match ty {
                Type::F32 => true,
                Type::I64 | Type::U8 => COMMON.contains(&(v.op, v.variant)),
                _ => v.op == "transpose" && v.variant.is_empty(),
            };
            if !asked {
                continue;
            }
            all.push(case("views", v.op, ty, class(v), v.variant, move |t| {
                let x = t.dense(ty, v.dims, Values::AnyBits)?;
                t.same((v.tensor)(&x.tensor), ty, &(v.meaning)(&x.bits))
            }));
        }
    }
    all
}

/// Chains that the case's numbers choose, of rank 3: few kinds of kernels, many ways through the arithmetic of strides.
fn random_chains() -> Vec<Case> {
    let mut all = Vec::new();
    for n in 0..12 {
        all.push(case("views", "chain", Type::F32, "unaligned", &format!("random-{n}"), move |t| {
            let x = t.dense(Type::F32, &[7, 11, 13], Values::AnyBits)?;
            let (mut tensor, mut bits) = (x.tensor.clone(), x.bits.clone());
            for _ in 0..4 {
                let axis = t.r.below(3);
                let at = axis as i64;
                let extent = bits.shape[axis];
                (tensor, bits) = match t.r.below(5) {
                    0 => {
                        let other = t.r.below(3);
                        (tensor.transpose(at, other as i64)?, bits.swap(axis, other))
                    }
                    1 => (tensor.flip(axis)?, bits.flip(axis)),
                    2 => {
                        let start = t.r.below(extent / 2 + 1);
                        let len = 1 + t.r.below(extent - start);
                        (tensor.narrow(at, start, len)?, bits.slice(axis, start, 1, len))
                    }
                    3 => {
                        let step = 1 + t.r.below(2);
                        (tensor.step_by(at, step)?, bits.slice(axis, 0, step, extent.div_ceil(step)))
                    }
                    _ => {
                        let mut to = bits.shape.clone();
                        to.rotate_left(1);
                        (tensor.permute((1, 2, 0))?.reshape(&to)?, bits.permute(&[1, 2, 0]).reshape(&to))
                    }
                };
            }
            t.same(Ok(tensor), Type::F32, &bits)
        }));
    }
    all
}

/// What gives several tensors: each part is asked.
fn parts() -> Vec<Case> {
    type Parts = fn(&Tensor) -> Result<Vec<Tensor>>;
    type Meaning = fn(&Bits) -> Vec<Bits>;
    let rows: [(&str, Parts, Meaning); 4] = [
        ("chunk", |x| x.chunk(3, 1), |x| [(0, 6), (6, 6), (12, 5)].map(|(at, n)| x.slice(1, at, 1, n)).to_vec()),
        (
            "split",
            |x| x.split(&[5, 0, 11, 1], 1),
            |x| [(0, 5), (5, 0), (5, 11), (16, 1)].map(|(at, n)| x.slice(1, at, 1, n)).to_vec(),
        ),
        ("unbind", |x| x.unbind(0), |x| (0..13).map(|i| x.slice(0, i, 1, 1).reshape(&[17, 3])).collect()),
        (
            "meshgrid",
            |x| Tensor::meshgrid(&[x.flatten_all()?.narrow(0, 0, 7)?, x.flatten_all()?.narrow(0, 7, 5)?]),
            |x| {
                let at = |i: usize| x.data[i];
                vec![Array::build(&[7, 5], |i| at(i[0])), Array::build(&[7, 5], |i| at(7 + i[1]))]
            },
        ),
    ];
    let mut all = Vec::new();
    for (op, f, meaning) in rows {
        for ty in [Type::F32, Type::U8] {
            all.push(case("views", op, ty, "unaligned", "", move |t| {
                let x = t.dense(ty, &[13, 17, 3], Values::AnyBits)?;
                let (got, want) = (f(&x.tensor)?, meaning(&x.bits));
                if got.len() != want.len() {
                    let (has, meant) = (got.len(), want.len());
                    return Err(super::support::broken(format!("{op} gave {has} tensors, expected {meant}")));
                }
                got.into_iter().zip(&want).try_for_each(|(got, want)| t.same(Ok(got), ty, want))
            }));
        }
    }
    all
}

/// Tensors joined along an axis or a new one; parts of nothing, views as parts, one tensor twice.
fn joins() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in MOVED {
        for (variant, axis) in [("rows", 0usize), ("columns", 1)] {
            if ty != Type::F32 && (axis == 1 || ty == Type::Bool) {
                continue;
            }
            all.push(case("views", "cat", ty, "unaligned", variant, move |t| {
                let lens = [5, 0, 17, 1];
                let mut x = vec![];
                for n in lens {
                    let dims = if axis == 0 { [n, 31] } else { [31, n] };
                    x.push(t.dense(ty, &dims, Values::AnyBits)?);
                }
                let bits: Vec<Bits> = x.iter().map(|x| x.bits.clone()).collect();
                let tensors: Vec<Tensor> = x.into_iter().map(|x| x.tensor).collect();
                t.same(Tensor::cat(&tensors, axis as i64), ty, &Array::concat(&bits, axis))
            }));
        }
    }
    for (variant, axis) in [("views", 1usize), ("rank-8", 5)] {
        all.push(case(
            "views",
            "cat",
            Type::F32,
            if variant == "views" { "unaligned" } else { "rank 8" },
            variant,
            move |t| {
                let dims: &[usize] = if variant == "views" { &[17, 19] } else { EIGHT };
                let x = t.dense(Type::F32, dims, Values::AnyBits)?;
                let parts = [x.tensor.clone(), x.tensor.flip(axis)?, x.tensor.narrow(axis as i64, 1, 2)?];
                let bits = [x.bits.clone(), x.bits.flip(axis), x.bits.slice(axis, 1, 1, 2)];
                t.same(Tensor::cat(&parts, axis as i64), Type::F32, &Array::concat(&bits, axis))
            },
        ));
    }
    for (variant, axis) in [("front", 0usize), ("middle", 1), ("back", 2)] {
        all.push(case("views", "stack", Type::F32, "unaligned", variant, move |t| {
            let (x, y) =
                (t.dense(Type::F32, &[13, 17], Values::AnyBits)?, t.dense(Type::F32, &[13, 17], Values::AnyBits)?);
            let mut unit = vec![13, 17];
            unit.insert(axis, 1);
            let want = Array::concat(&[x.bits.reshape(&unit), y.bits.reshape(&unit), x.bits.reshape(&unit)], axis);
            t.same(Tensor::stack(&[&x.tensor, &y.tensor, &x.tensor], axis as i64), Type::F32, &want)
        }));
    }
    // Each part ends where the next begins: a write beyond an end would be seen.
    all.push(case("views", "cat", Type::U8, "prime", "every-length", |t| {
        for n in 1..=17 {
            let x = t.dense(Type::U8, &[n], Values::AnyBits)?;
            let y = t.dense(Type::U8, &[23 - n], Values::AnyBits)?;
            let want = Array::concat(&[x.bits.clone(), y.bits.clone(), x.bits.clone()], 0);
            t.same(Tensor::cat(&[&x.tensor, &y.tensor, &x.tensor], 0), Type::U8, &want)?;
        }
        Ok(())
    }));
    all
}

fn pads() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::I64, Type::U8, Type::F16] {
        for (variant, dims, widths) in [
            ("both-axes", &[7, 13][..], &[[2i64, 1], [3, 5]][..]),
            ("last-axis", &[7, 13], &[[0, 3]]),
            ("batch", &[2, 3, 5, 7], &[[1, 1], [2, 2]]),
            ("taking-away", &[7, 13], &[[-2, 1], [3, -4]]),
        ] {
            for (op, rim) in [("pad", 0), ("pad_reflect", 1), ("pad_replicate", 2)] {
                if ty != Type::F32 && (op != "pad" || variant != "both-axes") || variant == "taking-away" && rim != 0 {
                    continue;
                }
                all.push(case("views", op, ty, "unaligned", variant, move |t| {
                    let x = t.dense(ty, dims, Values::AnyBits)?;
                    let five = if ty.is_float() { ty.bits_of_float(5.0) } else { 5 };
                    let (got, rim) = match rim {
                        0 => (x.tensor.pad(widths, 5), Rim::Constant(five)),
                        1 => (x.tensor.pad_reflect(widths), Rim::Reflect),
                        _ => (x.tensor.pad_replicate(widths), Rim::Replicate),
                    };
                    t.same(got, ty, &index::pad(&x.bits, widths, &rim))
                }));
            }
        }
    }
    all
}

/// Places beyond 32 bits, of tensors that nobody holds in memory: what is cut off at 2^32 names another element.
fn far() -> Vec<Case> {
    let line = case("views", "arange", Type::I64, "prime", "beyond-32-bits", |t| {
        let end = (1i64 << 33) + 7;
        let got = Tensor::arange(0i64, end, &t.on.device)?.narrow(0, end as usize - 1009, 1009);
        let want = Array::build(&[1009], |i| (end - 1009 + i[0] as i64) as u64);
        t.same(got, Type::I64, &want)
    });
    let rows = case("views", "arange", Type::I64, "unaligned", "beyond-32-bits-transposed", |t| {
        let all = Tensor::arange(0i64, 1 << 33, &t.on.device)?.reshape((1 << 20, 1 << 13))?;
        let got = all.t()?.narrow(0, 8000, 37)?.narrow(1, (1 << 20) - 31, 31);
        let want = Array::build(&[37, 31], |i| ((i[1] as u64 + (1 << 20) - 31) << 13) + 8000 + i[0] as u64);
        t.same(got, Type::I64, &want)
    });
    // A device need not have indices of 64 bits.
    vec![line.optional(), rows.optional()]
}

fn refusals() -> Vec<Case> {
    type Call = fn(&Tensor) -> Result<Tensor>;
    let rows: [(&str, &str, Call); 8] = [
        ("reshape", "other-number", |x| x.reshape((5, 5))),
        ("permute", "axis-twice", |x| x.permute((0, 0))),
        ("narrow", "beyond", |x| x.narrow(1, 5, 30)),
        ("expand", "other-extent", |x| x.expand((7, 14))),
        ("flip", "no-such-axis", |x| x.flip(2)),
        ("cat", "other-extents", |x| Tensor::cat(&[x.clone(), x.t()?], 0)),
        ("pad_reflect", "longer-than-the-axis", |x| x.pad_reflect(&[[0, 13]])),
        ("get", "beyond", |x| x.get(7)),
    ];
    rows.into_iter()
        .map(|(op, variant, f)| {
            case("views", op, Type::F32, "refused", variant, move |t| {
                let x = t.dense(Type::F32, &[7, 13], Values::Exact)?;
                t.refused(f(&x.tensor), &format!("{op} of [7, 13], {variant}"))
            })
        })
        .collect()
}
