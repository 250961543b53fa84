//! Boxes of tensors copied to shared memory: by the device itself where it does that, and lowered, beside numbers of the host; and what
//! a launch refuses of them.

mod common;

use anychip_hal::{
    DType, Device, Error, Result,
    device::{Checks, Grid, ScalarArg, Step},
    info::{Feature, FragmentShape},
    ir::*,
};

/// A tensor, a box's extents, where boxes begin in each axis, and how they lie in shared memory.
struct Case {
    dtype: DType,
    extents: Vec<usize>,
    /// Elements between neighbours, of all axes but the last.
    strides: Vec<usize>,
    origin: usize,
    size: [u16; 2],
    swizzle: Swizzle,
    /// One round after another, in the two slots by turns.
    boxes: Vec<Vec<usize>>,
}

impl Case {
    /// Every box is copied, waited for, and stored behind the one before.
    fn kernel(&self) -> Kernel {
        const LANES: u32 = 64;
        let rank = self.extents.len();
        let mut b = Builder::new("boxes", [LANES, 1, 1]);
        let x = b.param("x", ParamKind::Buffer { elem: self.dtype, access: Access::Read, align: 16 });
        let out = b.buffer("out", self.dtype, Access::Write);
        let mut scalar = |name: String| b.param(&name, ParamKind::Scalar { elem: Elem::Idx, role: Role::User });
        let origin = scalar("origin".into());
        let extents = (0..rank).map(|i| scalar(format!("extent{i}"))).collect();
        let strides = (1..rank).map(|i| scalar(format!("stride{i}"))).collect();
        let view = TileView { origin, extents, strides, size: self.size };
        let elements = view.elements();
        let stage = elements.next_multiple_of(1024);
        let (tile, bars) = (b.shared("tile", self.dtype, 2 * stage), b.shared("bars", DType::U64, 2));
        let lane = b.builtin(Builtin::LocalId(0));
        for (n, at) in self.boxes.iter().enumerate() {
            let (turn, parity) = (n as u32 % 2, n as u32 / 2 % 2);
            let (slot, parity, first) = (b.u32(turn), b.u32(parity), b.u32(turn * stage));
            let at = at.iter().map(|&i| b.idx(i as u64)).collect();
            let (view, swizzle) = (view.clone(), self.swizzle);
            b.effect(Op::CopyTile { dst: tile, dst_index: first, src: x, view, at, swizzle, bars, slot });
            b.effect(Op::TileCommit { bars, slot });
            b.effect(Op::TileWait { bars, slot, parity });
            b.barrier();
            let (all, by, before) = (b.u32(elements), b.u32(LANES), b.u32(n as u32 * elements));
            b.count(lane, all, by, |b, e| {
                let at = self.swizzled(b, e);
                let at = b.add(first, at);
                let v = b.load(Place::Shared(tile), at);
                let to = b.add(before, e);
                b.store(Place::Buffer(out), to, v);
            });
            b.barrier();
        }
        b.finish().expect("a well-formed kernel")
    }

    fn swizzled(&self, b: &mut Builder, at: Value) -> Value {
        if self.swizzle == Swizzle::NONE {
            return at;
        }
        let chunk = (16 / self.dtype.size()).trailing_zeros();
        let [down, mask, up] = [chunk + 3, 7, chunk].map(|n| b.u32(n));
        let row = b.binary(BinaryOp::Shr, at, down);
        let row = b.binary(BinaryOp::And, row, mask);
        let flip = b.binary(BinaryOp::Shl, row, up);
        b.binary(BinaryOp::Xor, at, flip)
    }

    /// The element at a place of the buffer.
    fn number(&self, place: usize) -> Vec<u8> {
        let x = place as u64 * 2_654_435_761 + 1;
        x.to_le_bytes()[..self.dtype.size()].to_vec()
    }

    fn want(&self) -> Vec<u8> {
        let rank = self.extents.len();
        let zero = vec![0; self.dtype.size()];
        let [rows, cols] = self.size.map(usize::from);
        let mut all = vec![];
        for at in &self.boxes {
            for (row, col) in (0..rows * cols).map(|e| (e / cols, e % cols)) {
                let mut i = at.clone();
                i[rank - 2] += row;
                i[rank - 1] += col;
                let strides = self.strides.iter().chain([&1]);
                let place = self.origin + i.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
                let inside = i.iter().zip(&self.extents).all(|(i, n)| i < n);
                all.extend(if inside { self.number(place) } else { zero.clone() });
            }
        }
        all
    }

