//! Convolutions, pooling and resizing: strides, padding, dilation, groups, windows that reach beyond the end. All of level 2.

use super::support::{Operand, Outcome, Trial, case_of};
use crate::Case;
use anychip::{Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Pool1d, Pool2d, Resize};
use anychip_oracle::{
    Array, Number, Type,
    sample::Values,
    spatial::{self, Moves, Pool},
};

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [convolutions(), conv_tails(), transposed(), pools(), adaptive(), sizes()].into_iter().flatten().collect()
}

/// How a convolution of images moves; numbers per axis.
#[derive(Debug, Clone, Copy)]
struct Way {
    class: &'static str,
    variant: &'static str,
    batch: usize,
    channels: usize,
    out: usize,
    extents: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
    bias: bool,
}

const PLAIN: Way = Way {
    class: "unaligned",
    variant: "",
    batch: 2,
    channels: 3,
    out: 5,
    extents: [9, 11],
    kernel: [3, 3],
    stride: [1, 1],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
    bias: false,
};

const WAYS: [Way; 14] = [
    PLAIN,
    Way { class: "one", channels: 1, out: 1, batch: 1, extents: [1, 1], kernel: [1, 1], ..PLAIN },
    Way { class: "prime", batch: 1, channels: 1, out: 1, extents: [13, 17], kernel: [5, 3], ..PLAIN },
    Way { class: "aligned", batch: 1, channels: 8, out: 16, extents: [16, 16], padding: [1, 1], bias: true, ..PLAIN },
    Way { variant: "bias", bias: true, ..PLAIN },
    Way { variant: "stride", stride: [2, 3], ..PLAIN },
    Way { variant: "padding", padding: [2, 1], ..PLAIN },
    Way { variant: "dilation", dilation: [2, 3], ..PLAIN },
    Way { variant: "stride-padding-dilation", stride: [2, 2], padding: [2, 2], dilation: [2, 2], bias: true, ..PLAIN },
    Way { variant: "groups", channels: 6, out: 4, groups: 2, ..PLAIN },
    Way { variant: "depthwise", channels: 5, out: 5, groups: 5, padding: [1, 1], ..PLAIN },
    Way { variant: "one-by-one", channels: 7, out: 5, kernel: [1, 1], ..PLAIN },
    Way { variant: "whole-window", kernel: [9, 11], ..PLAIN },
    Way { class: "large", batch: 1, channels: 16, out: 24, extents: [23, 29], padding: [1, 1], bias: true, ..PLAIN },
];

fn moves(w: &Way) -> Moves {
    Moves { stride: w.stride.to_vec(), padding: w.padding.to_vec(), dilation: w.dilation.to_vec() }
}

fn conv2d(t: &mut Trial<'_>, ty: Type, w: &Way, values: Values) -> Outcome {
    let a = t.arithmetic_of(ty, values);
    let [h, v] = w.extents;
    let x = t.dense(ty, &[w.batch, w.channels, h, v], values)?;
    let k = t.dense(ty, &[w.out, w.channels / w.groups, w.kernel[0], w.kernel[1]], values)?;
    let b = t.dense(ty, &[w.out], values)?;
    let how = Conv2d::new().stride(w.stride).padding(w.padding).dilation(w.dilation).groups(w.groups);
    let (with, real) = (w.bias.then_some(&b.tensor), b.real());
    let want = spatial::conv(&a, &x.real(), &k.real(), w.bias.then_some(&real), &moves(w), w.groups);
    t.judge(x.tensor.conv2d(&k.tensor, with, how), ty, want, &a)
}

