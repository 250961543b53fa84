//! WGSL, printed from a legalised kernel.
//!
//! Where WGSL and the kernel language disagree, and what is printed instead:
//! * Buffers hold elements of 32 bits, and of 16 or 64 where the target has them: the legaliser packs the others into words.
//! * Vectors have at most 4 lanes: longer ones are held as several vectors of 4. A buffer has elements of one type: where all
//!   its accesses are aligned vectors it is one of vectors, else a vector is read lane by lane.
//! * A buffer on which a kernel works with atomics is one of atomics throughout; floats lie in it as their bits.
//! * What is known when the shader is compiled may neither overflow nor be NaN or infinite: such constants are the results
//!   of functions, whose arguments no compiler may look into.
//! * `x / 0` is `x`, remainders of negative numbers differ by way of GLSL, and floats outside an integer's range are not promised: both are chosen around.
//! * `min` and `max` may drop a NaN, `sign` of it is anything: comparisons keep it. A NaN is recognised by its bits.
//! * A driver may contract `a * b + c`. There is no `fma` that is promised to round once.
//! * Scalars are words of a block, in immediate memory or a uniform buffer.
//! * Bits are counted in 32-bit integers only.
//! * Lanes must not be named by a number in `subgroupBroadcast`: a shuffle stands for it.
//!
//! The interface: buffer parameters are `@binding(0..)` of `@group(0)`, in order. Scalars are the packed bytes of
//! [`Kernel::scalar_layout`] in words: `var<immediate>`, or `var<uniform>` at `@group(1) @binding(0)`.

mod convert;
mod expr;
mod flow;
mod helpers;
mod memory;
mod number;
#[cfg(test)]
mod tests;

use crate::{DType, Error, Result, ir::*};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
};

/// The name of every module's entry point.
pub const ENTRY: &str = "main";

/// What the printer must know of a target. Nothing that is false here is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    /// `f16`, in buffers and in arithmetic.
    pub f16: bool,
    /// `i16` and `u16`, in buffers and in arithmetic.
    pub i16: bool,
    /// `i64` and `u64`.
    pub i64: bool,
    /// `f64`.
    pub f64: bool,
    /// 64-bit atomics.
    pub atomic64: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Browsers ask for `enable subgroups;`, naga refuses it.
    pub enable_subgroups: bool,
    /// Scalars lie in immediate memory; else in a uniform buffer.
    pub immediates: bool,
}

/// A kernel as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The module.
    pub source: String,
    /// The name of its entry point.
    pub entry: String,
    /// Bytes of scalars, a multiple of 4; 0: there is no block of them.
    pub scalar_bytes: u32,
    /// Per buffer parameter: it is declared `read_write`.
    pub writes: Vec<bool>,
}

/// Prints a legalised kernel.
///
/// # Errors
/// `Unsupported` names what the target or WGSL cannot say; `InvalidArgument` for a kernel that is not legalised.
pub fn render(kernel: &Kernel, target: &Target) -> Result<Rendered> {
    if !matches!(kernel.idx_bits, 32 | 64) {
        return Err(Error::invalid(format!(
            "kernel {}: idx has {} bits; legalise it first (32 and 64 are accepted)",
            kernel.name, kernel.idx_bits
        )));
    }
    let mut p = Printer::new(kernel, target);
    let (outside, inside) = p.declarations()?;
    p.out.push_str(&inside);
    p.block(&kernel.body)?;
    let mut source = String::new();
    let _ = writeln!(source, "// {} in WGSL", kernel.name);
    for (on, name) in [
        (target.f16 && p.mentions(DType::F16), "f16"),
        (target.i16 && (p.mentions(DType::I16) || p.mentions(DType::U16)), "wgpu_int16"),
        (target.enable_subgroups && p.subgroups, "subgroups"),
    ] {
        if on {
            let _ = writeln!(source, "enable {name};");
        }
    }
    source.push_str(&outside);
    for text in &p.helpers.texts {
        source.push_str(text);
    }
    let [x, y, z] = if p.flat() { [kernel.lanes(), 1, 1] } else { kernel.workgroup };
    let _ = writeln!(source, "@compute @workgroup_size({x}, {y}, {z})");
    let _ = writeln!(source, "fn {ENTRY}({}) {{", p.builtins().join(", "));
    source.push_str(&p.out);
    source.push_str("}\n");
    let (_, bytes) = kernel.scalar_layout();
    let writes = kernel.buffers().map(|(id, ..)| p.writable(id)).collect();
    Ok(Rendered { source, entry: ENTRY.into(), scalar_bytes: bytes.next_multiple_of(4), writes })
}

