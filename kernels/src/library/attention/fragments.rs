//! Attention by matrix fragments: a subgroup takes strips of query rows through all keys. Scores, weights, the largest score and the sum
//! of each row and the result stay in fragments; keys and values come through shared memory, a block ahead.
//!
//! A weight meets the values as two of the operands' type: what it is rounded to, and what that took from it, rounded again. So it
//! keeps 22 bits in f16 and 16 in bf16.

use super::{Attention, Maps};
use crate::library::{
    Made,
    emit::Maker,
    pipeline::next,
    tiles::{Lies, Side, add_c, together},
};
use anychip_hal::{
    DType, Result,
    ir::{
        Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Frag, FragOperand, FragRole, Op, ParamId, Place, ReduceOp,
        Scope, Type, UnaryOp, Unroll, Value, VarId,
    },
};

/// A schedule, for fragments of 16 × 16 × 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Strips {
    /// Strips of 16 query rows of a subgroup.
    pub rows: u32,
    /// Subgroups of a workgroup, one below the other.
    pub subgroups: u32,
    /// Keys of a block, a power of two.
    pub keys: u32,
    /// Lanes of a subgroup.
    pub subgroup: u32,
}

/// Edge of the fragments.
const EDGE: u32 = 16;
/// The weight of the largest score in f16, so that the remainders of small weights are not below its range. A row is divided by the sum
/// of such, and powers of two are exact.
const LIFT: f32 = 4096.0;
/// Blocks of keys and values in shared memory: one is read while the other comes.
const STAGES: u32 = 2;

impl Strips {
    /// Query rows of a workgroup.
    pub fn height(&self) -> u32 {
        self.rows * self.subgroups * EDGE
    }

    /// Bytes of shared memory for heads of this width.
    pub fn shared(&self, width: u32, size: u32) -> u32 {
        (self.height() + 2 * STAGES * self.keys) * width * size
    }
}

impl std::fmt::Display for Strips {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "by fragments, {} rows x {} keys, {} subgroups", self.height(), self.keys, self.subgroups)
    }
}

/// Whether the kernel can be made: heads of a power of two, rows side by side, no negative scale unless a mask is added behind it.
pub fn suits(a: &Attention) -> bool {
    let [.., width, out_width] = a.dims;
    let side_by_side = [&a.q, &a.k, &a.v].iter().all(|m| m.strides[3] == 1 && m.strides[2] > 0);
    let heads = width == out_width && width.is_power_of_two() && (16..=128).contains(&width);
    let ordered = a.mask.is_some() || a.scale >= 0.0;
    heads && side_by_side && ordered && matches!(a.dtype, DType::F16 | DType::BF16)
}

