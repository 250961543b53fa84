//! Matrix products: every tail of every extent, batches that broadcast, transposed and other layouts, NaN and infinity, integers.
//!
//! Most shapes run on random numbers and on numbers whose partial sums are exact, where every bit must be right.

use super::support::{Layout, Operand, Outcome, Trial, case};
use crate::Case;
use anychip_oracle::{Array, Data, Type, linear, sample::Values};

/// Shapes of both operands.
struct Shape {
    class: &'static str,
    variant: &'static str,
    left: &'static [usize],
    right: &'static [usize],
}

const fn shape(class: &'static str, variant: &'static str, left: &'static [usize], right: &'static [usize]) -> Shape {
    Shape { class, variant, left, right }
}

static SHAPES: [Shape; 18] = [
    shape("one", "", &[1, 1], &[1, 1]),
    shape("prime", "", &[13, 37], &[37, 17]),
    shape("unaligned", "", &[33, 65], &[65, 31]),
    shape("aligned", "", &[64, 64], &[64, 64]),
    shape("large", "", &[130, 301], &[301, 67]),
    shape("prime", "one-row", &[1, 127], &[127, 61]),
    shape("prime", "one-column", &[61, 127], &[127, 1]),
    shape("prime", "one-of-k", &[31, 1], &[1, 37]),
    shape("prime", "vector-matrix", &[127], &[127, 61]),
    shape("prime", "matrix-vector", &[61, 127], &[127]),
    shape("prime", "vector-vector", &[1009], &[1009]),
    shape("unaligned", "batch", &[3, 7, 9], &[3, 9, 5]),
    shape("broadcast", "left-batch", &[3, 2, 7, 9], &[9, 5]),
    shape("broadcast", "right-batch", &[7, 9], &[3, 2, 9, 5]),
    shape("broadcast", "both", &[2, 1, 7, 9], &[3, 9, 5]),
    shape("rank 8", "", &[1, 2, 1, 3, 1, 2, 5, 7], &[2, 2, 1, 1, 1, 2, 7, 3]),
    shape("empty", "rows", &[0, 5], &[5, 3]),
    shape("empty", "k", &[3, 0], &[0, 5]),
];

/// What types besides f32 are asked.
const FEW: [usize; 7] = [1, 2, 3, 5, 9, 11, 17];

/// Extents around the edges of vectors and tiles.
fn tails() -> impl Iterator<Item = usize> {
    (1..=35).chain([47, 63, 65, 95, 127, 129, 191, 255, 257])
}

fn product(t: &mut Trial<'_>, x: &Operand, y: &Operand, values: Values) -> Outcome {
    let ty = x.ty;
    let a = t.arithmetic_of(ty, values);
    let want: Data = match ty.is_float() {
        true => linear::matmul(&a, &x.real(), &y.real()).into(),
        false => linear::matmul_int(ty, &x.int(), &y.int()).into(),
    };
    t.judge(x.tensor.matmul(&y.tensor), ty, want, &a)
}

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [shapes(), tail_cases(), layouts(), specials(), refusals()].into_iter().flatten().collect()
}

fn shapes() -> Vec<Case> {
    let mut all = Vec::new();
    let types = [Type::F32, Type::F16, Type::BF16, Type::F64, Type::I32, Type::I64, Type::U32, Type::U8, Type::I8];
    for ty in types {
        for (n, s) in SHAPES.iter().enumerate() {
            let some = match ty {
                Type::F32 => true,
                Type::F16 | Type::BF16 | Type::I32 => FEW.contains(&n),
                Type::F64 | Type::I64 => [1, 3, 17].contains(&n),
                _ => n == 1,
            };
            if !some {
                continue;
            }
            let kinds: &[(&str, Values)] = match ty.is_float() {
                true => &[("", Values::Range(-2.0, 2.0)), ("exact", Values::Exact)],
                false => &[("", Values::AnyBits), ("ends", Values::Special)],
            };
            for &(kind, values) in kinds {
                let variant = [s.variant, kind].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-");
                all.push(case("matmul", "matmul", ty, s.class, &variant, move |t| {
                    let (x, y) = (t.dense(ty, s.left, values)?, t.dense(ty, s.right, values)?);
                    product(t, &x, &y, values)
                }));
            }
        }
    }
    all
}

