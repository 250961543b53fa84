//! Softmax, layer norm and RMS norm along the last axis: one workgroup per row, any fused expression before and after.
//!
//! The row is computed once and kept in shared memory when it fits; each lane reads back only what it wrote, so that no barrier
//! is needed for it. Longer rows are computed again in each pass. Sums run in f32 (f64 for f64): each lane over its columns in
//! order, then over the lanes.

use super::{
    Body, Lanes, Made, Map,
    body::{Id, merge},
    emit::{Along, Emit, Maker, MapArgs, compute_type},
    reduce::combining,
    walk::{self, join, owned, widen},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builder, Builtin, Elem, ParamId, Place, ReduceOp, SharedId, UnaryOp, Value, VarId},
};

/// What is done with each row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Row {
    /// e^(x−max) / Σ.
    Softmax,
    /// (x−mean)/√(var+eps)·weight+bias.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// x/√(mean(x²)+eps)·weight.
    RmsNorm {
        /// Added to the mean square.
        eps: f32,
    },
}

impl Row {
    pub(super) fn name(self) -> &'static str {
        match self {
            Row::Softmax => "softmax",
            Row::LayerNorm { .. } => "layer_norm",
            Row::RmsNorm { .. } => "rms_norm",
        }
    }

    /// What is added below the root, as a scalar of the launch.
    pub(super) fn eps(self, m: &mut Maker, work: DType) -> Option<Value> {
        match self {
            Row::Softmax => None,
            Row::LayerNorm { eps } | Row::RmsNorm { eps } => {
                let e = m.float("eps", eps);
                Some(m.b.cast(work, e))
            }
        }
    }
}

/// A row operation with what is fused around it.
pub struct Rows {
    /// What.
    pub row: Row,
    /// Expressions; [`Expr::Anchor`](super::Expr::Anchor) in the epilogue is the operation's result.
    pub body: Body,
    /// The operand.
    pub prologue: Id,
    /// Weight and bias as far as the operation has them: expressions over the same space.
    pub affine: Vec<Id>,
    /// The result.
    pub epilogue: Id,
    /// The space: the operand's shape; the last axis is the row.
    pub dims: Vec<usize>,
    /// Where the result goes.
    pub out: Map,
    /// Type of the operand.
    pub dtype: DType,
    /// Type of the result.
    pub out_dtype: DType,
}

/// How rows are worked on.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Lanes of a workgroup.
    pub lanes: Lanes,
    /// Bytes of shared memory that may hold a row.
    pub max_shared: u32,
}

/// Rows up to one of these lengths are kept: few kernels, little waste.
const KEPT: [usize; 4] = [512, 1024, 2048, 4096];

impl Schedule {
    /// Elements of shared memory that a row of `cols` is kept in; `None` where it is computed again instead.
    pub(super) fn kept(&self, cols: usize, work: DType) -> Option<usize> {
        KEPT.into_iter().find(|&k| k >= cols && k * work.size() <= self.max_shared as usize / 2)
    }
}

struct Pass<'a> {
    emit: Emit<'a>,
    /// Neighbours of a lane, along this axis.
    own: u8,
    axis: usize,
    kept: Option<SharedId>,
    prologue: Id,
    lane: Value,
    cols: Value,
    step: Value,
}

