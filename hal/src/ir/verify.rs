//! Says whether a kernel is well formed: types, order of definitions, structure, and that whole-workgroup operations
//! stand where every lane of the workgroup arrives.
//!
//! Runs before and after the legalising pass, so it accepts legalised kernels too. Nothing here panics, whatever the
//! kernel holds: ids are checked before they are used, and nesting is limited.

use super::{uniform, *};
use crate::{DType, Error, Result};

/// Deepest nesting of blocks.
pub const MAX_DEPTH: usize = 200;

/// Largest number of elements of a shared or private array.
pub const MAX_ARRAY: u32 = i32::MAX as u32;

/// `InvalidArgument` naming kernel, place and what would be accepted, or nothing.
pub fn verify(k: &Kernel) -> Result<()> {
    let mut v = Verifier { k, seen: vec![false; k.values.len()], visible: vec![false; k.values.len()], loops: 0 };
    v.declarations().map_err(|why| Error::invalid(format!("kernel {}: {why}", k.name)))?;
    v.block(&k.body, 1)?;
    match uniform::first_divergent(k) {
        None => Ok(()),
        Some((loc, why)) => Err(error(k, loc, &why)),
    }
}

/// True for `[A-Za-z_][A-Za-z0-9_]*`.
pub fn is_identifier(s: &str) -> bool {
    let mut c = s.bytes();
    c.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic()) && c.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

/// `kernel: file:line: why`.
pub(super) fn error(k: &Kernel, loc: Loc, why: &str) -> Error {
    Error::invalid(format!("kernel {}: {}{why}", k.name, place(k, loc)))
}

/// `file:line: `, or nothing where it is not known.
pub(super) fn place(k: &Kernel, loc: Loc) -> String {
    match k.files.get(loc.file as usize) {
        Some(f) if loc.line > 0 => format!("{f}:{}: ", loc.line),
        _ => String::new(),
    }
}

/// A type as a message names it.
pub(super) fn type_name(t: Type) -> String {
    match t {
        Type::Num { elem, lanes: 1 } => elem.name().to_string(),
        Type::Num { elem, lanes } => format!("{}x{lanes}", elem.name()),
        Type::Frag(f) => format!("{:?} fragment {}x{}x{} of {}", f.role, f.m, f.n, f.k, f.elem),
    }
}

type Check<T = ()> = std::result::Result<T, String>;

macro_rules! ensure {
    ($cond:expr, $($why:tt)+) => {
        if !$cond {
            return Err(format!($($why)+).into());
        }
    };
}

mod ops;

/// A mistake of this operation, or one inside its blocks that already names its place.
enum Fault {
    Here(String),
    Inside(Error),
}

impl From<String> for Fault {
    fn from(why: String) -> Fault {
        Fault::Here(why)
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Fault {
        Fault::Inside(e)
    }
}

struct Verifier<'k> {
    k: &'k Kernel,
    /// Defined somewhere already.
    seen: Vec<bool>,
    /// Defined and in scope.
    visible: Vec<bool>,
    loops: u32,
}

/// May be computed with: everything but bool and the storage-only floats.
fn computes(e: Elem) -> bool {
    !e.is_bool() && !matches!(e, Elem::D(DType::F8E4M3 | DType::F8E5M2))
}

