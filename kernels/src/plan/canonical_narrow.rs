//! Products of numbers of 8 bits that were widened first, as products of the 8 bits: where a device has such, in its library or as
//! fragments. Nothing is lost on the way up, so that the product and its sums, which are of the wide type, are the same numbers.

use super::snapshot::{Item, Kind, Snapshot};
use crate::{
    graph::View,
    schedule::{fragments, matmul},
    shape::Strided,
};
use anychip_hal::{
    DType,
    device::Device,
    op::{Graph, Node, Op, Ref, TensorSpec},
};

/// An operand before it was widened.
struct Narrow {
    item: usize,
    /// What is seen of the widened one, innermost first, with its shape.
    views: Vec<(View, Vec<usize>)>,
    /// How all of it lies, where its buffer is dense.
    lies: Strided,
    dtype: DType,
    constant: bool,
}

impl Narrow {
    fn of(s: &Snapshot, mut n: usize) -> Option<Narrow> {
        let mut views = vec![];
        while let Kind::View(view, input) = &s.items[n].kind {
            views.push((view.clone(), s.items[n].shape.clone()));
            n = *input;
        }
        views.reverse();
        let Kind::Op(Op::Cast(_), from) = &s.items[n].kind else { return None };
        let item = from[0];
        let (mut base, mut before) = (item, vec![]);
        while let Kind::View(view, input) = &s.items[base].kind {
            before.push(view);
            base = *input;
        }
        let all = before.into_iter().rev().chain(views.iter().map(|(view, _)| view));
        let lies = all.into_iter().try_fold(s.items[base].dense(), |lies, view| view.of(&lies))?;
        let constant = matches!(s.items[base].kind, Kind::Leaf { constant: true, .. });
        Some(Narrow { item, views, lies, dtype: s.items[item].dtype, constant })
    }

    fn spec(&self) -> Option<TensorSpec> {
        Some(TensorSpec {
            dtype: self.dtype,
            shape: self.lies.shape.clone(),
            strides: self.lies.strides.clone(),
            offset: usize::try_from(self.lies.offset).ok()?,
            constant: self.constant,
        })
    }

    /// The same views of it.
    fn seen(self, s: &mut Snapshot) -> usize {
        self.views.into_iter().fold(self.item, |n, (view, shape)| s.push(Kind::View(view, n), shape, self.dtype))
    }
}

/// Whether every number of these types is one of the wide type.
fn widens(of: [DType; 2], to: DType) -> bool {
    let small = |d: DType| matches!(d, DType::F8E4M3 | DType::F8E5M2);
    match to {
        DType::I32 => of[0] == of[1] && matches!(of[0], DType::I8 | DType::U8),
        DType::F32 | DType::F16 | DType::BF16 => of.into_iter().all(small),
        _ => false,
    }
}

/// The product of what was widened, where the device has that one.
pub fn narrow(s: &mut Snapshot, device: &Device, inputs: &[usize], item: &Item) -> Option<usize> {
    let (a, b) = (Narrow::of(s, inputs[0])?, Narrow::of(s, inputs[1])?);
    if !widens([a.dtype, b.dtype], item.dtype) || item.elements() == 0 {
        return None;
    }
    let graph = Graph {
        name: crate::graph::op_name(&Op::MatMul).into(),
        inputs: vec![a.spec()?, b.spec()?],
        nodes: vec![Node {
            op: Op::MatMul,
            inputs: vec![Ref::Input(0), Ref::Input(1)],
            views: vec![None; 2],
            dtype: item.dtype,
            shape: item.shape.clone(),
        }],
        outputs: vec![(0, TensorSpec::dense(item.dtype, &item.shape))],
    };
    if device.accepts(&graph).is_err() && !by_fragments(device, &a, &b, item) {
        return None;
    }
    let sides = vec![a.seen(s), b.seen(s)];
    Some(s.push(Kind::Op(Op::MatMul, sides), item.shape.clone(), item.dtype))
}

fn by_fragments(device: &Device, a: &Narrow, b: &Narrow, item: &Item) -> bool {
    let axes = item.shape.len() - 2;
    let problem = matmul::Problem {
        dtype: a.dtype,
        batch: item.shape[..axes].iter().product(),
        rows: item.shape[axes],
        cols: item.shape[axes + 1],
        inner: a.lies.shape[axes + 1],
        col_stride: b.lies.strides[axes + 1],
    };
    let lies = |n: &Narrow| n.lies.strides[axes..].contains(&1);
    a.dtype.is_int() && lies(a) && lies(b) && !fragments::pipelines(device.info(), &problem).is_empty()
}
