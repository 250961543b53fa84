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

/// Some query rows of one head, and what this lane does for them.
struct Tile<'a> {
    s: Schedule,
    columns: Columns,
    by_width: Share,
    by_keys: Share,
    q: From<'a>,
    k: From<'a>,
    v: From<'a>,
    /// Scores of a block of keys, row by row; then weights.
    scores: Place,
    /// Of each row: the largest score so far, this lane's part of the sum of weights, what a block makes of what was summed before.
    largest: Place,
    sums: Place,
    shrinks: Place,
    /// The result so far, in vectors, by row.
    result: Vec<Vec<VarId>>,
    first_row: Value,
    last_row: Value,
    width: Value,
    keys: Value,
    /// The block's first key of this lane, counted from the block's own first.
    my_key: Value,
    /// This lane's first column, and the one it reads from: a lane beyond the last column computes the last ones once more.
    my_column: Value,
    read_column: Value,
}

impl Tile<'_> {
    fn work(&self) -> DType {
        self.q.work
    }

    /// Keys that a lane takes of a block.
    fn own_keys(&self) -> u32 {
        self.s.keys / self.s.spread
    }

    /// The scores of this lane's keys with every row; `query_rows` are those that it reads for all.
    fn scores(&self, b: &mut Builder, first: Value, query_rows: &[Option<Value>], query_part: Option<Value>) {
        let (zero, one) = (b.idx(0), b.idx(1));
        let last_key = b.sub(self.keys, one);
        let key_rows: Vec<_> = (0..self.own_keys())
            .map(|n| {
                let by = b.idx(u64::from(n));
                let key = b.add(first, self.my_key);
                let key = b.add(key, by);
                let key = b.binary(BinaryOp::Min, key, last_key);
                self.k.row(b, key)
            })
            .collect();
        let nothing = b.number(self.work(), 0.0);
        let acc: Vec<Vec<VarId>> = (0..self.s.rows)
            .map(|r| (0..self.own_keys()).map(|n| b.var(&format!("score_{r}_{n}"), nothing)).collect())
            .collect();
        let share = &self.by_width;
        let at_once = b.idx(u64::from(share.terms()));
        let c = b.begin_for(zero, self.width, at_once, Unroll::Auto);
        let own = query_part.map_or(c, |part| b.add(c, part));
        let read: Vec<_> = query_rows
            .iter()
            .map(|&row| {
                let each = self.q.elements(b, row, own, u32::from(share.deep));
                join(b, &each)
            })
            .collect();
        let right: Vec<_> = key_rows.iter().map(|&row| self.k.elements(b, row, c, share.terms())).collect();
        share.each_term(b, &read, |b, n, of_rows| {
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
                let at = b.idx(r as u64 * u64::from(self.s.keys) + 4 * v as u64);
                let at = b.add(at, self.my_key);
                b.store(self.scores, at, x);
            }
        }
    }

    /// The scores of row `r` become weights, and what was summed before shrinks to the new largest score. A lane reads only what it
    /// wrote.
    fn weigh(&self, b: &mut Builder, r: Value, last: &Last, seen: &Seen<'_>) {
        let (nothing, lowest) = (b.number(self.work(), 0.0), b.number(self.work(), f64::NEG_INFINITY));
        let vector = self.own_keys().min(4) as u8;
        let block_keys = b.idx(u64::from(self.s.keys));
        let line = b.mul(r, block_keys);
        let line = b.add(line, self.my_key);
        let mut top = None;
        let mut weights = vec![];
        for v in (0..self.own_keys()).step_by(usize::from(vector)) {
            let by = b.idx(u64::from(v));
            let at = b.add(line, by);
            let x = b.load_vec(self.scores, at, vector);
            let c = b.add(self.my_key, by);
            let x = last.score(b, seen, x, c, vector);
            top = Some(top.map_or(x, |top| b.binary(BinaryOp::Max, top, x)));
            weights.push((at, x));
        }
        let top = top.unwrap_or(lowest);
        let top = of_vector(b, BinaryOp::Max, top, vector);
        let top = across(b, ReduceOp::Max, top);
        let before = b.load(self.largest, r);
        let now = b.binary(BinaryOp::Max, before, top);
        // A row that has seen nothing yet has no largest score to subtract.
        let blind = b.compare(CmpOp::Eq, now, lowest);
        let base = b.select(blind, nothing, now);
        let zeros = if vector == 1 { nothing } else { b.splat(nothing, vector) };
        let sum = b.var("sum", zeros);
        for (at, x) in weights {
            let x = b.sub(x, base);
            let x = b.unary(UnaryOp::Exp, x);
            b.store(self.scores, at, x);
            fold(b, BinaryOp::Add, sum, x);
        }
        let sum = b.get(sum);
        let sum = of_vector(b, BinaryOp::Add, sum, vector);
        let shrink = b.sub(before, base);
        let shrink = b.unary(UnaryOp::Exp, shrink);
        // Of this lane's keys; what the lanes summed is joined at the end.
        let old = b.load(self.sums, r);
        let sum = b.mul_add(old, shrink, sum);
        b.store(self.sums, r, sum);
        b.store(self.largest, r, now);
        b.store(self.shrinks, r, shrink);
    }

    /// Adds the block's values: every lane takes its columns through all `count` keys of it. `weight_rows` are the rows of weights that
    /// this lane reads for all.
    fn add_values(
        &self,
        b: &mut Builder,
        [first, count]: [Value; 2],
        weight_rows: &[Value],
        weight_part: Option<Value>,
    ) {
        for (r, vars) in self.result.iter().enumerate() {
            let r = b.idx(r as u64);
            let shrink = b.load(self.shrinks, r);
            for &var in vars {
                let x = b.get(var);
                let x = b.mul(x, shrink);
                b.set(var, x);
            }
        }
        let share = &self.by_keys;
        let (zero, at_once) = (b.idx(0), b.idx(u64::from(share.terms())));
        let n = b.begin_for(zero, count, at_once, Unroll::Auto);
        let own = weight_part.map_or(n, |part| b.add(n, part));
        let read: Vec<Value> = weight_rows
            .iter()
            .map(|&row| {
                let at = b.add(row, own);
                b.load_vec(self.scores, at, share.deep)
            })
            .collect();
        let key = b.add(first, n);
        let width = self.columns.width;
        share.each_term(b, &read, |b, n, of_rows| {
            let by = b.idx(u64::from(n));
            let key = b.add(key, by);
            let row = self.v.row(b, key);
            let right = self.v.elements(b, row, self.read_column, self.columns.own);
            let right: Vec<Value> = right.chunks(usize::from(width)).map(|each| join(b, each)).collect();
            for (x, vars) in of_rows.into_iter().zip(&self.result) {
                let x = if width == 1 { x } else { b.splat(x, width) };
                for (&var, &y) in vars.iter().zip(&right) {
                    multiply_add(b, var, x, y);
                }
            }
        });
        b.end_for();
    }

    /// Divides by the sums of weights and writes the result, `out_width` columns of `dtype`.
    fn store(&self, b: &mut Builder, out: &From<'_>, [rows, out_width]: [Value; 2], whole: bool, dtype: DType) {
        let width = self.columns.width;
        for (r, vars) in self.result.iter().enumerate() {
            let r = b.idx(r as u64);
            let sum = b.load(self.sums, r);
            let sum = across(b, ReduceOp::Sum, sum);
            let row = b.add(self.first_row, r);
            let inside = b.compare(CmpOp::Lt, row, rows);
            let lane_inside = b.compare(CmpOp::Lt, self.my_column, out_width);
            b.begin_if(inside);
            b.begin_if(lane_inside);
            let to = out.row(b, row);
            for (v, &var) in vars.iter().enumerate() {
                let x = b.get(var);
                let y = b.binary(BinaryOp::Div, x, sum);
                let y = b.cast(dtype, y);
                let by = b.idx(v as u64 * u64::from(width));
                let c = b.add(self.read_column, by);
                if whole && out.map.is_unit(3) {
                    let at = out.map.index(b, to, 3, &[c]);
                    let at = or_zero(b, at);
                    b.store(Place::Buffer(out.buf), at, y);
                    continue;
                }
                for n in 0..width {
                    let by = b.idx(u64::from(n));
                    let c = b.add(c, by);
                    let mine = b.compare(CmpOp::Ge, c, self.my_column);
                    b.begin_if(mine);
                    let at = out.map.index(b, to, 3, &[c]);
                    let at = or_zero(b, at);
                    let y = if width == 1 { y } else { b.extract(y, n) };
                    b.store(Place::Buffer(out.buf), at, y);
                    b.end_if();
                }
            }
            b.end_if();
            b.end_if();
        }
    }
}

