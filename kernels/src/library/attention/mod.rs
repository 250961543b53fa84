//! Attention with the softmax taken block by block ("online": Milakov and Gimelshein 2018, Dao et al. 2022), so that memory grows
//! with the lengths, never with their product.
//!
//! Where subgroups share what they read, one of them takes a tile of rows ([`subgroup`]). Else a lane takes a few query rows through all
//! keys: keys (transposed) and values come packed in panels ([`super::pack`]); scores, sums and the result so far are private, in the
//! type computed in. There is no shared memory and no barrier: lanes of a workgroup are independent.

pub mod fragments;
pub mod subgroup;

use super::{
    Made, Map,
    emit::{Maker, MapArgs, compute_type},
    walk::{Stride, join, widen},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, ParamId, Place, PrivateId, UnaryOp, Unroll, Value, VarId},
};

/// softmax(q·kᵀ·scale + mask)·v over `[batch, heads]`.
pub struct Attention {
    /// Batch, query heads, query rows, keys, width of queries and keys, width of values.
    pub dims: [usize; 6],
    /// Heads of keys and values; query heads are a multiple.
    pub groups: usize,
    /// Queries over `[batch, heads, rows, width]`.
    pub q: Map,
    /// Keys over `[batch, groups, keys, width]`; of packed ones, the strides of `[batch, groups]`.
    pub k: Map,
    /// Values over `[batch, groups, keys, value width]`; of packed ones, the strides of `[batch, groups]`.
    pub v: Map,
    /// Additive mask over `[batch, heads, rows, keys]`.
    pub mask: Option<Map>,
    /// The result over `[batch, heads, rows, value width]`.
    pub out: Map,
    /// Multiplied onto the scores.
    pub scale: f32,
    /// Row i sees keys up to i.
    pub causal: bool,
    /// Type of queries, mask and result.
    pub dtype: DType,
}

/// How it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// Query rows of a lane, or of a subgroup that shares them.
    pub rows: u32,
    /// Keys of a block, a multiple of a panel's columns; of the lanes of a subgroup that shares them.
    pub keys: u32,
    /// Lanes of a vector: 1, 2, 4, 8, 16.
    pub width: u8,
    /// Lanes of a workgroup.
    pub lanes: u32,
    /// Lanes of a subgroup that take rows together, which is then the workgroup; keys and values are not packed. 1: every lane
    /// takes rows of its own.
    pub spread: u32,
}

impl Schedule {
    /// Columns of a panel of keys or values: two vectors, so that a number of the left side is used twice.
    pub fn panel(&self) -> usize {
        (2 * self.width as usize).max(16)
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "blockwise, {} rows x {} keys, vectors of {}", self.rows, self.keys, self.width)?;
        if self.spread > 1 { write!(f, ", a subgroup of {}", self.spread) } else { Ok(()) }
    }
}

/// A private matrix of a lane: one line per query row.
#[derive(Clone, Copy)]
struct Lines {
    array: PrivateId,
    /// Elements of a line.
    row: u32,
}

impl Lines {
    fn new(m: &mut Maker, name: &str, work: DType, rows: u32, row: u32) -> Lines {
        Lines { array: m.b.private(name, work, rows * row), row }
    }

    fn place(self) -> Place {
        Place::Private(self.array)
    }

    /// Where line `r` begins.
    fn line(self, b: &mut Builder, r: Value) -> Value {
        let row = b.idx(self.row as u64);
        b.mul(r, row)
    }
}

/// What the parts of the kernel share.
struct Lane<'a> {
    s: Schedule,
    work: DType,
    q: Lines,
    o: Lines,
    scores: Lines,
    /// Largest score and sum of each row so far.
    largest: PrivateId,
    sums: PrivateId,
    /// Batch and head.
    lead: [Value; 2],
    first_row: Value,
    rows: Value,
    mask: Option<(&'a MapArgs, ParamId)>,
    causal: bool,
    scale: Value,
}

/// Where the elements of the operands and of the result lie.
struct Maps {
    q: MapArgs,
    k: MapArgs,
    v: MapArgs,
    mask: Option<MapArgs>,
    out: MapArgs,
}

