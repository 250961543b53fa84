//! Stable sorting of the rows of a tensor, as positions.
//!
//! An element becomes a word of 64 bits: its key, 32 bits whose unsigned order is the order wanted, above its position in the row.
//! Words are unique, so that any sort of them is stable. A first kernel sorts blocks in shared memory, further ones merge pairs of
//! sorted runs, each into a new buffer. Both work by rank: an element's place is its place in its own run plus the number of smaller
//! words in the run beside it, found by bisection; no lane waits for another. Keys of 64 bits are sorted twice, by their low half and
//! then, stably, by their high half.

use super::{
    Body, Made,
    body::{Id, merge},
    emit::{Emit, Maker, compute_type, in_range},
};
use anychip_hal::{
    DType, DeviceInfo, Result,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Place, Type, Unroll, Value},
};

/// Rows of up to so many elements, and how an element gives a key.
pub struct Keys {
    /// Expressions over the space.
    pub body: Body,
    /// The element.
    pub root: Id,
    /// The space: rows, then the axis.
    pub dims: Vec<usize>,
    /// Type of the element.
    pub dtype: DType,
    /// How it gives a key.
    pub key: Key,
}

/// How an element gives a key of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// By the order of its type, −0 beside 0 and NaN above all numbers; which half of a type of 64 bits.
    Order {
        /// Largest first.
        descending: bool,
        /// The high 32 bits of a key of 64, not the low ones.
        high: bool,
    },
    /// The element itself, an integer; outside `0..limit`, behind all others.
    Id {
        /// At most 2³²−1.
        limit: usize,
    },
}

/// [`Key`] inside a kernel.
enum How {
    Order { flip: Value, shift: Option<Value> },
    Id(Value),
}

/// What a launch leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// Words (u64), for the next merge.
    Words,
    /// Positions (u32).
    Positions,
}

/// True for types whose order takes 64 bits.
pub fn wide(dtype: DType) -> bool {
    dtype.size() == 8
}

/// Elements of a block for rows of `n` elements: two copies of its words take at most half of the shared memory.
pub fn block(info: &DeviceInfo, n: usize) -> u32 {
    let fits = (info.limits.max_shared / 2 / 16).max(2);
    let largest = 1 << fits.ilog2();
    let want = match n {
        0..=64 => 64,
        _ => 1024,
    };
    want.min(largest)
}

/// Elements of a block that a lane works on.
const OWN: u32 = 4;

/// Makes the kernel that sorts each block of `block` elements of each row, a power of two. Bindings: slots, the positions that an
/// earlier sort left when `through`, output.
pub fn blocks(mut k: Keys, block: u32, through: bool, leaves: Leaves, max_lanes: u32) -> Result<Made> {
    let last = k.dims.len() - 1;
    let n = k.dims[last];
    let (dims, cuts) = merge(&k.dims, &mut k.body.maps, &[last]);
    // An axis of one element was merged away; what is left are rows.
    let outer = cuts.first().copied().unwrap_or(0);
    let rows: usize = dims[..outer].iter().product();
    let lanes = (block / OWN).max(32).min(max_lanes).min(block);
    let per_row = n.div_ceil(block as usize);
    let mut m = Maker::new("sort", lanes);
    let mut emit = Emit::declare(&mut m, &k.body);
    let extents: Vec<_> = dims[..outer].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let n_v = m.extent("len", n);
    let per_row_v = m.extent("blocks", per_row);
    // Which way is up and which half are scalars: fewer kernels to compile.
    let how = match k.key {
        Key::Id { limit } => How::Id(m.extent("limit", limit)),
        Key::Order { descending, high } => {
            let flip = m.word("flip", if descending { u32::MAX } else { 0 });
            let shift = wide(k.dtype).then(|| m.word("shift", if high { 32 } else { 0 }));
            How::Order { flip, shift }
        }
    };
    let before = through.then(|| m.b.buffer("before", DType::U32, Access::Read));
    let out = m.b.buffer("out", leaves_type(leaves), Access::Write);
    let tile = Place::Shared(m.b.shared("tile", DType::U64, 2 * block));

    let b = &mut m.b;
    let group = b.builtin(Builtin::GroupId(0));
    let row = b.binary(BinaryOp::Div, group, per_row_v);
    let coords = Maker::split_in(b, row, &extents);
    emit.fix(b, &coords);
    let row_at = b.mul(row, n_v);
    let first = b.binary(BinaryOp::Rem, group, per_row_v);
    let size = b.idx(block as u64);
    let first = b.mul(first, size);
    let left = b.sub(n_v, first);
    let count = b.binary(BinaryOp::Min, left, size);
    let lane = b.builtin(Builtin::LocalId(0));
    let lane = b.cast(Elem::Idx, lane);
    let step = b.idx(lanes as u64);

    let i = b.begin_for(lane, count, step, Unroll::Never);
    let position = b.add(first, i);
    let source = match before {
        Some(before) => {
            let at = b.add(row_at, position);
            let p = b.load(Place::Buffer(before), at);
            b.cast(Elem::Idx, p)
        }
        None => position,
    };
    let x = emit.eval(b, k.root, &[source], None);
    let key = match how {
        How::Id(limit) => {
            let inside = in_range(b, x, limit);
            let id = b.cast(DType::U32, x);
            let none = b.u32(u32::MAX);
            b.select(inside, id, none)
        }
        How::Order { flip, shift } => {
            let key = order(b, x, compute_type(k.dtype));
            let half = match shift {
                Some(shift) => {
                    let shift = b.cast(DType::U64, shift);
                    let half = b.binary(BinaryOp::Shr, key, shift);
                    self::position(b, half)
                }
                None => key,
            };
            b.binary(BinaryOp::Xor, half, flip)
        }
    };
    let word = word(b, key, position);
    b.store(tile, i, word);
    b.end_for();
    b.barrier();

    let one = b.idx(1);
    let zero = b.idx(0);
    let width = b.var("width", one);
    let from = b.var("from", zero);
    b.begin_while();
    let w = b.get(width);
    let more = b.compare(CmpOp::Lt, w, count);
    b.while_cond(more);
    let w = b.get(width);
    let here = b.get(from);
    let there = b.sub(size, here);
    let i = b.begin_for(lane, count, step, Unroll::Never);
    let at = b.add(here, i);
    let mine = b.load(tile, at);
    let place = rank(b, [i, w, count], mine, |b, i| {
        let at = b.add(here, i);
        b.load(tile, at)
    });
    let at = b.add(there, place);
    b.store(tile, at, mine);
    b.end_for();
    b.barrier();
    b.set(from, there);
    let twice = b.add(w, w);
    b.set(width, twice);
    b.end_while();

    let here = b.get(from);
    let i = b.begin_for(lane, count, step, Unroll::Never);
    let at = b.add(here, i);
    let word = b.load(tile, at);
    let to = b.add(row_at, first);
    let to = b.add(to, i);
    let v = leave(b, word, leaves, before.map(|p| (Place::Buffer(p), row_at)));
    b.store(Place::Buffer(out), to, v);
    b.end_for();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: (rows * per_row) as u64 })
}