impl Pass<'_> {
    /// An expression at a lane's columns from `c` on.
    fn eval(&self, b: &mut Builder, id: Id, c: Value, anchor: Option<Value>) -> Value {
        let along = (self.own > 1).then_some(Along { axis: self.axis, width: self.own });
        let v = self.emit.eval_along(b, id, &[c], anchor, along);
        widen(b, v, self.own)
    }

    /// A variable for each of a lane's neighbours.
    fn var(&self, b: &mut Builder, name: &str, start: Value) -> VarId {
        let start = widen(b, start, self.own);
        b.var(name, start)
    }

    /// What a variable of all lanes comes to.
    fn group(&self, b: &mut Builder, op: ReduceOp, var: VarId) -> Value {
        let v = join(b, combining(op), &[var], None);
        b.group_reduce(op, v)
    }

    /// Visits this lane's columns of the row with the operand's value there.
    fn each(&self, b: &mut Builder, first: bool, f: impl FnOnce(&mut Builder, Value, Value)) {
        let c = b.begin_for(self.lane, self.cols, self.step, anychip_hal::ir::Unroll::Auto);
        let x = match (self.kept, first) {
            (Some(row), false) => b.load_vec(Place::Shared(row), c, self.own),
            (kept, _) => {
                let x = self.eval(b, self.prologue, c, None);
                if let Some(row) = kept {
                    b.store(Place::Shared(row), c, x);
                }
                x
            }
        };
        f(b, c, x);
        b.end_for();
    }

    /// Replaces the kept value (or leaves it to be computed again).
    fn keep(&self, b: &mut Builder, c: Value, x: Value) {
        if let Some(row) = self.kept {
            b.store(Place::Shared(row), c, x);
        }
    }
}

fn sum_into(b: &mut Builder, var: VarId, x: Value) {
    let s = b.get(var);
    let s = b.add(s, x);
    b.set(var, s);
}

/// Makes the kernel. Bindings: slots, output.
pub fn rows(mut r: Rows, s: Schedule) -> Result<Made> {
    if s.lanes.vector > 1 {
        return walk::rows::rows(r, s);
    }
    let last = r.dims.len() - 1;
    r.body.maps.push(r.out);
    let (dims, cuts) = merge(&r.dims, &mut r.body.maps, &[last]);
    let out = r.body.maps.pop().unwrap_or(Map { strides: vec![], offset: 0 });
    let outer = cuts.first().copied().unwrap_or(0);
    // A row of one element was merged away: it is put back.
    let cols = if dims.len() > outer { dims[outer] } else { 1 };
    let rows: usize = dims[..outer].iter().product();
    let work = compute_type(r.dtype);
    let roots: Vec<Id> = r.affine.iter().copied().chain([r.prologue, r.epilogue]).collect();
    let own = match work {
        DType::F32 if dims.len() > outer => owned(&r.body, &roots, &out, outer, cols, r.out_dtype, s.lanes.own),
        _ => 1,
    };
    let lanes = Lanes { own, ..s.lanes }.along(cols);
    let kept_len = s.kept(cols, work);
    let mut m = Maker::owning(r.row.name(), lanes, own);
    let mut emit = Emit::declare(&mut m, &r.body);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let extents: Vec<_> = dims[..outer].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let cols_v = m.extent("cols", cols);
    let eps = r.row.eps(&mut m, work);
    let out_buf = m.buffer("out", r.out_dtype, Access::Write);
    let kept = kept_len.map(|k| m.b.shared("row", work, k as u32));

    let b = &mut m.b;
    let row = b.builtin(Builtin::GroupId(0));
    let coords = Maker::split_in(b, row, &extents);
    emit.fix(b, &coords);
    let base = out_args.index(b, out_args.origin(), 0, &coords);
    let lane = b.builtin(Builtin::LocalId(0));
    let lane = b.cast(Elem::Idx, lane);
    let each = b.idx(u64::from(own));
    let lane = b.mul(lane, each);
    let step = b.idx(u64::from(lanes) * u64::from(own));
    let pass = Pass { emit, own, axis: outer, kept, prologue: r.prologue, lane, cols: cols_v, step };
    let finish = Finish { epilogue: r.epilogue, out_args: &out_args, base, out_buf, out_dtype: r.out_dtype, outer };
    let zero = b.number(work, 0.0);
    match r.row {
        Row::Softmax => softmax(b, &pass, &finish, zero, work),
        Row::LayerNorm { .. } => {
            let n = b.cast(work, cols_v);
            let sum = pass.var(b, "sum", zero);
            pass.each(b, true, |b, _, x| sum_into(b, sum, x));
            let total = pass.group(b, ReduceOp::Sum, sum);
            let mean = b.binary(BinaryOp::Div, total, n);
            let mean = widen(b, mean, own);
            let squares = pass.var(b, "squares", zero);
            pass.each(b, false, |b, _, x| {
                let d = b.sub(x, mean);
                let s = b.get(squares);
                let s = b.mul_add(d, d, s);
                b.set(squares, s);
            });
            let squares = pass.group(b, ReduceOp::Sum, squares);
            let scale = norm_scale(b, squares, n, eps, work);
            let scale = widen(b, scale, own);
            pass.each(b, false, |b, c, x| {
                let d = b.sub(x, mean);
                let y = b.mul(d, scale);
                let w = pass.eval(b, r.affine[0], c, None);
                let bias = pass.eval(b, r.affine[1], c, None);
                let y = b.mul_add(y, w, bias);
                finish.store(b, &pass, c, y);
            });
        }
        Row::RmsNorm { .. } => {
            let n = b.cast(work, cols_v);
            let squares = pass.var(b, "squares", zero);
            pass.each(b, true, |b, _, x| {
                let s = b.get(squares);
                let s = b.mul_add(x, x, s);
                b.set(squares, s);
            });
            let squares = pass.group(b, ReduceOp::Sum, squares);
            let scale = norm_scale(b, squares, n, eps, work);
            let scale = widen(b, scale, own);
            pass.each(b, false, |b, c, x| {
                let y = b.mul(x, scale);
                let w = pass.eval(b, r.affine[0], c, None);
                let y = b.mul(y, w);
                finish.store(b, &pass, c, y);
            });
        }
    }
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: rows as u64 })
}