impl Maps {
    fn declare(m: &mut Maker, a: &Attention) -> Maps {
        Maps {
            q: MapArgs::declare(m, "q", &a.q),
            k: MapArgs::declare(m, "k", &a.k),
            v: MapArgs::declare(m, "v", &a.v),
            mask: a.mask.as_ref().map(|map| MapArgs::declare(m, "mask", map)),
            out: MapArgs::declare(m, "out", &a.out),
        }
    }
}

/// The length of a private line, shared by all widths below it: few kernels.
fn line_of(n: usize) -> u32 {
    n.next_power_of_two().max(32) as u32
}

/// Makes the kernel. Bindings: queries, keys, values, mask where there is one, output.
pub fn attention(a: Attention, s: Schedule) -> Result<Made> {
    if s.spread > 1 {
        return subgroup::attention(&a, s);
    }
    let [batch, heads, rows, keys, width, out_width] = a.dims;
    let blocks = rows.div_ceil(s.rows as usize);
    let units = batch * heads * blocks;
    let columns = s.panel();
    let out_panels = out_width.div_ceil(columns);
    let work = compute_type(a.dtype);
    // Of many lanes each reads aligned vectors; one lane alone reads any.
    let mut m = Maker::owning("attention", s.lanes, if s.lanes > 1 { s.width.min(4) } else { 1 });
    let maps = Maps::declare(&mut m, &a);
    let units_v = m.extent("units", units);
    let blocks_v = m.extent("blocks", blocks);
    let heads_v = m.extent("heads", heads);
    let shared_v = m.extent("shared", heads / a.groups.max(1));
    let (rows_v, keys_v) = (m.extent("rows", rows), m.extent("keys", keys));
    let (width_v, out_width_v) = (m.extent("width", width), m.extent("out_width", out_width));
    let out_panels_v = m.extent("out_panels", out_panels);
    let k_panel = m.stride("k_panel", width * columns);
    let v_panel = m.stride("v_panel", keys * columns);
    let scale = m.float("scale", a.scale);
    let q_buf = m.b.buffer("q", a.dtype, Access::Read);
    let k_buf = m.buffer("k", work, Access::Read);
    let v_buf = m.buffer("v", work, Access::Read);
    let mask_buf = maps.mask.is_some().then(|| m.b.buffer("mask", a.dtype, Access::Read));
    let out_buf = m.buffer("out", a.dtype, Access::Write);
    let q = Lines::new(&mut m, "query", work, s.rows, line_of(width));
    let o = Lines::new(&mut m, "result", work, s.rows, line_of(out_panels * columns));
    let scores = Lines::new(&mut m, "scores", work, s.rows, s.keys);
    let b = &mut m.b;
    let (largest, sums) = (b.private("largest", work, s.rows), b.private("sums", work, s.rows));

    let unit = b.builtin(Builtin::GlobalId(0));
    let inside = b.compare(CmpOp::Lt, unit, units_v);
    b.begin_if(inside);
    let block = b.binary(BinaryOp::Rem, unit, blocks_v);
    let head = b.binary(BinaryOp::Div, unit, blocks_v);
    let which = b.binary(BinaryOp::Div, head, heads_v);
    let head = b.binary(BinaryOp::Rem, head, heads_v);
    let group = b.binary(BinaryOp::Div, head, shared_v);
    let k_base = maps.k.index(b, maps.k.origin(), 0, &[which, group]);
    let v_base = maps.v.index(b, maps.v.origin(), 0, &[which, group]);
    let height = b.idx(s.rows as u64);
    let first_row = b.mul(block, height);
    let scale = b.cast(work, scale);
    let mask = maps.mask.as_ref().zip(mask_buf);
    let causal = a.causal;
    let lead = [which, head];
    let lane = Lane { s, work, q, o, scores, largest, sums, lead, first_row, rows: rows_v, mask, causal, scale };
    lane.begin(b, &maps.q, q_buf, width_v);

    let (zero, one) = (b.idx(0), b.idx(1));
    let (block_keys, panel) = (b.idx(s.keys as u64), b.idx(columns as u64));
    let end = match causal {
        true => {
            let past = b.add(first_row, height);
            b.binary(BinaryOp::Min, past, keys_v)
        }
        false => keys_v,
    };
    let first = b.begin_for(zero, end, block_keys, Unroll::Never);
    let count = b.sub(end, first);
    let count = b.binary(BinaryOp::Min, count, block_keys);
    // Scores, a panel of keys at a time: a block begins with a panel.
    let n = b.begin_for(zero, count, panel, Unroll::Never);
    let key = b.add(first, n);
    let at = b.binary(BinaryOp::Div, key, panel);
    let at = b.mul(at, k_panel);
    let at = plus(b, k_base, at);
    let acc = lane.tile(b, None);
    lane.product(b, (k_buf, at), width_v, &acc, lane.q);
    lane.keep(b, &acc, lane.scores, n);
    b.end_for();
    let r = b.begin_for(zero, height, one, Unroll::Never);
    lane.softmax(b, r, first, count);
    b.end_for();
    // Values: a panel of columns at a time takes all keys of the block.
    let n = b.begin_for(zero, out_panels_v, one, Unroll::Never);
    let at = b.mul(n, v_panel);
    let at = plus(b, v_base, at);
    let line = b.mul(first, panel);
    let at = b.add(at, line);
    let col = b.mul(n, panel);
    let acc = lane.tile(b, Some(col));
    lane.product(b, (v_buf, at), count, &acc, lane.scores);
    lane.keep(b, &acc, lane.o, col);
    b.end_for();
    b.end_for();

    let vectors = if maps.out.is_unit(3) { s.width } else { 1 };
    let stride = Stride { width: vectors, vectors: 1, divisible: out_width.is_multiple_of(vectors as usize) };
    lane.end(b, &maps.out, (out_buf, a.dtype), (out_width_v, stride));
    b.end_if();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: units.div_ceil(s.lanes as usize) as u64 })
}

