//! Softmax and norms by one lane per row: three walks over a row that stays in the nearest cache.
//!
//! The row is kept in shared memory where it fits, else computed again in each walk. Sums: vectors side by side, then over a
//! vector's lanes, then what is left over; always in this order.

use super::{PIECE, Stride, widen, width};
use crate::library::{
    Made, Map,
    body::merge,
    emit::{Along, Emit, Maker, MapArgs, compute_type},
    rows::{Row, Rows, Schedule, norm_scale},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builder, Builtin, Place, SharedId, UnaryOp, Unroll, Value, VarId},
};

/// The walk over one row.
struct Walk<'a> {
    emit: Emit<'a>,
    kept: Option<SharedId>,
    prologue: usize,
    axis: usize,
    stride: Stride,
    cols: Value,
    work: DType,
}

/// Where a vector is: its first column, its lanes, its place in the round.
type At = (Value, u8, usize);

impl Walk<'_> {
    fn along(&self, width: u8) -> Option<Along> {
        (width > 1).then_some(Along { axis: self.axis, width })
    }

    fn eval(&self, b: &mut Builder, id: usize, (col, width, _): At, anchor: Option<Value>) -> Value {
        let v = self.emit.eval_along(b, id, &[col], anchor, self.along(width));
        widen(b, v, width)
    }

    /// Visits the row's values.
    fn each(&self, b: &mut Builder, first: bool, mut f: impl FnMut(&mut Builder, At, Value)) {
        let start = b.idx(0);
        self.stride.walk(b, (start, self.cols), |b, col, width, slot| {
            let at = (col, width, slot);
            let x = match (self.kept, first) {
                (Some(row), false) => b.load_vec(Place::Shared(row), col, width),
                (kept, _) => {
                    let x = self.eval(b, self.prologue, at, None);
                    if let Some(row) = kept {
                        b.store(Place::Shared(row), col, x);
                    }
                    x
                }
            };
            f(b, at, x);
        });
    }

    /// Visits the row's values and folds what `f` makes of them.
    fn fold(
        &self,
        b: &mut Builder,
        first: bool,
        op: BinaryOp,
        neutral: f64,
        mut f: impl FnMut(&mut Builder, At, Value) -> Fold,
    ) -> Value {
        let start = b.number(self.work, neutral);
        let wide = widen(b, start, self.stride.width);
        let sums: Vec<VarId> = (0..self.stride.vectors).map(|v| b.var(&format!("acc{v}"), wide)).collect();
        let rest = (!self.stride.divisible).then(|| b.var("rest", start));
        self.each(b, first, |b, at, x| {
            let var = match rest {
                Some(rest) if at.1 == 1 => rest,
                _ => sums[at.2],
            };
            let s = b.get(var);
            let s = match f(b, at, x) {
                Fold::Take(x) => b.binary(op, s, x),
                Fold::Square(x) => b.mul_add(x, x, s),
            };
            b.set(var, s);
        });
        join(b, op, &sums, rest)
    }
}

/// What a walk folds in: the value or its square.
enum Fold {
    Take(Value),
    Square(Value),
}

/// Joins vectors, then their lanes, then the rest.
pub(in crate::library) fn join(b: &mut Builder, op: BinaryOp, sums: &[VarId], rest: Option<VarId>) -> Value {
    let mut parts: Vec<Value> = sums.iter().map(|&v| b.get(v)).collect();
    let halve = |b: &mut Builder, parts: &[Value]| -> Vec<Value> {
        let (low, high) = parts.split_at(parts.len() / 2);
        low.iter().zip(high).map(|(&x, &y)| b.binary(op, x, y)).collect()
    };
    while parts.len() > 1 {
        parts = halve(b, &parts);
    }
    let lanes = b.ty(parts[0]).lanes();
    if lanes > 1 {
        let v = parts[0];
        parts = (0..lanes).map(|n| b.extract(v, n)).collect();
        while parts.len() > 1 {
            parts = halve(b, &parts);
        }
    }
    match rest {
        Some(rest) => {
            let r = b.get(rest);
            b.binary(op, parts[0], r)
        }
        None => parts[0],
    }
}

