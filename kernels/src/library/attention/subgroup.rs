//! Attention of a tile of query rows by a subgroup: its lanes share the keys of a block for the scores and the columns of the values
//! for the result; what they read of queries and weights they broadcast ([`super::super::share`]).
//!
//! Scores of a block lie in memory of the workgroup, which is one subgroup; largest scores and sums are private, the result so far is
//! held in variables. Keys and values are read where they are.

use super::{Attention, Maps, Schedule, Seen, fold, or_zero};
use crate::library::{
    Made,
    emit::{Maker, MapArgs, compute_type},
    share::Share,
};
use anychip_hal::{
    DType, Result,
    ir::{
        Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Op, ParamId, Place, ReduceOp, Scope, SubgroupOp, UnaryOp,
        Unroll, Value, VarId,
    },
};

/// Columns of the result that a lane computes, and the vectors in which it reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Columns of a lane.
    pub own: u32,
    /// Lanes of a vector; they divide the columns.
    pub width: u8,
}

impl Columns {
    /// For `width` columns on a subgroup.
    pub fn of(width: usize, lanes: u32) -> Columns {
        match width.div_ceil(lanes.max(1) as usize) as u32 {
            own @ 0..=2 => Columns { own: own.max(1), width: own.max(1) as u8 },
            own => Columns { own: own.next_multiple_of(4), width: 4 },
        }
    }
}

/// Neighbours along a row that are read as one.
const DEEP: u8 = 4;

/// Whether rounds of shared reads divide the sums over the width and over the keys.
pub fn shares(s: &Schedule, width: usize, keys: usize) -> bool {
    [width, keys].into_iter().all(|terms| Share::of(s.spread, s.rows, DEEP, terms).is_some())
}

/// An operand: where it lies, and its strides over `[batch, heads or groups, rows, width]`.
#[derive(Clone, Copy)]
struct From<'a> {
    buf: ParamId,
    map: &'a MapArgs,
    base: Option<Value>,
    work: DType,
}

impl From<'_> {
    fn row(&self, b: &mut Builder, row: Value) -> Option<Value> {
        self.map.index(b, self.base, 2, &[row])
    }

    /// `n` neighbours of a row from column `c` on, as vectors of at most four where they lie side by side.
    fn elements(&self, b: &mut Builder, row: Option<Value>, c: Value, n: u32) -> Vec<Value> {
        let at = self.map.index(b, row, 3, &[c]);
        let at = or_zero(b, at);
        let width =
            if self.map.is_unit(3) { [4, 2, 1].into_iter().find(|w| n.is_multiple_of(*w)).unwrap_or(1) } else { 1 };
        let mut all = vec![];
        for v in (0..n).step_by(width as usize) {
            let at = self.map.step(b, at, 3, u64::from(v));
            let x = b.load_vec(Place::Buffer(self.buf), at, width as u8);
            let x = b.cast(self.work, x);
            match width {
                1 => all.push(x),
                w => all.extend((0..w).map(|n| b.extract(x, n as u8))),
            }
        }
        all
    }
}

fn join(b: &mut Builder, each: &[Value]) -> Value {
    if each.len() == 1 { each[0] } else { b.vector(each) }
}

fn across(b: &mut Builder, op: ReduceOp, value: Value) -> Value {
    let ty = b.ty(value);
    b.define(ty, Op::Subgroup { op: SubgroupOp::Reduce(op), value, lane: None })
}

