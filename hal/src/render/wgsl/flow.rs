//! Statements, blocks and loops.

use super::{
    super::unroll::{folded, written_out},
    Printer, Shape, parts,
};
use crate::{DType, Result, ir::*};

/// Longest expression that is printed in place.
const MAX_INLINE: usize = 160;

impl Printer<'_> {
    /// Nothing is written behind a jump: it would not be reached.
    pub(super) fn block(&mut self, block: &Block) -> Result<()> {
        for inst in block {
            self.inst(inst)?;
            if matches!(inst.op, Op::Break | Op::Continue | Op::Return) {
                break;
            }
        }
        Ok(())
    }

    fn inside(&mut self, block: &Block) -> Result<()> {
        self.depth += 1;
        self.block(block)?;
        self.depth -= 1;
        Ok(())
    }

    fn inst(&mut self, inst: &Inst) -> Result<()> {
        match &inst.op {
            Op::Load { place, index, aligned: _ } => {
                let Some(out) = inst.out else { return Ok(()) };
                if self.uses[out.at()].reads > 0 {
                    let all = self.load(*place, *index, self.k.ty(out))?;
                    self.name(out, all);
                }
            }
            Op::Store { place, index, value, aligned: _ } => self.store(*place, *index, *value)?,
            Op::Get(v) => {
                let Some(out) = inst.out else { return Ok(()) };
                if self.uses[out.at()].reads > 0 {
                    let name = self.var_name(*v);
                    let all = (0..parts(self.k.ty(out).lanes())).map(|part| format!("{name}_{part}")).collect();
                    self.name(out, all);
                }
            }
            Op::Set(v, to) => {
                let name = self.var_name(*v);
                for part in 0..parts(self.k.ty(*to).lanes()) {
                    let line = format!("{name}_{part} = {};", self.t(*to, part));
                    self.line(&line);
                }
            }
            Op::Atomic { op, place, index, value, compare, scope: _ } => {
                let wanted = inst.out.filter(|v| self.uses[v.at()].reads > 0);
                let old = self.read_modify_write(*op, *place, *index, *value, *compare, wanted.is_some())?;
                if let (Some(out), Some(old)) = (wanted, old) {
                    self.name(out, vec![old]);
                }
            }
            Op::If { cond, then, otherwise } => {
                let head = format!("if ({}) {{", self.t(*cond, 0));
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
                self.line("loop {");
                self.inside(head)?;
                let leave = format!("    if (!{}) {{ break; }}", self.t(*cond, 0));
                self.line(&leave);
                self.inside(body)?;
                self.line("}");
            }
            Op::Break => self.line("break;"),
            Op::Continue => self.line("continue;"),
            Op::Return => self.line("return;"),
            // WGSL orders memory of the workgroup by the workgroup alone. Every lane reaches it: the verifier saw to that.
            Op::Barrier(_) => {
                self.line("workgroupBarrier();");
                self.line("storageBarrier();");
            }
            op => self.define(op, inst)?,
        }
        Ok(())
    }

    fn define(&mut self, op: &Op, inst: &Inst) -> Result<()> {
        let Some(out) = inst.out else { return Err(self.lowered(op)) };
        let ty = self.k.ty(out);
        let uses = self.uses[out.at()];
        if uses.reads == 0 && op.is_pure() {
            return Ok(());
        }
        if let Some(bits) = self.fold(op, ty) {
            self.known[out.at()] = Some(bits);
            let s = self.shape(ty)?;
            let text = self.literal(s, bits);
            self.text[out.at()] = vec![text];
            return Ok(());
        }
        if let Op::Const(bits) = op
            && ty.elem().is_some_and(Elem::is_int)
        {
            // Of a vector: amounts of shifts are written as u32 at once, because naga casts no vector of u64 constants.
            self.known[out.at()] = Some(*bits);
        }
        let alias = self.hide_constants(op);
        let all = (0..parts(ty.lanes())).map(|part| self.expression(op, ty, part)).collect::<Result<Vec<_>>>()?;
        for (v, text) in alias {
            self.text[v.at()] = text;
        }
        // Across lanes, where a value is computed matters.
        let pure = op.is_pure();
        let here = pure
            && uses.reads == 1
            && uses.read == uses.defined
            && !uses.again
            && all.len() == 1
            && all[0].len() <= MAX_INLINE;
        if here || matches!(op, Op::Const(_)) {
            self.text[out.at()] = all;
        } else {
            self.name(out, all);
        }
        Ok(())
    }

    /// An operation on constants alone is computed by the compiler, which refuses some results: one operand becomes a
    /// variable's value for a while. Gives what to restore.
    fn hide_constants(&mut self, op: &Op) -> Vec<(Value, Vec<String>)> {
        let mut of = vec![];
        op.operands(&mut |v| of.push(v));
        let computes = !matches!(op, Op::Vector(_) | Op::Splat(_) | Op::Extract(..) | Op::Select(..));
        if of.is_empty() || !computes || !of.iter().all(|v| self.uses[v.at()].constant) {
            return vec![];
        }
        let mut saved: Vec<(Value, Vec<String>)> = vec![];
        for v in of {
            if saved.iter().any(|(w, _)| *w == v) {
                continue;
            }
            let name = self.fresh();
            self.line(&format!("let {name} = {};", self.t(v, 0)));
            saved.push((v, std::mem::replace(&mut self.text[v.at()], vec![name])));
        }
        saved
    }

    /// Gives the parts of a value names.
    fn name(&mut self, v: Value, all: Vec<String>) {
        let mut names = vec![];
        for (part, text) in all.iter().enumerate() {
            let name = if all.len() == 1 { format!("v{}", v.0) } else { format!("v{}_{part}", v.0) };
            self.line(&format!("let {name} = {text};"));
            names.push(name);
        }
        self.text[v.at()] = names;
    }

    fn count(&mut self, var: Value, start: Value, end: Value, step: Value, body: &Block, unroll: Unroll) -> Result<()> {
        let s = self.shape(self.k.ty(var))?;
        if unroll == Unroll::Full
            && let (Some(a), Some(b), Some(n)) = (self.known[start.at()], self.known[end.at()], self.known[step.at()])
            && let Some(rounds) = written_out(s.d, [a, b, n], body, self.statements)
        {
            for i in rounds {
                self.known[var.at()] = Some(i);
                let text = self.literal(s, i);
                self.text[var.at()] = vec![text];
                self.line("{");
                self.inside(body)?;
                self.line("}");
            }
            self.known[var.at()] = None;
            return Ok(());
        }
        let (a, b, n) = (self.t(start, 0).to_string(), self.t(end, 0).to_string(), self.t(step, 0).to_string());
        let i = format!("v{}", var.0);
        self.text[var.at()] = vec![i.clone()];
        let next = match self.known[step.at()] {
            // One more than a number below the end does not overflow.
            Some(1) => format!("{i} = {i} + {n};"),
            // Past the end may be past the last number of the type: stop at the end. Steps are at least 1.
            _ => {
                let u = super::helpers::name(unsigned(s));
                let left = if s.d.is_signed() { format!("{u}({b}) - {u}({i})") } else { format!("{b} - {i}") };
                let by = if s.d.is_signed() { format!("{u}({n})") } else { n.clone() };
                format!("if ({left} > {by}) {{ {i} = {i} + {n}; }} else {{ {i} = {b}; }}")
            }
        };
        self.line(&format!("var {i} = {a};"));
        self.line("loop {");
        self.line(&format!("    if ({i} >= {b}) {{ break; }}"));
        self.inside(body)?;
        self.line(&format!("    continuing {{ {next} }}"));
        self.line("}");
        Ok(())
    }

    /// What [`folded`] makes of an integer.
    fn fold(&self, op: &Op, ty: Type) -> Option<u64> {
        folded(op, self.integer(ty)?, &self.known, |v| self.integer(self.k.ty(v)))
    }

    /// The type in which an integer is held.
    fn integer(&self, ty: Type) -> Option<DType> {
        let elem = ty.elem()?;
        (ty.lanes() == 1 && elem.is_int()).then(|| self.held(elem))
    }
}

fn unsigned(s: Shape) -> Shape {
    let d = match s.d {
        DType::I16 => DType::U16,
        DType::I32 => DType::U32,
        DType::I64 => DType::U64,
        d => d,
    };
    Shape { d, ..s }
}
