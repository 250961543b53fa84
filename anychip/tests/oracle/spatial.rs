//! Convolutions and pooling over random extents, windows and groups.

use crate::common::*;
use anychip::{Pool1d, Pool2d};
use anychip_conformance::oracle::{
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
