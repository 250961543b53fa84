//! Scatters against the plainest loop over the updates, in their order. Whole numbers: every sum is exact.

use crate::common::{Host, indices, numbers, on_every_device, refused, same};
use anychip::{DType, Device, Error, Tensor, bf16, f16};

fn ids(count: usize, seed: u64, limit: usize) -> Vec<usize> {
    numbers(count, seed, 0.0, limit as f64).into_iter().map(|x| (x as usize).min(limit - 1)).collect()
}

fn tensor(ids: &[usize], shape: &[usize], d: &Device) -> Tensor {
    Tensor::from_vec(ids.iter().map(|&i| i as u32).collect(), shape, d).unwrap()
}

/// Update by update, row-major.
fn scattered(x: &Host, axis: usize, index: &[usize], shape: &[usize], source: &Host, add: bool) -> Host {
    let mut out = x.clone();
    for (n, i) in indices(shape).enumerate() {
        let mut to = i.clone();
        to[axis] = index[n];
        let flat = to.iter().zip(&x.shape).fold(0, |flat, (&i, &n)| flat * n + i);
        out.data[flat] = if add { out.data[flat] + source.at(&i) } else { source.at(&i) };
    }
    out
}

/// Shape, axis, shape of the index, shape of the updates.
type Case = (&'static [usize], usize, &'static [usize], &'static [usize]);

#[test]
fn along_every_axis_with_duplicates() {
    let cases: [Case; 9] = [
        (&[7], 0, &[11], &[11]),
        (&[1], 0, &[5], &[6]),
        (&[3000], 0, &[5000], &[5000]),
        (&[5, 4], 0, &[9, 4], &[9, 4]),
        (&[5, 4], 1, &[5, 2], &[5, 7]),
        (&[5, 4], 0, &[3, 2], &[4, 3]),
        (&[3, 5, 4], 1, &[2, 7, 3], &[2, 7, 3]),
        (&[3, 1, 4], 1, &[3, 6, 4], &[3, 6, 4]),
        (&[2, 1, 3, 1, 2, 1, 2, 3], 4, &[2, 1, 3, 1, 5, 1, 2, 2], &[2, 1, 3, 1, 5, 1, 2, 3]),
    ];
    on_every_device(|d| {
        for (n, (shape, axis, to, from)) in cases.into_iter().enumerate() {
            let what = format!("{to:?} of {from:?} into {shape:?} along {axis} on {d}");
            let seed = n as u64 + 1;
            let x = Host::random(shape, seed, -50.0, 50.0).map(f64::round);
            let source = Host::random(from, seed + 20, -50.0, 50.0).map(f64::round);
            let index = ids(to.iter().product(), seed + 40, shape[axis]);
            let (t, i, s) = (x.on(d), tensor(&index, to, d), source.on(d));
            let axis64 = axis as i64;
            same(&what, &t.scatter(axis64, &i, &s).unwrap(), &scattered(&x, axis, &index, to, &source, false));
            same(&what, &t.scatter_add(axis64, &i, &s).unwrap(), &scattered(&x, axis, &index, to, &source, true));
        }
    });
}

#[test]
fn slices_by_a_list() {
    on_every_device(|d| {
        for axis in 0..3 {
            let x = Host::random(&[6, 5, 4], 3, -50.0, 50.0).map(f64::round);
            let mut shape = x.shape.clone();
            shape[axis] = 9;
            let source = Host::random(&shape, 4, -50.0, 50.0).map(f64::round);
            let list = ids(9, axis as u64 + 7, x.shape[axis]);
            let full: Vec<usize> = indices(&shape).map(|i| list[i[axis]]).collect();
            let i = tensor(&list, &[9], d).to_dtype(DType::I64).unwrap();
            let what = format!("slices along {axis} on {d}");
            let got = x.on(d).index_add(axis as i64, &i, &source.on(d)).unwrap();
            same(&what, &got, &scattered(&x, axis, &full, &shape, &source, true));
            let got = x.on(d).index_copy(axis as i64 - 3, &i, &source.on(d)).unwrap();
            same(&what, &got, &scattered(&x, axis, &full, &shape, &source, false));
        }
    });
}

/// A histogram: 70,000 updates to few places, in one row.
#[test]
fn many_updates_of_few_places() {
    on_every_device(|d| {
        let list = ids(70_000, 5, 10);
        let ones = Tensor::ones(70_000, DType::I32, d).unwrap();
        let got =
            Tensor::zeros(13, DType::I32, d).unwrap().scatter_add(0, &tensor(&list, &[70_000], d), &ones).unwrap();
        let mut want = vec![0i32; 13];
        list.iter().for_each(|&i| want[i] += 1);
        assert_eq!(got.to_vec::<i32>().unwrap(), want, "{d}");
    });
}

#[test]
fn views_with_work_before_and_after() {
    on_every_device(|d| {
        let x = Host::random(&[6, 5], 3, -50.0, 50.0).map(f64::round);
        let source = Host::random(&[7, 5], 4, -50.0, 50.0).map(f64::round);
        let index = ids(35, 5, 6);
        let (t, s) = (x.on(d).t().unwrap(), source.on(d).t().unwrap());
        let i = tensor(&index, &[5, 7], d).add(3u32).unwrap().sub(3u32).unwrap();
        let got = t.neg().unwrap().scatter_add(1, &i, &s.mul(2.0).unwrap()).unwrap().abs().unwrap().sub(&t).unwrap();
        let (turned, twice) =
            (Host::build(&[5, 6], |i| x.at(&[i[1], i[0]])), Host::build(&[5, 7], |i| 2.0 * source.at(&[i[1], i[0]])));
        let want = scattered(&turned.map(|x| -x), 1, &index, &[5, 7], &twice, true).zip(&turned, |a, b| a.abs() - b);
        same(&format!("a scatter among others on {d}"), &got, &want);
    });
}

#[test]
fn nothing_to_write_and_nowhere_to_write() {
    on_every_device(|d| {
        let x = Tensor::from_vec(vec![1f32, 2., 3.], 3, d).unwrap();
        let (none, nowhere) = (Tensor::zeros(0, DType::F32, d).unwrap(), Tensor::zeros(0, DType::U32, d).unwrap());
        let got = x.scatter_add(0, &nowhere, &none).unwrap().neg().unwrap().to_vec::<f32>().unwrap();
        assert_eq!(got, [-1., -2., -3.], "{d}");
        assert_eq!(x.scatter(0, &nowhere, &x).unwrap().to_vec::<f32>().unwrap(), [1., 2., 3.], "{d}");
        // Computed ids outside the axis.
        let i = Tensor::from_vec(vec![0i64, -2, 1 << 32, 2], 4, d).unwrap().add(1i64).unwrap();
        let s = Tensor::from_vec(vec![10f32, 20., 30., 40.], 4, d).unwrap();
        assert_eq!(x.scatter_add(0, &i, &s).unwrap().to_vec::<f32>().unwrap(), [1., 12., 3.], "{d}");
        let i = tensor(&[0; 4], &[4], d).add(1u32).unwrap();
        assert_eq!(none.scatter(0, &i, &s).unwrap().to_vec::<f32>().unwrap(), Vec::<f32>::new(), "{d}");
    });
}

#[test]
fn every_type() {
    on_every_device(|d| {
        let i = Tensor::from_vec(vec![2u8, 0, 2], 3, d).unwrap();
        macro_rules! check {
            ($($t:ty: $make:expr;)*) => {$({
                let make: fn(u8) -> $t = $make;
                let x = Tensor::from_vec(vec![make(1), make(2), make(3)], 3, d).unwrap();
                let s = Tensor::from_vec(vec![make(4), make(5), make(6)], 3, d).unwrap();
                let got = x.scatter(0, &i, &s).unwrap().to_vec::<$t>().unwrap();
                assert_eq!(got, [make(5), make(2), make(6)], "{} on {d}", stringify!($t));
                let got = x.scatter_add(0, &i, &s).unwrap().to_vec::<$t>().unwrap();
                assert_eq!(got, [make(6), make(2), make(13)], "{} on {d}", stringify!($t));
            })*};
        }
        check! {
            f32: |i| i as f32;
            f16: |i| f16::from_f32(i as f32);
            bf16: |i| bf16::from_f32(i as f32);
            i8: |i| i as i8;
            u8: |i| i;
            i32: |i| i as i32;
            u32: |i| i as u32;
            i64: |i| (i as i64) << 40;
        }
        let x = Tensor::from_vec(vec![true, false, false], 3, d).unwrap();
        let s = Tensor::from_vec(vec![true, false, true], 3, d).unwrap();
        assert_eq!(x.scatter(0, &i, &s).unwrap().to_vec::<bool>().unwrap(), [false, false, true], "{d}");
        // 16 bits are added in f32: one by one, 4096 would not be reached.
        let ones = Tensor::full(bf16::from_f32(1.0), 4096, d).unwrap();
        let at = Tensor::zeros(4096, DType::U32, d).unwrap();
        let got = Tensor::zeros(1, DType::BF16, d).unwrap().scatter_add(0, &at, &ones).unwrap();
        assert_eq!(got.to_vec::<bf16>().unwrap()[0].to_f32(), 4096.0, "{d}");
    });
}

#[test]
fn scatters_that_are_refused() {
    let d = Device::open("cpu").unwrap();
    let x = Tensor::zeros((2, 3), DType::F32, &d).unwrap();
    let i = |v: Vec<i32>, shape: &[usize]| Tensor::from_vec(v, shape, &d).unwrap();
    refused(x.scatter(1, &i(vec![0, 1, 2, 3], &[2, 2]), &x), &["scatter", "id 3", "[1, 1]", "axis 1", "[2, 3]"]);
    refused(x.scatter_add(0, &i(vec![-1, 0], &[1, 2]), &x), &["scatter_add", "id -1", "[0, 0]"]);
    refused(x.scatter(1, &i(vec![0; 9], &[3, 3]), &x), &["scatter", "[3, 3]", "[2, 3]", "axis 1"]);
    refused(x.scatter(1, &i(vec![0; 8], &[2, 4]), &x), &["scatter", "[2, 4]", "source"]);
    refused(x.scatter(1, &i(vec![0; 2], &[2]), &x), &["scatter", "rank"]);
    let e = refused(x.scatter(0, &x, &x), &["scatter", "f32", "integers"]);
    assert!(matches!(e, Error::DTypeMismatch(_)));
    let whole = x.to_dtype(DType::I32).unwrap();
    let e = refused(x.scatter(0, &whole, &whole), &["scatter", "f32", "i32"]);
    assert!(matches!(e, Error::DTypeMismatch(_)));
    let truth = x.gt(0.0).unwrap();
    refused(truth.scatter_add(0, &whole, &truth), &["scatter_add", "bool"]);
    refused(x.index_add(0, &i(vec![0, 1, 1], &[3]), &x), &["index_add", "[2, 3]", "[3, 3]"]);
    refused(x.index_add(0, &whole, &x), &["index_add", "rank 1"]);
    refused(x.index_copy(0, &i(vec![0, 2], &[2]), &x), &["index_copy", "id 2", "position 1", "axis 0"]);
    refused(x.scatter(4, &whole, &x), &["scatter", "axis 4"]);
}
