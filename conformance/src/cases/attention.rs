//! Attention: queries and keys of different number, shared heads, masks of numbers and of truth, causal, rows that see nothing.

use super::support::{Layout, Operand, Outcome, Trial, case_of};
use crate::Case;
use anychip_oracle::{Array, Number, Type, linear, sample::Values};

/// Extents: batch, query heads, key heads, queries, keys, width, width of values.
type Extents = [usize; 7];

/// How scores are masked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mask {
    None,
    Truth,
    Numbers,
}

struct How {
    mask: Mask,
    causal: bool,
    scale: Option<f32>,
    layout: Layout,
}

const PLAIN: How = How { mask: Mask::None, causal: false, scale: None, layout: Layout::Dense };

fn run(t: &mut Trial<'_>, ty: Type, [b, h, g, s, n, e, f]: Extents, how: &How) -> Outcome {
    let a = t.arithmetic(ty);
    let values = Values::Range(-2.0, 2.0);
    let q = t.laid(ty, &[b, h, s, e], values, how.layout)?;
    let k = t.laid(ty, &[b, g, n, e], values, how.layout)?;
    let v = t.laid(ty, &[b, g, n, f], values, how.layout)?;
    let (mask, added): (Option<Operand>, Option<Array<Number>>) = match how.mask {
        Mask::None => (None, None),
        Mask::Numbers => {
            let m = t.dense(ty, &[s, n], Values::Range(-3.0, 1.0))?;
            let numbers = m.real();
            (Some(m), Some(numbers))
        }
        Mask::Truth => {
            // Every row sees its first key at least.
            let bits = Array::build(&[b, 1, s, n], |i| if i[3] == 0 { 1 } else { t.r.below(2) as u64 });
            let m = t.operand(Type::Bool, bits)?;
            let numbers = m.int().map(|&m| Number::from(if m != 0 { 0.0 } else { f64::NEG_INFINITY }));
            (Some(m), Some(numbers))
        }
    };
    let scale = f64::from(how.scale.unwrap_or(1.0 / (e as f32).sqrt()));
    let want = linear::attention(&a, [&q.real(), &k.real(), &v.real()], added.as_ref(), scale, how.causal);
    let mask = mask.map(|m| m.tensor);
    t.judge(q.tensor.attention(&k.tensor, &v.tensor, mask.as_ref(), how.scale, how.causal), ty, want, &a)
}