/// Makes the kernel. Bindings: slots, output.
pub fn rows(mut r: Rows, s: Schedule) -> Result<Made> {
    let last = r.dims.len() - 1;
    r.body.maps.push(r.out);
    let (mut dims, cuts) = merge(&r.dims, &mut r.body.maps, &[last]);
    let outer = cuts.first().copied().unwrap_or(0);
    // A row of one element was merged away: it is put back.
    if dims.len() == outer {
        dims.push(1);
        r.body.maps.iter_mut().for_each(|m| m.strides.push(0));
    }
    let out = r.body.maps.pop().unwrap_or(Map { strides: vec![], offset: 0 });
    let cols = dims[outer];
    let rows: usize = dims[..outer].iter().product();
    let work = compute_type(r.dtype);
    let roots: Vec<usize> = r.affine.iter().copied().chain([r.prologue, r.epilogue]).collect();
    let lanes = match work {
        DType::F32 => width(&r.body, &roots, &out, outer, cols, r.out_dtype, s.lanes.vector),
        _ => 1,
    };
    let stride = Stride::of(cols, lanes);
    let kept_len = s.kept(cols, work);
    let mut m = Maker::new(r.row.name(), 1);
    let emit = Emit::declare(&mut m, &r.body);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let extents: Vec<_> = dims[..outer].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let cols_v = m.extent("cols", cols);
    let rows_v = m.extent("rows", rows);
    let tall = (PIECE / cols.max(1)).clamp(1, rows.max(1));
    let tall_v = m.extent("tall", tall);
    let eps = r.row.eps(&mut m, work);
    let out_buf = m.b.buffer("out", r.out_dtype, Access::Write);
    let kept = kept_len.map(|k| m.b.shared("row", work, k as u32));

    let b = &mut m.b;
    let group = b.builtin(Builtin::GroupId(0));
    let begin = b.mul(group, tall_v);
    let end = b.add(begin, tall_v);
    let end = b.binary(BinaryOp::Min, end, rows_v);
    let one = b.idx(1);
    let row = b.begin_for(begin, end, one, Unroll::Never);
    let coords = Maker::split_in(b, row, &extents);
    let mut emit = emit.inner();
    emit.fix(b, &coords);
    let base = out_args.index(b, out_args.origin(), 0, &coords);
    let w = Walk { emit, kept, prologue: r.prologue, axis: outer, stride, cols: cols_v, work };
    let store = |b: &mut Builder, w: &Walk<'_>, at: At, y: Value| {
        let v = w.eval(b, r.epilogue, at, Some(y));
        let v = b.cast(r.out_dtype, v);
        let i = match out_args.index(b, base, outer, &[at.0]) {
            Some(i) => i,
            None => b.idx(0),
        };
        b.store(Place::Buffer(out_buf), i, v);
    };
    match r.row {
        Row::Softmax => softmax(b, &w, store),
        Row::LayerNorm { .. } => {
            let n = b.cast(work, cols_v);
            let total = w.fold(b, true, BinaryOp::Add, 0.0, |_, _, x| Fold::Take(x));
            let mean = b.binary(BinaryOp::Div, total, n);
            let squares = w.fold(b, false, BinaryOp::Add, 0.0, |b, _, x| Fold::Square(b.sub(x, mean)));
            let scale = norm_scale(b, squares, n, eps, work);
            w.each(b, false, |b, at, x| {
                let d = b.sub(x, mean);
                let y = b.mul(d, scale);
                let weight = w.eval(b, r.affine[0], at, None);
                let bias = w.eval(b, r.affine[1], at, None);
                let y = b.mul_add(y, weight, bias);
                store(b, &w, at, y);
            });
        }
        Row::RmsNorm { .. } => {
            let n = b.cast(work, cols_v);
            let squares = w.fold(b, true, BinaryOp::Add, 0.0, |_, _, x| Fold::Square(x));
            let scale = norm_scale(b, squares, n, eps, work);
            w.each(b, false, |b, at, x| {
                let y = b.mul(x, scale);
                let weight = w.eval(b, r.affine[0], at, None);
                let y = b.mul(y, weight);
                store(b, &w, at, y);
            });
        }
    }
    b.end_for();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: rows.div_ceil(tall) as u64 })
}

fn softmax(b: &mut Builder, w: &Walk<'_>, store: impl Fn(&mut Builder, &Walk<'_>, At, Value)) {
    let max = w.fold(b, true, BinaryOp::Max, f64::NEG_INFINITY, |_, _, x| Fold::Take(x));
    let exp = |b: &mut Builder, x: Value| {
        let d = b.sub(x, max);
        b.unary(UnaryOp::Exp, d)
    };
    let total = w.fold(b, false, BinaryOp::Add, 0.0, |b, at, x| {
        let e = exp(b, x);
        if let Some(row) = w.kept {
            b.store(Place::Shared(row), at.0, e);
        }
        Fold::Take(e)
    });
    w.each(b, false, |b, at, x| {
        // A kept row holds the exponentials by now.
        let e = if w.kept.is_some() { x } else { exp(b, x) };
        let y = b.binary(BinaryOp::Div, e, total);
        store(b, w, at, y);
    });
}