/// Makes the kernel where it [`suits`]. Bindings: queries, keys, values, mask where there is one, output.
pub fn attention(a: &Attention, s: Strips) -> Result<Option<Made>> {
    if !suits(a) || !s.keys.is_power_of_two() || s.keys < EDGE {
        return Ok(None);
    }
    let [batch, heads, rows, keys, width, _] = a.dims;
    let (wide, size, lanes) = (width as u32, a.dtype.size(), s.subgroups * s.subgroup);
    let [q_copy, k_copy, v_copy] = [&a.q, &a.k, &a.v].map(|m| together(m, size, wide));
    let mut m = Maker::owning("attention_fragments", lanes, q_copy.max(k_copy).max(v_copy) as u8);
    let maps = Maps::declare(&mut m, a);
    let blocks = rows.div_ceil(s.height() as usize);
    let (blocks_v, heads_v) = (m.extent("blocks", blocks), m.extent("heads", heads));
    let shared_v = m.extent("shared", heads / a.groups.max(1));
    let (rows_v, keys_v) = (m.extent("rows", rows), m.extent("keys", keys));
    let [q_far, k_far, v_far] =
        [("q_far", &a.q), ("k_far", &a.k), ("v_far", &a.v)].map(|(name, map)| m.stride(name, map.strides[2] as usize));
    // Powers of two are cheaper than those of e. A mask is added to what has been scaled.
    let first_scale = a.mask.is_some().then(|| m.float("first_scale", a.scale));
    let last_scale = if a.mask.is_some() { 1.0 } else { a.scale };
    let scale = m.float("scale", last_scale * std::f32::consts::LOG2_E);
    let [q_buf, k_buf, v_buf] = ["q", "k", "v"].map(|name| m.buffer(name, a.dtype, Access::Read));
    let mask_buf = maps.mask.is_some().then(|| m.b.buffer("mask", a.dtype, Access::Read));
    let out_buf = m.b.buffer("out", a.dtype, Access::Write);
    let q_tile = m.b.shared("q_tile", a.dtype, s.height() * wide);
    let [k_tiles, v_tiles] = ["k_tiles", "v_tiles"].map(|name| m.b.shared(name, a.dtype, s.keys * wide * STAGES));
    let b = &mut m.b;

    // The last rows first: where only earlier keys are seen they have the most.
    let unit = b.builtin(Builtin::GroupId(0));
    let block = b.binary(BinaryOp::Rem, unit, blocks_v);
    let (zero, one, zero_k, one_k) = (b.u32(0), b.u32(1), b.idx(0), b.idx(1));
    let last = b.sub(blocks_v, one_k);
    let block = b.sub(last, block);
    let head = b.binary(BinaryOp::Div, unit, blocks_v);
    let which = b.binary(BinaryOp::Div, head, heads_v);
    let head = b.binary(BinaryOp::Rem, head, heads_v);
    let group = b.binary(BinaryOp::Div, head, shared_v);
    let height = b.idx(u64::from(s.height()));
    let first_row = b.mul(block, height);
    let q_base = maps.q.index(b, maps.q.origin(), 0, &[which, head, first_row]).unwrap_or(zero_k);
    let k_base = maps.k.index(b, maps.k.origin(), 0, &[which, group]).unwrap_or(zero_k);
    let v_base = maps.v.index(b, maps.v.origin(), 0, &[which, group]).unwrap_or(zero_k);
    let out_base = maps.out.index(b, maps.out.origin(), 0, &[which, head]);
    let mask = maps.mask.as_ref().zip(mask_buf).zip(first_scale).map(|((args, buf), by)| {
        let base = args.index(b, args.origin(), 0, &[which, head]);
        (args, buf, base, by)
    });
    let (last_row, last_key) = (b.sub(rows_v, one_k), b.sub(keys_v, one_k));
    let lane = b.builtin(Builtin::LocalId(0));
    let lies = |buf: ParamId, shared, inner, lines, copied| Lies {
        buf,
        shared,
        inner,
        line: wide,
        lines,
        size: size as u32,
        width: copied,
        lanes,
    };
    let q = lies(q_buf, q_tile, true, s.height(), q_copy);
    let q = Side::new(b, q, (q_base, q_far), lane, Some((first_row, rows_v)), None, true);
    let key_edge = (!keys.is_multiple_of(s.keys as usize)).then_some(keys_v);
    let mut stream = |buf, shared, copied, at| {
        let lies = lies(buf, shared, false, s.keys, copied);
        Side::new(b, lies, at, lane, None, key_edge, true)
    };
    let k = stream(k_buf, k_tiles, k_copy, (k_base, k_far));
    let v = stream(v_buf, v_tiles, v_copy, (v_base, v_far));
    let frag = |role, elem| Frag { role, m: EDGE as u16, n: EDGE as u16, k: EDGE as u16, elem, scope: Scope::Subgroup };
    let (sums, per_row) = (frag(FragRole::Acc, DType::F32), frag(FragRole::Rows, DType::F32));
    let (left, right) = (frag(FragRole::A, a.dtype), frag(FragRole::B, a.dtype));

    let seen = match a.causal {
        true => {
            let past = b.add(first_row, height);
            b.binary(BinaryOp::Min, past, keys_v)
        }
        false => keys_v,
    };
    let block_keys = b.idx(u64::from(s.keys));
    let before_last = b.idx(u64::from(s.keys - 1));
    let rounds = b.add(seen, before_last);
    let rounds = b.binary(BinaryOp::Div, rounds, block_keys);
    let rounds = b.cast(DType::U32, rounds);

    // As many subgroups' rows at a time as there are subgroups: all, where the device holds fragments itself.
    let (subgroup, all_lanes, parts) = (b.builtin(Builtin::SubgroupSize), b.u32(lanes), b.u32(s.subgroups));
    let at_once = b.binary(BinaryOp::Div, all_lanes, subgroup);
    let number = b.builtin(Builtin::SubgroupId);
    let turn = b.begin_for(zero, parts, at_once, Unroll::Auto);
    b.barrier();
    let part = b.add(turn, number);
    let part_rows = b.u32(s.rows * EDGE);
    let part_row = b.mul(part, part_rows);
    let fill = |b: &mut Builder, stage: Value, round: Value| {
        let first = b.cast(Elem::Idx, round);
        let first = b.mul(first, block_keys);
        for side in [&k, &v] {
            let length = b.u32(side.stage());
            let at = b.mul(stage, length);
            side.fill(b, at, first);
        }
    };
    q.fill(b, zero, zero_k);
    fill(b, zero, zero);
    b.effect(Op::CopyCommit);

    let (nothing, lowest) = (b.f32(0.0), b.f32(f32::NEG_INFINITY));
    let lift = (a.dtype == DType::F16).then(|| b.f32(LIFT));
    let empty = b.define(Type::Frag(sums), Op::FragFill(nothing));
    let none = b.define(Type::Frag(per_row), Op::FragFill(nothing));
    let least = b.define(Type::Frag(per_row), Op::FragFill(lowest));
    let no_weight = b.number(a.dtype, 0.0);
    let no_weights = b.define(Type::Frag(left), Op::FragFill(no_weight));
    let mut vars = |name: &str, n: u32, init: Value| -> Vec<VarId> {
        (0..n).map(|i| b.var(&format!("{name}{i}"), init)).collect()
    };
    let (of_keys, of_width) = (s.keys / EDGE, wide / EDGE);
    let result: Vec<_> = (0..s.rows).map(|_| vars("result", of_width, empty)).collect();
    let (largest, total) = (vars("largest", s.rows, least), vars("total", s.rows, none));
    let (base, shrink) = (vars("base", s.rows, none), vars("shrink", s.rows, none));
    let scores: Vec<_> = (0..s.rows).map(|_| vars("scores", of_keys, empty)).collect();
    let (weights, rests) = (vars("weights", of_keys, no_weights), vars("rests", of_keys, no_weights));
    let across = vars("across", 1, empty)[0];
    let queries: Vec<_> = (0..s.rows).map(|_| vars("queries", of_width, no_weights)).collect();

    let (read, write) = (b.var("read", zero), b.var("write", one));
    let round = b.begin_for(zero, rounds, one, Unroll::Never);
    b.effect(Op::CopyWait(0));
    b.barrier();
    let coming = b.add(round, one);
    let exists = b.compare(CmpOp::Lt, coming, rounds);
    b.when(exists, |b| {
        let stage = b.get(write);
        fill(b, stage, coming);
    });
    b.effect(Op::CopyCommit);
    let is_first = b.compare(CmpOp::Eq, round, zero);
    b.when(is_first, |b| {
        let begin = q.part(b, part_row);
        let begin = b.assume_multiple(begin, 16);
        for (r, row) in queries.iter().enumerate() {
            for (c, var) in row.iter().enumerate() {
                let x = q.load(b, left, begin, r as u32 * EDGE, c as u32 * EDGE, true);
                b.set(*var, x);
            }
        }
    });
    let stage = b.get(read);
    let [k_at, v_at] = [&k, &v].map(|side| {
        let length = b.u32(side.stage());
        let at = b.mul(stage, length);
        b.assume_multiple(at, 16)
    });
    // Scores: a column of keys at a time is read for all strips.
    for n in 0..of_keys {
        let mut sum: Vec<Value> = vec![empty; s.rows as usize];
        for c in 0..of_width {
            let y = k.load(b, right, k_at, n * EDGE, c * EDGE, true);
            for (r, sum) in sum.iter_mut().enumerate() {
                let x = b.get(queries[r][c as usize]);
                let (x, y) = (FragOperand::Reg(x), FragOperand::Reg(y));
                *sum = b.define(Type::Frag(sums), Op::FragMma { a: x, b: y, acc: *sum });
            }
        }
        for (r, sum) in sum.into_iter().enumerate() {
            b.set(scores[r][n as usize], sum);
        }
    }
    // Keys that are not there, or not yet to be seen: only some blocks have them.
    let first_key = b.cast(Elem::Idx, round);
    let first_key = b.mul(first_key, block_keys);
    let end = b.add(first_key, block_keys);
    let beyond = b.compare(CmpOp::Gt, end, keys_v);
    let hides = match a.causal {
        true => {
            let later = b.sub(end, one_k);
            let later = b.compare(CmpOp::Gt, later, first_row);
            b.binary(BinaryOp::Or, later, beyond)
        }
        false => beyond,
    };
    let hide = |b: &mut Builder| {
        for (r, row) in scores.iter().enumerate() {
            let row_of_strip = add_c(b, part_row, r as u32 * EDGE);
            let row_of_strip = b.cast(Elem::Idx, row_of_strip);
            let row_of_strip = b.add(first_row, row_of_strip);
            for (n, var) in row.iter().enumerate() {
                let x = b.get(*var);
                b.map(*var, &[x], |b, [row, col], of| {
                    let col = add_c(b, col, n as u32 * EDGE);
                    let (row, col) = (b.cast(Elem::Idx, row), b.cast(Elem::Idx, col));
                    let (row, key) = (b.add(row_of_strip, row), b.add(first_key, col));
                    // Beyond the edges the last of the mask, which counts for nothing there.
                    let score = match mask {
                        Some((args, buf, base, by)) => {
                            let at =
                                [(row, last_row), (key, last_key)].map(|(x, last)| b.binary(BinaryOp::Min, x, last));
                            let at = args.index(b, base, 2, &at).unwrap_or(zero_k);
                            let more = b.load(Place::Buffer(buf), at);
                            let more = b.cast(DType::F32, more);
                            b.mul_add(of[0], by, more)
                        }
                        None => of[0],
                    };
                    let is = b.compare(CmpOp::Lt, key, keys_v);
                    let sees = match a.causal {
                        true => {
                            let earlier = b.compare(CmpOp::Le, key, row);
                            b.binary(BinaryOp::And, is, earlier)
                        }
                        false => is,
                    };
                    b.select(sees, score, lowest)
                });
            }
        }
    };
    match mask {
        Some(_) => hide(b),
        None => b.when(hides, hide),
    }
    for (r, row) in scores.iter().enumerate() {
        let all: Vec<Value> = row.iter().map(|v| b.get(*v)).collect();
        b.map(across, &all, |b, _, of| {
            of.iter().copied().reduce(|x, y| b.binary(BinaryOp::Max, x, y)).unwrap_or(lowest)
        });
        let most = b.get(across);
        let most = b.define(Type::Frag(per_row), Op::FragRows(ReduceOp::Max, most));
        let before = b.get(largest[r]);
        b.map(largest[r], &[before, most], |b, _, of| b.binary(BinaryOp::Max, of[0], of[1]));
        let now = b.get(largest[r]);
        // A row that has seen nothing yet has no largest score to subtract.
        b.map(base[r], &[now], |b, _, of| {
            let blind = b.compare(CmpOp::Eq, of[0], lowest);
            let scaled = b.mul(of[0], scale);
            let less = b.unary(UnaryOp::Neg, scaled);
            b.select(blind, nothing, less)
        });
        let of_base = b.get(base[r]);
        // No scale turns a key that is not seen into one that is.
        let weight = |b: &mut Builder, x: Value, base: Value| match last_scale > 0.0 {
            true => {
                let x = b.mul_add(x, scale, base);
                b.unary(UnaryOp::Exp2, x)
            }
            false => {
                let hidden = b.compare(CmpOp::Eq, x, lowest);
                let one = b.f32(1.0);
                b.select(hidden, nothing, one)
            }
        };
        b.map(shrink[r], &[before, of_base], |b, _, of| weight(b, of[0], of[1]));
        for (x, var) in all.iter().zip(row) {
            b.map(*var, &[*x, of_base], |b, _, of| {
                let weight = weight(b, of[0], of[1]);
                lift.map_or(weight, |by| b.mul(weight, by))
            });
        }
        let all: Vec<Value> = row.iter().map(|v| b.get(*v)).collect();
        b.map(across, &all, |b, _, of| of.iter().copied().reduce(|x, y| b.add(x, y)).unwrap_or(nothing));
        let sum = b.get(across);
        let sum = b.define(Type::Frag(per_row), Op::FragRows(ReduceOp::Sum, sum));
        let (old, shrinks) = (b.get(total[r]), b.get(shrink[r]));
        b.map(total[r], &[old, shrinks, sum], |b, _, of| b.mul_add(of[0], of[1], of[2]));
        for var in &result[r] {
            let x = b.get(*var);
            b.map(*var, &[x, shrinks], |b, _, of| b.mul(of[0], of[1]));
        }
    }
    // Values: of as many keys as a fragment is deep all strips' weights.
    for n in 0..of_keys {
        let left: Vec<[Value; 2]> = (0..s.rows as usize)
            .map(|r| {
                let x = b.get(scores[r][n as usize]);
                b.map(weights[n as usize], &[x], |b, _, of| b.cast(a.dtype, of[0]));
                b.map(rests[n as usize], &[x], |b, _, of| {
                    let rounded = b.cast(a.dtype, of[0]);
                    let rounded = b.cast(DType::F32, rounded);
                    let rest = b.sub(of[0], rounded);
                    b.cast(a.dtype, rest)
                });
                [weights[n as usize], rests[n as usize]].map(|v| b.get(v))
            })
            .collect();
        for c in 0..of_width {
            let y = v.load(b, right, v_at, c * EDGE, n * EDGE, false);
            for (r, parts) in left.iter().enumerate() {
                let var = result[r][c as usize];
                let mut sum = b.get(var);
                for &x in parts {
                    let (x, y) = (FragOperand::Reg(x), FragOperand::Reg(y));
                    sum = b.define(Type::Frag(sums), Op::FragMma { a: x, b: y, acc: sum });
                }
                b.set(var, sum);
            }
        }
    }
    next(b, read, STAGES);
    next(b, write, STAGES);
    b.end_for();
    b.effect(Op::CopyWait(0));

    for (r, row) in result.iter().enumerate() {
        let row_of_strip = add_c(b, part_row, r as u32 * EDGE);
        let row_of_strip = b.cast(Elem::Idx, row_of_strip);
        let row_of_strip = b.add(first_row, row_of_strip);
        let sum = b.get(total[r]);
        for (c, var) in row.iter().enumerate() {
            let x = b.get(*var);
            b.map(*var, &[x, sum], |b, _, of| b.binary(BinaryOp::Div, of[0], of[1]));
            let done = b.get(*var);
            let (row, col, x) = b.begin_each(done);
            let col = add_c(b, col, c as u32 * EDGE);
            let (row, col) = (b.cast(Elem::Idx, row), b.cast(Elem::Idx, col));
            let row = b.add(row_of_strip, row);
            let inside = b.compare(CmpOp::Lt, row, rows_v);
            b.begin_if(inside);
            let at = maps.out.index(b, out_base, 2, &[row, col]).unwrap_or(zero_k);
            let y = b.cast(a.dtype, x);
            b.store(Place::Buffer(out_buf), at, y);
            b.end_if();
            b.end_each();
        }
    }
    b.end_for();
    Ok(Some(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: (batch * heads * blocks) as u64 }))
}