fn convolutions() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16, Type::BF16] {
        for w in WAYS {
            let few = ["", "bias", "groups", "stride-padding-dilation"].contains(&w.variant) && w.class != "large";
            if ty != Type::F32 && !few || ty == Type::BF16 && (w.class != "unaligned" || w.variant != "bias") {
                continue;
            }
            for (kind, values) in [("", Values::Range(-2.0, 2.0)), ("exact", Values::Exact)] {
                if ty == Type::BF16 && kind.is_empty() {
                    continue;
                }
                let variant = [w.variant, kind].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-");
                all.push(case_of("inference", "conv", "conv2d", ty, w.class, &variant, move |t| {
                    conv2d(t, ty, &w, values)
                }));
            }
        }
        for (variant, stride, padding, dilation, groups) in
            [("", 1usize, 0usize, 1usize, 1usize), ("stride-padding", 2, 2, 1, 1), ("dilation-groups", 1, 1, 2, 3)]
        {
            if ty != Type::F32 && variant != "stride-padding" {
                continue;
            }
            all.push(case_of("inference", "conv", "conv1d", ty, "unaligned", variant, move |t| {
                let a = t.arithmetic(ty).without_rounding();
                let x = t.dense(ty, &[2, 6, 23], Values::Exact)?;
                let k = t.dense(ty, &[9, 6 / groups, 3], Values::Exact)?;
                let m = Moves { stride: vec![stride], padding: vec![padding], dilation: vec![dilation] };
                let how = Conv1d::new().stride(stride).padding(padding).dilation(dilation).groups(groups);
                let want = spatial::conv(&a, &x.real(), &k.real(), None, &m, groups);
                t.judge(x.tensor.conv1d(&k.tensor, None, how), ty, want, &a)
            }));
        }
    }
    // The extents stay.
    all.push(case_of("inference", "conv", "conv2d", Type::F32, "unaligned", "same", |t| {
        let a = t.arithmetic(Type::F32).without_rounding();
        let x = t.dense(Type::F32, &[1, 3, 9, 11], Values::Exact)?;
        let k = t.dense(Type::F32, &[5, 3, 5, 3], Values::Exact)?;
        let m = Moves { padding: vec![2, 1], ..Moves::plain(2) };
        let want = spatial::conv(&a, &x.real(), &k.real(), None, &m, 1);
        t.judge(x.tensor.conv2d(&k.tensor, None, Conv2d::new().same()), Type::F32, want, &a)
    }));
    // A NaN and an infinity reach the windows that hold them, and no padding.
    all.push(case_of("inference", "conv", "conv2d", Type::F32, "unaligned", "special-values", |t| {
        let mut x = t.dense(Type::F32, &[1, 2, 9, 11], Values::Exact)?.bits;
        x.data[37] = Type::F32.bits_of_float(f64::NAN);
        x.data[150] = Type::F32.bits_of_float(f64::INFINITY);
        let x = t.operand(Type::F32, x)?;
        let mut k = t.dense(Type::F32, &[3, 2, 3, 3], Values::Range(0.5, 2.0))?;
        k.bits.data[0] = Type::F32.bits_of_float(-1.0);
        let k = t.operand(Type::F32, k.bits)?;
        let m = Moves { padding: vec![1, 1], ..Moves::plain(2) };
        let a = t.arithmetic(Type::F32);
        let want = spatial::conv(&a, &x.real(), &k.real(), None, &m, 1);
        t.judge(x.tensor.conv2d(&k.tensor, None, Conv2d::new().padding(1)), Type::F32, want, &a)
    }));
    all.push(case_of("inference", "conv", "conv2d", Type::F32, "refused", "window-beyond-the-input", |t| {
        let x = t.dense(Type::F32, &[1, 1, 3, 3], Values::Exact)?;
        let k = t.dense(Type::F32, &[1, 1, 5, 5], Values::Exact)?;
        t.refused(x.tensor.conv2d(&k.tensor, None, Conv2d::new()), "a window of 5×5 on 3×3")
    }));
    all
}

/// Every extent of a line and every number of channels: tails of each loop.
fn conv_tails() -> Vec<Case> {
    let mut all = Vec::new();
    for (variant, which) in [("every-width", 0), ("every-number-of-channels", 1), ("every-number-of-results", 2)] {
        all.push(case_of("inference", "conv", "conv2d", Type::F32, "unaligned", variant, move |t| {
            let lengths = (1..=19).chain([31, 33, 63, 65]);
            for n in lengths {
                let w = match which {
                    0 => Way { batch: 1, extents: [3, n], padding: [1, 1], ..PLAIN },
                    1 => Way { batch: 1, channels: n, extents: [4, 5], out: 3, ..PLAIN },
                    _ => Way { batch: 1, extents: [4, 5], out: n, ..PLAIN },
                };
                conv2d(t, Type::F32, &w, Values::Exact)?;
            }
            Ok(())
        }));
    }
    all
}