/// 1/√(squares/n + eps), of all lanes alike.
pub(super) fn norm_scale(b: &mut Builder, squares: Value, n: Value, eps: Option<Value>, work: DType) -> Value {
    let mut mean = b.binary(BinaryOp::Div, squares, n);
    if let Some(eps) = eps {
        mean = b.add(mean, eps);
    }
    let root = b.unary(UnaryOp::Sqrt, mean);
    let one = b.number(work, 1.0);
    b.binary(BinaryOp::Div, one, root)
}

fn softmax(b: &mut Builder, pass: &Pass<'_>, finish: &Finish<'_>, zero: Value, work: DType) {
    let lowest = b.number(work, f64::NEG_INFINITY);
    let largest = pass.var(b, "largest", lowest);
    pass.each(b, true, |b, _, x| {
        let m = b.get(largest);
        let m = b.binary(BinaryOp::Max, m, x);
        b.set(largest, m);
    });
    let max = pass.group(b, ReduceOp::Max, largest);
    let max = widen(b, max, pass.own);
    let sum = pass.var(b, "sum", zero);
    pass.each(b, false, |b, c, x| {
        let d = b.sub(x, max);
        let e = b.unary(UnaryOp::Exp, d);
        pass.keep(b, c, e);
        sum_into(b, sum, e);
    });
    let total = pass.group(b, ReduceOp::Sum, sum);
    // The largest element alone gives 1: its reciprocal neither overflows nor loses digits, and a product costs a tenth of a quotient.
    let one = b.number(work, 1.0);
    let share = b.binary(BinaryOp::Div, one, total);
    let share = widen(b, share, pass.own);
    pass.each(b, false, |b, c, x| {
        // A kept row holds the exponentials by now.
        let e = match pass.kept {
            Some(_) => x,
            None => {
                let d = b.sub(x, max);
                b.unary(UnaryOp::Exp, d)
            }
        };
        let y = b.mul(e, share);
        finish.store(b, pass, c, y);
    });
}

struct Finish<'a> {
    epilogue: Id,
    out_args: &'a MapArgs,
    base: Option<Value>,
    out_buf: ParamId,
    out_dtype: DType,
    outer: usize,
}

impl Finish<'_> {
    fn store(&self, b: &mut Builder, pass: &Pass<'_>, c: Value, y: Value) {
        let v = pass.eval(b, self.epilogue, c, Some(y));
        let v = b.cast(self.out_dtype, v);
        let at = match self.out_args.index(b, self.base, self.outer, &[c]) {
            Some(at) => at,
            None => b.idx(0),
        };
        b.store(Place::Buffer(self.out_buf), at, v);
    }
}
