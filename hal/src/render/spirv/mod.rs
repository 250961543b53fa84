//! SPIR-V for Vulkan, built from a legalised kernel. No text lies between: 8- and 16-bit types, 64-bit integers, packed
//! products, subgroup operations and matrices come through as the device has them.
//!
//! Where SPIR-V and the kernel language disagree, and what is built instead:
//! * Vectors have at most 4 lanes: longer ones are held as several vectors of 4.
//! * A buffer is an array of one type: vectors that are aligned in it are read through a second view of the same binding.
//! * Division by zero, `MIN / -1` and remainders of negative numbers are undefined: the divisor is replaced by 1 first,
//!   `x / 0` becomes 0 afterwards, remainders are differences.
//! * A shift by the width or more is undefined: the amount is masked.
//! * A float outside an integer's range, or NaN, converts to anything: it is replaced by 0 before and patched after.
//! * `FMin` and `FMax` drop a NaN: comparisons keep it.
//! * A driver may contract `a * b + c`: `NoContraction` on sums, differences and products that stand alone. `MulAdd` is
//!   `Fma`, which rounds once or twice; `Fma` of the language needs `SPV_KHR_fma`.
//! * `bool` has no place in memory: one byte there, 0 or 1; four in arrays of the workgroup.
//! * Bits are counted in 32-bit integers only.
//!
//! The interface: buffer parameters are storage buffers, in order, of descriptor set 0, then come those of them that are also bound
//! as texels; scalars are the packed bytes of
//! [`Kernel::scalar_layout`] as one block of push constants, in 32-bit words; the workgroup is part of the module.
//! Control flow is structured by construction: what follows a jump is not written.

mod asm;
mod convert;
mod expr;
mod flow;
mod group;
mod int;
mod matrix;
mod memory;
#[cfg(test)]
mod tests;
mod texel;

use crate::{DType, Error, Result, ir::*};
use asm::Asm;
use rspirv::spirv::{BuiltIn, Capability, Decoration, ExecutionMode, StorageClass, Word};
use std::collections::{BTreeSet, HashMap, HashSet};
pub use texel::Texels;

/// The name of every module's entry point.
pub const ENTRY: &str = "main";

/// What an offered property of f16, f32 and f64 arithmetic is declared for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Floats {
    /// f16.
    pub f16: bool,
    /// f32.
    pub f32: bool,
    /// f64.
    pub f64: bool,
}

/// What the renderer must know of a device: what was probed and enabled on it. Nothing that is false here is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// SPIR-V version: (1, 3) for Vulkan 1.1, (1, 5) for 1.2, (1, 6) for 1.3.
    pub version: (u8, u8),
    /// 8-bit types in storage buffers.
    pub storage8: bool,
    /// 16-bit types in storage buffers.
    pub storage16: bool,
    /// Arithmetic of f16.
    pub f16: bool,
    /// Arithmetic of 8-bit integers.
    pub i8: bool,
    /// Arithmetic of 16-bit integers.
    pub i16: bool,
    /// 64-bit integers.
    pub i64: bool,
    /// f64.
    pub f64: bool,
    /// bf16 may be loaded, stored and converted (`VK_KHR_shader_bfloat16`).
    pub bf16: bool,
    /// 64-bit atomics in buffers and workgroup memory.
    pub atomic64: bool,
    /// Addition to f32 in buffers and workgroup memory is one atomic.
    pub atomic_f32_add: bool,
    /// Packed products of four bytes.
    pub dot4: bool,
    /// `SPV_KHR_fma`: rounds once.
    pub fma: bool,
    /// Float controls: the sign of zero, infinities and NaN are kept.
    pub signed_zero_inf_nan: Floats,
    /// Float controls: subnormal numbers are kept.
    pub denorm_preserve: Floats,
    /// Float controls: results are rounded to nearest even.
    pub rte: Floats,
    /// u32 to f32 by its halves, whose sum is rounded once, where the driver's own conversion is rounded twice.
    pub unsigned_by_halves: bool,
    /// Trunc and RoundEven of f64 by other operations, where the driver's own are wrong.
    pub doubles_by_parts: bool,
    /// Subgroup size, lane, number.
    pub subgroup: bool,
    /// Reductions and prefix sums of a subgroup.
    pub subgroup_arithmetic: bool,
    /// Votes and broadcasts.
    pub subgroup_ballot: bool,
    /// Shuffles.
    pub subgroup_shuffle: bool,
    /// Shuffles by a distance.
    pub subgroup_shuffle_relative: bool,
    /// Subgroup operations also take 8-, 16- and 64-bit integers and f16.
    pub subgroup_extended: bool,
    /// A shuffle of 32 bits by a constant is one instruction and a broadcast is not: llvmpipe permutes the eight numbers of a vector register,
    /// but looks for an active lane before it broadcasts.
    pub shuffle_at_once: bool,
    /// A broadcast costs less as one of 64 bits than as two of 32, and the device takes such: llvmpipe looks for an active lane each time.
    pub broadcast_pairs: bool,
    /// Buffers that are only read are read as texels, which is faster there, up to so many of a kernel.
    pub texels: u32,
    /// `VK_KHR_cooperative_matrix`.
    pub cooperative_matrix: bool,
    /// The Vulkan memory model, which cooperative matrices need.
    pub memory_model: bool,
}