fn transposed() -> Vec<Case> {
    let mut all = Vec::new();
    let rows = [
        ("", [1, 1], [0, 0], [1, 1], [0, 0], 1),
        ("stride", [2, 3], [0, 0], [1, 1], [0, 0], 1),
        ("padding", [2, 2], [1, 1], [1, 1], [1, 1], 1),
        ("dilation", [1, 2], [1, 0], [2, 2], [0, 0], 1),
        ("groups", [2, 2], [1, 1], [1, 1], [0, 1], 2),
    ];
    for ty in [Type::F32, Type::F16] {
        for (variant, stride, padding, dilation, more, groups) in rows {
            if ty == Type::F16 && variant != "groups" {
                continue;
            }
            for (kind, values) in [("", Values::Range(-2.0, 2.0)), ("exact", Values::Exact)] {
                let variant = [variant, kind].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-");
                all.push(case_of("inference", "conv", "conv_transpose2d", ty, "unaligned", &variant, move |t| {
                    let a = t.arithmetic_of(ty, values);
                    let x = t.dense(ty, &[2, 4, 5, 7], values)?;
                    let k = t.dense(ty, &[4, 6 / groups, 3, 2], values)?;
                    let b = t.dense(ty, &[6], values)?;
                    let m = Moves { stride: stride.to_vec(), padding: padding.to_vec(), dilation: dilation.to_vec() };
                    let how = ConvTranspose2d::new()
                        .stride(stride)
                        .padding(padding)
                        .dilation(dilation)
                        .output_padding(more)
                        .groups(groups);
                    let want = spatial::conv_transpose(&a, &x.real(), &k.real(), Some(&b.real()), &m, &more, groups);
                    t.judge(x.tensor.conv_transpose2d(&k.tensor, Some(&b.tensor), how), ty, want, &a)
                }));
            }
        }
    }
    for stride in [1usize, 3] {
        let variant = format!("stride-{stride}");
        all.push(case_of("inference", "conv", "conv_transpose1d", Type::F32, "unaligned", &variant, move |t| {
            let a = t.arithmetic(Type::F32).without_rounding();
            let x = t.dense(Type::F32, &[2, 3, 11], Values::Exact)?;
            let k = t.dense(Type::F32, &[3, 5, 2], Values::Exact)?;
            let m = Moves { stride: vec![stride], ..Moves::plain(1) };
            let want = spatial::conv_transpose(&a, &x.real(), &k.real(), None, &m, &[0], 1);
            let how = ConvTranspose1d::new().stride(stride);
            t.judge(x.tensor.conv_transpose1d(&k.tensor, None, how), Type::F32, want, &a)
        }));
    }
    all
}

/// Size, stride, padding, rounding up, whether padding counts.
type Window = ([usize; 2], [usize; 2], [usize; 2], bool, bool);

const WINDOWS: [(&str, Window); 6] = [
    ("", ([2, 2], [2, 2], [0, 0], false, true)),
    ("overlapping", ([3, 3], [1, 2], [0, 0], false, true)),
    ("padded", ([3, 3], [2, 2], [1, 1], false, true)),
    ("padded-uncounted", ([3, 3], [2, 2], [1, 1], false, false)),
    ("rounded-up", ([3, 2], [2, 2], [0, 0], true, true)),
    ("rounded-up-padded", ([3, 3], [2, 3], [1, 1], true, false)),
];

