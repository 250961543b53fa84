//! Gather, select, take: bit for bit what plain indexing of the host gives.

use crate::common::{Host, on_every_device, refused, same};
use anychip::{DType, Device, Error, Tensor, bf16, f16};

/// Ids that follow from the seed, below `limit`.
fn ids(count: usize, seed: u64, limit: usize) -> Vec<usize> {
    let x = crate::common::numbers(count, seed, 0.0, limit as f64);
    x.into_iter().map(|x| (x as usize).min(limit - 1)).collect()
}

fn tensor(ids: &[usize], shape: &[usize], d: &Device) -> Tensor {
    Tensor::from_vec(ids.iter().map(|&i| i as u32).collect(), shape, d).unwrap()
}

/// `x` at `index` along an axis.
fn gathered(x: &Host, axis: usize, index: &[usize], shape: &[usize]) -> Host {
    let flat = |i: &[usize]| i.iter().zip(shape).fold(0, |flat, (&i, &n)| flat * n + i);
    Host::build(shape, |i| {
        let mut at = i.to_vec();
        at[axis] = index[flat(i)];
        x.at(&at)
    })
}

#[test]
fn gather_along_every_axis() {
    let cases: [(&[usize], usize, &[usize]); 8] = [
        (&[7], 0, &[11]),
        (&[1], 0, &[5]),
        (&[5, 4], 0, &[3, 4]),
        (&[5, 4], 1, &[5, 9]),
        (&[5, 4], 1, &[2, 3]),
        (&[3, 5, 4], 1, &[3, 2, 4]),
        (&[3, 5, 4], 0, &[6, 5, 1]),
        (&[2, 1, 3, 1, 2, 1, 2, 3], 4, &[2, 1, 3, 1, 5, 1, 2, 3]),
    ];
    on_every_device(|d| {
        for (n, (shape, axis, to)) in cases.into_iter().enumerate() {
            let x = Host::random(shape, n as u64 + 1, -1.0, 1.0);
            let index = ids(to.iter().product(), n as u64 + 100, shape[axis]);
            let got = x.on(d).gather(axis as i64, &tensor(&index, to, d)).unwrap();
            same(&format!("gather of {shape:?} along {axis} by {to:?} on {d}"), &got, &gathered(&x, axis, &index, to));
        }
    });
}

#[test]
fn gather_of_views_among_elementwise_work() {
    on_every_device(|d| {
        let x = Host::random(&[6, 5], 3, -1.0, 1.0);
        // A transposed slice, flipped, gathered with an index that is computed, doubled.
        let t = x.on(d).t().unwrap().slice((.., 1..)).unwrap().flip(1).unwrap();
        let index = ids(15, 4, 4);
        let base = tensor(&index, &[5, 3], d).add(1u32).unwrap();
        let got = t.neg().unwrap().gather(1, &base.to_dtype(DType::I64).unwrap()).unwrap().mul(2.0).unwrap();
        let want = Host::build(&[5, 3], |i| -2.0 * x.at(&[5 - (index[i[0] * 3 + i[1]] + 1), i[0]]));
        same(&format!("gather among others on {d}"), &got, &want);
        let flat = t.gather(1, &base).unwrap().flatten_all().unwrap().abs().unwrap();
        let want = Host::build(&[15], |i| x.at(&[5 - (index[i[0]] + 1), i[0] / 3]).abs());
        same(&format!("a flat gather on {d}"), &flat, &want);
        // Its sum: the gather is fused before a reduction.
        let sum = t.gather(1, &base).unwrap().max(0).unwrap();
        let want = Host::build(&[3], |i| {
            (0..5).map(|r| x.at(&[5 - (index[r * 3 + i[0]] + 1), r])).fold(f64::NEG_INFINITY, f64::max)
        });
        same(&format!("the maximum of a gather on {d}"), &sum, &want);
    });
}

#[test]
fn select_and_take() {
    on_every_device(|d| {
        let x = Host::random(&[3, 5, 4], 5, -1.0, 1.0);
        for axis in 0..3 {
            let list = ids(7, axis as u64 + 1, x.shape[axis]);
            let mut shape = x.shape.clone();
            shape[axis] = 7;
            let want = Host::build(&shape, |i| {
                let mut at = i.to_vec();
                at[axis] = list[i[axis]];
                x.at(&at)
            });
            let got = x.on(d).index_select(axis as i64 - 3, &tensor(&list, &[7], d)).unwrap();
            same(&format!("index_select along {axis} on {d}"), &got, &want);
        }
        let list = ids(10, 9, 60);
        let got = x.on(d).permute([2, 0, 1]).unwrap().take(&tensor(&list, &[2, 5], d)).unwrap();
        let want = Host::build(&[2, 5], |i| {
            let at = list[i[0] * 5 + i[1]];
            x.at(&[at / 5 % 3, at % 5, at / 15])
        });
        same(&format!("take on {d}"), &got, &want);
        let none = Tensor::zeros((3, 0), DType::F32, d).unwrap();
        let nowhere = Tensor::zeros((3, 0), DType::U32, d).unwrap();
        assert_eq!(none.gather(1, &nowhere).unwrap().to_vec::<f32>().unwrap(), Vec::<f32>::new(), "{d}");
        assert_eq!(x.on(d).index_select(1, &Tensor::zeros(0, DType::I64, d).unwrap()).unwrap().dims(), [3, 0, 4]);
    });
}