/// A module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its words.
    pub words: Vec<u32>,
    /// The name of its entry point.
    pub entry: String,
    /// Bytes of push constants, a multiple of 4.
    pub push_bytes: u32,
    /// What is read as texels.
    pub texels: Vec<Texels>,
}

/// Builds the module of a legalised kernel.
///
/// # Errors
/// `Unsupported` names what the target or this renderer cannot say; `InvalidArgument` for a kernel that is not legalised.
pub fn render(kernel: &Kernel, target: &Target) -> Result<Rendered> {
    if !matches!(kernel.idx_bits, 32 | 64) {
        return Err(Error::invalid(format!(
            "kernel {}: idx has {} bits; legalise it first (32 and 64 are accepted)",
            kernel.name, kernel.idx_bits
        )));
    }
    let mut r = Renderer::new(kernel, target);
    r.asm.begin()?;
    r.declare()?;
    r.block(&kernel.body)?;
    let (push_bytes, texels) = (r.words * 4, r.texels.iter().map(|t| t.0).collect());
    let modes = r.modes();
    let words = r.asm.finish(kernel.workgroup, &modes)?;
    Ok(Rendered { words, entry: ENTRY.into(), push_bytes, texels })
}

/// A module as text, for messages; for words that are no module, why.
pub fn disassemble(words: &[u32]) -> String {
    match rspirv::dr::load_words(words) {
        Ok(module) => rspirv::binary::Disassemble::disassemble(&module),
        Err(why) => format!("{} words that are no module: {why}", words.len()),
    }
}

/// A value as it is held: vectors of at most 4 lanes, all of one length.
type Parts = Vec<Word>;

/// How the values of a scalar or vector type are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// `idx` is chosen.
    d: DType,
    /// Lanes of one part.
    lanes: u32,
    /// How many parts.
    parts: usize,
}

struct Renderer<'a> {
    k: &'a Kernel,
    t: &'a Target,
    asm: Asm,
    values: Vec<Parts>,
    vars: Vec<Parts>,
    shared: Vec<Word>,
    private: Vec<Word>,
    /// Views of each buffer by lanes of what is read at once.
    views: HashMap<(ParamId, u32), memory::View>,
    /// What is read as texels, and the variable of each.
    texels: Vec<(Texels, ParamId, Word)>,
    /// Arrays of the workgroup that hold the bits of floats.
    added_to: BTreeSet<SharedId>,
    /// Arrays of the workgroup and of a lane that are made of vectors of 4.
    wide_shared: Vec<bool>,
    wide_private: Vec<bool>,
    builtins: HashMap<u32, Word>,
    push: Option<Word>,
    /// 32-bit words of push constants.
    words: u32,
    slots: HashMap<ParamId, ScalarSlot>,
    /// Values that are constants.
    constants: HashSet<Value>,
    /// Where `break` and `continue` of the loops around go.
    loops: Vec<(Word, Word)>,
    /// Casts whose results are only stored as f16.
    only_stored: Vec<bool>,
    /// Float types that are computed with.
    computed: Floats,
}

