//! Rewrites operations that a device does not take as a whole into ones that every device has.
//!
//! Attention becomes two multiplications and a softmax.

use super::snapshot::{Item, Kind, Snapshot};
use crate::graph::View;
use anychip_hal::{
    DType,
    device::Device,
    ir::build::encode_f64,
    op::{BinaryOp, CmpOp, Graph, Node, Op, Ref, TensorSpec},
};

/// The same work in operations that the device takes.
pub fn canonical(s: &Snapshot, device: &Device) -> Snapshot {
    let mut out = Snapshot { items: Vec::with_capacity(s.items.len()), outputs: vec![], leaves: s.leaves.clone() };
    let mut at = Vec::with_capacity(s.items.len());
    for item in &s.items {
        let kind = match &item.kind {
            Kind::Leaf { leaf, constant } => Kind::Leaf { leaf: *leaf, constant: *constant },
            Kind::View(view, input) => Kind::View(view.clone(), at[*input]),
            Kind::Op(op, inputs) => {
                let inputs: Vec<usize> = inputs.iter().map(|&i| at[i]).collect();
                match op {
                    Op::Attention { scale, causal, masked } if !takes_attention(device, &out, &inputs, op, item) => {
                        at.push(attention(&mut out, &inputs, *scale, *causal, *masked));
                        continue;
                    }
                    op => Kind::Op(op.clone(), inputs),
                }
            }
        };
        at.push(out.push(kind, item.shape.clone(), item.dtype));
    }
    out.outputs = s.outputs.iter().map(|&o| at[o]).collect();
    out
}

fn takes_attention(device: &Device, s: &Snapshot, inputs: &[usize], op: &Op, item: &Item) -> bool {
    let graph = Graph {
        name: "attention".into(),
        inputs: inputs.iter().map(|&i| TensorSpec::dense(s.items[i].dtype, &s.items[i].shape)).collect(),
        nodes: vec![Node {
            op: op.clone(),
            inputs: (0..inputs.len()).map(Ref::Input).collect(),
            views: vec![None; inputs.len()],
            dtype: item.dtype,
            shape: item.shape.clone(),
        }],
        outputs: vec![(0, TensorSpec::dense(item.dtype, &item.shape))],
    };
    device.accepts(&graph).is_ok()
}

fn attention(s: &mut Snapshot, inputs: &[usize], scale: f32, causal: bool, masked: bool) -> usize {
    let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
    let dtype = s.items[q].dtype;
    // Scores of 16-bit types are kept in f32: they would lose what the softmax needs.
    let work = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let cast = |s: &mut Snapshot, x: usize, to: DType| {
        if s.items[x].dtype == to {
            return x;
        }
        let shape = s.items[x].shape.clone();
        s.push(Kind::Op(Op::Cast(to), vec![x]), shape, to)
    };
    let (q, k, v) = (cast(s, q, work), cast(s, k, work), cast(s, v, work));
    let (qs, ks) = (s.items[q].shape.clone(), s.items[k].shape.clone());
    let kt = s.push(Kind::View(View::Permute(vec![0, 1, 3, 2]), k), vec![ks[0], ks[1], ks[3], ks[2]], work);
    let scores = vec![qs[0], qs[1], qs[2], ks[2]];
    let mut x = s.push(Kind::Op(Op::MatMul, vec![q, kt]), scores.clone(), work);
    let c = s.push(Kind::Op(Op::Full(encode_f64(work.into(), scale as f64)), vec![]), scores.clone(), work);
    x = s.push(Kind::Op(Op::Binary(BinaryOp::Mul), vec![x, c]), scores.clone(), work);
    if masked {
        let mask = cast(s, inputs[3], work);
        x = s.push(Kind::Op(Op::Binary(BinaryOp::Add), vec![x, mask]), scores.clone(), work);
    }
    if causal {
        let row = s.push(Kind::Op(Op::Iota { axis: 2 }, vec![]), scores.clone(), DType::U32);
        let col = s.push(Kind::Op(Op::Iota { axis: 3 }, vec![]), scores.clone(), DType::U32);
        let seen = s.push(Kind::Op(Op::Compare(CmpOp::Le), vec![col, row]), scores.clone(), DType::Bool);
        let low = encode_f64(work.into(), f64::NEG_INFINITY);
        let low = s.push(Kind::Op(Op::Full(low), vec![]), scores.clone(), work);
        x = s.push(Kind::Op(Op::Where, vec![seen, x, low]), scores.clone(), work);
    }
    let p = s.push(Kind::Op(Op::Softmax, vec![x]), scores, work);
    let out = vec![qs[0], qs[1], qs[2], s.items[v].shape[3]];
    let y = s.push(Kind::Op(Op::MatMul, vec![p, v]), out, work);
    cast(s, y, dtype)
}
