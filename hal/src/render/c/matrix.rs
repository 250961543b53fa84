//! Matrix fragments and asynchronous copies, in the words of a dialect's preamble.
//!
//! A fragment is a value of a type of its own, `frag<role, element, m, n, k>`; whoever visits its elements asks it where they are.

use super::{Boxes, Printer};
use crate::{Result, ir::*};
use std::fmt::Write;

impl Boxes {
    /// The tensor of which an operation copies a box.
    pub(super) fn of(k: &Kernel, op: &Op) -> Option<Boxes> {
        let Op::CopyTile { dst, src, view, swizzle, .. } = op else { return None };
        let bytes = k.elem_bytes(k.shared[dst.at()].elem);
        Some(Boxes { buffer: *src, view: view.clone(), bytes, swizzled: *swizzle != Swizzle::NONE })
    }
}

impl Printer<'_> {
    /// The type of a fragment.
    pub(super) fn fragment(&self, f: Frag) -> Result<String> {
        if self.d.fragments.is_none() {
            return Err(self.unsupported("matrix fragments must be lowered by the legaliser"));
        }
        if f.scope != Scope::Subgroup && (self.d.wide_fragments.is_none() || f.role != FragRole::Acc) {
            return Err(self.unsupported(format!("a {:?} of a {:?}: the legaliser lowers it", f.role, f.scope)));
        }
        let role = match f.role {
            FragRole::A => "FRAG_A",
            FragRole::B => "FRAG_B",
            FragRole::Acc => "FRAG_SUM",
            FragRole::Rows => "FRAG_ROWS",
        };
        Ok(format!("frag<{role}, {}, {}, {}, {}>", self.pointee(Elem::D(f.elem), true)?, f.m, f.n, f.k))
    }

    pub(super) fn of_workgroup(&self, ty: Type) -> bool {
        matches!(ty, Type::Frag(f) if f.scope == Scope::Workgroup)
    }

    /// Whether an operation, or one inside of it, needs products that run apart to be done: it reads or sets their sums, lets other
    /// lanes go on, or leaves the block.
    pub(super) fn must_wait(&self, inst: &Inst) -> bool {
        let needs = |i: &Inst| match &i.op {
            Op::Barrier(_) | Op::Break | Op::Continue | Op::Return => true,
            Op::FragStore { .. } | Op::FragEach { .. } | Op::FragMap { .. } | Op::FragRows(..) => true,
            Op::Get(v) | Op::Set(v, _) => self.apart.contains(v),
            _ => false,
        };
        let mut inside = false;
        inst.op.blocks().iter().for_each(|b| visit(b, &mut |i| inside |= needs(i)));
        !self.apart.is_empty() && (inside || needs(inst))
    }

    /// Waits for the products that a workgroup has begun; no compiler moves a use of their sums before that.
    pub(super) fn wait_for_products(&mut self) {
        for (n, v) in std::mem::take(&mut self.apart).into_iter().enumerate() {
            if n == 0 {
                self.line("products_done();");
            }
            let text = format!("frag_fence({});", self.var_name(v));
            self.line(&text);
        }
    }

    fn fragment_of(&self, v: Value) -> Result<Frag> {
        match self.k.ty(v) {
            Type::Frag(f) => Ok(f),
            Type::Num { .. } => Err(self.unsupported("a number stands where a matrix fragment must")),
        }
    }

    /// A pointer to a place's elements, in their own type.
    fn elements(&self, place: Place, writes: bool) -> String {
        match self.small(self.place_elem(place)) {
            Some(small) => self.small_pointer(small, place, writes),
            None => self.place_name(place),
        }
    }

    /// A fragment or an operand of a product as an expression.
    pub(super) fn fragment_value(&mut self, op: &Op, ty: Type) -> Result<String> {
        let Type::Frag(f) = ty else { return Err(self.unsupported("a fragment operation gives a number")) };
        Ok(match op {
            Op::FragFill(v) => {
                let x = match self.small(Elem::D(f.elem)) {
                    Some(small) => format!("narrowed({}, {small}())", self.t(*v)),
                    None => self.t(*v).to_string(),
                };
                format!("frag_fill<{}>({x})", self.fragment(f)?)
            }
            Op::FragLoad { place, index, stride, layout, swizzle, aligned } => {
                self.fragment_load(f, *place, [*index, *stride], *layout, *swizzle, *aligned)?
            }
            Op::FragMma { a, b, acc } if f.scope == Scope::Workgroup => {
                let (FragOperand::Tile { .. }, FragOperand::Tile { layout, .. }) = (a, b) else {
                    return Err(self.unsupported("a workgroup multiplies tiles that it shares"));
                };
                let by_inner = *layout == Layout::ColMajor;
                let (a, b) = (self.tile_place(a), self.tile_place(b));
                let begun = format!("frag_mma_tiles<{by_inner}>({a}, {b}, {})", self.t(*acc));
                if self.begins.is_some() { begun } else { format!("frag_done({begun})") }
            }
            Op::FragMma { a, b, acc } => {
                let a = self.fragment_operand(a, Frag { role: FragRole::A, ..f })?;
                let b = self.fragment_operand(b, Frag { role: FragRole::B, ..f })?;
                format!("frag_mma({a}, {b}, {})", self.t(*acc))
            }
            Op::FragRows(op, acc) => {
                let of = match op {
                    ReduceOp::Sum => "sum",
                    ReduceOp::Prod => "prod",
                    ReduceOp::Min => "min",
                    ReduceOp::Max => "max",
                    ReduceOp::And => "and",
                    ReduceOp::Or => "or",
                    ReduceOp::Xor => "xor",
                };
                format!("frag_rows<{}, of_subgroup_{of}>({})", self.fragment(f)?, self.t(*acc))
            }
            op => return Err(self.unsupported(format!("{op:?} gives no fragment"))),
        })
    }

    /// Where a tile begins.
    fn tile_place(&self, o: &FragOperand) -> String {
        match *o {
            FragOperand::Reg(v) => self.t(v).to_string(),
            FragOperand::Tile { shared, index, .. } => {
                format!("{} + {}", self.elements(Place::Shared(shared), false), self.t(index))
            }
        }
    }

    fn fragment_operand(&self, o: &FragOperand, f: Frag) -> Result<String> {
        match *o {
            FragOperand::Reg(v) => Ok(self.t(v).to_string()),
            FragOperand::Tile { shared, index, stride, layout, swizzle } => {
                let Some(elem) = self.k.shared[shared.at()].elem.dtype() else {
                    return Err(self.unsupported("a tile of idx"));
                };
                self.fragment_load(Frag { elem, ..f }, Place::Shared(shared), [index, stride], layout, swizzle, false)
            }
        }
    }

    fn fragment_load(
        &self,
        f: Frag,
        place: Place,
        [index, stride]: [Value; 2],
        layout: Layout,
        swizzle: Swizzle,
        aligned: bool,
    ) -> Result<String> {
        let whole = aligned && matches!(place, Place::Shared(_));
        Ok(format!(
            "frag_load<{}, {}, {}, {}, {whole}>({}, {}, {})",
            self.fragment(f)?,
            layout == Layout::ColMajor,
            swizzle.bits,
            swizzle.shift,
            self.elements(place, false),
            self.t(index),
            self.t(stride)
        ))
    }

    fn slot(&self, bars: SharedId, slot: Value) -> String {
        format!("{} + {}", self.place_name(Place::Shared(bars)), self.t(slot))
    }

    /// What fragments and copies do.
    pub(super) fn fragment_effect(&mut self, op: &Op) -> Result<()> {
        let text = match op {
            Op::FragStore { frag, place, index, stride, layout } => {
                let (cols, to) = (*layout == Layout::ColMajor, self.elements(*place, true));
                format!("frag_store<{cols}>({}, {to}, {}, {});", self.t(*frag), self.t(*index), self.t(*stride))
            }
            Op::FragEach { frag, row, col, elem, body } => {
                let f = self.fragment_of(*frag)?;
                let (x, e) = (self.t(*frag).to_string(), format!("e{}", elem.0));
                self.line("#pragma unroll");
                self.line(&format!("for (int {e} = 0; {e} < {}::held; ++{e}) {{", self.fragment(f)?));
                self.depth += 1;
                self.name(*row, &format!("{x}.row({e})"))?;
                self.name(*col, &format!("{x}.col({e})"))?;
                let small = self.small(Elem::D(f.elem)).is_some();
                let text = if small { format!("widened({x}.get({e}))") } else { format!("{x}.get({e})") };
                self.name(*elem, &text)?;
                self.depth -= 1;
                self.inside(body)?;
                "}".into()
            }
            Op::FragMap { to, of, row, col, elems, result, body } => {
                let Type::Frag(f) = self.k.vars[to.at()].ty else {
                    return Err(self.unsupported("a map sets a fragment's variable"));
                };
                let (ty, e, made) = (self.fragment(f)?, format!("e{}", row.0), format!("f{}", row.0));
                self.line(&format!("{ty} {made} = {{}};"));
                self.line("#pragma unroll");
                self.line(&format!("for (int {e} = 0; {e} < {ty}::held; ++{e}) {{"));
                self.depth += 1;
                self.name(*row, &format!("{made}.row({e})"))?;
                self.name(*col, &format!("{made}.col({e})"))?;
                for (v, elem) in of.iter().zip(elems) {
                    let Frag { elem: d, .. } = self.fragment_of(*v)?;
                    let text = format!("frag_part<{ty}>({}, {e})", self.t(*v));
                    let text = if self.small(Elem::D(d)).is_some() { format!("widened({text})") } else { text };
                    self.name(*elem, &text)?;
                }
                self.depth -= 1;
                self.inside(body)?;
                let x = self.var_name(*result);
                let x = match self.small(Elem::D(f.elem)) {
                    Some(small) => format!("narrowed({x}, {small}())"),
                    None => x,
                };
                self.line(&format!("    {made}.put({e}, {x});"));
                self.line("}");
                format!("{} = {made};", self.var_name(*to))
            }
            Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned: _ } => {
                let size = self.k.elem_bytes(self.k.shared[dst.at()].elem) as u32;
                let (to, from) = (self.place_name(Place::Shared(*dst)), self.place_name(Place::Buffer(*src)));
                let mut text = format!("copy_async<{}>(", elems * size);
                let _ = write!(text, "{to} + {}, {from} + {}", self.t(*dst_index), self.t(*src_index));
                if let Some(take) = take {
                    let _ = write!(text, ", {size}u * {}", self.t(*take));
                }
                text + ");"
            }
            Op::CopyTile { dst, dst_index, view, at, bars, slot, .. } => {
                let found = Boxes::of(self.k, op).and_then(|b| self.boxes.iter().position(|of| *of == b));
                let Some(n) = found else { return Err(self.unsupported("a copy of a box of nothing")) };
                let (to, bytes) =
                    (self.place_name(Place::Shared(*dst)), view.elements() as usize * self.boxes[n].bytes);
                let bar = self.slot(*bars, *slot);
                let mut text = format!("copy_tile<{bytes}>({to} + {}, t{n}, {bar}", self.t(*dst_index));
                for v in at.iter().rev() {
                    let _ = write!(text, ", {}", self.t(*v));
                }
                text + ");"
            }
            Op::TileCommit { bars, slot } => format!("tile_commit({});", self.slot(*bars, *slot)),
            Op::TileWait { bars, slot, parity } => {
                format!("tile_wait({}, {});", self.slot(*bars, *slot), self.t(*parity))
            }
            Op::CopyCommit => "copy_commit();".into(),
            Op::CopyWait(n) => format!("copy_wait<{n}>();"),
            op => return Err(self.unsupported(format!("{op:?} is neither a fragment's nor a copy's"))),
        };
        self.line(&text);
        Ok(())
    }
}