impl<'a> Renderer<'a> {
    fn new(k: &'a Kernel, t: &'a Target) -> Renderer<'a> {
        let (slots, bytes) = k.scalar_layout();
        let mut constants = HashSet::new();
        let mut only_stored = vec![true; k.values.len()];
        visit(&k.body, &mut |i| {
            let buffer_value = match &i.op {
                // What is taken apart first is not what is stored.
                Op::Store { place: Place::Buffer(_), value, aligned, .. } if *aligned || k.ty(*value).lanes() == 1 => {
                    Some(*value)
                }
                _ => None,
            };
            if let (Op::Const(_), Some(out)) = (&i.op, i.out) {
                constants.insert(out);
            }
            i.op.operands(&mut |v| only_stored[v.at()] &= buffer_value == Some(v));
        });
        Renderer {
            k,
            t,
            asm: Asm::new(t.version),
            values: vec![vec![]; k.values.len()],
            vars: vec![],
            shared: vec![],
            private: vec![],
            views: HashMap::new(),
            texels: vec![],
            added_to: BTreeSet::new(),
            wide_shared: vec![],
            wide_private: vec![],
            builtins: HashMap::new(),
            push: None,
            words: bytes.div_ceil(4),
            slots: slots.into_iter().map(|s| (s.param, s)).collect(),
            constants,
            loops: vec![],
            only_stored,
            computed: Floats::default(),
        }
    }

    /// Buffers, arrays and variables.
    fn declare(&mut self) -> Result<()> {
        self.buffers()?;
        self.find_added_to();
        self.find_wide();
        for (i, a) in self.k.shared.iter().enumerate() {
            let id = SharedId(i as u32);
            let elem = self.shared_elem(id)?;
            let ty = self.array_of(Place::Shared(id), elem, a.len);
            self.shared.push(self.asm.variable(StorageClass::Workgroup, ty, None));
        }
        for (i, a) in self.k.private.iter().enumerate() {
            let elem = self.array_elem(a.elem)?;
            let ty = self.array_of(Place::Private(PrivateId(i as u32)), elem, a.len);
            let var = self.asm.local(ty);
            self.private.push(var);
        }
        for v in &self.k.vars {
            let parts = match v.ty {
                Type::Num { .. } => {
                    let s = self.shape(v.ty)?;
                    let ty = self.word(s)?;
                    (0..s.parts).map(|_| self.asm.local(ty)).collect()
                }
                Type::Frag(f) => {
                    let ty = self.fragment(f)?;
                    vec![self.asm.local(ty)]
                }
            };
            self.vars.push(parts);
        }
        if self.words > 0 {
            let block = self.asm.words_block(self.words);
            self.push = Some(self.asm.variable(StorageClass::PushConstant, block, None));
        }
        Ok(())
    }

    /// Execution modes of what is computed.
    fn modes(&mut self) -> Vec<(ExecutionMode, u32)> {
        let mut modes = vec![];
        let (t, computed) = (self.t, self.computed);
        for (offered, capability, mode) in [
            (t.signed_zero_inf_nan, Capability::SignedZeroInfNanPreserve, ExecutionMode::SignedZeroInfNanPreserve),
            (t.denorm_preserve, Capability::DenormPreserve, ExecutionMode::DenormPreserve),
            (t.rte, Capability::RoundingModeRTE, ExecutionMode::RoundingModeRTE),
        ] {
            for (bits, offered, used) in
                [(16, offered.f16, computed.f16), (32, offered.f32, computed.f32), (64, offered.f64, computed.f64)]
            {
                if offered && used {
                    self.asm.capability(capability);
                    self.asm.extension("SPV_KHR_float_controls", Some((1, 4)));
                    modes.push((mode, bits));
                }
            }
        }
        modes
    }

    fn unsupported(&self, why: impl Into<String>) -> Error {
        Error::unsupported(format!("kernel {} in SPIR-V", self.k.name), why)
    }

    /// The element type that holds values of `e`.
    fn held(&self, e: Elem) -> DType {
        match e {
            Elem::Idx if self.k.idx_bits == 32 => DType::U32,
            Elem::Idx => DType::U64,
            Elem::D(d) => d,
        }
    }

    fn shape(&self, ty: Type) -> Result<Shape> {
        let Type::Num { elem, lanes } = ty else {
            return Err(self.unsupported("a matrix fragment stands where a number must"));
        };
        let lanes = u32::from(lanes);
        Ok(Shape { d: self.held(elem), lanes: lanes.min(4), parts: (lanes / 4).max(1) as usize })
    }

    fn shape_of(&self, v: Value) -> Result<Shape> {
        self.shape(self.k.ty(v))
    }

    /// The type of one part.
    fn word(&mut self, s: Shape) -> Result<Word> {
        let elem = self.scalar(s.d)?;
        Ok(self.asm.vector(elem, s.lanes))
    }

    /// A scalar type of values, with what it needs.
    fn scalar(&mut self, d: DType) -> Result<Word> {
        let t = self.t;
        let need = |r: &mut Self, has: bool, also: bool, c: Capability| match (has, also) {
            (true, _) => {
                r.asm.capability(c);
                Ok(())
            }
            // Stored types may be loaded, converted and stored.
            (false, true) => Ok(()),
            (false, false) => Err(r.unsupported(format!("the device has no {d}"))),
        };
        Ok(match d {
            DType::Bool => self.asm.bool(),
            DType::I8 | DType::U8 => {
                need(self, t.i8, t.storage8, Capability::Int8)?;
                self.asm.int(8)
            }
            DType::I16 | DType::U16 => {
                need(self, t.i16, t.storage16, Capability::Int16)?;
                self.asm.int(16)
            }
            DType::I32 | DType::U32 => self.asm.int(32),
            DType::I64 | DType::U64 => {
                need(self, t.i64, false, Capability::Int64)?;
                self.asm.int(64)
            }
            DType::F16 => {
                need(self, t.f16, t.storage16, Capability::Float16)?;
                self.computed.f16 |= t.f16;
                self.asm.float(16)
            }
            DType::BF16 if t.bf16 => {
                self.asm.capability(Capability::BFloat16TypeKHR);
                self.asm.extension("SPV_KHR_bfloat16", None);
                self.asm.bfloat16()
            }
            DType::F32 => {
                self.computed.f32 = true;
                self.asm.float(32)
            }
            DType::F64 => {
                need(self, t.f64, false, Capability::Float64)?;
                self.computed.f64 = true;
                self.asm.float(64)
            }
            DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                return Err(self.unsupported(format!("{d} must be lowered by the legaliser")));
            }
        })
    }

    /// The type of an element of an array of the workgroup or of a lane.
    fn array_elem(&mut self, e: Elem) -> Result<Word> {
        match self.held(e) {
            DType::Bool => Ok(self.asm.int(32)),
            d => self.scalar(d),
        }
    }

    /// The parts of a value.
    fn v(&self, v: Value) -> Parts {
        self.values[v.at()].clone()
    }

    /// The only part of a scalar.
    fn one(&self, v: Value) -> Result<Word> {
        match self.values[v.at()][..] {
            [w] => Ok(w),
            _ => Err(self.unsupported(format!("{v:?} is used before it is defined, a bug in anychip"))),
        }
    }

    /// A number from the surroundings: a variable that the driver fills.
    fn builtin(&mut self, b: BuiltIn, lanes: u32) -> Result<Word> {
        let u32 = self.asm.int(32);
        let ty = self.asm.vector(u32, lanes);
        let var = match self.builtins.get(&(b as u32)) {
            Some(var) => *var,
            None => {
                let var = self.asm.variable(StorageClass::Input, ty, None);
                self.asm.decorate(var, Decoration::BuiltIn, vec![rspirv::dr::Operand::BuiltIn(b)]);
                self.builtins.insert(b as u32, var);
                var
            }
        };
        self.asm.load(ty, var)
    }
}