/// Makes the kernel. Bindings: queries, keys, values, mask where there is one, output.
pub fn attention(a: &Attention, s: Schedule) -> Result<Made> {
    let [batch, heads, rows, keys, width, out_width] = a.dims;
    let work = compute_type(a.dtype);
    let blocks = rows.div_ceil(s.rows as usize);
    let own_keys = s.keys / s.spread;
    let columns = Columns::of(out_width, s.spread);
    let missing = || anychip_hal::Error::invalid("attention: a schedule whose rounds divide neither width nor keys");
    let by_width = Share::of(s.spread, s.rows, DEEP, width).ok_or_else(missing)?;
    let by_keys = Share::of(s.spread, s.rows, DEEP, keys).ok_or_else(missing)?;

    let mut m = Maker::owning("attention", s.lanes, DEEP);
    let maps = Maps::declare(&mut m, a);
    let blocks_v = m.extent("blocks", blocks);
    let heads_v = m.extent("heads", heads);
    let shared_v = m.extent("shared", heads / a.groups.max(1));
    let rows_v = m.extent("rows", rows);
    let (keys_v, width_v) = (m.stride("keys", keys), m.extent("width", width));
    let out_width_v = m.stride("out_width", out_width);
    let scale = m.float("scale", a.scale);
    let q_buf = m.buffer("q", a.dtype, Access::Read);
    let k_buf = m.buffer("k", a.dtype, Access::Read);
    let v_buf = m.buffer("v", a.dtype, Access::Read);
    let mask_buf = maps.mask.is_some().then(|| m.b.buffer("mask", a.dtype, Access::Read));
    let out_buf = m.buffer("out", a.dtype, Access::Write);
    let b = &mut m.b;
    let scores = Place::Shared(b.shared("scores", work, s.rows * s.keys));
    let [largest, sums, shrinks] =
        ["largest", "sums", "shrinks"].map(|name| Place::Private(b.private(name, work, s.rows)));

    let unit = b.builtin(Builtin::GroupId(0));
    let block = b.binary(BinaryOp::Rem, unit, blocks_v);
    let head = b.binary(BinaryOp::Div, unit, blocks_v);
    let which = b.binary(BinaryOp::Div, head, heads_v);
    let head = b.binary(BinaryOp::Rem, head, heads_v);
    let group = b.binary(BinaryOp::Div, head, shared_v);
    let from = |b: &mut Builder, map, buf, lead: [Value; 2]| {
        let base = MapArgs::index(map, b, map.origin(), 0, &lead);
        From { buf, map, base, work }
    };
    let q = from(b, &maps.q, q_buf, [which, head]);
    let k = from(b, &maps.k, k_buf, [which, group]);
    let v = from(b, &maps.v, v_buf, [which, group]);
    let scale = b.cast(work, scale);
    let lane = b.builtin(Builtin::SubgroupLane);
    let lane = b.cast(Elem::Idx, lane);
    let (zero, one) = (b.idx(0), b.idx(1));
    let (height, block_keys) = (b.idx(u64::from(s.rows)), b.idx(u64::from(s.keys)));
    let (each_keys, each_columns) = (b.idx(u64::from(own_keys)), b.idx(u64::from(columns.own)));
    let first_row = b.mul(block, height);
    let last_row = b.sub(rows_v, one);
    let last_key = b.sub(keys_v, one);
    let my_key = b.mul(lane, each_keys);
    // A lane beyond the last column computes the last ones once more.
    let my_column = b.mul(lane, each_columns);
    let read_column = match out_width == (columns.own * s.spread) as usize {
        true => my_column,
        false => {
            let last = b.sub(out_width_v, each_columns);
            b.binary(BinaryOp::Min, my_column, last)
        }
    };

    let query_rows: Vec<_> = (0..by_width.reads())
        .map(|n| {
            let row = by_width.row(b, lane, n);
            let row = b.add(first_row, row);
            let row = b.binary(BinaryOp::Min, row, last_row);
            q.row(b, row)
        })
        .collect();
    let query_part = by_width.part(b, lane);
    let weight_rows: Vec<_> = (0..by_keys.reads())
        .map(|n| {
            let row = by_keys.row(b, lane, n);
            b.mul(row, block_keys)
        })
        .collect();
    let weight_part = by_keys.part(b, lane);

    let (nothing, lowest) = (b.number(work, 0.0), b.number(work, f64::NEG_INFINITY));
    for r in 0..u64::from(s.rows) {
        let r = b.idx(r);
        b.store(largest, r, lowest);
        b.store(sums, r, nothing);
    }
    let empty = if columns.width == 1 { nothing } else { b.splat(nothing, columns.width) };
    let result: Vec<Vec<VarId>> = (0..s.rows)
        .map(|r| (0..columns.own / u32::from(columns.width)).map(|v| b.var(&format!("out_{r}_{v}"), empty)).collect())
        .collect();

    let end = match a.causal {
        true => {
            let past = b.add(first_row, height);
            // Whole rounds: what lies ahead of a row weighs nothing.
            let past = match by_keys.terms() {
                terms if s.rows.is_multiple_of(terms) => past,
                terms => {
                    let (terms, more) = (b.idx(u64::from(terms)), b.idx(u64::from(terms - 1)));
                    let past = b.add(past, more);
                    let over = b.binary(BinaryOp::Rem, past, terms);
                    b.sub(past, over)
                }
            };
            b.binary(BinaryOp::Min, past, keys_v)
        }
        false => keys_v,
    };
    let first = b.begin_for(zero, end, block_keys, Unroll::Never);
    let count = b.sub(end, first);
    let count = b.binary(BinaryOp::Min, count, block_keys);

    // Scores of this lane's keys with every row.
    let key_rows: Vec<_> = (0..own_keys)
        .map(|n| {
            let by = b.idx(u64::from(n));
            let key = b.add(first, my_key);
            let key = b.add(key, by);
            let key = b.binary(BinaryOp::Min, key, last_key);
            k.row(b, key)
        })
        .collect();
    let acc: Vec<Vec<VarId>> =
        (0..s.rows).map(|r| (0..own_keys).map(|n| b.var(&format!("score_{r}_{n}"), nothing)).collect()).collect();
    let at_once = b.idx(u64::from(by_width.terms()));
    let c = b.begin_for(zero, width_v, at_once, Unroll::Auto);
    let own = query_part.map_or(c, |part| b.add(c, part));
    let read: Vec<_> = query_rows
        .iter()
        .map(|&row| {
            let each = q.elements(b, row, own, u32::from(by_width.deep));
            join(b, &each)
        })
        .collect();
    let right: Vec<_> = key_rows.iter().map(|&row| k.elements(b, row, c, by_width.terms())).collect();
    by_width.each_term(b, &read, |b, n, of_rows| {
        for (x, vars) in of_rows.into_iter().zip(&acc) {
            for (var, y) in vars.iter().zip(&right) {
                multiply_add(b, *var, x, y[n as usize]);
            }
        }
    });
    b.end_for();
    for (r, vars) in acc.iter().enumerate() {
        for (v, vars) in vars.chunks(4).enumerate() {
            let each: Vec<_> = vars.iter().map(|&var| b.get(var)).collect();
            let x = join(b, &each);
            let at = b.idx(r as u64 * u64::from(s.keys) + 4 * v as u64);
            let at = b.add(at, my_key);
            b.store(scores, at, x);
        }
    }

    // Scores become weights, and what was summed before shrinks to the new largest score. A lane reads only what it wrote.
    let vector = own_keys.min(4) as u8;
    let r = b.begin_for(zero, height, one, Unroll::Never);
    let row = b.add(first_row, r);
    let row = b.binary(BinaryOp::Min, row, last_row);
    let mask = maps.mask.as_ref().zip(mask_buf).map(|(args, buf)| {
        let base = args.index(b, args.origin(), 0, &[which, head, row]);
        (args, base, buf)
    });
    let last = Last { keys: keys_v, ragged: !keys.is_multiple_of(s.keys as usize), divisible: keys.is_multiple_of(4) };
    let seen = Seen { mask, row: a.causal.then_some(row), first, scale, work };
    let line = b.mul(r, block_keys);
    let line = b.add(line, my_key);
    let mut top = None;
    let mut weights = vec![];
    for v in (0..own_keys).step_by(usize::from(vector)) {
        let by = b.idx(u64::from(v));
        let at = b.add(line, by);
        let x = b.load_vec(scores, at, vector);
        let c = b.add(my_key, by);
        let x = last.score(b, &seen, x, c, vector);
        top = Some(top.map_or(x, |top| b.binary(BinaryOp::Max, top, x)));
        weights.push((at, x));
    }
    let top = top.unwrap_or(lowest);
    let top = of_vector(b, BinaryOp::Max, top, vector);
    let top = across(b, ReduceOp::Max, top);
    let before = b.load(largest, r);
    let now = b.binary(BinaryOp::Max, before, top);
    // A row that has seen nothing yet has no largest score to subtract.
    let blind = b.compare(CmpOp::Eq, now, lowest);
    let base = b.select(blind, nothing, now);
    let zeros = if vector == 1 { nothing } else { b.splat(nothing, vector) };
    let sum = b.var("sum", zeros);
    for (at, x) in weights {
        let x = b.sub(x, base);
        let x = b.unary(UnaryOp::Exp, x);
        b.store(scores, at, x);
        fold(b, BinaryOp::Add, sum, x);
    }
    let sum = b.get(sum);
    let sum = of_vector(b, BinaryOp::Add, sum, vector);
    let shrink = b.sub(before, base);
    let shrink = b.unary(UnaryOp::Exp, shrink);
    // Of this lane's keys; what the lanes summed is joined at the end.
    let old = b.load(sums, r);
    let sum = b.mul_add(old, shrink, sum);
    b.store(sums, r, sum);
    b.store(largest, r, now);
    b.store(shrinks, r, shrink);
    b.end_for();
    b.effect(Op::Barrier(Scope::Subgroup));

    // Values: every lane takes its columns through all keys of the block.
    for (r, vars) in result.iter().enumerate() {
        let r = b.idx(r as u64);
        let shrink = b.load(shrinks, r);
        for &var in vars {
            let x = b.get(var);
            let x = b.mul(x, shrink);
            b.set(var, x);
        }
    }
    let at_once = b.idx(u64::from(by_keys.terms()));
    let n = b.begin_for(zero, count, at_once, Unroll::Auto);
    let own = weight_part.map_or(n, |part| b.add(n, part));
    let read: Vec<Value> = weight_rows
        .iter()
        .map(|&row| {
            let at = b.add(row, own);
            b.load_vec(scores, at, by_keys.deep)
        })
        .collect();
    let key = b.add(first, n);
    by_keys.each_term(b, &read, |b, n, of_rows| {
        let by = b.idx(u64::from(n));
        let key = b.add(key, by);
        let row = v.row(b, key);
        let right = v.elements(b, row, read_column, columns.own);
        let right: Vec<Value> = right.chunks(usize::from(columns.width)).map(|each| join(b, each)).collect();
        for (x, vars) in of_rows.into_iter().zip(&result) {
            let x = if columns.width == 1 { x } else { b.splat(x, columns.width) };
            for (&var, &y) in vars.iter().zip(&right) {
                multiply_add(b, var, x, y);
            }
        }
    });
    b.end_for();
    // Before the next block writes its scores.
    b.effect(Op::Barrier(Scope::Subgroup));
    b.end_for();

    let out =
        From { base: maps.out.index(b, maps.out.origin(), 0, &[which, head]), buf: out_buf, map: &maps.out, work };
    for (r, vars) in result.iter().enumerate() {
        let r = b.idx(r as u64);
        let sum = b.load(sums, r);
        let sum = across(b, ReduceOp::Sum, sum);
        let row = b.add(first_row, r);
        let inside = b.compare(CmpOp::Lt, row, rows_v);
        let lane_inside = b.compare(CmpOp::Lt, my_column, out_width_v);
        b.begin_if(inside);
        b.begin_if(lane_inside);
        let to = out.row(b, row);
        for (v, &var) in vars.iter().enumerate() {
            let x = b.get(var);
            let y = b.binary(BinaryOp::Div, x, sum);
            let y = b.cast(a.dtype, y);
            let by = b.idx(v as u64 * u64::from(columns.width));
            let c = b.add(read_column, by);
            if out_width.is_multiple_of(columns.own as usize) && out.map.is_unit(3) {
                let at = out.map.index(b, to, 3, &[c]);
                let at = or_zero(b, at);
                b.store(Place::Buffer(out_buf), at, y);
                continue;
            }
            for n in 0..columns.width {
                let by = b.idx(u64::from(n));
                let c = b.add(c, by);
                let mine = b.compare(CmpOp::Ge, c, my_column);
                b.begin_if(mine);
                let at = out.map.index(b, to, 3, &[c]);
                let at = or_zero(b, at);
                let y = if columns.width == 1 { y } else { b.extract(y, n) };
                b.store(Place::Buffer(out_buf), at, y);
                b.end_if();
            }
        }
        b.end_if();
        b.end_if();
    }
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: (batch * heads * blocks) as u64 })
}