/// How often and where a value is read.
#[derive(Clone, Copy, Default)]
struct Uses {
    reads: u32,
    /// Number of the block that defines it, and of the block that reads it last.
    defined: u32,
    read: u32,
    /// Read by a loop's header, or where its text is repeated: it would be computed anew.
    again: bool,
    /// It is a constant.
    constant: bool,
}

/// How a part of a value is held: a scalar, or a vector of 2 or 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// `idx` is chosen.
    d: DType,
    lanes: u8,
}

struct Printer<'a> {
    k: &'a Kernel,
    target: &'a Target,
    uses: Vec<Uses>,
    /// How the parts of each value are written where they are read: names, literals or expressions in parentheses.
    text: Vec<Vec<String>>,
    /// Places that atomics work on.
    atomic: HashSet<Place>,
    /// Lanes of a buffer's elements, where these are vectors.
    views: HashMap<ParamId, u8>,
    /// Numbers known now: constants, and variables of unrolled loops.
    known: Vec<Option<u64>>,
    helpers: helpers::Helpers,
    /// Subgroup operations were printed.
    subgroups: bool,
    out: String,
    depth: usize,
    statements: usize,
    /// Names given besides values'.
    names: usize,
}

/// Parts of a vector.
fn parts(lanes: u8) -> usize {
    usize::from(lanes).div_ceil(4)
}

