//! Products of one fragment each: kernels for every shape that a chip has, and what they should give.

#![allow(dead_code, reason = "each test file uses a part of it")]

use anychip_hal::{DType, info::FragmentShape, ir::*};

/// Where operands are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Buffers.
    Buffers,
    /// Tiles in shared memory, filled by asynchronous copies of 16 bytes; permuted so.
    Tiles(Swizzle),
    /// The same as operands of the product, never held.
    Operands(Swizzle),
}

/// A matrix of `rows` × `cols` as it lies: lines, and the length of one.
fn lies((rows, cols): (u16, u16), layout: Layout) -> (u32, u32) {
    match layout {
        Layout::RowMajor => (rows.into(), cols.into()),
        Layout::ColMajor => (cols.into(), rows.into()),
    }
}

fn swizzled(b: &mut Builder, s: Swizzle, size: usize, at: Value) -> Value {
    if s == Swizzle::NONE {
        return at;
    }
    let chunk = (16 / size).trailing_zeros();
    let [down, mask, up] = [chunk + u32::from(s.bits + s.shift), (1 << s.bits) - 1, chunk].map(|n| b.u32(n));
    let row = b.binary(BinaryOp::Shr, at, down);
    let row = b.binary(BinaryOp::And, row, mask);
    let flip = b.binary(BinaryOp::Shl, row, up);
    b.binary(BinaryOp::Xor, at, flip)
}

/// `out = c + a·b`, stored by columns, and once more by visiting elements, each with its coordinates added. Bindings: a, b, c, out,
/// visited. `lanes`: more than a subgroup, each of which does the same.
pub fn product(s: &FragmentShape, from: From, [a_lies, b_lies]: [Layout; 2], lanes: u32) -> Kernel {
    let name = format!("product_{}_{}_{}_{}x{}x{}", s.a, s.b, s.acc, s.m, s.n, s.k);
    let mut b = Builder::new(&name, [lanes, 1, 1]);
    let scope = if s.subgroups > 1 { Scope::Workgroup } else { Scope::Subgroup };
    let frag = |role, elem| Frag { role, m: s.m, n: s.n, k: s.k, elem, scope };
    let buffers = |b: &mut Builder, name: &str, elem, access| {
        // Copies of 16 bytes need it.
        b.param(name, ParamKind::Buffer { elem, access, align: 16 })
    };
    let x = buffers(&mut b, "a", s.a, Access::Read);
    let y = buffers(&mut b, "b", s.b, Access::Read);
    let c = buffers(&mut b, "c", s.acc, Access::Read);
    let out = buffers(&mut b, "out", s.acc, Access::Write);
    let visited = buffers(&mut b, "visited", s.acc, Access::Write);
    let lane = b.builtin(Builtin::LocalId(0));
    let zero = b.u32(0);
    let operand = |b: &mut Builder, buf: ParamId, f: Frag, layout: Layout| -> FragOperand {
        let (lines, length) = lies(f.shape(), layout);
        let (size, stride) = (f.elem.size(), b.u32(length));
        let ty = Type::Frag(f);
        match from {
            From::Buffers => {
                let (place, swizzle) = (Place::Buffer(buf), Swizzle::NONE);
                let load = Op::FragLoad { place, index: zero, stride, layout, swizzle, aligned: false };
                FragOperand::Reg(b.define(ty, load))
            }
            From::Tiles(swizzle) | From::Operands(swizzle) => {
                let shared = b.shared("tile", f.elem, lines * length);
                let wide = 16 / size as u32;
                let (all, by, wide_v) = (b.u32(lines * length), b.u32(lanes * wide), b.u32(wide));
                let first = b.mul(lane, wide_v);
                b.count(first, all, by, |b, at| {
                    let to = swizzled(b, swizzle, size, at);
                    let (dst, src, elems) = (shared, buf, wide);
                    let (take, aligned) = (Some(wide_v), false);
                    b.effect(Op::CopyAsync { dst, dst_index: to, src, src_index: at, elems, take, aligned });
                });
                b.effect(Op::CopyCommit);
                b.effect(Op::CopyWait(0));
                b.barrier();
                match from {
                    From::Operands(_) => FragOperand::Tile { shared, index: zero, stride, layout, swizzle },
                    _ => {
                        let place = Place::Shared(shared);
                        let load = Op::FragLoad { place, index: zero, stride, layout, swizzle, aligned: false };
                        FragOperand::Reg(b.define(ty, load))
                    }
                }
            }
        }
    };
    let left = operand(&mut b, x, frag(FragRole::A, s.a), a_lies);
    let right = operand(&mut b, y, frag(FragRole::B, s.b), b_lies);
    let sums = Type::Frag(frag(FragRole::Acc, s.acc));
    let (width, height) = (b.u32(s.n.into()), b.u32(s.m.into()));
    let (place, layout, swizzle) = (Place::Buffer(c), Layout::RowMajor, Swizzle::NONE);
    let load = Op::FragLoad { place, index: zero, stride: width, layout, swizzle, aligned: false };
    let before = b.define(sums, load);
    let sum = b.var("sum", before);
    let before = b.get(sum);
    let after = b.define(sums, Op::FragMma { a: left, b: right, acc: before });
    b.set(sum, after);
    let after = b.get(sum);
    b.effect(Op::FragStore {
        frag: after,
        place: Place::Buffer(out),
        index: zero,
        stride: height,
        layout: Layout::ColMajor,
    });
    let (row, col, x) = b.begin_each(after);
    let at = b.mul_add(row, width, col);
    let number = b.cast(s.acc, at);
    let x = b.add(x, number);
    b.store(Place::Buffer(visited), at, x);
    b.end_each();
    b.finish().expect("a well-formed kernel")
}

