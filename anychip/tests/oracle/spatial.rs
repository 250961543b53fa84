//! Convolutions and pooling over random extents, windows and groups.

use crate::common::*;
use anychip::{Conv1d, Conv2d, ConvTranspose2d, Pool1d, Pool2d, Resize};
use anychip_oracle::{
    Type,
    sample::{Random, Values},
    spatial::{self, Moves, Pool},
};

fn moves(r: &mut Random, axes: usize, kernel: &[usize], extents: &[usize]) -> Moves {
    let dilation: Vec<usize> =
        (0..axes).map(|i| if kernel[i] > 1 && extents[i] > 2 * kernel[i] { 1 + r.below(2) } else { 1 }).collect();
    Moves {
        stride: (0..axes).map(|_| 1 + r.below(3)).collect(),
        padding: (0..axes).map(|i| r.below(kernel[i] / 2 + 1)).collect(),
        dilation,
    }
}

#[test]
fn pools() {
    on_every_device(|d| {
        for seed in rounds(d, 150, 6) {
            let mut r = Random::new(700 + seed);
            let ty = *r.one_of(&[Type::F32, Type::F16, Type::BF16]);
            let values = *r.one_of(&[Values::Exact, Values::Range(-3.0, 3.0)]);
            let a = arithmetic(d, ty);
            let dims = [1 + r.below(2), 1 + r.below(3), 5 + r.below(9), 5 + r.below(9)];
            let x = Operand::dense(d, ty, &dims, values, &mut r);
            let size = [1 + r.below(4), 1 + r.below(4)];
            let m = Moves { dilation: vec![1, 1], ..moves(&mut r, 2, &size, &dims[2..]) };
            let (ceil, count) = (r.below(2) == 0, r.below(2) == 0);
            let how = Pool2d::new(size)
                .stride([m.stride[0], m.stride[1]])
                .padding([m.padding[0], m.padding[1]])
                .ceil_mode(ceil)
                .count_include_pad(count);
            let pool = Pool { size: size.to_vec(), moves: m, ceil_mode: ceil, count_include_pad: count };
            let case = |op: &str| format!("{op} {ty:?} {dims:?} {pool:?} seed {seed} on {d}");
            let max = spatial::max_pool(&x.real(), &pool);
            check(&case("max_pool2d"), x.tensor.max_pool2d(how), ty, max, &a);
            let avg = spatial::avg_pool(&a, &x.real(), &pool);
            check(&case("avg_pool2d"), x.tensor.avg_pool2d(how), ty, avg, &a);
            let to = [1 + r.below(7), 1 + r.below(7)];
            let case = |op: &str| format!("{op} {ty:?} {dims:?} to {to:?} seed {seed} on {d}");
            let avg = spatial::adaptive_avg_pool(&a, &x.real(), &to);
            check(&case("adaptive_avg_pool2d"), x.tensor.adaptive_avg_pool2d(to), ty, avg, &a);
            let max = spatial::adaptive_max_pool(&x.real(), &to);
            check(&case("adaptive_max_pool2d"), x.tensor.adaptive_max_pool2d(to), ty, max, &a);

            let line = Operand::dense(d, ty, &[2, 3, 29], values, &mut r);
            let pool = Pool {
                size: vec![3],
                moves: Moves { stride: vec![2], padding: vec![1], dilation: vec![2] },
                ceil_mode: ceil,
                count_include_pad: true,
            };
            let how = Pool1d::new(3).stride(2).padding(1).dilation(2).ceil_mode(ceil);
            let max = spatial::max_pool(&line.real(), &pool);
            check(&format!("max_pool1d {ty:?} {pool:?} seed {seed} on {d}"), line.tensor.max_pool1d(how), ty, max, &a);
        }
    });
}