/// Which extent goes through all tails.
#[derive(Clone, Copy)]
enum Tail {
    K,
    Rows,
    Columns,
}

fn tail_cases() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16, Type::BF16, Type::I32] {
        for (name, which) in [("tail-of-k", Tail::K), ("tail-of-rows", Tail::Rows), ("tail-of-columns", Tail::Columns)]
        {
            if ty == Type::BF16 && name != "tail-of-k" {
                continue;
            }
            all.push(case("matmul", "matmul", ty, "unaligned", name, move |t| {
                for n in tails() {
                    let [rows, k, columns] = match which {
                        Tail::K => [3, n, 5],
                        Tail::Rows => [n, 9, 5],
                        Tail::Columns => [3, 9, n],
                    };
                    let (x, y) = (t.dense(ty, &[rows, k], Values::Exact)?, t.dense(ty, &[k, columns], Values::Exact)?);
                    product(t, &x, &y, Values::Exact)?;
                }
                Ok(())
            }));
        }
        // Only the last product is not 0: whatever drops it gives 0.
        for large in [false, true] {
            let (class, rows, columns) = if large { ("aligned", 64, 64) } else { ("unaligned", 3, 5) };
            if large && ty == Type::I32 {
                continue;
            }
            all.push(case("matmul", "matmul", ty, class, "last-of-k", move |t| {
                let lengths: Vec<usize> = if large { vec![64, 65, 66, 67, 97, 131] } else { tails().collect() };
                for k in lengths {
                    let one = |at: bool, by: usize| match (at, ty.format()) {
                        (false, _) => 0,
                        (true, Some(_)) => ty.bits_of_float(1.0 + (by % 3) as f64),
                        (true, None) => 1 + (by % 3) as u64,
                    };
                    let x = Array::build(&[rows, k], |i| one(i[1] + 1 == k, i[0]));
                    let y = Array::build(&[k, columns], |i| one(i[0] + 1 == k, i[1]));
                    let (x, y) = (t.operand(ty, x)?, t.operand(ty, y)?);
                    product(t, &x, &y, Values::Exact)?;
                }
                Ok(())
            }));
        }
    }
    all
}

/// Operands that lie otherwise, among them transposed ones.
fn layouts() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        for layout in Layout::ALL.into_iter().filter(|&l| l != Layout::Dense) {
            for side in ["left", "right", "both"] {
                let transposed = layout == Layout::Permuted;
                if ty == Type::F16 && (!transposed || side != "right") || side == "both" && !transposed {
                    continue;
                }
                for (class, m, k, n) in [("unaligned", 33, 37, 35), ("aligned", 32, 64, 32)] {
                    if class == "aligned" && !transposed {
                        continue;
                    }
                    let variant = format!("{}-{side}", layout.name());
                    all.push(case("layouts", "matmul", ty, class, &variant, move |t| {
                        let pick = |own: &str| if side == own || side == "both" { layout } else { Layout::Dense };
                        let x = t.laid(ty, &[m, k], Values::Exact, pick("left"))?;
                        let y = t.laid(ty, &[k, n], Values::Exact, pick("right"))?;
                        product(t, &x, &y, Values::Exact)
                    }));
                }
            }
        }
    }
    // Heads of attention: a batch of transposed right operands.
    all.push(case("layouts", "matmul", Type::F32, "unaligned", "batch-of-transposed", |t| {
        let x = t.dense(Type::F32, &[2, 3, 17, 13], Values::Exact)?;
        let y = t.dense(Type::F32, &[2, 3, 19, 13], Values::Exact)?;
        let y = Operand { ty: y.ty, tensor: y.tensor.t()?, bits: y.bits.swap(2, 3) };
        product(t, &x, &y, Values::Exact)
    }));
    // One buffer on both sides: x·xᵀ.
    all.push(case("matmul", "matmul", Type::F32, "unaligned", "operand-twice", |t| {
        let x = t.dense(Type::F32, &[33, 37], Values::Exact)?;
        let y = Operand { ty: x.ty, tensor: x.tensor.t()?, bits: x.bits.swap(0, 1) };
        product(t, &x, &y, Values::Exact)
    }));
    all
}

