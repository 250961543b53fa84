//! Writes kernels as text.

use super::names::*;
use crate::ir::*;
use std::fmt::{self, Display, Formatter, Write};

/// A name: an identifier as it is, anything else quoted.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if verify::is_identifier(self.0) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Type::Num { elem, lanes: 1 } => f.write_str(elem.name()),
            Type::Num { elem, lanes } => write!(f, "{}x{lanes}", elem.name()),
            Type::Frag(g) => {
                let (role, scope) = (word(ROLE, g.role), word(SCOPE, g.scope));
                write!(f, "frag {role} {} {} {} {} {scope}", g.m, g.n, g.k, g.elem)
            }
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Place::Buffer(p) => write!(f, "p{}", p.0),
            Place::Shared(s) => write!(f, "s{}", s.0),
            Place::Private(a) => write!(f, "a{}", a.0),
        }
    }
}

impl Display for FragOperand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            FragOperand::Reg(v) => v.fmt(f),
            FragOperand::Tile { shared, index, stride, layout, swizzle } => write!(
                f,
                "tile s{}[{index}] stride {stride} {} swizzle {} {}",
                shared.0,
                word(LAYOUT, *layout),
                swizzle.bits,
                swizzle.shift
            ),
        }
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.workgroup;
        writeln!(f, "anychip kernel {} {} workgroup({x}, {y}, {z}) {{", self.version, Name(&self.name))?;
        if self.idx_bits != 0 {
            writeln!(f, "  idx {}", self.idx_bits)?;
        }
        if self.hints != Hints::default() {
            f.write_str("  hints")?;
            if let Some(n) = self.hints.min_groups_per_unit {
                write!(f, " min_groups {n}")?;
            }
            if let Some(n) = self.hints.subgroup {
                write!(f, " subgroup {n}")?;
            }
            f.write_char('\n')?;
        }
        for file in &self.files {
            writeln!(f, "  file {}", Quoted(file))?;
        }
        for p in &self.params {
            write!(f, "  param {}: ", Name(&p.name))?;
            match p.kind {
                ParamKind::Buffer { elem, access, align } => {
                    writeln!(f, "buffer {elem} {} align {align}", word(ACCESS, access))?
                }
                ParamKind::Scalar { elem, role } => {
                    write!(f, "scalar {}", elem.name())?;
                    match role {
                        Role::User => writeln!(f)?,
                        Role::Offset(b) => writeln!(f, " offset p{}", b.0)?,
                        Role::Len(b) => writeln!(f, " len p{}", b.0)?,
                        Role::Groups => writeln!(f, " groups")?,
                        Role::High(s) => writeln!(f, " high p{}", s.0)?,
                    }
                }
            }
        }
        for (what, arrays) in [("shared", &self.shared), ("private", &self.private)] {
            for a in arrays {
                writeln!(f, "  {what} {}: {}[{}]", Name(&a.name), a.elem.name(), a.len)?;
            }
        }
        for v in &self.vars {
            writeln!(f, "  var {}: {}", Name(&v.name), v.ty)?;
        }
        let mut defined = vec![false; self.values.len()];
        visit(&self.body, &mut |i| {
            for v in i.out.into_iter().chain(i.op.block_values()) {
                if let Some(d) = defined.get_mut(v.at()) {
                    *d = true;
                }
            }
        });
        for (i, _) in defined.iter().enumerate().filter(|(_, d)| !**d) {
            writeln!(f, "  unused {}", self.def(Value(i as u32)))?;
        }
        f.write_str("  body {\n")?;
        self.block(f, &self.body, 2)?;
        f.write_str("  }\n}\n")
    }
}

impl Kernel {
    /// `%n: type`
    fn def(&self, v: Value) -> String {
        match self.values.get(v.at()) {
            Some(t) => format!("{v}: {t}"),
            None => format!("{v}: ?"),
        }
    }