/// The cases of this area, all of level 2.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let shapes: [(&str, &str, Extents); 9] = [
        ("one", "", [1, 1, 1, 1, 1, 1, 1]),
        ("prime", "", [1, 2, 2, 7, 13, 5, 3]),
        ("unaligned", "", [2, 3, 3, 17, 33, 15, 15]),
        ("aligned", "", [1, 2, 2, 32, 64, 32, 32]),
        ("unaligned", "one-query", [1, 2, 2, 1, 37, 16, 16]),
        ("unaligned", "many-keys", [1, 1, 1, 5, 301, 8, 8]),
        ("unaligned", "shared-heads", [1, 6, 2, 9, 11, 16, 16]),
        ("unaligned", "one-key-head", [2, 3, 1, 9, 11, 8, 8]),
        ("unaligned", "wide", [1, 1, 1, 5, 7, 67, 67]),
    ];
    for ty in [Type::F32, Type::F16, Type::BF16] {
        for (class, variant, extents) in shapes {
            // What differs between the types is how they are read and written.
            let few: &[(&str, &str)] = match ty {
                Type::F16 => &[("prime", ""), ("aligned", ""), ("unaligned", "shared-heads")],
                _ => &[("aligned", "")],
            };
            if ty != Type::F32 && !few.contains(&(class, variant)) {
                continue;
            }
            all.push(case_of("inference", "attention", "attention", ty, class, variant, move |t| {
                run(t, ty, extents, &PLAIN)
            }));
        }
        let hows: [(&str, How); 6] = [
            ("causal", How { causal: true, ..PLAIN }),
            ("mask-of-truth", How { mask: Mask::Truth, ..PLAIN }),
            ("mask-of-numbers", How { mask: Mask::Numbers, ..PLAIN }),
            ("mask-and-causal", How { mask: Mask::Truth, causal: true, ..PLAIN }),
            ("scale", How { scale: Some(0.3), ..PLAIN }),
            ("permuted", How { layout: Layout::Permuted, ..PLAIN }),
        ];
        for (variant, how) in hows {
            if ty == Type::F16 && !["causal", "mask-of-truth"].contains(&variant)
                || ty == Type::BF16 && variant != "causal"
            {
                continue;
            }
            all.push(case_of("inference", "attention", "attention", ty, "unaligned", variant, move |t| {
                run(t, ty, [2, 2, 2, 17, 19, 16, 16], &how)
            }));
        }
    }
    for (variant, s, n) in [("causal-square", 33, 33), ("causal-more-keys", 5, 33), ("causal-more-queries", 33, 5)] {
        all.push(case_of("inference", "attention", "attention", Type::F32, "unaligned", variant, move |t| {
            run(t, Type::F32, [1, 2, 1, s, n, 16, 16], &How { causal: true, ..PLAIN })
        }));
    }
    all.push(case_of("inference", "attention", "attention", Type::F32, "unaligned", "every-number-of-keys", |t| {
        (1..=35).chain([63, 65, 127, 129]).try_for_each(|n| run(t, Type::F32, [1, 1, 1, 3, n, 8, 8], &PLAIN))
    }));
    all.push(case_of("inference", "attention", "attention", Type::F32, "unaligned", "row-that-sees-nothing", |t| {
        let values = Values::Range(-2.0, 2.0);
        let q = t.dense(Type::F32, &[1, 1, 5, 8], values)?;
        let (k, v) = (t.dense(Type::F32, &[1, 1, 7, 8], values)?, t.dense(Type::F32, &[1, 1, 7, 8], values)?);
        let m = t.operand(Type::Bool, Array::build(&[5, 7], |i| (i[0] != 2) as u64))?;
        let numbers = m.int().map(|&m| Number::from(if m != 0 { 0.0 } else { f64::NEG_INFINITY }));
        let scale = f64::from(1.0 / 8f32.sqrt());
        let a = t.arithmetic(Type::F32);
        let want = linear::attention(&a, [&q.real(), &k.real(), &v.real()], Some(&numbers), scale, false);
        t.judge(q.tensor.attention(&k.tensor, &v.tensor, Some(&m.tensor), None, false), Type::F32, want, &a)
    }));
    for rank in [2usize, 3] {
        all.push(case_of(
            "inference",
            "attention",
            "attention",
            Type::F32,
            "unaligned",
            &format!("rank-{rank}"),
            move |t| {
                let lead: &[usize] = if rank == 2 { &[] } else { &[3] };
                let dims = |last: [usize; 2]| [lead, &last[..]].concat();
                let values = Values::Range(-2.0, 2.0);
                let q = t.dense(Type::F32, &dims([5, 8]), values)?;
                let k = t.dense(Type::F32, &dims([7, 8]), values)?;
                let v = t.dense(Type::F32, &dims([7, 6]), values)?;
                let heads = if rank == 2 { 1 } else { 3 };
                let four = |x: &Operand, last: [usize; 2]| x.real().reshape(&[1, heads, last[0], last[1]]);
                let a = t.arithmetic(Type::F32);
                let scale = f64::from(1.0 / 8f32.sqrt());
                let want = linear::attention(
                    &a,
                    [&four(&q, [5, 8]), &four(&k, [7, 8]), &four(&v, [7, 6])],
                    None,
                    scale,
                    false,
                );
                let want = want.reshape(&dims([5, 6]));
                t.judge(q.tensor.attention(&k.tensor, &v.tensor, None, None, false), Type::F32, want, &a)
            },
        ));
    }
    all
}