impl Verifier<'_> {
    fn declarations(&self) -> Check {
        let k = self.k;
        ensure!(
            k.version <= VERSION,
            "written in version {} of the language; up to {VERSION} is understood",
            k.version
        );
        ensure!(is_identifier(&k.name), "its name {:?} must be an identifier ([A-Za-z_][A-Za-z0-9_]*)", k.name);
        let lanes = k.workgroup.iter().try_fold(1u32, |n, w| n.checked_mul(*w));
        ensure!(
            lanes.is_some_and(|n| n > 0),
            "workgroup {:?}: every dimension must be at least 1 and their product fit 32 bits",
            k.workgroup
        );
        ensure!(matches!(k.idx_bits, 0 | 32 | 64), "idx_bits is {}; 0 (not legalised), 32 or 64", k.idx_bits);
        ensure!(k.files.len() <= u16::MAX as usize + 1, "{} source files; up to 65536", k.files.len());
        let mut names = std::collections::HashSet::new();
        for (i, p) in k.params.iter().enumerate() {
            ensure!(
                is_identifier(&p.name),
                "parameter {i}: {:?} must be an identifier ([A-Za-z_][A-Za-z0-9_]*)",
                p.name
            );
            ensure!(names.insert(&p.name), "two parameters are named {:?}; names must differ", p.name);
            match p.kind {
                ParamKind::Buffer { align, .. } => {
                    ensure!(align > 0, "parameter {}: its alignment must be at least 1 element", p.name)
                }
                ParamKind::Scalar { role: Role::Offset(b) | Role::Len(b), elem } => {
                    ensure!(elem == Elem::Idx, "parameter {}: a hidden scalar must be idx", p.name);
                    self.buffer(b).map_err(|e| format!("parameter {}: {e}", p.name))?;
                }
                ParamKind::Scalar { role: Role::Groups, elem } => {
                    ensure!(elem == Elem::Idx, "parameter {}: a hidden scalar must be idx", p.name)
                }
                ParamKind::Scalar { role: Role::High(s), elem } => {
                    let word = Elem::D(DType::U32);
                    let low = k.params.get(s.at()).map(|p| p.kind);
                    let fits = low == Some(ParamKind::Scalar { elem: word, role: Role::User });
                    ensure!(
                        fits && elem == word,
                        "parameter {}: a high word is u32 and belongs to a scalar of u32",
                        p.name
                    )
                }
                ParamKind::Scalar { role: Role::User, .. } => {}
            }
        }
        for (what, arrays) in [("shared", &k.shared), ("private", &k.private)] {
            for a in arrays {
                ensure!(is_identifier(&a.name), "{what} array {:?}: its name must be an identifier", a.name);
                ensure!(
                    a.len > 0 && a.len <= MAX_ARRAY,
                    "{what} array {}: {} elements; 1 to {MAX_ARRAY} are accepted",
                    a.name,
                    a.len
                );
            }
        }
        for v in &k.vars {
            ensure!(is_identifier(&v.name), "variable {:?}: its name must be an identifier", v.name);
            self.well_formed(v.ty).map_err(|e| format!("variable {}: {e}", v.name))?;
        }
        for (i, t) in k.values.iter().enumerate() {
            self.well_formed(*t).map_err(|e| format!("value %{i}: {e}"))?;
        }
        Ok(())
    }

    fn well_formed(&self, t: Type) -> Check {
        match t {
            Type::Num { lanes, .. } => {
                ensure!(matches!(lanes, 1 | 2 | 4 | 8 | 16), "{lanes} lanes; 1, 2, 4, 8 or 16 are accepted")
            }
            Type::Frag(f) => {
                ensure!(f.m > 0 && f.n > 0 && f.k > 0, "a fragment of {}x{}x{}; none may be 0", f.m, f.n, f.k);
                ensure!(f.scope != Scope::Device, "a fragment's scope is a subgroup or a workgroup");
                ensure!(f.elem != DType::Bool, "a fragment of bool; numbers are accepted");
            }
        }
        Ok(())
    }

    /// Checks a block; gives the values it defined, still visible: the caller closes them.
    fn block(&mut self, block: &Block, depth: usize) -> Result<Vec<Value>> {
        if depth > MAX_DEPTH {
            let loc = block.first().map(|i| i.loc).unwrap_or_default();
            return Err(error(self.k, loc, &format!("blocks are nested deeper than {MAX_DEPTH}")));
        }
        let mut defined = vec![];
        for inst in block {
            let done = self.inst(inst, depth).and_then(|()| match inst.out {
                Some(v) => self.define(v, &mut defined).map_err(Fault::Here),
                None => Ok(()),
            });
            match done {
                Ok(()) => {}
                Err(Fault::Here(why)) => return Err(error(self.k, inst.loc, &why)),
                Err(Fault::Inside(e)) => return Err(e),
            }
        }
        Ok(defined)
    }

    fn closed(&mut self, block: &Block, depth: usize) -> Result<()> {
        let defined = self.block(block, depth)?;
        self.close(&defined);
        Ok(())
    }

    fn close(&mut self, defined: &[Value]) {
        for v in defined {
            self.visible[v.at()] = false;
        }
    }

    fn define(&mut self, v: Value, defined: &mut Vec<Value>) -> Check {
        ensure!(v.at() < self.seen.len(), "defines %{}, but there are only {} values", v.0, self.seen.len());
        ensure!(!self.seen[v.at()], "%{} is defined twice; each value is defined once", v.0);
        self.seen[v.at()] = true;
        self.visible[v.at()] = true;
        defined.push(v);
        Ok(())
    }

    /// Type of a value that is visible here.
    fn ty(&self, v: Value) -> Check<Type> {
        ensure!(v.at() < self.seen.len(), "uses %{}, but there are only {} values", v.0, self.seen.len());
        ensure!(
            self.visible[v.at()],
            "uses %{} {}; a value is used after its definition, in the same block or deeper",
            v.0,
            if self.seen[v.at()] { "outside its block" } else { "before its definition" }
        );
        Ok(self.k.values[v.at()])
    }

    /// Element and lanes of a scalar or vector.
    fn num(&self, v: Value) -> Check<(Elem, u8)> {
        match self.ty(v)? {
            Type::Num { elem, lanes } => Ok((elem, lanes)),
            Type::Frag(_) => Err(format!("%{} is a fragment; a scalar or vector is accepted", v.0)),
        }
    }

    /// Legalised, small floats may be held in f32.
    fn widened(&self, d: DType) -> bool {
        self.k.idx_bits != 0 && matches!(d, DType::F16 | DType::BF16)
    }

    /// The type of a fragment's element as `v` holds it.
    fn element(&self, v: Value, f: Frag) -> Check<Type> {
        let held = self.widened(f.elem) && self.ty(v)? == Type::F32;
        Ok(if held { Type::F32 } else { Type::scalar(f.elem) })
    }

    fn frag(&self, v: Value) -> Check<Frag> {
        match self.ty(v)? {
            Type::Frag(f) => Ok(f),
            t => Err(format!("%{} is {}; a fragment is accepted", v.0, type_name(t))),
        }
    }

    fn is(&self, what: &str, v: Value, want: Type) -> Check {
        let got = self.ty(v)?;
        ensure!(got == want, "{what} is {}; {} is accepted", type_name(got), type_name(want));
        Ok(())
    }

    fn index(&self, what: &str, v: Value) -> Check {
        let got = self.ty(v)?;
        let ok = matches!(got, Type::Num { elem, lanes: 1 } if elem.is_int());
        ensure!(ok, "{what} is {}; a scalar integer or idx is accepted", type_name(got));
        Ok(())
    }

    fn buffer(&self, p: ParamId) -> Check<(&Param, DType, Access)> {
        match self.k.params.get(p.at()) {
            Some(param) => match param.kind {
                ParamKind::Buffer { elem, access, .. } => Ok((param, elem, access)),
                ParamKind::Scalar { .. } => Err(format!("parameter {} is a scalar; a buffer is accepted", param.name)),
            },
            None => Err(format!("names parameter {}, but there are only {}", p.0, self.k.params.len())),
        }
    }

    fn shared(&self, s: SharedId) -> Check<&Array> {
        self.k
            .shared
            .get(s.at())
            .ok_or_else(|| format!("names shared array {}, but there are only {}", s.0, self.k.shared.len()))
    }

    /// Element of a place, after checking that it may be read or written as asked.
    fn place(&self, p: Place, reads: bool, writes: bool) -> Check<Elem> {
        match p {
            Place::Buffer(b) => {
                let (param, elem, access) = self.buffer(b)?;
                ensure!(
                    (!reads || access.reads()) && (!writes || access.writes()),
                    "{} buffer {}, which is declared {access:?}",
                    match (reads, writes) {
                        (true, true) => "reads and writes",
                        (true, false) => "loads from",
                        _ => "stores to",
                    },
                    param.name
                );
                Ok(Elem::D(elem))
            }
            Place::Shared(s) => Ok(self.shared(s)?.elem),
            Place::Private(s) => match self.k.private.get(s.at()) {
                Some(a) => Ok(a.elem),
                None => Err(format!("names private array {}, but there are only {}", s.0, self.k.private.len())),
            },
        }
    }

    fn var(&self, v: VarId) -> Check<&Var> {
        self.k
            .vars
            .get(v.at())
            .ok_or_else(|| format!("names variable {}, but there are only {}", v.0, self.k.vars.len()))
    }

    fn reduces(&self, op: ReduceOp, e: Elem) -> Check {
        let ok = match op {
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Min | ReduceOp::Max => computes(e),
            ReduceOp::And | ReduceOp::Or | ReduceOp::Xor => e.is_int() || e.is_bool(),
        };
        let accepted = match op {
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Min | ReduceOp::Max => "an integer or a float that computes",
            ReduceOp::And | ReduceOp::Or | ReduceOp::Xor => "an integer or bool",
        };
        ensure!(ok, "reduction {op:?} of {}; {accepted} is accepted", e.name());
        Ok(())
    }

    fn inst(&mut self, inst: &Inst, depth: usize) -> std::result::Result<(), Fault> {
        let out = match inst.out {
            Some(v) => {
                ensure!(v.at() < self.seen.len(), "defines %{}, but there are only {} values", v.0, self.seen.len());
                Some(self.k.values[v.at()])
            }
            None => None,
        };
        match &inst.op {
            Op::If { cond, then, otherwise } => {
                self.is("the condition of if", *cond, Type::BOOL)?;
                self.closed(then, depth + 1)?;
                self.closed(otherwise, depth + 1)?;
            }
            Op::For { var, start, end, step, body, .. } => {
                self.index("the start of for", *start)?;
                let ty = self.ty(*start)?;
                self.is("the end of for", *end, ty)?;
                self.is("the step of for", *step, ty)?;
                let mut own = vec![];
                self.define(*var, &mut own)?;
                self.is("the variable of for", *var, ty)?;
                self.loops += 1;
                self.closed(body, depth + 1)?;
                self.loops -= 1;
                self.close(&own);
            }
            Op::While { head, cond, body } => {
                // Break and Continue of the head would belong to an outer loop in some targets and to this one in
                // others: they stand in the body only.
                let outer = std::mem::replace(&mut self.loops, 0);
                let own = self.block(head, depth + 1)?;
                self.is("the condition of while", *cond, Type::BOOL)?;
                self.loops = outer + 1;
                self.closed(body, depth + 1)?;
                self.loops = outer;
                self.close(&own);
            }
            Op::FragEach { frag, row, col, elem, body } => {
                let f = self.frag(*frag)?;
                let mut own = vec![];
                for v in [row, col, elem] {
                    self.define(*v, &mut own)?;
                }
                self.is("the row of a visit", *row, Type::U32)?;
                self.is("the column of a visit", *col, Type::U32)?;
                ensure!(f.role != FragRole::Rows, "visits numbers of rows; a map takes them");
                self.is("the element of a visit", *elem, self.element(*elem, f)?)?;
                // A break would leave the visit in some lowerings and the loop around it in others.
                let outer = std::mem::replace(&mut self.loops, 0);
                self.closed(body, depth + 1)?;
                self.loops = outer;
                self.close(&own);
            }
            Op::FragMap { to, of, row, col, elems, result, body } => {
                let Type::Frag(f) = self.var(*to)?.ty else {
                    return Err(Fault::Here("a map sets a fragment's variable".into()));
                };
                ensure!(f.role != FragRole::B, "a map gives no operand B: an accumulator, an operand A or Rows");
                ensure!(
                    f.role != FragRole::A || f.n == f.k,
                    "a map gives an operand A where n is k, not {}x{}",
                    f.n,
                    f.k
                );
                ensure!(of.len() == elems.len() && !of.is_empty(), "a map has an element for each of its fragments");
                let mut own = vec![];
                for v in [row, col].into_iter().chain(elems) {
                    self.define(*v, &mut own)?;
                }
                self.is("the row of a map", *row, Type::U32)?;
                self.is("the column of a map", *col, Type::U32)?;
                for (v, elem) in of.iter().zip(elems) {
                    let g = self.frag(*v)?;
                    let taken = g.role == FragRole::Rows || (g.role == FragRole::Acc && f.role != FragRole::Rows);
                    ensure!(
                        taken && Frag { role: f.role, elem: f.elem, ..g } == f,
                        "a map of {} to {}; accumulators and Rows of one product are accepted, Rows alone to Rows",
                        type_name(Type::Frag(g)),
                        type_name(Type::Frag(f))
                    );
                    self.is("an element of a map", *elem, self.element(*elem, g)?)?;
                }
                let got = self.var(*result)?.ty;
                let held = got == Type::scalar(f.elem) || (self.widened(f.elem) && got == Type::F32);
                ensure!(held, "a map's elements are {}; its result is {}", f.elem, type_name(got));
                let outer = std::mem::replace(&mut self.loops, 0);
                self.closed(body, depth + 1)?;
                self.loops = outer;
                self.close(&own);
            }
            Op::Break | Op::Continue => {
                ensure!(self.loops > 0, "break or continue outside a loop's body")
            }
            op => match self.result(op, out)? {
                Want::Nothing => ensure!(out.is_none(), "this operation has no result"),
                Want::Maybe(t) => {
                    if let Some(got) = out {
                        ensure!(got == t, "its result is {}; it must be {}", type_name(got), type_name(t))
                    }
                }
                Want::Type(t) => match out {
                    Some(got) => ensure!(got == t, "its result is {}; it must be {}", type_name(got), type_name(t)),
                    None => ensure!(false, "its result must be given a value"),
                },
            },
        }
        if !inst.op.blocks().is_empty() || matches!(inst.op, Op::Break | Op::Continue) {
            ensure!(out.is_none(), "this operation has no result");
        }
        Ok(())
    }
}

/// What an operation defines.
enum Want {
    Nothing,
    /// A value of this type, or none.
    Maybe(Type),
    /// A value of this type.
    Type(Type),
}
