//! Buffers that are only read, as texels: llvmpipe reads a shader's buffers lane by lane, with a branch for each, and texels of all
//! lanes at once ("Texels" in benches/README.md).
//!
//! A texel is 4, 8 or 16 bytes of whole words; its words become the numbers that lie there.

use super::{
    Parts, Renderer, Shape,
    asm::{id, literal},
};
use crate::{DType, Result, ir::*};
use rspirv::spirv::{Capability, Decoration, Op as S, StorageClass, Word};
use std::collections::BTreeSet;

/// A buffer of a kernel that it reads as texels: a uniform texel buffer of format R32, R32G32 or R32G32B32A32, all `UINT`. Its binding
/// follows those of the buffers, in the order of [`super::Rendered::texels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Texels {
    /// Which of the kernel's buffers.
    pub buffer: u32,
    /// Bytes of a texel.
    pub bytes: u32,
}

impl Renderer<'_> {
    /// Bytes of the texels as which `lanes` neighbours may be read of a buffer, where it is only read and the device has such texels.
    pub(super) fn texel(&self, p: ParamId, lanes: u32) -> Option<u32> {
        let ParamKind::Buffer { elem, access, .. } = self.k.params[p.at()].kind else { return None };
        // Words become smaller numbers where those are numbers, not only stored.
        let computed = match elem {
            DType::F16 => self.t.f16,
            DType::I16 | DType::U16 => self.t.i16,
            DType::I8 | DType::U8 => self.t.i8,
            DType::Bool | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => false,
            _ => true,
        };
        let bytes = lanes * elem.size() as u32;
        (self.t.texels > 0 && computed && !access.writes() && matches!(bytes, 4 | 8 | 16)).then_some(bytes)
    }

    /// Declares those texels that there may be; the others are left in `wanted`.
    pub(super) fn texels(&mut self, wanted: &mut BTreeSet<(ParamId, u32)>) {
        let buffers: Vec<ParamId> = self.k.buffers().map(|(p, ..)| p).collect();
        for (n, &p) in buffers.iter().enumerate() {
            for bytes in [16, 8, 4] {
                if self.texels.len() < self.t.texels as usize && wanted.remove(&(p, bytes)) {
                    self.asm.capability(Capability::SampledBuffer);
                    let image = self.asm.texel_buffer();
                    let var = self.asm.variable(StorageClass::UniformConstant, image, None);
                    let binding = buffers.len() + self.texels.len();
                    self.asm.decorate(var, Decoration::DescriptorSet, vec![literal(0)]);
                    self.asm.decorate(var, Decoration::Binding, vec![literal(binding as u32)]);
                    self.texels.push((Texels { buffer: n as u32, bytes }, p, var));
                }
            }
        }
    }

    /// The bytes and the variable of the texels as which `lanes` neighbours are read.
    fn texels_of(&self, place: &Place, lanes: u32) -> Option<(u32, Word)> {
        let Place::Buffer(p) = place else { return None };
        let bytes = self.texel(*p, lanes)?;
        self.texels.iter().find(|(t, of, _)| of == p && t.bytes == bytes).map(|t| (bytes, t.2))
    }

    /// Whether `lanes` neighbours are read as a texel.
    pub(super) fn fetches(&self, place: &Place, lanes: u32) -> bool {
        self.texels_of(place, lanes).is_some()
    }

    /// Reads a value's parts as texels; `None` where it is to be read otherwise. `each` is what one texel holds.
    pub(super) fn fetch(&mut self, place: Place, index: Value, each: Shape, count: u32) -> Result<Option<Parts>> {
        let Some((bytes, var)) = self.texels_of(&place, each.lanes) else { return Ok(None) };
        let (word, image) = (self.asm.int(32), self.asm.texel_buffer());
        let four = self.asm.vector(word, 4);
        let of_index = self.shape_of(index)?;
        let mut at = self.one(index)?;
        if each.lanes > 1 {
            let (ty, by) = (self.word(of_index)?, self.number(of_index, u64::from(each.lanes.trailing_zeros()))?);
            at = self.asm.of(S::ShiftRightLogical, ty, &[at, by])?;
        }
        // There are fewer texels than 2³².
        if of_index.d.size() == 8 {
            at = self.asm.of(S::UConvert, word, &[at])?;
        }
        let mut read = vec![];
        for n in 0..count {
            let at = self.offset(Shape { d: DType::U32, lanes: 1, parts: 1 }, at, n)?;
            let image = self.asm.load(image, var)?;
            let texel = self.asm.of(S::ImageFetch, four, &[image, at])?;
            read.push(self.words_as(each, texel, bytes / 4)?);
        }
        Ok(Some(read))
    }

    /// The first words of a texel as the numbers that they hold.
    fn words_as(&mut self, s: Shape, texel: Word, words: u32) -> Result<Word> {
        let word = self.asm.int(32);
        let mine = self.asm.vector(word, words);
        let first = match words {
            1 => self.asm.op(S::CompositeExtract, word, vec![id(texel), literal(0)])?,
            2 => self.asm.op(S::VectorShuffle, mine, vec![id(texel), id(texel), literal(0), literal(1)])?,
            _ => texel,
        };
        let ty = self.word(s)?;
        if ty == mine { Ok(first) } else { self.asm.of(S::Bitcast, ty, &[first]) }
    }
}
