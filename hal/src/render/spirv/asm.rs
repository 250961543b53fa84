//! A module under construction: types, constants and declarations each once, instructions in the open block.
//!
//! On `rspirv`'s builder, which knows the grammar; what it lacks is that equal things are made once, that what an
//! instruction needs is declared with it, and that code behind a jump is not written.

use crate::{Error, Result};
use rspirv::{
    binary::Assemble,
    dr::{Builder, InsertPoint, Instruction, Operand},
    spirv::{self, AddressingModel, Capability, Decoration, ExecutionModel, MemoryModel, Op, StorageClass, Word},
};
use std::collections::{BTreeSet, HashMap};

pub(super) struct Asm {
    b: Builder,
    types: HashMap<(u32, Vec<u32>), Word>,
    constants: HashMap<(Word, Vec<u32>), Word>,
    capabilities: BTreeSet<u32>,
    extensions: BTreeSet<&'static str>,
    glsl: Option<Word>,
    /// Global variables, for the entry point.
    globals: Vec<(Word, StorageClass)>,
    /// Variables of the function, which stand at its begin.
    locals: Vec<Instruction>,
    entry: Word,
    version: (u8, u8),
    /// No block is open: what follows a jump is dead.
    closed: bool,
}

/// An error of the builder's: a bug here, never the caller's.
fn bug(e: impl std::fmt::Debug) -> Error {
    Error::invalid(format!("the SPIR-V renderer broke a module, a bug in anychip: {e:?}"))
}

pub(super) fn id(w: Word) -> Operand {
    Operand::IdRef(w)
}

pub(super) fn literal(n: u32) -> Operand {
    Operand::LiteralBit32(n)
}

impl Asm {
    pub fn new(version: (u8, u8)) -> Asm {
        let mut b = Builder::new();
        b.set_version(version.0, version.1);
        b.memory_model(AddressingModel::Logical, MemoryModel::GLSL450);
        let mut a = Asm {
            b,
            types: HashMap::new(),
            constants: HashMap::new(),
            capabilities: BTreeSet::new(),
            extensions: BTreeSet::new(),
            glsl: None,
            globals: vec![],
            locals: vec![],
            entry: 0,
            version,
            closed: true,
        };
        a.capability(Capability::Shader);
        a
    }

    pub fn capability(&mut self, c: Capability) {
        if self.capabilities.insert(c as u32) {
            self.b.capability(c);
        }
    }

    /// An extension; `core` is the version that has it built in.
    pub fn extension(&mut self, name: &'static str, core: Option<(u8, u8)>) {
        let built_in = core.is_some_and(|c| self.version >= c);
        if !built_in && self.extensions.insert(name) {
            self.b.extension(name);
        }
    }

    pub fn decorate(&mut self, of: Word, d: Decoration, operands: Vec<Operand>) {
        self.b.decorate(of, d, operands);
    }

    // ---- types and constants ----

    /// A type by its instruction and operands, made when first asked for.
    fn ty(&mut self, op: Op, operands: Vec<Operand>) -> Word {
        let key = (op as u32, operands.iter().flat_map(Assemble::assemble).collect());
        if let Some(w) = self.types.get(&key) {
            return *w;
        }
        let w = self.b.id();
        let inst = Instruction::new(op, None, Some(w), operands);
        self.b.insert_types_global_values(InsertPoint::End, inst);
        self.types.insert(key, w);
        w
    }

