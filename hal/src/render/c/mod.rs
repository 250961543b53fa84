//! The printer for the C family. One printer; what differs between dialects is a [`Dialect`], a table.
//!
//! Where C and the kernel language disagree, and what is printed instead:
//! * Signed overflow is undefined in C: signed sums, differences and products are taken on the unsigned type.
//!   Types narrower than `int` are promoted: every result is cast back to its own type.
//! * Division by zero and `MIN / -1` trap on CPUs: the divisor is replaced by 1 first, `x / 0` becomes 0 afterwards.
//! * A shift by the width or more is undefined, or masked by the promoted width: the amount is masked by the value's own.
//! * A float outside an integer's range, or NaN, converts to anything: it is replaced by 0 before and patched after.
//! * `fmin` and `fmax` drop a NaN: comparisons keep it.
//! * A C compiler may contract `a * b + c`: the preamble forbids it; `MulAdd` is `fma` only where the dialect says so.
//! * `bool` has no vectors: a vector of bool is a vector of `int`, each lane 0 or -1; in memory it is one byte, 0 or 1.
//! * `half` computes only with an extension: without it a value of type f16 is held in a `float` that an f16 can
//!   hold, and rounded when it is cast and not only stored. So is bf16 where a dialect has a name for it.
//! * Atomics are relaxed: they order nothing but themselves; a barrier does.
//!
//! Names are the printer's own (`v12`, `b0_weights`, `k_matmul`), so that no name of a kernel meets a word of the
//! language. Constants are printed bit for bit. Values that are read once are printed in place; order and results stay.

mod cuda;
mod cuda_wgmma;
mod dialect;
mod expr;
mod flow;
mod helpers;
mod matrix;
mod memory;
mod number;
#[cfg(test)]
mod tests;

pub use cuda::Cuda;
pub use dialect::{Dialect, OpenCl};

use crate::{DType, Error, Result, info::Feature, ir::*};
use std::fmt::Write;

/// A kernel as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What the compiler takes.
    pub source: String,
    /// The name of the kernel's function in it.
    pub entry: String,
    /// Bytes of memory of the workgroup that a launch must ask for; 0 where the text declares it.
    pub shared: u32,
    /// Tensors of which boxes are copied: the parameters behind the kernel's own.
    pub boxes: Vec<Boxes>,
}

/// A tensor of which a kernel copies boxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boxes {
    /// The buffer.
    pub buffer: ParamId,
    /// Where it lies.
    pub view: TileView,
    /// Bytes of an element.
    pub bytes: usize,
    /// Lines of 128 bytes are permuted by eights; else not at all.
    pub swizzled: bool,
}

/// Prints a legalised kernel. `Unsupported` names what the dialect or this printer cannot say.
pub fn render(kernel: &Kernel, dialect: &Dialect) -> Result<Rendered> {
    if !matches!(kernel.idx_bits, 32 | 64) {
        return Err(Error::invalid(format!(
            "kernel {}: idx has {} bits; legalise it first (32 and 64 are accepted)",
            kernel.name, kernel.idx_bits
        )));
    }
    let mut p = Printer::new(kernel, dialect);
    let (params, setup) = p.declarations()?;
    p.out.push_str(&setup);
    p.block(&kernel.body)?;
    let entry = format!("k_{}", kernel.name);
    let mut source = String::new();
    let _ = writeln!(source, "// {} in {}", kernel.name, dialect.name);
    source.push_str(&(dialect.begin)(kernel.workgroup));
    source.push_str(&dialect.preamble);
    let uses = legal::features(kernel);
    let parts = [
        (Feature::AsyncCopy, dialect.copies),
        (Feature::TileCopy, dialect.boxes),
        (Feature::Fragments, dialect.fragments.as_deref()),
    ];
    for (feature, part) in parts {
        match part {
            _ if !uses.contains(&feature) => {}
            Some(part) => source.push_str(part),
            None => return Err(p.unsupported(format!("{feature:?} must be lowered by the legaliser"))),
        }
    }
    if p.wide {
        let part = dialect.wide_fragments.as_deref();
        source
            .push_str(part.ok_or_else(|| p.unsupported("fragments of a workgroup must be lowered by the legaliser"))?);
    }
    for text in &p.helpers.texts {
        source.push_str(text);
    }
    let _ = writeln!(source, "{} {entry}({}) {{", (dialect.entry)(kernel.workgroup), params.join(", "));
    source.push_str(&p.out);
    source.push_str("}\n");
    source.push_str(&(dialect.end)(&entry));
    Ok(Rendered { source, entry, shared: p.asked, boxes: p.boxes })
}