fn pools() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16, Type::BF16] {
        for (variant, window) in WINDOWS {
            if ty == Type::F16 && !["", "padded"].contains(&variant) || ty == Type::BF16 && variant != "padded" {
                continue;
            }
            for op in ["max_pool2d", "avg_pool2d"] {
                for (class, dims) in [("unaligned", [2, 3, 9, 11]), ("aligned", [1, 4, 16, 16])] {
                    if class == "aligned" && (ty != Type::F32 || !variant.is_empty()) {
                        continue;
                    }
                    all.push(case_of("inference", "pool", op, ty, class, variant, move |t| {
                        let x = t.dense(ty, &dims, Values::Range(-3.0, 3.0))?;
                        pool2d(t, op, &x, window)
                    }));
                }
            }
        }
        // Padding is never the largest, and a NaN is.
        for (variant, low, high) in [("negative", -9.0, -1.0), ("nan", -3.0, 3.0)] {
            all.push(case_of("inference", "pool", "max_pool2d", ty, "unaligned", variant, move |t| {
                let mut x = t.dense(ty, &[1, 2, 9, 11], Values::Range(low, high))?.bits;
                if variant == "nan" {
                    [0, 77, 197].iter().for_each(|&i| x.data[i] = ty.bits_of_float(f64::NAN));
                }
                let x = t.operand(ty, x)?;
                pool2d(t, "max_pool2d", &x, WINDOWS[2].1)
            }));
        }
    }
    for op in ["max_pool1d", "avg_pool1d"] {
        for (variant, stride, padding, dilation) in
            [("", 3usize, 0usize, 1usize), ("moved", 2, 1, 1), ("dilated", 2, 1, 2)]
        {
            if op == "avg_pool1d" && variant == "dilated" {
                continue;
            }
            all.push(case_of("inference", "pool", op, Type::F32, "prime", variant, move |t| {
                let x = t.dense(Type::F32, &[2, 3, 29], Values::Range(-3.0, 3.0))?;
                let pool = Pool {
                    size: vec![3],
                    moves: Moves { stride: vec![stride], padding: vec![padding], dilation: vec![dilation] },
                    ceil_mode: false,
                    count_include_pad: true,
                };
                let how = Pool1d::new(3).stride(stride).padding(padding).dilation(dilation);
                let a = t.arithmetic(Type::F32);
                match op {
                    "max_pool1d" => {
                        t.judge(x.tensor.max_pool1d(how), Type::F32, spatial::max_pool(&x.real(), &pool), &a)
                    }
                    _ => t.judge(x.tensor.avg_pool1d(how), Type::F32, spatial::avg_pool(&a, &x.real(), &pool), &a),
                }
            }));
        }
    }
    all
}

fn pool2d(t: &mut Trial<'_>, op: &str, x: &Operand, (size, stride, padding, ceil, count): Window) -> Outcome {
    let a = t.arithmetic(x.ty);
    let pool = Pool {
        size: size.to_vec(),
        moves: Moves { stride: stride.to_vec(), padding: padding.to_vec(), dilation: vec![1, 1] },
        ceil_mode: ceil,
        count_include_pad: count,
    };
    let how = Pool2d::new(size).stride(stride).padding(padding).ceil_mode(ceil).count_include_pad(count);
    match op {
        "max_pool2d" => t.judge(x.tensor.max_pool2d(how), x.ty, spatial::max_pool(&x.real(), &pool), &a),
        _ => t.judge(x.tensor.avg_pool2d(how), x.ty, spatial::avg_pool(&a, &x.real(), &pool), &a),
    }
}

fn adaptive() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        for to in [[3, 4], [1, 1], [9, 11], [13, 5]] {
            for op in ["adaptive_avg_pool2d", "adaptive_max_pool2d"] {
                if ty == Type::F16 && to != [3, 4] {
                    continue;
                }
                let variant = format!("to-{}-by-{}", to[0], to[1]);
                all.push(case_of("inference", "pool", op, ty, "unaligned", &variant, move |t| {
                    let x = t.dense(ty, &[2, 3, 9, 11], Values::Range(-3.0, 3.0))?;
                    let a = t.arithmetic(ty);
                    let real = x.real();
                    match op {
                        "adaptive_avg_pool2d" => t.judge(
                            x.tensor.adaptive_avg_pool2d(to),
                            ty,
                            spatial::adaptive_avg_pool(&a, &real, &to),
                            &a,
                        ),
                        _ => t.judge(x.tensor.adaptive_max_pool2d(to), ty, spatial::adaptive_max_pool(&real, &to), &a),
                    }
                }));
            }
        }
    }
    for op in ["adaptive_avg_pool1d", "adaptive_max_pool1d", "global_avg_pool", "global_max_pool"] {
        all.push(case_of("inference", "pool", op, Type::F32, "unaligned", "", move |t| {
            let x = t.dense(Type::F32, &[2, 3, 31], Values::Range(-3.0, 3.0))?;
            let a = t.arithmetic(Type::F32);
            let real = x.real();
            let (got, want): (_, Array<Number>) = match op {
                "adaptive_avg_pool1d" => (x.tensor.adaptive_avg_pool1d(7), spatial::adaptive_avg_pool(&a, &real, &[7])),
                "adaptive_max_pool1d" => (x.tensor.adaptive_max_pool1d(7), spatial::adaptive_max_pool(&real, &[7])),
                "global_avg_pool" => (x.tensor.global_avg_pool(), spatial::adaptive_avg_pool(&a, &real, &[1])),
                _ => (x.tensor.global_max_pool(), spatial::adaptive_max_pool(&real, &[1])),
            };
            t.judge(got, Type::F32, want, &a)
        }));
    }
    all
}