/// An infinity, a NaN or a zero beside it reaches exactly the elements that it takes part in.
fn specials() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        for (kind, specials) in [
            ("nan", &[f64::NAN][..]),
            ("infinity", &[f64::INFINITY]),
            ("infinities", &[f64::INFINITY, f64::NEG_INFINITY]),
        ] {
            for left in [true, false] {
                let variant = format!("{kind}-{}", if left { "left" } else { "right" });
                all.push(case("matmul", "matmul", ty, "unaligned", &variant, move |t| {
                    let x = t.dense(ty, &[9, 17], Values::Exact)?;
                    let y = t.dense(ty, &[17, 11], Values::Exact)?;
                    let mut bits = if left { x.bits.clone() } else { y.bits.clone() };
                    for &special in specials {
                        let at = t.r.below(bits.data.len());
                        bits.data[at] = ty.bits_of_float(special);
                    }
                    let changed = t.operand(ty, bits)?;
                    let (x, y) = if left { (changed, y) } else { (x, changed) };
                    product(t, &x, &y, Values::Range(-2.0, 2.0))
                }));
            }
        }
    }
    // Sums beyond the largest f16, of numbers that are far from it.
    all.push(case("matmul", "matmul", Type::F16, "unaligned", "overflow", |t| {
        let x = t.dense(Type::F16, &[9, 65], Values::Range(20.0, 60.0))?;
        let y = t.dense(Type::F16, &[65, 7], Values::Range(20.0, 60.0))?;
        product(t, &x, &y, Values::Range(20.0, 60.0))
    }));
    // Terms that cancel: sums in f16 instead of f32 leave the bound.
    for ty in [Type::F16, Type::BF16] {
        all.push(case("matmul", "matmul", ty, "unaligned", "sums-in-f32", move |t| {
            let x = Array::build(&[5, 258], |i| if i[1] % 2 == 0 { 1024.0 } else { -1024.0 });
            let mut x = t.floats(ty, &[5, 258], x.data)?.bits;
            (0..5).for_each(|row| x.data[row * 258 + 257] = ty.bits_of_float(-1023.0));
            let ones = t.floats(ty, &[258, 3], vec![1.0; 774])?;
            let x = t.operand(ty, x)?;
            product(t, &x, &ones, Values::Exact)
        }));
    }
    all
}

fn refusals() -> Vec<Case> {
    let rows: [(&str, &[usize], &[usize]); 3] =
        [("inner-extents", &[3, 4], &[5, 6]), ("batches", &[2, 3, 4], &[3, 4, 5]), ("scalar", &[], &[3, 3])];
    let misfit = rows.into_iter().map(|(variant, left, right)| {
        case("matmul", "matmul", Type::F32, "refused", variant, move |t| {
            let (x, y) = (t.dense(Type::F32, left, Values::Exact)?, t.dense(Type::F32, right, Values::Exact)?);
            t.refused(x.tensor.matmul(&y.tensor), &format!("a product of {left:?} and {right:?}"))
        })
    });
    let types = case("matmul", "matmul", Type::F32, "refused", "types", |t| {
        let (x, y) = (t.dense(Type::F32, &[3, 4], Values::Exact)?, t.dense(Type::I32, &[4, 5], Values::Exact)?);
        t.refused(x.tensor.matmul(&y.tensor), "a product of f32 and i32")
    });
    misfit.chain([types]).collect()
}
