//! Tiles of operands in shared memory: copied there by all lanes of a workgroup, permuted so that fragments are read from all banks
//! at once, zero beyond the operand's edges.

use super::Map;
use anychip_hal::DType;
use anychip_hal::ir::{
    BinaryOp, Builder, CmpOp, Elem, Frag, FragRole, Layout, Op, ParamId, Place, SharedId, Swizzle, Type, Value,
};

/// How a tile of lines of so many bytes is permuted: eight neighbours of a column lie in eight parts of 16 bytes of the banks.
pub fn swizzle(line: u32) -> Swizzle {
    match line.trailing_zeros() {
        r @ 7.. => Swizzle { bits: 3, shift: (r - 7) as u8 },
        6 => Swizzle { bits: 2, shift: 1 },
        5 => Swizzle { bits: 1, shift: 2 },
        _ => Swizzle::NONE,
    }
}

/// Elements that can be copied at once: a line's beginning, its distance to the next and the batches' are multiples.
pub fn together(map: &Map, size: usize, line: u32) -> u32 {
    let all = map.strides.iter().filter(|s| **s != 1).map(|s| s.unsigned_abs()).chain([map.offset.unsigned_abs()]);
    let common = all.fold(0, |a, b| a | b);
    let most = (16 / size as u32).min(line);
    if common == 0 { most } else { most.min(1 << common.trailing_zeros().min(8)) }
}

/// How an operand lies, and its tiles.
#[derive(Clone, Copy)]
pub struct Lies {
    /// Where it comes from.
    pub buf: ParamId,
    /// Where its tiles are, one behind the other.
    pub shared: SharedId,
    /// The extent that advances lies side by side; else lines do.
    pub inner: bool,
    /// Elements of a line of a tile, a power of two.
    pub line: u32,
    /// Lines of a tile.
    pub lines: u32,
    /// Bytes of an element.
    pub size: u32,
    /// Elements of a copy.
    pub width: u32,
    /// Lanes that copy.
    pub lanes: u32,
}

/// An operand: where it comes from, and its tiles in shared memory.
pub struct Side {
    buf: ParamId,
    shared: SharedId,
    /// The extent that advances lies side by side: of a product a line is a row of the left operand or a column of the right one.
    pub inner: bool,
    line: u32,
    lines: u32,
    swizzle: Swizzle,
    size: u32,
    /// Elements of a copy, and lanes that copy.
    width: u32,
    lanes: u32,
    /// Elements between lines.
    far: Value,
    /// Of this lane's first copy: its line, where it begins in it, the same in the buffer and in the tile.
    own_line: Value,
    own_along: Value,
    from: Value,
    to: Value,
    /// First row or column of the tile, and how many there are, where the last tile has fewer.
    edge: Option<(Value, Value)>,
    /// The inner extent where the last stage has less of it.
    inner_edge: Option<Value>,
}

impl Side {
    /// `at`: the first tile's first element, and elements between lines. `edge`: the first row or column of the tile and how many there
    /// are, where tiles may have fewer; `inner_edge`: the extent that advances, where the last tile has less of it.
    pub fn new(
        b: &mut Builder,
        l: Lies,
        (base, far): (Value, Value),
        lane: Value,
        edge: Option<(Value, Value)>,
        inner_edge: Option<Value>,
        swizzled: bool,
    ) -> Side {
        let (copies, copied) = (b.u32(l.line / l.width), b.u32(l.width));
        let own_line = b.binary(BinaryOp::Div, lane, copies);
        let own_along = b.binary(BinaryOp::Rem, lane, copies);
        let own_along = b.mul(own_along, copied);
        let (far_line, far_along) = (b.cast(Elem::Idx, own_line), b.cast(Elem::Idx, own_along));
        let from = b.mul(far_line, far);
        let from = b.add(base, from);
        let from = b.add(from, far_along);
        let swizzle = if swizzled { swizzle(l.line * l.size) } else { Swizzle::NONE };
        let Lies { buf, shared, inner, line, lines, size, width, lanes } = l;
        let to = b.u32(0);
        let mut side = Side {
            buf,
            shared,
            inner,
            line,
            lines,
            swizzle,
            size,
            width,
            lanes,
            far,
            own_line,
            own_along,
            from,
            to,
            edge,
            inner_edge,
        };
        let length = b.u32(line);
        let at = b.mul(own_line, length);
        let at = b.add(at, own_along);
        side.to = side.swizzled(b, at);
        side
    }

    /// Elements of a stage.
    pub fn stage(&self) -> u32 {
        self.line * self.lines
    }

    fn swizzled(&self, b: &mut Builder, at: Value) -> Value {
        let Swizzle { bits, shift } = self.swizzle;
        if bits == 0 {
            return at;
        }
        let chunk = (16 / self.size).trailing_zeros();
        let [down, mask, up] = [chunk + u32::from(bits + shift), (1 << bits) - 1, chunk].map(|n| b.u32(n));
        let row = b.binary(BinaryOp::Shr, at, down);
        let row = b.binary(BinaryOp::And, row, mask);
        let flip = b.binary(BinaryOp::Shl, row, up);
        b.binary(BinaryOp::Xor, at, flip)
    }