impl<'a> Printer<'a> {
    fn new(k: &'a Kernel, target: &'a Target) -> Printer<'a> {
        let n = k.values.len();
        let mut uses = vec![Uses::default(); n];
        count(&k.body, &mut uses, &mut 0);
        let mut atomic = HashSet::new();
        visit(&k.body, &mut |i| {
            if let Op::Atomic { place, .. } = &i.op {
                atomic.insert(*place);
            }
        });
        let views = views(k, &atomic);
        Printer {
            k,
            target,
            uses,
            text: vec![vec![]; n],
            atomic,
            views,
            known: vec![None; n],
            helpers: helpers::Helpers::default(),
            subgroups: false,
            out: String::new(),
            depth: 1,
            statements: 0,
            names: 0,
        }
    }

    /// What stands outside the function, and the lines that declare its arrays and variables.
    fn declarations(&mut self) -> Result<(String, String)> {
        let mut outside = String::new();
        for (binding, (id, elem, _)) in self.k.buffers().enumerate() {
            let access = if self.writable(id) { "read_write" } else { "read" };
            let (name, one) = (self.place_name(Place::Buffer(id)), self.stored(Place::Buffer(id), Elem::D(elem))?);
            let elem = self.views.get(&id).map_or(one.clone(), |lanes| format!("vec{lanes}<{one}>"));
            let _ = writeln!(outside, "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{elem}>;");
        }
        let (_, bytes) = self.k.scalar_layout();
        if bytes > 0 {
            let words: Vec<_> = (0..bytes.div_ceil(4)).map(|n| format!("w{n}: u32")).collect();
            let _ = writeln!(outside, "struct Scalars {{ {} }}", words.join(", "));
            outside.push_str(match self.target.immediates {
                true => "var<immediate> scalars: Scalars;\n",
                false => "@group(1) @binding(0) var<uniform> scalars: Scalars;\n",
            });
        }
        for (i, a) in self.k.shared.iter().enumerate() {
            let place = Place::Shared(SharedId(i as u32));
            let (name, elem) = (self.place_name(place), self.stored(place, a.elem)?);
            let _ = writeln!(outside, "var<workgroup> {name}: array<{elem}, {}>;", a.len);
        }
        let mut inside = String::new();
        for (i, a) in self.k.private.iter().enumerate() {
            let place = Place::Private(PrivateId(i as u32));
            let _ = writeln!(
                inside,
                "    var {}: array<{}, {}>;",
                self.place_name(place),
                self.stored(place, a.elem)?,
                a.len
            );
        }
        for (i, v) in self.k.vars.iter().enumerate() {
            let name = self.var_name(VarId(i as u32));
            let s = self.shape(v.ty)?;
            let ty = self.type_name(s)?;
            for part in 0..parts(v.ty.lanes()) {
                let _ = writeln!(inside, "    var {name}_{part}: {ty};");
            }
        }
        Ok((outside, inside))
    }

    /// naga knows lanes and numbers of subgroups in workgroups of one dimension only: the workgroup is then one, and a lane's
    /// places in it are computed.
    fn flat(&self) -> bool {
        let mut subgroups = false;
        visit(&self.k.body, &mut |i| {
            subgroups |= matches!(i.op, Op::Builtin(Builtin::SubgroupLane | Builtin::SubgroupId));
        });
        subgroups && self.k.workgroup[1..] != [1, 1]
    }

    /// The parameters that hold numbers from the surroundings, as far as the kernel reads them.
    fn builtins(&self) -> Vec<String> {
        let mut used = [false; 6];
        visit(&self.k.body, &mut |i| {
            if let Op::Builtin(b) = i.op {
                match b {
                    Builtin::GroupId(_) => used[0] = true,
                    Builtin::NumGroups(_) => used[1] = true,
                    Builtin::LocalId(_) => used[2] = true,
                    Builtin::SubgroupSize => used[3] = true,
                    Builtin::SubgroupLane => used[4] = true,
                    Builtin::SubgroupId => used[5] = true,
                    Builtin::GlobalId(_) | Builtin::LocalSize(_) => {}
                }
            }
        });
        let all = [
            "@builtin(workgroup_id) group_id: vec3<u32>",
            "@builtin(num_workgroups) num_groups: vec3<u32>",
            "@builtin(local_invocation_id) local_id: vec3<u32>",
            "@builtin(subgroup_size) subgroup_size: u32",
            "@builtin(subgroup_invocation_id) subgroup_lane: u32",
            "@builtin(subgroup_id) subgroup_number: u32",
        ];
        all.iter().zip(used).filter(|(_, used)| *used).map(|(text, _)| text.to_string()).collect()
    }

    /// Atomics of a buffer, loads included, ask for `read_write`.
    fn writable(&self, p: ParamId) -> bool {
        let declared = matches!(self.k.params[p.at()].kind, ParamKind::Buffer { access, .. } if access.writes());
        declared || self.atomic.contains(&Place::Buffer(p))
    }

    /// True when a value or a place has this type.
    fn mentions(&self, d: DType) -> bool {
        let k = self.k;
        let of = |e: Option<Elem>| e == Some(Elem::D(d));
        k.values.iter().chain(k.vars.iter().map(|v| &v.ty)).any(|t| of(t.elem()))
            || k.shared.iter().chain(&k.private).any(|a| of(Some(a.elem)))
            || k.params.iter().any(|p| match p.kind {
                ParamKind::Buffer { elem, .. } => elem == d,
                ParamKind::Scalar { elem, .. } => of(Some(elem)),
            })
    }

    fn place_name(&self, place: Place) -> String {
        match place {
            Place::Buffer(p) => format!("b{}_{}", p.0, self.k.params[p.at()].name),
            Place::Shared(s) => format!("s{}_{}", s.0, self.k.shared[s.at()].name),
            Place::Private(a) => format!("a{}_{}", a.0, self.k.private[a.at()].name),
        }
    }

    fn var_name(&self, v: VarId) -> String {
        format!("x{}_{}", v.0, self.k.vars[v.at()].name)
    }

    fn unsupported(&self, why: impl Into<String>) -> Error {
        Error::unsupported(format!("kernel {} in WGSL", self.k.name), why)
    }

    fn lowered(&self, op: &Op) -> Error {
        let name = format!("{op:?}");
        let name = name.split([' ', '(']).next().unwrap_or("?");
        self.unsupported(format!("{name} must be lowered by the legaliser"))
    }

    /// The element type that holds values of `e`: `idx` is chosen.
    fn held(&self, e: Elem) -> DType {
        match e {
            Elem::Idx if self.k.idx_bits == 32 => DType::U32,
            Elem::Idx => DType::U64,
            Elem::D(d) => d,
        }
    }

    /// How the parts of a value of this type are held.
    fn shape(&self, ty: Type) -> Result<Shape> {
        match ty {
            Type::Num { elem, lanes } => Ok(Shape { d: self.held(elem), lanes: lanes.min(4) }),
            Type::Frag(_) => Err(self.unsupported("matrix fragments must be lowered by the legaliser")),
        }
    }

    /// The name of a scalar type.
    fn scalar(&self, d: DType) -> Result<&'static str> {
        let (has, name) = match d {
            DType::Bool => (true, "bool"),
            DType::I32 => (true, "i32"),
            DType::U32 => (true, "u32"),
            DType::F32 => (true, "f32"),
            DType::F16 => (self.target.f16, "f16"),
            DType::I16 => (self.target.i16, "i16"),
            DType::U16 => (self.target.i16, "u16"),
            DType::I64 => (self.target.i64, "i64"),
            DType::U64 => (self.target.i64, "u64"),
            DType::F64 => (self.target.f64, "f64"),
            DType::I8 | DType::U8 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => (false, ""),
        };
        match has {
            true => Ok(name),
            false => Err(self.unsupported(format!("the device has no {d} there"))),
        }
    }

    fn type_name(&self, s: Shape) -> Result<String> {
        let one = self.scalar(s.d)?;
        Ok(if s.lanes == 1 { one.into() } else { format!("vec{}<{one}>", s.lanes) })
    }

    /// The type of an element in memory.
    fn stored(&self, place: Place, elem: Elem) -> Result<String> {
        let d = self.held(elem);
        if d == DType::Bool && matches!(place, Place::Buffer(_)) {
            return Err(self.unsupported("bool in buffers must be packed by the legaliser"));
        }
        if !self.atomic.contains(&place) {
            return Ok(self.scalar(d)?.into());
        }
        let bits = match d {
            DType::F32 => DType::U32,
            DType::F64 => DType::U64,
            d => d,
        };
        if bits.size() == 8 && !self.target.atomic64 {
            return Err(self.unsupported("the device has no 64-bit atomics"));
        }
        Ok(format!("atomic<{}>", self.scalar(bits)?))
    }

    /// The text of a part of a value; a scalar has only one.
    fn t(&self, v: Value, part: usize) -> &str {
        let all = &self.text[v.at()];
        &all[if all.len() == 1 { 0 } else { part }]
    }

    fn line(&mut self, text: &str) {
        for _ in 0..self.depth {
            self.out.push_str("    ");
        }
        self.out.push_str(text);
        self.out.push('\n');
        self.statements += 1;
    }

    /// A name that no value has.
    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("t{}", self.names)
    }
}