impl Lane<'_> {
    /// The query row of line `r`: below the last, the last again.
    fn row(&self, b: &mut Builder, r: Value) -> Value {
        let one = b.idx(1);
        let last = b.sub(self.rows, one);
        let row = b.add(self.first_row, r);
        b.binary(BinaryOp::Min, row, last)
    }

    /// Queries are read once; nothing has been seen yet.
    fn begin(&self, b: &mut Builder, args: &MapArgs, buf: ParamId, width: Value) {
        let (zero, one) = (b.idx(0), b.idx(1));
        let (nothing, lowest) = (b.number(self.work, 0.0), b.number(self.work, f64::NEG_INFINITY));
        let base = args.index(b, args.origin(), 0, &self.lead);
        let height = b.idx(self.s.rows as u64);
        let r = b.begin_for(zero, height, one, Unroll::Never);
        let row = self.row(b, r);
        let from = args.index(b, base, 2, &[row]);
        let line = self.q.line(b, r);
        let c = b.begin_for(zero, width, one, Unroll::Auto);
        let at = args.index(b, from, 3, &[c]);
        let at = or_zero(b, at);
        let x = b.load(Place::Buffer(buf), at);
        let x = b.cast(self.work, x);
        let to = b.add(line, c);
        b.store(self.q.place(), to, x);
        b.end_for();
        b.store(Place::Private(self.largest), r, lowest);
        b.store(Place::Private(self.sums), r, nothing);
        b.end_for();
        let all = b.idx((self.s.rows * self.o.row) as u64);
        let step = b.idx(self.s.width as u64);
        let c = b.begin_for(zero, all, step, Unroll::Auto);
        let x = widen(b, nothing, self.s.width);
        b.store(self.o.place(), c, x);
        b.end_for();
    }

    /// Line `r`: scores of `count` keys from `first` on become weights, and what was summed before shrinks to the new largest score.
    fn softmax(&self, b: &mut Builder, r: Value, first: Value, count: Value) {
        let width = self.s.width;
        let (nothing, lowest) = (b.number(self.work, 0.0), b.number(self.work, f64::NEG_INFINITY));
        let zero = b.idx(0);
        let row = self.row(b, r);
        let mask = self.mask.map(|(args, buf)| {
            let base = args.index(b, args.origin(), 0, &self.lead);
            (args, args.index(b, base, 2, &[row]), buf)
        });
        let seen = Seen { mask, row: self.causal.then_some(row), first, scale: self.scale, work: self.work };
        let line = self.scores.line(b, r);
        let place = self.scores.place();
        let stride = Stride { width, vectors: 1, divisible: width == 1 };
        let wide = widen(b, lowest, width);
        let (top, rest) = (b.var("largest", wide), b.var("rest", lowest));
        stride.walk(b, (zero, count), |b, c, width, _| {
            let at = b.add(line, c);
            let x = b.load_vec(place, at, width);
            let x = seen.score(b, x, c, width);
            b.store(place, at, x);
            fold(b, BinaryOp::Max, if width == self.s.width { top } else { rest }, x);
        });
        let before = b.load(Place::Private(self.largest), r);
        let now = join(b, BinaryOp::Max, &[top], Some(rest));
        let now = b.binary(BinaryOp::Max, before, now);
        // A row that has seen nothing yet has no largest score to subtract.
        let blind = b.compare(CmpOp::Eq, now, lowest);
        let base = b.select(blind, nothing, now);
        let wide = widen(b, nothing, width);
        let (sum, rest) = (b.var("sum", wide), b.var("rest_sum", nothing));
        stride.walk(b, (zero, count), |b, c, width, _| {
            let at = b.add(line, c);
            let x = b.load_vec(place, at, width);
            let x = b.sub(x, base);
            let x = b.unary(UnaryOp::Exp, x);
            b.store(place, at, x);
            fold(b, BinaryOp::Add, if width == self.s.width { sum } else { rest }, x);
        });
        let sum = join(b, BinaryOp::Add, &[sum], Some(rest));
        let shrink = b.sub(before, base);
        let shrink = b.unary(UnaryOp::Exp, shrink);
        let old = b.load(Place::Private(self.sums), r);
        let sum = b.mul_add(old, shrink, sum);
        b.store(Place::Private(self.sums), r, sum);
        b.store(Place::Private(self.largest), r, now);
        let line = self.o.line(b, r);
        let (length, step) = (b.idx(self.o.row as u64), b.idx(width as u64));
        let c = b.begin_for(zero, length, step, Unroll::Auto);
        let at = b.add(line, c);
        let x = b.load_vec(self.o.place(), at, width);
        let x = b.mul(x, shrink);
        b.store(self.o.place(), at, x);
        b.end_for();
    }

    /// Results by their sums, to where they belong.
    fn end(&self, b: &mut Builder, args: &MapArgs, (buf, dtype): (ParamId, DType), (width, stride): (Value, Stride)) {
        let (zero, one) = (b.idx(0), b.idx(1));
        let base = args.index(b, args.origin(), 0, &self.lead);
        let height = b.idx(self.s.rows as u64);
        let r = b.begin_for(zero, height, one, Unroll::Never);
        let row = b.add(self.first_row, r);
        let inside = b.compare(CmpOp::Lt, row, self.rows);
        b.begin_if(inside);
        let to = args.index(b, base, 2, &[row]);
        let line = self.o.line(b, r);
        let sum = b.load(Place::Private(self.sums), r);
        stride.walk(b, (zero, width), |b, c, width, _| {
            let at = b.add(line, c);
            let x = b.load_vec(self.o.place(), at, width);
            let y = b.binary(BinaryOp::Div, x, sum);
            let y = b.cast(dtype, y);
            let at = args.index(b, to, 3, &[c]);
            let at = or_zero(b, at);
            b.store(Place::Buffer(buf), at, y);
        });
        b.end_if();
        b.end_for();
    }

    /// Accumulators of `rows` × a panel: zeros, or the result so far from a column on.
    fn tile(&self, b: &mut Builder, from: Option<Value>) -> Vec<Vec<VarId>> {
        let width = self.s.width;
        let zero = b.number(self.work, 0.0);
        let zero = widen(b, zero, width);
        let vectors = self.s.panel() as u64 / width as u64;
        let mut one = |r: u64, v: u64| {
            let start = match from {
                Some(col) => {
                    let at = b.idx(r * self.o.row as u64 + v * width as u64);
                    let at = b.add(at, col);
                    b.load_vec(self.o.place(), at, width)
                }
                None => zero,
            };
            b.var(&format!("acc_{r}_{v}"), start)
        };
        (0..self.s.rows as u64).map(|r| (0..vectors).map(|v| one(r, v)).collect()).collect()
    }

    /// acc += left · a panel, over `terms` rows of the panel from its place on.
    fn product(&self, b: &mut Builder, (panel, at): (ParamId, Value), terms: Value, acc: &[Vec<VarId>], left: Lines) {
        let width = self.s.width;
        let columns = self.s.panel() as u64;
        let (zero, one, cols) = (b.idx(0), b.idx(1), b.idx(columns));
        let c = b.begin_for(zero, terms, one, Unroll::Auto);
        let line = b.mul(c, cols);
        let line = b.add(at, line);
        let right: Vec<Value> = (0..columns)
            .step_by(width as usize)
            .map(|v| {
                let by = b.idx(v);
                let at = b.add(line, by);
                b.load_vec(Place::Buffer(panel), at, width)
            })
            .collect();
        for (r, vars) in acc.iter().enumerate() {
            let by = b.idx(r as u64 * left.row as u64);
            let at = b.add(c, by);
            let x = b.load(left.place(), at);
            let x = widen(b, x, width);
            for (&var, &y) in vars.iter().zip(&right) {
                let sum = b.get(var);
                let sum = b.mul_add(x, y, sum);
                b.set(var, sum);
            }
        }
        b.end_for();
    }

    /// Writes accumulators from a column on.
    fn keep(&self, b: &mut Builder, acc: &[Vec<VarId>], to: Lines, col: Value) {
        for (r, vars) in acc.iter().enumerate() {
            for (v, &var) in vars.iter().enumerate() {
                let at = b.idx(r as u64 * to.row as u64 + v as u64 * self.s.width as u64);
                let at = b.add(at, col);
                let x = b.get(var);
                b.store(to.place(), at, x);
            }
        }
    }
}