    /// Elements of a tile after which its permutation is the same again.
    fn period(&self) -> u32 {
        let Swizzle { bits, shift } = self.swizzle;
        (16 / self.size) << (2 * bits + shift)
    }

    /// Starts this lane's copies of the tile whose inner extent begins at `k`, to the stage that begins at `stage`.
    pub fn fill(&self, b: &mut Builder, stage: Value, k: Value) {
        let of_line = self.line / self.width;
        let (per_pass, passes_of_line) = ((self.lanes / of_line).max(1), (of_line / self.lanes).max(1));
        let passes = self.lines.div_ceil(per_pass) * passes_of_line;
        let first = match self.inner {
            true => b.add(self.from, k),
            false => {
                let line = b.mul(k, self.far);
                b.add(self.from, line)
            }
        };
        for pass in 0..passes {
            let (line, along) = (pass / passes_of_line * per_pass, pass % passes_of_line * self.lanes * self.width);
            let own_line = add_c(b, self.own_line, line);
            let all_lines = line + per_pass <= self.lines;
            if !all_lines {
                let lines = b.u32(self.lines);
                let is_line = b.compare(CmpOp::Lt, own_line, lines);
                b.begin_if(is_line);
            }
            let further = line * self.line + along;
            let to = if further.is_multiple_of(self.period()) {
                add_c(b, self.to, further)
            } else {
                let (length, own_along) = (b.u32(self.line), add_c(b, self.own_along, along));
                let at = b.mul(own_line, length);
                let at = b.add(at, own_along);
                self.swizzled(b, at)
            };
            let to = b.add(stage, to);
            let dst_index = b.assume_multiple(to, self.width);
            let lines = b.idx(u64::from(line));
            let far = b.mul(self.far, lines);
            let src = b.add(first, far);
            let along_v = b.idx(u64::from(along));
            let src = b.add(src, along_v);
            let src_index = b.assume_multiple(src, self.width);
            let take = self.take(b, k, line, along);
            let (dst, src, elems) = (self.shared, self.buf, self.width);
            b.effect(Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned: false });
            if !all_lines {
                b.end_if();
            }
        }
    }

    /// How many elements of a copy are inside of the operand.
    fn take(&self, b: &mut Builder, k: Value, line: u32, along: u32) -> Option<Value> {
        let at = |b: &mut Builder, first: Value, own: Value, further: u32| {
            let own = add_c(b, own, further);
            let own = b.cast(Elem::Idx, own);
            b.add(first, own)
        };
        let across = self.edge;
        let inner = self.inner_edge.map(|end| (k, end));
        let (of_lines, of_along) = if self.inner { (across, inner) } else { (inner, across) };
        let mut take = None;
        if let Some((first, end)) = of_along {
            let at = at(b, first, self.own_along, along);
            let (left, most, none) = (b.sub(end, at), b.idx(u64::from(self.width)), b.idx(0));
            let left = b.binary(BinaryOp::Min, left, most);
            let inside = b.compare(CmpOp::Lt, at, end);
            let left = b.select(inside, left, none);
            take = Some(b.cast(DType::U32, left));
        }
        if let Some((first, end)) = of_lines {
            let at = at(b, first, self.own_line, line);
            let inside = b.compare(CmpOp::Lt, at, end);
            let all = take.unwrap_or_else(|| b.u32(self.width));
            let none = b.u32(0);
            take = Some(b.select(inside, all, none));
        }
        take
    }

    /// The fragment that begins `across` rows or columns and `deep` of its product's inner extent into the part that begins at `part`;
    /// `inner`: that extent lies side by side.
    pub fn load(&self, b: &mut Builder, frag: Frag, part: Value, across: u32, deep: u32, inner: bool) -> Value {
        let at = if inner { across * self.line + deep } else { deep * self.line + across };
        let index = add_c(b, part, at);
        let stride = b.u32(self.line);
        let layout = if inner == (frag.role == FragRole::A) { Layout::RowMajor } else { Layout::ColMajor };
        let (place, swizzle) = (Place::Shared(self.shared), self.swizzle);
        b.define(Type::Frag(frag), Op::FragLoad { place, index, stride, layout, swizzle, aligned: false })
    }

    /// Where a subgroup's part begins, `across` rows or columns into a stage.
    pub fn part(&self, b: &mut Builder, across: Value) -> Value {
        if !self.inner {
            return across;
        }
        let line = b.u32(self.line);
        b.mul(across, line)
    }
}

/// `v + c`.
pub fn add_c(b: &mut Builder, v: Value, c: u32) -> Value {
    if c == 0 {
        return v;
    }
    let c = b.u32(c);
    b.add(v, c)
}