/// Buffers that are read and written by aligned vectors only, with the lanes of the shortest.
fn views(k: &Kernel, atomic: &HashSet<Place>) -> HashMap<ParamId, u8> {
    let mut lanes = HashMap::new();
    visit(&k.body, &mut |i| {
        let (place, n) = match (&i.op, i.out) {
            (Op::Load { place, aligned, .. }, Some(out)) => (place, if *aligned { k.ty(out).lanes() } else { 1 }),
            (Op::Store { place, value, aligned, .. }, _) => (place, if *aligned { k.ty(*value).lanes() } else { 1 }),
            _ => return,
        };
        if let Place::Buffer(p) = place {
            // No element is longer than 16 bytes.
            let size = match k.params[p.at()].kind {
                ParamKind::Buffer { elem, .. } => elem.size() as u8,
                ParamKind::Scalar { .. } => 16,
            };
            let least = lanes.entry(*p).or_insert((16 / size).min(4));
            *least = n.min(*least);
        }
    });
    lanes.retain(|p, n| *n > 1 && !atomic.contains(&Place::Buffer(*p)));
    lanes
}

/// Counts reads and notes the blocks of definitions and reads.
fn count(block: &Block, uses: &mut [Uses], blocks: &mut u32) {
    *blocks += 1;
    let here = *blocks;
    for inst in block {
        if let Some(v) = inst.out {
            uses[v.at()].defined = here;
            uses[v.at()].constant = matches!(inst.op, Op::Const(_));
        }
        // Lanes are written one by one; an atomic may be tried several times.
        let again = matches!(inst.op, Op::For { .. } | Op::Store { .. } | Op::Load { .. } | Op::Atomic { .. });
        // The condition of a while is read at the end of its head.
        let read = if matches!(inst.op, Op::While { .. }) { *blocks + 1 } else { here };
        inst.op.operands(&mut |v| {
            let u = &mut uses[v.at()];
            u.reads += 1;
            u.read = read;
            u.again |= again;
        });
        for b in inst.op.blocks() {
            count(b, uses, blocks);
        }
    }
}