/// Rows reduced, maps of every kind, and what they give as an operand: with `m` the largest and `s` the sum of a row of c, and
/// `d = 2·(c - m) + col`, it is `d·b + c + 3·s`. Bindings: c, b, out.
pub fn maps(s: &FragmentShape) -> Kernel {
    let mut b = Builder::new(&format!("maps_{}", s.a), [64, 1, 1]);
    let frag = |role, elem| Type::Frag(Frag { role, m: s.m, n: s.n, k: s.k, elem, scope: Scope::Subgroup });
    let c = b.buffer("c", s.acc, Access::Read);
    let y = b.buffer("b", s.b, Access::Read);
    let out = b.buffer("out", s.acc, Access::Write);
    let (zero, stride) = (b.u32(0), b.u32(s.n.into()));
    let load = |place| Op::FragLoad {
        place,
        index: zero,
        stride,
        layout: Layout::RowMajor,
        swizzle: Swizzle::NONE,
        aligned: false,
    };
    let (sums, rows) = (frag(FragRole::Acc, s.acc), frag(FragRole::Rows, s.acc));
    let c = b.define(sums, load(Place::Buffer(c)));
    let right = b.define(frag(FragRole::B, s.b), load(Place::Buffer(y)));
    let most = b.define(rows, Op::FragRows(ReduceOp::Max, c));
    let sum = b.define(rows, Op::FragRows(ReduceOp::Sum, c));
    let nothing = b.number(s.a, 0.0);
    let left = b.define(frag(FragRole::A, s.a), Op::FragFill(nothing));
    let left = b.var("left", left);
    b.map(left, &[c, most], |b, [_, col], of| {
        let x = b.sub(of[0], of[1]);
        let x = b.add(x, x);
        let col = b.cast(s.acc, col);
        let x = b.add(x, col);
        b.cast(s.a, x)
    });
    let thrice = b.var("thrice", sum);
    b.map(thrice, &[sum, sum], |b, _, of| {
        let twice = b.add(of[0], of[1]);
        b.add(twice, of[0])
    });
    let (left, thrice) = (b.get(left), b.get(thrice));
    let (x, y) = (FragOperand::Reg(left), FragOperand::Reg(right));
    let product = b.define(sums, Op::FragMma { a: x, b: y, acc: c });
    let done = b.var("done", product);
    b.map(done, &[product, thrice], |b, _, of| b.add(of[0], of[1]));
    let frag = b.get(done);
    b.effect(Op::FragStore { frag, place: Place::Buffer(out), index: zero, stride, layout: Layout::RowMajor });
    b.finish().expect("a well-formed kernel")
}

/// Small whole numbers, some below zero where the type has them: every order of a sum gives the same.
pub fn number(d: DType, i: usize) -> i64 {
    let x = (i * 7 + i / 5) as i64 % 9;
    if d.is_int() && !d.is_signed() { x } else { x - 4 }
}

/// A number as it lies in memory.
pub fn bytes(d: DType, x: i64) -> Vec<u8> {
    match d {
        DType::F16 => half::f16::from_f32(x as f32).to_le_bytes().to_vec(),
        DType::BF16 => half::bf16::from_f32(x as f32).to_le_bytes().to_vec(),
        DType::F32 => (x as f32).to_le_bytes().to_vec(),
        d => x.to_le_bytes()[..d.size()].to_vec(),
    }
}

/// A matrix `element(row, col)` in its layout.
pub fn matrix(d: DType, shape: (u16, u16), layout: Layout, element: impl Fn(usize, usize) -> i64) -> Vec<u8> {
    let (lines, length) = lies(shape, layout);
    let all = (0..lines as usize).flat_map(|line| (0..length as usize).map(move |along| (line, along)));
    all.flat_map(|(line, along)| {
        let (row, col) = if layout == Layout::RowMajor { (line, along) } else { (along, line) };
        bytes(d, element(row, col))
    })
    .collect()
}