fn sizes() -> Vec<Case> {
    let mut all = Vec::new();
    let modes = [("nearest", Resize::Nearest), ("linear", Resize::Linear), ("corners", Resize::LinearAlignCorners)];
    for ty in [Type::F32, Type::F16, Type::BF16] {
        for (name, mode) in modes {
            for (variant, n, to) in
                [("up", 7usize, 19usize), ("down", 19, 7), ("same", 11, 11), ("to-one", 11, 1), ("double", 8, 16)]
            {
                if ty == Type::BF16 && variant != "up" || ty == Type::F16 && !["up", "down"].contains(&variant) {
                    continue;
                }
                let variant = format!("{name}-{variant}");
                all.push(case_of("inference", "resize", "interpolate", ty, "unaligned", &variant, move |t| {
                    let x = t.dense(ty, &[2, 3, n], Values::Range(-3.0, 3.0))?;
                    let a = t.arithmetic(ty);
                    let want = match mode {
                        Resize::Nearest => spatial::resize_nearest(&x.real(), 2, to),
                        _ => spatial::resize_linear(&a, &x.real(), 2, to, mode == Resize::LinearAlignCorners),
                    };
                    t.judge(x.tensor.interpolate(to, mode), ty, want, &a)
                }));
            }
        }
    }
    // Images: one axis after the other.
    for (name, mode) in modes {
        all.push(case_of(
            "inference",
            "resize",
            "interpolate",
            Type::F32,
            "unaligned",
            &format!("{name}-image"),
            move |t| {
                let x = t.dense(Type::F32, &[1, 3, 7, 9], Values::Range(-3.0, 3.0))?;
                let a = t.arithmetic(Type::F32);
                let want = match mode {
                    Resize::Nearest => spatial::resize_nearest(&spatial::resize_nearest(&x.real(), 2, 13), 3, 5),
                    _ => {
                        let corners = mode == Resize::LinearAlignCorners;
                        spatial::resize_linear(
                            &a,
                            &spatial::resize_linear(&a, &x.real(), 2, 13, corners),
                            3,
                            5,
                            corners,
                        )
                    }
                };
                t.judge(x.tensor.interpolate((13, 5), mode), Type::F32, want, &a)
            },
        ));
    }
    for ty in [Type::U8, Type::I32] {
        all.push(case_of("inference", "resize", "interpolate", ty, "unaligned", "nearest-up", move |t| {
            let x = t.dense(ty, &[2, 3, 7], Values::AnyBits)?;
            t.same(x.tensor.interpolate(19, Resize::Nearest), ty, &spatial::resize_nearest(&x.bits, 2, 19))
        }));
    }
    all.push(case_of("inference", "resize", "interpolate_by", Type::F32, "unaligned", "one-and-a-half", |t| {
        let x = t.dense(Type::F32, &[2, 3, 8], Values::AnyBits)?;
        // ⌊i/1.5⌋ for i in 0..12.
        let want = x.bits.picked(&[2, 3, 12], |i| i[2] = i[2] * 2 / 3);
        t.same(x.tensor.interpolate_by(&[1.5], Resize::Nearest), Type::F32, &want)
    }));
    all
}