    fn block(&self, f: &mut Formatter<'_>, block: &Block, depth: usize) -> fmt::Result {
        // Nesting beyond what the verifier accepts is not indented further, so that the text stays linear in size.
        let indent = 2 * depth.min(40);
        for inst in block {
            write!(f, "{:indent$}", "")?;
            if let Some(v) = inst.out {
                write!(f, "{} = ", self.def(v))?;
            }
            self.op(f, &inst.op, depth)?;
            if inst.loc != Loc::default() {
                write!(f, " @{}:{}", inst.loc.file, inst.loc.line)?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }

    fn braces(&self, f: &mut Formatter<'_>, block: &Block, depth: usize) -> fmt::Result {
        f.write_str("{\n")?;
        self.block(f, block, depth + 1)?;
        write!(f, "{:indent$}}}", "", indent = 2 * depth.min(40))
    }

    fn op(&self, f: &mut Formatter<'_>, op: &Op, depth: usize) -> fmt::Result {
        match op {
            Op::Const(bits) if *bits < 1024 => write!(f, "const {bits}"),
            Op::Const(bits) => write!(f, "const {bits:#x}"),
            Op::Scalar(p) => write!(f, "scalar p{}", p.0),
            Op::BufLen(p) => write!(f, "buf_len p{}", p.0),
            Op::Builtin(b) => match b {
                Builtin::GroupId(d) => write!(f, "group_id {d}"),
                Builtin::NumGroups(d) => write!(f, "num_groups {d}"),
                Builtin::LocalId(d) => write!(f, "local_id {d}"),
                Builtin::LocalSize(d) => write!(f, "local_size {d}"),
                Builtin::GlobalId(d) => write!(f, "global_id {d}"),
                Builtin::SubgroupSize => f.write_str("subgroup_size"),
                Builtin::SubgroupLane => f.write_str("subgroup_lane"),
                Builtin::SubgroupId => f.write_str("subgroup_id"),
            },
            Op::Unary(op, a) => write!(f, "{} {a}", word(UNARY, *op)),
            Op::Binary(op, a, b) => write!(f, "{} {a}, {b}", word(BINARY, *op)),
            Op::Compare(op, a, b) => write!(f, "{} {a}, {b}", word(CMP, *op)),
            Op::MulAdd(a, b, c) => write!(f, "mul_add {a}, {b}, {c}"),
            Op::Fma(a, b, c) => write!(f, "fma {a}, {b}, {c}"),
            Op::Select(a, b, c) => write!(f, "select {a}, {b}, {c}"),
            Op::Cast(a) => write!(f, "cast {a}"),
            Op::Bitcast(a) => write!(f, "bitcast {a}"),
            Op::Dot4 { a, b, acc, a_signed, b_signed } => {
                write!(f, "dot4 {} {} {a}, {b}, {acc}", word(SIGN, *a_signed), word(SIGN, *b_signed))
            }
            Op::Unpack { word: w, index, bits, signed } => {
                write!(f, "unpack {bits} {} {w}, {index}", word(SIGN, *signed))
            }
            Op::Vector(of) => {
                f.write_str("vector [")?;
                for (i, v) in of.iter().enumerate() {
                    write!(f, "{}{v}", if i > 0 { ", " } else { "" })?;
                }
                f.write_char(']')
            }
            Op::Splat(a) => write!(f, "splat {a}"),
            Op::Extract(a, lane) => write!(f, "extract {a}, {lane}"),
            Op::Load { place, index, aligned } => {
                write!(f, "load {place}[{index}]{}", if *aligned { " aligned" } else { "" })
            }
            Op::Store { place, index, value, aligned } => {
                write!(f, "store {place}[{index}], {value}{}", if *aligned { " aligned" } else { "" })
            }
            Op::Get(v) => write!(f, "get v{}", v.0),
            Op::Set(v, to) => write!(f, "set v{}, {to}", v.0),
            Op::Atomic { op, place, index, value, compare, scope } => {
                write!(f, "atomic {} {place}[{index}], {value}", word(ATOMIC, *op))?;
                if let Some(c) = compare {
                    write!(f, " compare {c}")?;
                }
                write!(f, " {}", word(SCOPE, *scope))
            }
            Op::If { cond, then, otherwise } => {
                write!(f, "if {cond} ")?;
                self.braces(f, then, depth)?;
                if !otherwise.is_empty() {
                    f.write_str(" else ")?;
                    self.braces(f, otherwise, depth)?;
                }
                Ok(())
            }
            Op::For { var, start, end, step, body, unroll } => {
                write!(f, "for {} in {start}, {end}, {step} ", self.def(*var))?;
                match unroll {
                    Unroll::Auto => f.write_str("auto ")?,
                    Unroll::Never => f.write_str("never ")?,
                    Unroll::Full => f.write_str("full ")?,
                    Unroll::By(n) => write!(f, "by {n} ")?,
                }
                self.braces(f, body, depth)
            }
            Op::While { head, cond, body } => {
                f.write_str("while ")?;
                self.braces(f, head, depth)?;
                write!(f, " cond {cond} ")?;
                self.braces(f, body, depth)
            }
            Op::Break => f.write_str("break"),
            Op::Continue => f.write_str("continue"),
            Op::Return => f.write_str("return"),
            Op::Barrier(s) => write!(f, "barrier {}", word(SCOPE, *s)),
            Op::GroupReduce(op, a) => write!(f, "group_reduce {} {a}", word(REDUCE, *op)),
            Op::Subgroup { op, value, lane } => {
                match op {
                    SubgroupOp::Reduce(r) => write!(f, "subgroup reduce {} {value}", word(REDUCE, *r))?,
                    op => write!(f, "subgroup {} {value}", word(SUBGROUP, *op))?,
                }
                match lane {
                    Some(l) => write!(f, ", {l}"),
                    None => Ok(()),
                }
            }
            Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned } => {
                write!(f, "copy_async s{}[{dst_index}], p{}[{src_index}], {elems}", dst.0, src.0)?;
                if let Some(take) = take {
                    write!(f, " take {take}")?;
                }
                f.write_str(if *aligned { " aligned" } else { "" })
            }
            Op::CopyTile { dst, dst_index, src, view, at, swizzle, bars, slot } => {
                let list = |of: Vec<String>| of.join(", ");
                let params = |of: &[ParamId]| list(of.iter().map(|p| format!("p{}", p.0)).collect());
                let at = list(at.iter().map(Value::to_string).collect());
                write!(f, "copy_tile s{}[{dst_index}], p{} origin p{} ", dst.0, src.0, view.origin.0)?;
                write!(f, "extents [{}] strides [{}] ", params(&view.extents), params(&view.strides))?;
                write!(f, "size {} {} at [{at}]", view.size[0], view.size[1])?;
                if *swizzle != Swizzle::NONE {
                    write!(f, " swizzle {} {}", swizzle.bits, swizzle.shift)?;
                }
                write!(f, " slot s{}[{slot}]", bars.0)
            }
            Op::TileCommit { bars, slot } => write!(f, "tile_commit s{}[{slot}]", bars.0),
            Op::TileWait { bars, slot, parity } => write!(f, "tile_wait s{}[{slot}], {parity}", bars.0),
            Op::CopyCommit => f.write_str("copy_commit"),
            Op::CopyWait(n) => write!(f, "copy_wait {n}"),
            Op::FragFill(v) => write!(f, "frag_fill {v}"),
            Op::FragLoad { place, index, stride, layout, swizzle, aligned } => {
                write!(f, "frag_load {place}[{index}] stride {stride} {}", word(LAYOUT, *layout))?;
                if *swizzle != Swizzle::NONE {
                    write!(f, " swizzle {} {}", swizzle.bits, swizzle.shift)?;
                }
                f.write_str(if *aligned { " aligned" } else { "" })
            }
            Op::FragMma { a, b, acc } => write!(f, "frag_mma {a}, {b}, {acc}"),
            Op::FragStore { frag, place, index, stride, layout } => {
                write!(f, "frag_store {frag}, {place}[{index}] stride {stride} {}", word(LAYOUT, *layout))
            }
            Op::FragEach { frag, row, col, elem, body } => {
                write!(f, "frag_each {frag}, {}, {}, {} ", self.def(*row), self.def(*col), self.def(*elem))?;
                self.braces(f, body, depth)
            }
            Op::FragRows(op, v) => write!(f, "frag_rows {} {v}", word(REDUCE, *op)),
            Op::FragMap { to, of, row, col, elems, result, body } => {
                let list = |f: &mut Formatter<'_>, of: Vec<String>| write!(f, "[{}]", of.join(", "));
                write!(f, "frag_map v{} ", to.0)?;
                list(f, of.iter().map(|v| v.to_string()).collect())?;
                write!(f, ", {}, {}, ", self.def(*row), self.def(*col))?;
                list(f, elems.iter().map(|v| self.def(*v).to_string()).collect())?;
                write!(f, ", v{} ", result.0)?;
                self.braces(f, body, depth)
            }
            Op::AssumeMultiple(v, n) => write!(f, "assume_multiple {v}, {n}"),
        }
    }
}