/// Makes the kernel that merges neighbouring sorted runs of `width` words, a power of two, of `rows` rows of `n`. Bindings: words, the
/// positions that an earlier sort left when `through`, output.
pub fn merges(rows: usize, n: usize, width: usize, through: bool, leaves: Leaves, lanes: u32) -> Result<Made> {
    let mut m = Maker::new("merge", lanes);
    let n_v = m.extent("len", n);
    let total = m.extent("total", rows * n);
    let width = m.extent("width", width);
    let words = Place::Buffer(m.b.buffer("words", DType::U64, Access::Read));
    let before = through.then(|| m.b.buffer("before", DType::U32, Access::Read));
    let out = m.b.buffer("out", leaves_type(leaves), Access::Write);
    let b = &mut m.b;
    let at = b.builtin(Builtin::GlobalId(0));
    let inside = b.compare(CmpOp::Lt, at, total);
    b.begin_if(inside);
    let i = b.binary(BinaryOp::Rem, at, n_v);
    let row_at = b.sub(at, i);
    let mine = b.load(words, at);
    let place = rank(b, [i, width, n_v], mine, |b, i| {
        let at = b.add(row_at, i);
        b.load(words, at)
    });
    let to = b.add(row_at, place);
    let v = leave(b, mine, leaves, before.map(|p| (Place::Buffer(p), row_at)));
    b.store(Place::Buffer(out), to, v);
    b.end_if();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: ((rows * n) as u64).div_ceil(lanes as u64) })
}

fn leaves_type(leaves: Leaves) -> DType {
    match leaves {
        Leaves::Words => DType::U64,
        Leaves::Positions => DType::U32,
    }
}

/// A word's form in the output; positions of a second sort lead through those of the first, which begin at the given place.
fn leave(b: &mut Builder, word: Value, leaves: Leaves, through: Option<(Place, Value)>) -> Value {
    match leaves {
        Leaves::Words => word,
        Leaves::Positions => {
            let p = position(b, word);
            match through {
                None => p,
                Some((before, row_at)) => {
                    let p = b.cast(Elem::Idx, p);
                    let at = b.add(row_at, p);
                    b.load(before, at)
                }
            }
        }
    }
}

fn word(b: &mut Builder, key: Value, position: Value) -> Value {
    let key = b.cast(DType::U64, key);
    let by = b.integer(DType::U64, 32);
    let high = b.binary(BinaryOp::Shl, key, by);
    let low = b.cast(DType::U64, position);
    b.binary(BinaryOp::Or, high, low)
}

/// The key of a word.
pub(super) fn key(b: &mut Builder, word: Value) -> Value {
    let by = b.integer(DType::U64, 32);
    let high = b.binary(BinaryOp::Shr, word, by);
    b.cast(DType::U32, high)
}

/// The low half of a word: its position.
pub(super) fn position(b: &mut Builder, word: Value) -> Value {
    let mask = b.integer(DType::U64, u32::MAX as i64);
    let low = b.binary(BinaryOp::And, word, mask);
    b.cast(DType::U32, low)
}