/// Which keys of a block a row sees, and how much.
struct Seen<'a> {
    mask: Option<(&'a MapArgs, Option<Value>, ParamId)>,
    /// The row, when it sees keys up to itself only.
    row: Option<Value>,
    /// The block's first key.
    first: Value,
    scale: Value,
    work: DType,
}

impl Seen<'_> {
    /// The scores of `width` keys from the block's `c` on.
    fn score(&self, b: &mut Builder, dots: Value, c: Value, width: u8) -> Value {
        let key = b.add(self.first, c);
        self.score_at(b, dots, (key, key), width)
    }

    /// The scores of `width` keys from one on, with the mask of those from `from` on.
    fn score_at(&self, b: &mut Builder, dots: Value, (from, key): (Value, Value), width: u8) -> Value {
        let mut x = b.mul(dots, self.scale);
        if let Some((args, base, buf)) = self.mask {
            let at = args.index(b, base, 3, &[from]);
            let at = or_zero(b, at);
            let added = if args.repeats(3) {
                b.load(Place::Buffer(buf), at)
            } else if args.is_unit(3) {
                b.load_vec(Place::Buffer(buf), at, width)
            } else {
                let each: Vec<Value> = (0..width as u64)
                    .map(|n| {
                        let at = args.step(b, at, 3, n);
                        b.load(Place::Buffer(buf), at)
                    })
                    .collect();
                if width == 1 { each[0] } else { b.vector(&each) }
            };
            let added = b.cast(self.work, added);
            x = b.add(x, added);
        }
        if let Some(row) = self.row {
            // No tensor has 2³² keys: a row of scores alone would be 16 GiB.
            let (key, row) = (b.cast(DType::U32, key), b.cast(DType::U32, row));
            let each: Vec<Value> = (0..width as u32).map(|n| b.u32(n)).collect();
            let each = if width == 1 { each[0] } else { b.vector(&each) };
            let key = b.add(key, each);
            let ahead = b.compare(CmpOp::Gt, key, row);
            let lowest = b.number(self.work, f64::NEG_INFINITY);
            x = b.select(ahead, lowest, x);
        }
        x
    }
}

fn fold(b: &mut Builder, op: BinaryOp, var: VarId, x: Value) {
    let s = b.get(var);
    let s = b.binary(op, s, x);
    b.set(var, s);
}

fn plus(b: &mut Builder, base: Option<Value>, at: Value) -> Value {
    base.map_or(at, |base| b.add(base, at))
}

fn or_zero(b: &mut Builder, at: Option<Value>) -> Value {
    at.unwrap_or_else(|| b.idx(0))
}