    fn run(&self, d: &Device, checks: Checks, far: usize) -> Result<Vec<u8>> {
        let last = self.extents.iter().zip(self.strides.iter().chain([&1])).map(|(n, s)| (n - 1) * s).sum::<usize>();
        let x: Vec<u8> = (0..=self.origin + last).flat_map(|i| self.number(i)).collect();
        // As a part of a larger buffer lies, some elements behind its begin.
        let skipped = far * self.dtype.size();
        let whole = [vec![0xa5; skipped], x].concat();
        let bytes = self.boxes.len() * usize::from(self.size[0]) * usize::from(self.size[1]) * self.dtype.size();
        let (x, out) = (d.alloc_from(&whole)?, d.alloc(bytes as u64)?);
        let program = d.kernel(&self.kernel(), checks)?;
        let numbers = [self.origin].into_iter().chain(self.extents.iter().chain(&self.strides).copied());
        let scalars = numbers.map(|n| ScalarArg::Idx(n as u64)).collect();
        let bindings = vec![x.slice(skipped as u64, (whole.len() - skipped) as u64), out.all()];
        let launch = Step::Launch { program, grid: Grid::Linear(1), bindings, scalars };
        d.submit(&[launch]).and_then(|t| t.wait())?;
        let mut got = vec![0; bytes];
        d.download(&out, 0, &mut got)?;
        Ok(got)
    }
}

fn cases() -> Vec<Case> {
    let tile = FragmentShape::TILE;
    let case = |dtype, extents: &[usize], strides: &[usize], origin, size, swizzle, boxes: &[&[usize]]| Case {
        dtype,
        extents: extents.to_vec(),
        strides: strides.to_vec(),
        origin,
        size,
        swizzle,
        boxes: boxes.iter().map(|b| b.to_vec()).collect(),
    };
    vec![
        // Inside, over each edge, and beyond.
        case(
            DType::U16,
            &[70, 130],
            &[136],
            0,
            [64, 64],
            tile,
            &[&[0, 0], &[0, 128], &[64, 64], &[3, 66], &[70, 0], &[0, 192]],
        ),
        case(DType::U32, &[20, 50], &[52], 16, [16, 32], tile, &[&[0, 0], &[8, 32], &[16, 16]]),
        case(DType::U64, &[9, 20], &[22], 2, [4, 8], Swizzle::NONE, &[&[0, 0], &[7, 14], &[3, 5]]),
        case(DType::U8, &[9, 100], &[112], 32, [8, 32], Swizzle::NONE, &[&[0, 0], &[4, 90], &[1, 33]]),
        case(DType::I16, &[3, 40, 64], &[40 * 64, 64], 8, [32, 64], tile, &[&[0, 0, 0], &[2, 20, 0], &[3, 0, 0]]),
        case(
            DType::U16,
            &[2, 3, 2, 10, 24],
            &[3 * 512, 512, 256, 24],
            0,
            [8, 16],
            Swizzle::NONE,
            &[&[1, 2, 1, 0, 0], &[0, 1, 0, 4, 16], &[1, 3, 0, 0, 0]],
        ),
    ]
}

#[test]
fn boxes_are_copied_with_zeros_outside_of_their_tensor() {
    for d in common::devices("boxes_are_copied_with_zeros_outside_of_their_tensor") {
        for (n, case) in cases().iter().enumerate() {
            // SAFETY: boxes are read within the extents, which the buffer has.
            for checks in [unsafe { Checks::off() }, Checks::On] {
                for far in [0, 16] {
                    let got = case.run(&d, checks, far).unwrap_or_else(|e| panic!("case {n}, {checks:?}: {e}"));
                    let other = got.iter().zip(case.want()).position(|(got, want)| *got != want);
                    assert_eq!(other, None, "case {n}, {checks:?}, {far} elements behind");
                }
            }
        }
    }
}

#[test]
fn a_tensor_that_the_device_cannot_copy_from_is_refused_with_a_reason() {
    for d in common::devices("a_tensor_that_the_device_cannot_copy_from_is_refused_with_a_reason") {
        if !d.info().has(Feature::TileCopy) {
            println!("SKIPPED: {} copies no boxes", d.info().id);
            continue;
        }
        let mut by_odd = cases().remove(0);
        by_odd.strides = vec![131];
        let mut from_odd = cases().remove(0);
        from_odd.origin = 3;
        for case in [by_odd, from_odd] {
            // SAFETY: as above.
            match case.run(&d, unsafe { Checks::off() }, 0) {
                Err(Error::InvalidArgument(why)) => assert!(why.contains("multiple of 16 bytes"), "{why}"),
                other => panic!("{:?}", other.map(|_| "it ran")),
            }
            // Lanes copy any.
            assert!(case.run(&d, Checks::On, 0).expect("it is lowered") == case.want());
        }
    }
}