#[test]
fn every_type_of_value_and_of_index() {
    on_every_device(|d| {
        macro_rules! values {
            ($($t:ty: $make:expr;)*) => {$({
                let make: fn(usize) -> $t = $make;
                let x: Vec<$t> = (0..6).map(make).collect();
                let t = Tensor::from_slice(&x, (2, 3), d).unwrap();
                let got = t.gather(1, &Tensor::from_vec(vec![2u32, 0, 1, 1], (2, 2), d).unwrap()).unwrap();
                let want: Vec<$t> = [2, 0, 4, 4].into_iter().map(make).collect();
                assert_eq!(got.to_vec::<$t>().unwrap(), want, "{} on {d}", stringify!($t));
            })*};
        }
        values! {
            f32: |i| i as f32;
            f16: |i| f16::from_f32(i as f32);
            bf16: |i| bf16::from_f32(i as f32);
            i8: |i| -(i as i8);
            u8: |i| i as u8;
            i32: |i| -(i as i32);
            u32: |i| i as u32;
            i64: |i| -(i as i64) << 40;
            bool: |i| i % 2 == 0;
        }
        let x = Tensor::arange(0f32, 4., d).unwrap();
        let expect = |ids: Tensor| {
            let what = format!("{} ids on {d}", ids.dtype());
            assert_eq!(x.index_select(0, &ids).unwrap().to_vec::<f32>().unwrap(), [3.0, 0.0, 3.0], "{what}");
        };
        expect(Tensor::from_vec(vec![3i8, 0, 3], 3, d).unwrap());
        expect(Tensor::from_vec(vec![3u8, 0, 3], 3, d).unwrap());
        expect(Tensor::from_vec(vec![3i32, 0, 3], 3, d).unwrap());
        expect(Tensor::from_vec(vec![3i64, 0, 3], 3, d).unwrap());
        // A u8 index cannot leave an axis of 256 or more, and must not wrap at its extent either.
        let long = Tensor::arange(0f32, 300., d).unwrap();
        let got = long.index_select(0, &Tensor::from_vec(vec![255u8, 44], 2, d).unwrap()).unwrap();
        assert_eq!(got.to_vec::<f32>().unwrap(), [255.0, 44.0], "{d}");
    });
}

/// What only the device knows gives NaN, 0 or false outside.
#[test]
fn computed_ids_outside() {
    on_every_device(|d| {
        let x = Tensor::from_vec(vec![1f32, 2., 3.], 3, d).unwrap();
        let ids = Tensor::from_vec(vec![0i64, 2, -2, 1 << 32, i64::MAX], 5, d).unwrap().add(1i64).unwrap();
        let got = x.index_select(0, &ids).unwrap().to_vec::<f32>().unwrap();
        assert!(got[0] == 2.0 && got[1..].iter().all(|x| x.is_nan()), "{d}: {got:?}");
        let whole = x.to_dtype(DType::I32).unwrap().index_select(0, &ids).unwrap().to_vec::<i32>().unwrap();
        assert_eq!(whole, [2, 0, 0, 0, 0], "{d}");
        let truth = x.gt(0.0).unwrap().index_select(0, &ids).unwrap().to_vec::<bool>().unwrap();
        assert_eq!(truth, [true, false, false, false, false], "{d}");
        let empty = Tensor::zeros(0, DType::F32, d).unwrap();
        let got = empty.index_select(0, &ids).unwrap().to_vec::<f32>().unwrap();
        assert!(got.len() == 5 && got.iter().all(|x| x.is_nan()), "{d}: {got:?}");
    });
}

#[test]
fn ids_known_on_the_host_are_refused_by_position_and_value() {
    let d = Device::open("cpu").unwrap();
    let x = Tensor::zeros((2, 3), DType::F32, &d).unwrap();
    let i = |v: Vec<i32>, shape: &[usize]| Tensor::from_vec(v, shape, &d).unwrap();
    refused(x.gather(1, &i(vec![0, 1, 2, 3], &[2, 2])), &["gather", "id 3", "[1, 1]", "axis 1", "[2, 3]"]);
    refused(x.gather(0, &i(vec![0, 1, -1], &[1, 3])), &["id -1", "[0, 2]", "axis 0"]);
    // Through views: transposed, flipped, flattened.
    let seen = i(vec![0, 1, 2, 7, 1, 0], &[2, 3]).t().unwrap();
    refused(x.take(&seen), &["take", "id 7", "[0, 1]", "6 elements"]);
    refused(x.take(&seen.flatten_all().unwrap().flip(0).unwrap()), &["id 7", "position 4"]);
    assert!(x.take(&seen.slice((1..,)).unwrap()).is_ok());
    refused(x.index_select(0, &Tensor::full(2u32, 3, &d).unwrap()), &["index_select", "id 2", "position 0"]);
    refused(x.index_select(1, &i(vec![0, 0], &[2, 1])), &["index_select", "[2, 1]", "rank 1"]);
    let e = refused(x.gather(1, &i(vec![0; 9], &[3, 3])), &["gather", "[3, 3]", "[2, 3]", "axis 1"]);
    assert!(matches!(e, Error::ShapeMismatch(_)));
    let e = refused(x.gather(1, &x), &["gather", "f32", "integers"]);
    assert!(matches!(e, Error::DTypeMismatch(_)));
    refused(x.take(&x.gt(0.0).unwrap()), &["take", "bool", "integers"]);
    refused(x.gather(2, &i(vec![0; 6], &[2, 3])), &["gather", "axis 2"]);
}