/// Where the keys end that the tile's rows see, of a causal attention.
fn seen_end(b: &mut Builder, tile: &Tile<'_>, causal: bool) -> Value {
    if !causal {
        return tile.keys;
    }
    let height = b.idx(u64::from(tile.s.rows));
    let past = b.add(tile.first_row, height);
    // Whole rounds: what lies ahead of a row weighs nothing.
    let past = match tile.by_keys.terms() {
        terms if tile.s.rows.is_multiple_of(terms) => past,
        terms => {
            let (terms, more) = (b.idx(u64::from(terms)), b.idx(u64::from(terms - 1)));
            let past = b.add(past, more);
            let over = b.binary(BinaryOp::Rem, past, terms);
            b.sub(past, over)
        }
    };
    b.binary(BinaryOp::Min, past, tile.keys)
}

/// Makes the kernel. Bindings: queries, keys, values, mask where there is one, output.
pub fn attention(a: &Attention, s: Schedule) -> Result<Made> {
    let [batch, heads, rows, keys, width, out_width] = a.dims;
    let work = compute_type(a.dtype);
    let blocks = rows.div_ceil(s.rows as usize);
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
    let out = from(b, &maps.out, out_buf, [which, head]);
    let scale = b.cast(work, scale);
    let lane = b.builtin(Builtin::SubgroupLane);
    let lane = b.cast(Elem::Idx, lane);
    let (zero, one) = (b.idx(0), b.idx(1));
    let (height, block_keys) = (b.idx(u64::from(s.rows)), b.idx(u64::from(s.keys)));
    let (each_keys, each_columns) = (b.idx(u64::from(s.keys / s.spread)), b.idx(u64::from(columns.own)));
    let my_column = b.mul(lane, each_columns);
    let read_column = match out_width == (columns.own * s.spread) as usize {
        true => my_column,
        false => {
            let last = b.sub(out_width_v, each_columns);
            b.binary(BinaryOp::Min, my_column, last)
        }
    };
    let (nothing, lowest) = (b.number(work, 0.0), b.number(work, f64::NEG_INFINITY));
    let empty = if columns.width == 1 { nothing } else { b.splat(nothing, columns.width) };
    let tile = Tile {
        first_row: b.mul(block, height),
        last_row: b.sub(rows_v, one),
        my_key: b.mul(lane, each_keys),
        result: (0..s.rows)
            .map(|r| {
                let vectors = 0..columns.own / u32::from(columns.width);
                vectors.map(|v| b.var(&format!("out_{r}_{v}"), empty)).collect()
            })
            .collect(),
        width: width_v,
        keys: keys_v,
        s,
        columns,
        by_width,
        by_keys,
        q,
        k,
        v,
        scores,
        largest,
        sums,
        shrinks,
        my_column,
        read_column,
    };

    let query_rows: Vec<_> = (0..by_width.reads())
        .map(|n| {
            let row = by_width.row(b, lane, n);
            let row = b.add(tile.first_row, row);
            let row = b.binary(BinaryOp::Min, row, tile.last_row);
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
    for r in 0..u64::from(s.rows) {
        let r = b.idx(r);
        b.store(largest, r, lowest);
        b.store(sums, r, nothing);
    }

    let end = seen_end(b, &tile, a.causal);
    let first = b.begin_for(zero, end, block_keys, Unroll::Never);
    let count = b.sub(end, first);
    let count = b.binary(BinaryOp::Min, count, block_keys);
    tile.scores(b, first, &query_rows, query_part);
    let r = b.begin_for(zero, height, one, Unroll::Never);
    let row = b.add(tile.first_row, r);
    let row = b.binary(BinaryOp::Min, row, tile.last_row);
    let mask = maps.mask.as_ref().zip(mask_buf).map(|(args, buf)| {
        let base = args.index(b, args.origin(), 0, &[which, head, row]);
        (args, base, buf)
    });
    let last = Last { keys: keys_v, ragged: !keys.is_multiple_of(s.keys as usize), divisible: keys.is_multiple_of(4) };
    let seen = Seen { mask, row: a.causal.then_some(row), first, scale, work };
    tile.weigh(b, r, &last, &seen);
    b.end_for();
    b.effect(Op::Barrier(Scope::Subgroup));
    tile.add_values(b, [first, count], &weight_rows, weight_part);
    // Before the next block writes its scores.
    b.effect(Op::Barrier(Scope::Subgroup));
    b.end_for();
    let whole = out_width.is_multiple_of(columns.own as usize);
    tile.store(b, &out, [rows_v, out_width_v], whole, a.dtype);
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