/// Where element `i` with the word `mine` goes when runs of `width` are merged in pairs, in a row of `count`.
fn rank(
    b: &mut Builder,
    [i, width, count]: [Value; 3],
    mine: Value,
    load: impl Fn(&mut Builder, Value) -> Value,
) -> Value {
    // The place in the pair of runs, in the own run, and which of the two that is.
    let one = b.idx(1);
    let zero = b.idx(0);
    let two = b.add(width, width);
    let mask = b.sub(two, one);
    let in_pair = b.binary(BinaryOp::And, i, mask);
    let pair = b.sub(i, in_pair);
    let mask = b.sub(width, one);
    let in_run = b.binary(BinaryOp::And, i, mask);
    let second = b.compare(CmpOp::Ge, in_pair, width);
    // The other run begins at or before the end of the row, and ends there at the latest.
    let middle = b.add(pair, width);
    let other = b.select(second, pair, middle);
    let other = b.binary(BinaryOp::Min, other, count);
    let end = b.add(other, width);
    let end = b.binary(BinaryOp::Min, end, count);
    let len = b.sub(end, other);
    let smaller = below(b, [zero, len, width], mine, |b, k| {
        let inside = b.compare(CmpOp::Lt, k, len);
        let at = b.add(other, k);
        // An element is not below itself.
        let at = b.select(inside, at, i);
        load(b, at)
    });
    let place = b.add(pair, in_run);
    b.add(place, smaller)
}

/// How many of the first `len` rising words are below `mine`, from `start` on: `top` is a power of two and at least `len`. Past the
/// end `load` gives a word that is not below.
fn below(
    b: &mut Builder,
    [start, len, top]: [Value; 3],
    mine: Value,
    load: impl Fn(&mut Builder, Value) -> Value,
) -> Value {
    let one = b.idx(1);
    let zero = b.idx(0);
    let found = b.var("found", start);
    let by = b.var("by", top);
    b.begin_while();
    let s = b.get(by);
    let more = b.compare(CmpOp::Gt, s, zero);
    b.while_cond(more);
    let s = b.get(by);
    let so_far = b.get(found);
    let next = b.add(so_far, s);
    let probe = b.sub(next, one);
    let there = load(b, probe);
    let inside = b.compare(CmpOp::Le, next, len);
    let less = b.compare(CmpOp::Lt, there, mine);
    let less = b.binary(BinaryOp::And, inside, less);
    let found_now = b.select(less, next, so_far);
    b.set(found, found_now);
    let half = b.binary(BinaryOp::Shr, s, one);
    b.set(by, half);
    b.end_while();
    b.get(found)
}

/// [`below`] in a sorted row of words that begins at `base`; it is not empty.
pub(super) fn words_below(
    b: &mut Builder,
    words: Place,
    base: Option<Value>,
    [len, top]: [Value; 2],
    mine: Value,
) -> Value {
    let zero = b.idx(0);
    let one = b.idx(1);
    let last = b.sub(len, one);
    below(b, [zero, len, top], mine, |b, k| {
        let at = b.binary(BinaryOp::Min, k, last);
        let at = match base {
            Some(base) => b.add(base, at),
            None => at,
        };
        b.load(words, at)
    })
}

/// What orders an element, from its compute type: 32 bits, or 64.
fn order(b: &mut Builder, x: Value, dtype: DType) -> Value {
    let bits = if wide(dtype) { DType::U64 } else { DType::U32 };
    let width = 8 * bits.size() as u32;
    let sign = b.bits(Type::scalar(bits), 1 << (width - 1));
    match dtype {
        DType::F32 | DType::F64 => {
            // By the bits alone: subnormals keep their order where arithmetic flushes them.
            let raw = b.bitcast(bits, x);
            let rest = b.bits(Type::scalar(bits), u64::MAX >> (65 - width));
            let magnitude = b.binary(BinaryOp::And, raw, rest);
            let infinity = if wide(dtype) { f64::INFINITY.to_bits() } else { f32::INFINITY.to_bits() as u64 };
            let infinity = b.bits(Type::scalar(bits), infinity);
            let nan = b.compare(CmpOp::Gt, magnitude, infinity);
            let negative = b.compare(CmpOp::Ne, raw, magnitude);
            // Negative numbers rise as their magnitude falls; both zeros land on the sign bit.
            let up = b.add(sign, magnitude);
            let down = b.sub(sign, magnitude);
            let key = b.select(negative, down, up);
            let top = b.bits(Type::scalar(bits), u64::MAX >> (64 - width));
            b.select(nan, top, key)
        }
        DType::I64 | DType::I32 | DType::I16 | DType::I8 => {
            let signed = if wide(dtype) { DType::I64 } else { DType::I32 };
            let x = b.cast(signed, x);
            let raw = b.bitcast(bits, x);
            b.binary(BinaryOp::Xor, raw, sign)
        }
        _ => b.cast(bits, x),
    }
}
