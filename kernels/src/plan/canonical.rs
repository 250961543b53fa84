//! Rewrites operations that a device does not take as a whole into ones that every device has.
//!
//! Attention becomes two multiplications and a softmax unless it runs as one kernel; convolution one multiplication, or a sum of
//! products. A product of widened 8 bits becomes one of the 8 bits where the device has it.

use super::{
    canonical_conv::conv,
    canonical_narrow::narrow,
    snapshot::{Item, Kind, Snapshot},
};
use crate::{graph::View, schedule};
use anychip_hal::{
    DType,
    device::Device,
    ir::build::encode_f64,
    op::{BinaryOp, CmpOp, Graph, Node, Op, Ref, TensorSpec},
};

/// The same work in operations that the device takes. `narrows`: products of 8 bits may stand for those of widened ones.
pub fn canonical(s: &Snapshot, device: &Device, narrows: bool) -> Snapshot {
    let mut out = Snapshot { items: Vec::with_capacity(s.items.len()), outputs: vec![], leaves: s.leaves.clone() };
    let mut at = Vec::with_capacity(s.items.len());
    for item in &s.items {
        let kind = match &item.kind {
            Kind::Leaf { leaf, constant } => Kind::Leaf { leaf: *leaf, constant: *constant },
            Kind::View(view, input) => Kind::View(view.clone(), at[*input]),
            Kind::Op(op, inputs) => {
                let inputs: Vec<usize> = inputs.iter().map(|&i| at[i]).collect();
                match op {
                    Op::Attention { scale, causal, masked }
                        if !takes_whole(device, &out, &inputs, op, item)
                            && !attention_of(&out, &inputs).blockwise() =>
                    {
                        at.push(attention(&mut out, &inputs, *scale, *causal, *masked));
                        continue;
                    }
                    Op::Conv { stride, padding, dilation, groups } if !takes_whole(device, &out, &inputs, op, item) => {
                        at.push(conv(&mut out, &inputs, stride, padding, dilation, *groups, &item.shape));
                        continue;
                    }
                    Op::MatMul if narrows => {
                        if let Some(product) = narrow(&mut out, device, &inputs, item) {
                            at.push(product);
                            continue;
                        }
                        Kind::Op(Op::MatMul, inputs)
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

fn takes_whole(device: &Device, s: &Snapshot, inputs: &[usize], op: &Op, item: &Item) -> bool {
    let graph = Graph {
        name: crate::graph::op_name(op).into(),
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

/// The problem of an attention with these operands.
pub fn attention_of(s: &Snapshot, inputs: &[usize]) -> schedule::attention::Problem {
    let [q, k, v] = [0, 1, 2].map(|i| &s.items[inputs[i]]);
    let (rows, keys, width, out_width) = (q.shape[2], k.shape[2], q.shape[3], v.shape[3]);
    schedule::attention::Problem { dtype: q.dtype, rows, keys, width, out_width }
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
    let (width, out_width) = (qs[3], s.items[v].shape[3]);
    // Heads that share keys are an axis of their own, along which the keys repeat.
    let shared = qs[1] / ks[1].max(1);
    let lead = if shared == 1 { vec![qs[0], qs[1]] } else { vec![qs[0], ks[1], shared] };
    let with = |last: [usize; 2]| -> Vec<usize> { lead.iter().copied().chain(last).collect() };
    let split = |s: &mut Snapshot, x: usize, last: [usize; 2]| match shared {
        1 => x,
        _ => s.push(Kind::View(View::Reshape(with(last)), x), with(last), s.items[x].dtype),
    };
    let repeat = |s: &mut Snapshot, x: usize, last: [usize; 2]| {
        if shared == 1 {
            return x;
        }
        let one = vec![lead[0], lead[1], 1, last[0], last[1]];
        let x = s.push(Kind::View(View::Reshape(one.clone()), x), one, work);
        s.push(Kind::View(View::Expand(with(last)), x), with(last), work)
    };
    let q = split(s, q, [qs[2], width]);
    let k = repeat(s, k, [ks[2], width]);
    let v = repeat(s, v, [ks[2], out_width]);
    let mut swapped: Vec<usize> = (0..lead.len() + 2).collect();
    swapped.swap(lead.len(), lead.len() + 1);
    let kt = s.push(Kind::View(View::Permute(swapped), k), with([width, ks[2]]), work);
    let scores = with([qs[2], ks[2]]);
    let mut x = s.push(Kind::Op(Op::MatMul, vec![q, kt]), scores.clone(), work);
    let c = s.push(Kind::Op(Op::Full(encode_f64(work.into(), scale as f64)), vec![]), scores.clone(), work);
    x = s.push(Kind::Op(Op::Binary(BinaryOp::Mul), vec![x, c]), scores.clone(), work);
    if masked {
        let mask = cast(s, inputs[3], work);
        let mask = split(s, mask, [qs[2], ks[2]]);
        x = s.push(Kind::Op(Op::Binary(BinaryOp::Add), vec![x, mask]), scores.clone(), work);
    }
    if causal {
        let row = s.push(Kind::Op(Op::Iota { axis: lead.len() }, vec![]), scores.clone(), DType::U32);
        let col = s.push(Kind::Op(Op::Iota { axis: lead.len() + 1 }, vec![]), scores.clone(), DType::U32);
        let seen = s.push(Kind::Op(Op::Compare(CmpOp::Le), vec![col, row]), scores.clone(), DType::Bool);
        let low = encode_f64(work.into(), f64::NEG_INFINITY);
        let low = s.push(Kind::Op(Op::Full(low), vec![]), scores.clone(), work);
        x = s.push(Kind::Op(Op::Where, vec![seen, x, low]), scores.clone(), work);
    }
    let p = s.push(Kind::Op(Op::Softmax, vec![x]), scores, work);
    let y = s.push(Kind::Op(Op::MatMul, vec![p, v]), with([qs[2], out_width]), work);
    let y = cast(s, y, dtype);
    if shared == 1 {
        return y;
    }
    let out = vec![qs[0], qs[1], qs[2], out_width];
    s.push(Kind::View(View::Reshape(out.clone()), y), out, dtype)
}
