//! Products of 8 bits that were widened first: the same numbers whether a device multiplies the widened ones or the 8 bits themselves.

use crate::common::{numbers, on_every_device, takes};
use anychip::{
    DType, Device, Result, Tensor,
    hal::op::{Graph, Node, Op, Ref, TensorSpec},
};

/// Whole numbers of all 8 bits, the lowest and the highest among them.
fn whole<T: anychip::Element>(n: usize, seed: u64, low: i32, to: impl Fn(i32) -> T) -> Vec<T> {
    let all = numbers(n, seed, 0.0, 256.0);
    all.iter().enumerate().map(|(i, &x)| to(low + if i % 7 == 0 { 255 } else { x as i32 & 255 })).collect()
}

/// [batch, rows, inner] × [batch, inner, cols], the right one as it lies or turned, and what is added to every column.
fn by_hand(a: &[i32], b: &[i32], [batch, rows, inner, cols]: [usize; 4], turned: bool) -> Vec<i32> {
    let at = |n: usize, k: usize, c: usize| n * inner * cols + if turned { c * inner + k } else { k * cols + c };
    let one = |n: usize, r: usize, c: usize| {
        let terms = (0..inner).map(|k| a[(n * rows + r) * inner + k] * b[at(n, k, c)]);
        terms.sum::<i32>() + 3 * c as i32
    };
    let all = (0..batch * rows * cols).map(|i| one(i / (rows * cols), i / cols % rows, i % cols));
    all.collect()
}

/// Whether such products are ones of 8 bits here: on chips of NVIDIA from Ampere on.
fn has(d: &Device) -> bool {
    d.info().backend.starts_with("cuda") && d.info().fragments.iter().any(|s| s.a == DType::I8)
}

fn check<T: anychip::Element>(d: &Device, low: i32, to: impl Fn(i32) -> T + Copy, from: impl Fn(T) -> i32) {
    let sizes = [([1, 32, 64, 32], true), ([2, 33, 50, 47], false), ([1, 16, 48, 16], false), ([3, 1, 9, 5], true)];
    for (_, (dims, turned)) in sizes.into_iter().enumerate().filter(|(n, _)| takes(d, *n, 2)) {
        let [batch, rows, inner, cols] = dims;
        let (a, b) = (whole(batch * rows * inner, 1, low, to), whole(batch * inner * cols, 2, low, to));
        let wide = |x: &[T]| x.iter().map(|x| from(*x)).collect::<Vec<i32>>();
        let want = by_hand(&wide(&a), &wide(&b), dims, turned);
        let product = || -> Result<Tensor> {
            let a = Tensor::from_slice(&a, [batch, rows, inner], d)?;
            let b = Tensor::from_slice(&b, if turned { [batch, cols, inner] } else { [batch, inner, cols] }, d)?;
            let b = b.to_dtype(DType::I32)?;
            let b = if turned { b.permute([0, 2, 1])? } else { b };
            let behind: Vec<i32> = (0..cols as i32).map(|c| 3 * c).collect();
            a.to_dtype(DType::I32)?.matmul(&b)? + Tensor::from_vec(behind, cols, d)?
        };
        let product = product().unwrap_or_else(|e| panic!("{dims:?} on {d}: {e}"));
        let explained = product.explain().unwrap();
        assert_eq!(product.to_vec::<i32>().unwrap(), want, "{dims:?}, turned: {turned}, on {d}:\n{explained}");
        if has(d) && rows >= 16 {
            assert!(explained.contains("8 to i32"), "{dims:?} on {d}:\n{explained}");
        }
    }
}

#[test]
fn integers_of_8_bits_are_the_same_bit_for_bit() {
    on_every_device(|d| {
        check(d, -128, |x| x as i8, i32::from);
        check(d, 0, |x| x as u8, i32::from);
    });
}

/// The product of those types as it is offered.
fn graph(types: [DType; 2], [rows, inner, cols]: [usize; 3]) -> Graph {
    let right = TensorSpec { strides: vec![1, inner as isize], ..TensorSpec::dense(types[1], &[inner, cols]) };
    let product = Node {
        op: Op::MatMul,
        inputs: vec![Ref::Input(0), Ref::Input(1)],
        views: vec![None, None],
        dtype: DType::F32,
        shape: vec![rows, cols],
    };
    Graph {
        name: "product".into(),
        inputs: vec![TensorSpec::dense(types[0], &[rows, inner]), right],
        nodes: vec![product],
        outputs: vec![(0, TensorSpec::dense(DType::F32, &[rows, cols]))],
    }
}

/// Three bits each at most: the operands are exact in both types, and so are sums in f32, in whatever order.
#[test]
fn floats_of_8_bits_are_the_same_bit_for_bit() {
    let [rows, inner, cols] = [32, 64, 16];
    let of =
        |n: usize, seed: u64| -> Vec<f32> { numbers(n, seed, -8.0, 8.0).iter().map(|x| x.round().min(7.0)).collect() };
    let (a, b) = (of(rows * inner, 1), of(cols * inner, 2));
    let one = |i: usize| -> f32 { (0..inner).map(|k| a[i / cols * inner + k] * b[i % cols * inner + k]).sum() };
    let want: Vec<f32> = (0..rows * cols).map(one).collect();
    on_every_device(|d| {
        for (left, right) in
            [(DType::F8E4M3, DType::F8E4M3), (DType::F8E5M2, DType::F8E4M3), (DType::F8E4M3, DType::F8E5M2)]
        {
            let widened = |x: &[f32], lines: usize, small: DType| -> Result<Tensor> {
                Tensor::from_slice(x, [lines, inner], d)?.to_dtype(small)?.to_dtype(DType::F32)
            };
            let product = || widened(&a, rows, left)?.matmul(&widened(&b, cols, right)?.t()?);
            let product = product().unwrap_or_else(|e| panic!("{left} and {right} on {d}: {e}"));
            let explained = product.explain().unwrap();
            assert_eq!(product.to_vec::<f32>().unwrap(), want, "{left} and {right} on {d}:\n{explained}");
            let taken = d.chain()[0].accepts(&graph([left, right], [rows, inner, cols])).is_ok();
            assert_eq!(explained.contains("to f32"), taken, "{left} and {right} on {d}:\n{explained}");
        }
    });
}
