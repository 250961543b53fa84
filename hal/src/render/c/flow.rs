//! Statements, blocks and loops.

use super::{
    super::unroll::{folded, written_out},
    Printer,
    helpers::Shape,
};
use crate::{DType, Result, ir::*};

/// Longest expression that is printed in place.
const MAX_INLINE: usize = 160;

impl Printer<'_> {
    pub(super) fn block(&mut self, block: &Block) -> Result<()> {
        // What runs apart outside of it is not touched here.
        let outside = std::mem::take(&mut self.apart);
        for (n, inst) in block.iter().enumerate() {
            if self.must_wait(inst) {
                self.wait_for_products();
            }
            if let Some(Inst { op: Op::Set(v, to), .. }) = block.get(n + 1)
                && inst.out == Some(*to)
                && self.uses[to.at()].reads == 1
                && matches!(inst.op, Op::FragMma { .. })
            {
                if self.apart.contains(v) {
                    self.wait_for_products();
                }
                self.begins = Some(*v);
            }
            self.inst(inst)?;
            if let (Op::Set(..), Some(v)) = (&inst.op, self.begins) {
                self.begins = None;
                self.apart.extend(self.of_workgroup(self.k.vars[v.at()].ty).then_some(v));
            }
        }
        self.wait_for_products();
        self.apart = outside;
        Ok(())
    }

    pub(super) fn inside(&mut self, block: &Block) -> Result<()> {
        self.depth += 1;
        self.block(block)?;
        self.depth -= 1;
        Ok(())
    }

    fn inst(&mut self, inst: &Inst) -> Result<()> {
        match &inst.op {
            Op::Load { place, index, aligned } => {
                let Some(out) = inst.out else { return Ok(()) };
                if self.uses[out.at()].reads > 0 {
                    let text = self.load(*place, *index, self.k.ty(out), *aligned)?;
                    self.name(out, &text)?;
                }
            }
            Op::Store { place, index, value, aligned } => {
                let text = self.store(*place, *index, *value, *aligned)?;
                self.line(&text);
            }
            Op::Get(v) => {
                let Some(out) = inst.out else { return Ok(()) };
                if self.uses[out.at()].reads > 0 {
                    let text = self.var_name(*v);
                    self.name(out, &text)?;
                }
            }
            Op::Set(v, to) => {
                let text = format!("{} = {};", self.var_name(*v), self.t(*to));
                self.line(&text);
            }
            Op::Atomic { op, place, index, value, compare, scope: _ } => {
                let text = self.atomic(*op, *place, *index, *value, *compare)?;
                match inst.out {
                    Some(out) if self.uses[out.at()].reads > 0 => self.name(out, &text)?,
                    _ => self.line(&format!("(void){text};")),
                }
            }
            Op::If { cond, then, otherwise } => {
                let head = format!("if ({}) {{", self.t(*cond));
                self.line(&head);
                self.inside(then)?;
                if !otherwise.is_empty() {
                    self.line("} else {");
                    self.inside(otherwise)?;
                }
                self.line("}");
            }
            Op::For { var, start, end, step, body, unroll } => self.count(*var, *start, *end, *step, body, *unroll)?,
            Op::While { head, cond, body } => {
                self.before_loop(&[head, body]);
                self.line("for (;;) {");
                self.inside(head)?;
                let leave = format!("    if (!{}) break;", self.t(*cond));
                self.line(&leave);
                self.inside(body)?;
                self.line("}");
            }
            Op::FragFill(_) | Op::FragLoad { .. } | Op::FragMma { .. } | Op::FragRows(..) => {
                let Some(out) = inst.out else { return Ok(()) };
                if self.uses[out.at()].reads > 0 {
                    let text = self.fragment_value(&inst.op, self.k.ty(out))?;
                    self.name(out, &text)?;
                }
            }
            op @ (Op::FragStore { .. }
            | Op::FragEach { .. }
            | Op::FragMap { .. }
            | Op::CopyAsync { .. }
            | Op::CopyTile { .. }
            | Op::TileCommit { .. }
            | Op::TileWait { .. }
            | Op::CopyCommit
            | Op::CopyWait(_)) => self.fragment_effect(op)?,
            Op::Break => self.line("break;"),
            Op::Continue => self.line("continue;"),
            Op::Return => self.line("return;"),
            // Without subgroups the whole workgroup acts as one.
            Op::Barrier(scope) => {
                let of_subgroup = self.d.subgroup_barrier.filter(|_| *scope == Scope::Subgroup);
                if self.wide && of_subgroup.is_none() {
                    self.line("tiles_written();");
                }
                self.line(of_subgroup.unwrap_or(self.d.barrier));
            }
            op => {
                let Some(out) = inst.out else {
                    let name = format!("{op:?}");
                    let name = name.split([' ', '(']).next().unwrap_or("?");
                    return Err(self.unsupported(format!("{name} must be lowered by the legaliser")));
                };
                let ty = self.k.ty(out);
                let uses = self.uses[out.at()];
                if uses.reads == 0 && op.is_pure() {
                    return Ok(());
                }
                if let Some(bits) = self.fold(op, ty) {
                    self.known[out.at()] = Some(bits);
                    let s = self.shape(ty);
                    self.text[out.at()] = super::number::literal(s.d, s.name, bits);
                    return Ok(());
                }
                let text = self.expression(op, ty, !uses.computed)?;
                // What lanes do together they do where it stands, not inside a choice.
                let apart = !matches!(op, Op::Subgroup { .. }) && text.len() <= MAX_INLINE;
                let here = uses.reads == 1 && uses.read == uses.defined && !uses.header && apart;
                if here || matches!(op, Op::Const(_)) {
                    self.text[out.at()] = text;
                } else {
                    self.name(out, &text)?;
                }
            }
        }
        Ok(())
    }

    /// Gives a value a name.
    pub(super) fn name(&mut self, v: Value, text: &str) -> Result<()> {
        let line = format!("const {} v{} = {text};", self.ctype(self.k.ty(v))?, v.0);
        self.line(&line);
        self.text[v.at()] = format!("v{}", v.0);
        Ok(())
    }

    fn count(&mut self, var: Value, start: Value, end: Value, step: Value, body: &Block, unroll: Unroll) -> Result<()> {
        let ty = self.k.ty(var);
        let s = self.shape(ty);
        if unroll == Unroll::Full
            && let (Some(a), Some(b), Some(n)) = (self.known(start), self.known(end), self.known(step))
            && let Some(rounds) = written_out(s.d, [a, b, n], body, self.statements)
        {
            for i in rounds {
                self.known[var.at()] = Some(i);
                self.text[var.at()] = super::number::literal(s.d, s.name, i);
                self.line("{");
                self.inside(body)?;
                self.line("}");
            }
            self.known[var.at()] = None;
            return Ok(());
        }
        let (a, b, n) = (self.t(start).to_string(), self.t(end).to_string(), self.t(step).to_string());
        let i = format!("v{}", var.0);
        self.text[var.at()] = i.clone();
        let next = match self.known(step) {
            // One more than a number below the end does not overflow.
            Some(1) => format!("++{i}"),
            // Past the end may be past the last number of the type: stop at the end.
            _ => {
                let by = if self.known(step).is_some_and(|n| (1..=i32::MAX as u64).contains(&n)) {
                    n
                } else {
                    format!("max({n}, {})", s.one())
                };
                format!("{i} = {} > {} ? {} : {b}", unsigned(s, &b, &i), unsigned_of(s, &by), s.wrapping("+", &i, &by))
            }
        };
        self.before_loop(&[body]);
        if let Some(hint) = (self.d.unroll)(unroll) {
            self.line(&hint);
        }
        self.line(&format!("for ({} {i} = {a}; {i} < {b}; {next}) {{", s.name));
        self.inside(body)?;
        self.line("}");
        Ok(())
    }

    /// One more barrier where a driver needs it before a loop that holds one, and hence is entered by all or none.
    fn before_loop(&mut self, blocks: &[&Block]) {
        let mut any = false;
        for block in blocks {
            visit(block, &mut |inst| any |= matches!(inst.op, Op::Barrier(_)));
        }
        if any && self.d.barrier_before_loops {
            self.line(self.d.barrier);
        }
    }

    /// What [`folded`] makes of an integer.
    fn fold(&self, op: &Op, ty: Type) -> Option<u64> {
        folded(op, self.integer(ty)?, &self.known, |v| self.integer(self.k.ty(v)))
    }

    /// The type in which an integer is held.
    fn integer(&self, ty: Type) -> Option<DType> {
        (ty.lanes() == 1 && ty.elem()?.is_int()).then(|| self.shape(ty).d)
    }

    fn known(&self, v: Value) -> Option<u64> {
        self.known[v.at()]
    }
}

/// `b - i` as an unsigned number, where `i < b`.
fn unsigned(s: Shape, b: &str, i: &str) -> String {
    if s.d.is_signed() { format!("({} - {})", unsigned_of(s, b), unsigned_of(s, i)) } else { format!("({b} - {i})") }
}

fn unsigned_of(s: Shape, x: &str) -> String {
    match s.d {
        DType::I8 | DType::I16 | DType::I32 => format!("(uint){x}"),
        DType::I64 => format!("({}){x}", s.unsigned_or_same().name),
        _ => x.to_string(),
    }
}