/// How often and where a value is read.
#[derive(Clone, Copy, Default)]
struct Uses {
    reads: u32,
    /// Number of the block that defines it, and of the block that reads it last.
    defined: u32,
    read: u32,
    /// Read by a loop's header: it would be computed anew every round.
    header: bool,
    /// Read by something other than the value of a store.
    computed: bool,
}

struct Printer<'a> {
    k: &'a Kernel,
    d: &'a Dialect,
    uses: Vec<Uses>,
    /// How each value is written where it is read: a name, a literal or an expression in parentheses.
    text: Vec<String>,
    /// Numbers known now: constants, and variables of unrolled loops.
    known: Vec<Option<u64>>,
    helpers: helpers::Helpers,
    out: String,
    depth: usize,
    statements: usize,
    /// Bytes of memory of the workgroup that a launch must ask for.
    asked: u32,
    /// A workgroup holds fragments together: arrays that it shares begin where units that read them want it.
    wide: bool,
    /// Tensors of which boxes are copied.
    boxes: Vec<Boxes>,
    /// Variables whose products are under way, and the one whose product begins now.
    apart: Vec<VarId>,
    begins: Option<VarId>,
}

impl<'a> Printer<'a> {
    fn new(k: &'a Kernel, d: &'a Dialect) -> Printer<'a> {
        let n = k.values.len();
        let mut uses = vec![Uses::default(); n];
        let mut blocks = 0;
        count(&k.body, &mut uses, &mut blocks);
        let mut boxes = vec![];
        visit(&k.body, &mut |i| {
            if let Some(b) = Boxes::of(k, &i.op).filter(|b| !boxes.contains(b)) {
                boxes.push(b);
            }
        });
        Printer {
            k,
            d,
            boxes,
            uses,
            text: vec![String::new(); n],
            known: vec![None; n],
            helpers: helpers::Helpers::new(d),
            out: String::new(),
            depth: 1,
            statements: 0,
            asked: 0,
            apart: vec![],
            begins: None,
            wide: k.values.iter().any(|t| matches!(t, Type::Frag(f) if f.scope == Scope::Workgroup)),
        }
    }

    /// The parameters, and the lines that declare arrays and variables.
    fn declarations(&mut self) -> Result<(Vec<String>, String)> {
        let mut params = vec![];
        for (i, p) in self.k.params.iter().enumerate() {
            let name = self.param_name(ParamId(i as u32));
            params.push(match p.kind {
                ParamKind::Buffer { elem, access, .. } => {
                    let ty = self.pointee(Elem::D(elem), true)?;
                    let constant = if access.writes() { "" } else { "const " };
                    format!("{}{constant}{ty}* {} {name}", self.d.global, self.d.restrict)
                }
                ParamKind::Scalar { elem, .. } => format!("{} {name}", self.pointee(elem, false)?),
            });
        }
        for n in 0..self.boxes.len() {
            params.push(format!("const __grid_constant__ tile_map t{n}"));
        }
        let mut setup = String::new();
        let most = self.d.shared_most;
        let whole = most.is_some_and(|most| self.k.shared_bytes() > u64::from(most));
        let wide = self.wide || !self.boxes.is_empty();
        let (array, align) = ((self.d.shared_array)(wide), if wide { 1024 } else { 16 });
        if whole {
            let _ = writeln!(setup, "    extern {array}uchar shared_memory[];");
        }
        let mut at = 0;
        for (i, a) in self.k.shared.iter().enumerate() {
            let (ty, name) = (self.pointee(a.elem, false)?, self.place_name(Place::Shared(SharedId(i as u32))));
            if whole {
                let _ = writeln!(setup, "    {ty}* const {name} = ({ty}*)(shared_memory + {at});");
                at += (u64::from(a.len) * self.k.elem_bytes(a.elem) as u64).next_multiple_of(align);
            } else {
                let _ = writeln!(setup, "    {array}{ty} {name}[{}]{};", a.len, self.d.shared_align);
            }
        }
        self.asked = u32::try_from(at).map_err(|_| self.unsupported("4 GiB of memory of a workgroup"))?;
        for (i, a) in self.k.private.iter().enumerate() {
            let (ty, name) = (self.pointee(a.elem, false)?, self.place_name(Place::Private(PrivateId(i as u32))));
            let _ = writeln!(setup, "    {ty} {name}[{}];", a.len);
        }
        for (i, v) in self.k.vars.iter().enumerate() {
            let ty = self.ctype(v.ty)?;
            let zero = if matches!(v.ty, Type::Frag(_)) {
                "{}".into()
            } else if v.ty.lanes() > 1 {
                (self.d.vector)(&ty, &["0".into()])
            } else {
                "0".into()
            };
            let _ = writeln!(setup, "    {ty} {} = {zero};", self.var_name(VarId(i as u32)));
        }
        let mut begun = vec![];
        visit(&self.k.body, &mut |i| {
            if let Op::CopyTile { bars, .. } = i.op
                && !begun.contains(&bars)
            {
                begun.push(bars);
                let slots = self.k.shared[bars.at()].len;
                let _ = writeln!(setup, "    slots_begin({}, {slots});", self.place_name(Place::Shared(bars)));
            }
        });
        Ok((params, setup))
    }

    fn param_name(&self, p: ParamId) -> String {
        let param = &self.k.params[p.at()];
        let kind = if matches!(param.kind, ParamKind::Buffer { .. }) { 'b' } else { 'p' };
        format!("{kind}{}_{}", p.0, param.name)
    }

    fn place_name(&self, place: Place) -> String {
        match place {
            Place::Buffer(p) => self.param_name(p),
            Place::Shared(s) => format!("s{}_{}", s.0, self.k.shared[s.at()].name),
            Place::Private(a) => format!("a{}_{}", a.0, self.k.private[a.at()].name),
        }
    }

    fn var_name(&self, v: VarId) -> String {
        format!("x{}_{}", v.0, self.k.vars[v.at()].name)
    }

    fn unsupported(&self, why: impl Into<String>) -> Error {
        Error::unsupported(format!("kernel {} in {}", self.k.name, self.d.name), why)
    }

    /// The element type that holds values of `e`: `idx` is chosen, f16 without arithmetic is held in f32.
    fn held(&self, e: Elem) -> DType {
        match e {
            Elem::Idx if self.k.idx_bits == 32 => DType::U32,
            Elem::Idx => DType::U64,
            e if self.small(e).is_some() => DType::F32,
            Elem::D(d) => d,
        }
    }

    /// The C name of a float type that lies in memory and does not compute: its values are held in f32.
    fn small(&self, e: Elem) -> Option<&'static str> {
        match e {
            Elem::D(d @ DType::F16) if !self.d.f16 => (self.d.scalar)(d),
            Elem::D(d @ DType::BF16) => (self.d.scalar)(d),
            _ => None,
        }
    }

    /// The C name of a scalar type.
    fn scalar(&self, d: DType) -> Result<&'static str> {
        match d {
            DType::F64 if !self.d.f64 => Err(self.unsupported("the device has no f64")),
            _ => (self.d.scalar)(d).ok_or_else(|| self.unsupported(format!("{d} must be lowered by the legaliser"))),
        }
    }

    /// The C type of a value.
    fn ctype(&self, ty: Type) -> Result<String> {
        match ty {
            Type::Num { elem, lanes: 1 } => Ok(self.scalar(self.held(elem))?.to_string()),
            Type::Num { elem, lanes } if elem.is_bool() => Ok(format!("{}{lanes}", self.scalar(DType::I32)?)),
            Type::Num { elem, lanes } => Ok(format!("{}{lanes}", self.scalar(self.held(elem))?)),
            Type::Frag(f) => self.fragment(f),
        }
    }

    /// The C type of an element in memory. `half` may be pointed to, but not declared, without the extension.
    fn pointee(&self, e: Elem, pointed: bool) -> Result<&'static str> {
        match e {
            Elem::D(DType::Bool) => self.scalar(DType::U8),
            e if self.small(e).is_some() && !pointed => self.scalar(DType::U16),
            Elem::D(d @ (DType::F16 | DType::BF16)) => self.scalar(d),
            _ => self.scalar(self.held(e)),
        }
    }

    fn t(&self, v: Value) -> &str {
        &self.text[v.at()]
    }

    fn line(&mut self, text: &str) {
        for _ in 0..self.depth {
            self.out.push_str("    ");
        }
        self.out.push_str(text);
        self.out.push('\n');
        self.statements += 1;
    }
}

/// Counts reads and notes the blocks of definitions and reads.
fn count(block: &Block, uses: &mut [Uses], blocks: &mut u32) {
    *blocks += 1;
    let here = *blocks;
    for inst in block {
        if let Some(v) = inst.out {
            uses[v.at()].defined = here;
        }
        let header = matches!(inst.op, Op::For { .. });
        let stored = match inst.op {
            Op::Store { value, .. } => Some(value),
            _ => None,
        };
        // The condition of a while is read at the end of its head.
        let read = if matches!(inst.op, Op::While { .. }) { *blocks + 1 } else { here };
        inst.op.operands(&mut |v| {
            let u = &mut uses[v.at()];
            u.reads += 1;
            u.read = read;
            u.header |= header;
            u.computed |= stored != Some(v);
        });
        for b in inst.op.blocks() {
            count(b, uses, blocks);
        }
    }
}