    pub fn void(&mut self) -> Word {
        self.ty(Op::TypeVoid, vec![])
    }
    pub fn bool(&mut self) -> Word {
        self.ty(Op::TypeBool, vec![])
    }
    /// Integers are declared without a sign: what matters is the instruction.
    pub fn int(&mut self, bits: u32) -> Word {
        self.ty(Op::TypeInt, vec![literal(bits), literal(0)])
    }
    pub fn float(&mut self, bits: u32) -> Word {
        self.ty(Op::TypeFloat, vec![literal(bits)])
    }
    pub fn bfloat16(&mut self) -> Word {
        self.ty(Op::TypeFloat, vec![literal(16), Operand::FPEncoding(spirv::FPEncoding::BFloat16KHR)])
    }
    pub fn vector(&mut self, elem: Word, n: u32) -> Word {
        if n == 1 { elem } else { self.ty(Op::TypeVector, vec![id(elem), literal(n)]) }
    }
    pub fn pointer(&mut self, class: StorageClass, to: Word) -> Word {
        self.ty(Op::TypePointer, vec![Operand::StorageClass(class), id(to)])
    }
    pub fn array(&mut self, elem: Word, n: u32) -> Word {
        let n = self.u32(n);
        self.ty(Op::TypeArray, vec![id(elem), id(n)])
    }
    pub fn matrix(&mut self, elem: Word, scope: Word, rows: Word, columns: Word, r#use: Word) -> Word {
        self.ty(Op::TypeCooperativeMatrixKHR, vec![id(elem), id(scope), id(rows), id(columns), id(r#use)])
    }

    /// A uniform texel buffer whose texels are unsigned words.
    pub fn texel_buffer(&mut self) -> Word {
        let word = self.int(32);
        let no = || literal(0);
        let format = Operand::ImageFormat(spirv::ImageFormat::Unknown);
        self.ty(
            Op::TypeImage,
            vec![id(word), Operand::Dim(spirv::Dim::DimBuffer), no(), no(), no(), literal(1), format],
        )
    }

    /// `struct { elem data[]; }` laid out for storage buffers.
    pub fn buffer_block(&mut self, elem: Word, stride: u32) -> Word {
        if let Some(w) = self.types.get(&(u32::MAX, vec![elem])) {
            return *w;
        }
        let data = self.ty(Op::TypeRuntimeArray, vec![id(elem)]);
        self.decorate(data, Decoration::ArrayStride, vec![literal(stride)]);
        let block = self.ty(Op::TypeStruct, vec![id(data)]);
        self.decorate(block, Decoration::Block, vec![]);
        self.b.member_decorate(block, 0, Decoration::Offset, [literal(0)]);
        self.types.insert((u32::MAX, vec![elem]), block);
        block
    }

    /// `struct { uint word0, word1, …; }` laid out for push constants.
    pub fn words_block(&mut self, words: u32) -> Word {
        let u32 = self.int(32);
        let block = self.ty(Op::TypeStruct, vec![id(u32); words as usize]);
        self.decorate(block, Decoration::Block, vec![]);
        for i in 0..words {
            self.b.member_decorate(block, i, Decoration::Offset, [literal(4 * i)]);
        }
        block
    }

    /// A constant by its type and words.
    pub fn constant(&mut self, ty: Word, words: Vec<u32>) -> Word {
        if let Some(w) = self.constants.get(&(ty, words.clone())) {
            return *w;
        }
        let value = match words[..] {
            [low] => Operand::LiteralBit32(low),
            [low, high] => Operand::LiteralBit64(u64::from(high) << 32 | u64::from(low)),
            _ => unreachable!("numbers have one word or two"),
        };
        let w = self.b.id();
        let inst = Instruction::new(Op::Constant, Some(ty), Some(w), vec![value]);
        self.b.insert_types_global_values(InsertPoint::End, inst);
        self.constants.insert((ty, words), w);
        w
    }

    pub fn truth(&mut self, yes: bool) -> Word {
        let ty = self.bool();
        self.global(if yes { Op::ConstantTrue } else { Op::ConstantFalse }, ty, vec![])
    }

    /// A vector constant of equal parts.
    pub fn splat(&mut self, vector: Word, part: Word, n: u32) -> Word {
        if n == 1 { part } else { self.global(Op::ConstantComposite, vector, vec![id(part); n as usize]) }
    }

    pub fn null(&mut self, ty: Word) -> Word {
        self.global(Op::ConstantNull, ty, vec![])
    }

    fn global(&mut self, op: Op, ty: Word, operands: Vec<Operand>) -> Word {
        let mut key = vec![op as u32];
        key.extend(operands.iter().flat_map(Assemble::assemble));
        // Kept apart from numbers by their length: no number has as many words.
        key.extend([0, 0]);
        if let Some(w) = self.constants.get(&(ty, key.clone())) {
            return *w;
        }
        let w = self.b.id();
        self.b.insert_types_global_values(InsertPoint::End, Instruction::new(op, Some(ty), Some(w), operands));
        self.constants.insert((ty, key), w);
        w
    }

    pub fn u32(&mut self, n: u32) -> Word {
        let ty = self.int(32);
        self.constant(ty, vec![n])
    }

    // ---- variables ----

    /// A variable of the module.
    pub fn variable(&mut self, class: StorageClass, of: Word, initial: Option<Word>) -> Word {
        let ty = self.pointer(class, of);
        let w = self.b.id();
        let mut operands = vec![Operand::StorageClass(class)];
        operands.extend(initial.map(id));
        self.b
            .insert_types_global_values(InsertPoint::End, Instruction::new(Op::Variable, Some(ty), Some(w), operands));
        self.globals.push((w, class));
        w
    }

    /// A variable of the function.
    pub fn local(&mut self, of: Word) -> Word {
        let ty = self.pointer(StorageClass::Function, of);
        let zero = self.null(of);
        let w = self.b.id();
        let operands = vec![Operand::StorageClass(StorageClass::Function), id(zero)];
        self.locals.push(Instruction::new(Op::Variable, Some(ty), Some(w), operands));
        w
    }

    // ---- the function ----

    pub fn begin(&mut self) -> Result<()> {
        let void = self.void();
        let ty = self.ty(Op::TypeFunction, vec![id(void)]);
        self.entry = self.b.begin_function(void, None, spirv::FunctionControl::NONE, ty).map_err(bug)?;
        self.b.begin_block(None).map_err(bug)?;
        self.closed = false;
        Ok(())
    }

    /// Ends the function and gives the module's words. `modes`: execution modes with their operands.
    pub fn finish(mut self, workgroup: [u32; 3], modes: &[(spirv::ExecutionMode, u32)]) -> Result<Vec<u32>> {
        if !self.closed {
            self.b.ret().map_err(bug)?;
        }
        self.b.end_function().map_err(bug)?;
        // Since 1.4 the entry point names every variable it uses; before, inputs and outputs only.
        let all = self.version >= (1, 4);
        let interface: Vec<Word> =
            self.globals.iter().filter(|(_, c)| all || *c == StorageClass::Input).map(|(w, _)| *w).collect();
        self.b.entry_point(ExecutionModel::GLCompute, self.entry, super::ENTRY, interface);
        self.b.execution_mode(self.entry, spirv::ExecutionMode::LocalSize, workgroup);
        for (mode, bits) in modes {
            self.b.execution_mode(self.entry, *mode, [*bits]);
        }
        let mut module = self.b.module();
        if let Some(block) = module.functions.first_mut().and_then(|f| f.blocks.first_mut()) {
            block.instructions.splice(0..0, self.locals);
        }
        Ok(module.assemble())
    }

    pub fn closed(&self) -> bool {
        self.closed
    }

    pub fn label(&mut self) -> Word {
        self.b.id()
    }

    /// Begins the block of a label; the one before must have ended.
    pub fn place(&mut self, label: Word) -> Result<()> {
        self.b.begin_block(Some(label)).map_err(bug)?;
        self.closed = false;
        Ok(())
    }

    pub fn branch(&mut self, to: Word) -> Result<()> {
        if !self.closed {
            self.b.branch(to).map_err(bug)?;
            self.closed = true;
        }
        Ok(())
    }

    pub fn branch_if(&mut self, cond: Word, yes: Word, no: Word) -> Result<()> {
        self.b.branch_conditional(cond, yes, no, []).map_err(bug)?;
        self.closed = true;
        Ok(())
    }

    pub fn selection_merge(&mut self, merge: Word) -> Result<()> {
        self.b.selection_merge(merge, spirv::SelectionControl::NONE).map_err(bug)
    }

    pub fn loop_merge(&mut self, merge: Word, next: Word, control: spirv::LoopControl) -> Result<()> {
        self.b.loop_merge(merge, next, control, []).map_err(bug)
    }

    pub fn ret(&mut self) -> Result<()> {
        self.b.ret().map_err(bug)?;
        self.closed = true;
        Ok(())
    }

    pub fn unreachable(&mut self) -> Result<()> {
        self.b.unreachable().map_err(bug)?;
        self.closed = true;
        Ok(())
    }

    /// An instruction with a result.
    pub fn op(&mut self, op: Op, ty: Word, operands: Vec<Operand>) -> Result<Word> {
        let w = self.b.id();
        let inst = Instruction::new(op, Some(ty), Some(w), operands);
        self.b.insert_into_block(InsertPoint::End, inst).map_err(bug)?;
        Ok(w)
    }

    /// An instruction of values.
    pub fn of(&mut self, op: Op, ty: Word, operands: &[Word]) -> Result<Word> {
        self.op(op, ty, operands.iter().map(|w| id(*w)).collect())
    }

    /// An instruction without a result.
    pub fn effect(&mut self, op: Op, operands: Vec<Operand>) -> Result<()> {
        self.b.insert_into_block(InsertPoint::End, Instruction::new(op, None, None, operands)).map_err(bug)
    }

    /// A function of GLSL.std.450.
    pub fn glsl(&mut self, f: spirv::GlslStd450Op, ty: Word, operands: &[Word]) -> Result<Word> {
        let set = match self.glsl {
            Some(set) => set,
            None => *self.glsl.insert(self.b.ext_inst_import("GLSL.std.450")),
        };
        let mut all = vec![id(set), Operand::LiteralExtInstInteger(f as u32)];
        all.extend(operands.iter().map(|w| id(*w)));
        self.op(Op::ExtInst, ty, all)
    }

    pub fn load(&mut self, ty: Word, from: Word) -> Result<Word> {
        self.of(Op::Load, ty, &[from])
    }

    pub fn store(&mut self, to: Word, value: Word) -> Result<()> {
        self.effect(Op::Store, vec![id(to), id(value)])
    }

    /// A pointer to a part of a variable.
    pub fn chain(&mut self, class: StorageClass, to: Word, base: Word, indices: &[Word]) -> Result<Word> {
        let ty = self.pointer(class, to);
        let mut operands = vec![base];
        operands.extend(indices);
        self.of(Op::AccessChain, ty, &operands)
    }
}