fn multiply_add(b: &mut Builder, var: VarId, x: Value, y: Value) {
    let sum = b.get(var);
    let sum = b.mul_add(x, y, sum);
    b.set(var, sum);
}

/// All lanes of a vector as one number.
fn of_vector(b: &mut Builder, op: BinaryOp, x: Value, width: u8) -> Value {
    if width == 1 {
        return x;
    }
    let mut each: Vec<Value> = (0..width).map(|n| b.extract(x, n)).collect();
    while each.len() > 1 {
        each = each.chunks(2).map(|two| if two.len() == 2 { b.binary(op, two[0], two[1]) } else { two[0] }).collect();
    }
    each[0]
}

/// Where the keys end.
struct Last {
    keys: Value,
    /// The last block has lanes beyond the last key.
    ragged: bool,
    /// There are whole vectors of keys.
    divisible: bool,
}

impl Last {
    /// The scores of `width` keys from the block's `c` on; those that do not exist weigh nothing.
    fn score(&self, b: &mut Builder, seen: &Seen<'_>, dots: Value, c: Value, width: u8) -> Value {
        if !self.ragged {
            return seen.score(b, dots, c, width);
        }
        let key = b.add(seen.first, c);
        let lowest = b.number(seen.work, f64::NEG_INFINITY);
        if self.divisible && width > 1 {
            // A whole vector is there or is not; what is read of a mask in its place is.
            let inside = b.compare(CmpOp::Lt, key, self.keys);
            let by = b.idx(u64::from(width));
            let last = b.sub(self.keys, by);
            let at = b.binary(BinaryOp::Min, key, last);
            let x = seen.score_at(b, dots, (at, key), width);
            return b.select(inside, x, lowest);
        }
        let one = b.idx(1);
        let last = b.sub(self.keys, one);
        let each: Vec<Value> = (0..width)
            .map(|n| {
                let by = b.idx(u64::from(n));
                let key = b.add(key, by);
                let inside = b.compare(CmpOp::Lt, key, self.keys);
                let at = b.binary(BinaryOp::Min, key, last);
                let dot = if width == 1 { dots } else { b.extract(dots, n) };
                let x = seen.score_at(b, dot, (at, key), 1);
                b.select(inside, x, lowest)
            })
            .collect();
        join(b, &each)
    }
}