#[test]
fn convolutions() {
    on_every_device(|d| {
        for seed in rounds(d, 150, 8) {
            let mut r = Random::new(1400 + seed);
            let ty = *r.one_of(&[Type::F32, Type::F16, Type::BF16]);
            let values = *r.one_of(&[Values::Exact, Values::Range(-2.0, 2.0)]);
            let a = arithmetic(d, ty);
            let a = if values == Values::Exact { a.without_rounding() } else { a };
            let groups = *r.one_of(&[1, 1, 2, 3]);
            let (c, o) = (groups * (1 + r.below(3)), groups * (1 + r.below(4)));
            let extents = [4 + r.below(9), 4 + r.below(9)];
            let kernel = [1 + r.below(3), 1 + r.below(4)];
            let m = moves(&mut r, 2, &kernel, &extents);
            let batch = 1 + r.below(2);
            let x = Operand::dense(d, ty, &[batch, c, extents[0], extents[1]], values, &mut r);
            let w = Operand::dense(d, ty, &[o, c / groups, kernel[0], kernel[1]], values, &mut r);
            let b = Operand::dense(d, ty, &[o], values, &mut r);
            let bias = (r.below(2) == 0).then(|| b.real());
            let with = bias.as_ref().map(|_| &b.tensor);
            let pair = |v: &[usize]| [v[0], v[1]];
            let how = Conv2d::new()
                .stride(pair(&m.stride))
                .padding(pair(&m.padding))
                .dilation(pair(&m.dilation))
                .groups(groups);
            let case = |op: &str| {
                let (x, w) = (x.shape(), w.shape());
                format!("{op} {ty:?} {x:?} {w:?} {m:?} groups {groups} of {values:?} seed {seed} on {d}")
            };
            let want = spatial::conv(&a, &x.real(), &w.real(), bias.as_ref(), &m, groups);
            check(&case("conv2d"), x.tensor.conv2d(&w.tensor, with, how), ty, want, &a);

            let w = Operand::dense(d, ty, &[c, o / groups, kernel[0], kernel[1]], values, &mut r);
            let more = [r.below(m.stride[0]), r.below(m.stride[1])];
            let how = ConvTranspose2d::new()
                .stride(pair(&m.stride))
                .padding(pair(&m.padding))
                .dilation(pair(&m.dilation))
                .output_padding(more)
                .groups(groups);
            let want = spatial::conv_transpose(&a, &x.real(), &w.real(), bias.as_ref(), &m, &more, groups);
            check(&case("conv_transpose2d"), x.tensor.conv_transpose2d(&w.tensor, with, how), ty, want, &a);

            let line = Operand::dense(d, ty, &[batch, c, 23], values, &mut r);
            let w = Operand::dense(d, ty, &[o, c / groups, 3], values, &mut r);
            let m = moves(&mut r, 1, &[3], &[23]);
            let how = Conv1d::new().stride(m.stride[0]).padding(m.padding[0]).dilation(m.dilation[0]).groups(groups);
            let want = spatial::conv(&a, &line.real(), &w.real(), None, &m, groups);
            let case =
                format!("conv1d {ty:?} {:?} {:?} {m:?} groups {groups} seed {seed} on {d}", line.shape(), w.shape());
            check(&case, line.tensor.conv1d(&w.tensor, None, how), ty, want, &a);
        }
    });
}

#[test]
fn sizes() {
    on_every_device(|d| {
        for seed in rounds(d, 100, 4) {
            let mut r = Random::new(2100 + seed);
            let ty = *r.one_of(&[Type::F32, Type::F16, Type::BF16]);
            let a = arithmetic(d, ty);
            let dims = [1 + r.below(2), 1 + r.below(3), 1 + r.below(9)];
            let to = 1 + r.below(20);
            let x = Operand::dense(d, ty, &dims, Values::Range(-3.0, 3.0), &mut r);
            let case = |how: Resize| format!("interpolate {how:?} {ty:?} {dims:?} to {to} seed {seed} on {d}");
            let nearest = spatial::resize_nearest(&x.real(), 2, to);
            check(&case(Resize::Nearest), x.tensor.interpolate(to, Resize::Nearest), ty, nearest, &a);
            for (how, corners) in [(Resize::Linear, false), (Resize::LinearAlignCorners, true)] {
                let want = spatial::resize_linear(&a, &x.real(), 2, to, corners);
                check(&case(how), x.tensor.interpolate(to, how), ty, want, &a);
            }
        }
    });
}
