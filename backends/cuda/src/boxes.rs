//! Tensors of which a kernel copies boxes: the map of each that the driver wants before a launch, made of where the launch says that
//! the tensor lies.

use crate::context::Context;
use anychip_hal::{
    Error, Result,
    handles::lock,
    ir::{Kernel, ParamId, ParamKind, Role, ScalarSlot},
    render::c::Boxes,
};
use cudarc::driver::sys::CUdeviceptr;
use std::sync::Mutex;

/// `CUtensorMap`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Map([u64; 16]);

/// `CU_TENSOR_MAP_SWIZZLE_128B`, `CU_TENSOR_MAP_L2_PROMOTION_L2_128B`.
const SWIZZLED: u32 = 3;
const BY_LINES: u32 = 2;

/// Where a tensor lies at a launch.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    at: CUdeviceptr,
    /// Innermost first.
    extents: Vec<u64>,
    /// Bytes, of all axes but the innermost.
    strides: Vec<u64>,
}

/// A tensor, and which scalars of a launch say where it lies.
pub struct Tensor {
    /// Which buffer.
    pub binding: usize,
    bytes: u64,
    /// Offsets of the buffer and the tensor.
    origins: Vec<ScalarSlot>,
    /// Innermost first.
    extents: Vec<ScalarSlot>,
    strides: Vec<ScalarSlot>,
    /// Innermost first.
    size: Vec<u32>,
    swizzled: bool,
    /// The map of the last launch: most are of the same tensor.
    last: Mutex<Option<(Place, Map)>>,
}

impl Tensor {
    pub fn of(kernel: &Kernel, boxes: &Boxes) -> Result<Tensor> {
        let (slots, _) = kernel.scalar_layout();
        let slot = |p: ParamId| {
            let found = slots.iter().find(|s| s.param == p);
            found
                .copied()
                .ok_or_else(|| Error::invalid(format!("kernel {}: parameter {} is no scalar", kernel.name, p.0)))
        };
        let all = |of: &[ParamId]| of.iter().rev().map(|p| slot(*p)).collect::<Result<Vec<_>>>();
        let mut origins = vec![slot(boxes.view.origin)?];
        for (i, p) in kernel.params.iter().enumerate() {
            if matches!(p.kind, ParamKind::Scalar { role: Role::Offset(of), .. } if of == boxes.buffer) {
                origins.push(slot(ParamId(i as u32))?);
            }
        }
        let [rows, cols] = boxes.view.size.map(u32::from);
        let mut size = vec![cols, rows];
        size.resize(boxes.view.extents.len(), 1);
        let binding = kernel.buffers().position(|b| b.0 == boxes.buffer);
        let missing = || Error::invalid(format!("kernel {}: parameter {} is no buffer", kernel.name, boxes.buffer.0));
        Ok(Tensor {
            binding: binding.ok_or_else(missing)?,
            bytes: boxes.bytes as u64,
            origins,
            extents: all(&boxes.view.extents)?,
            strides: all(&boxes.view.strides)?,
            size,
            swizzled: boxes.swizzled,
            last: Mutex::default(),
        })
    }

    /// Its map, where the buffer is at `base`. The context is current.
    pub fn map(&self, context: &Context, kernel: &str, base: CUdeviceptr, scalars: &[u8]) -> Result<Map> {
        let number = |s: &ScalarSlot| {
            let mut word = [0; 8];
            let (first, bytes) = (s.offset as usize, s.bytes as usize);
            word[..bytes].copy_from_slice(&scalars[first..first + bytes]);
            u64::from_le_bytes(word)
        };
        let origin = self.origins.iter().map(number).fold(0u64, u64::wrapping_add);
        let place = Place {
            at: base.wrapping_add(origin.wrapping_mul(self.bytes)),
            extents: self.extents.iter().map(number).collect(),
            strides: self.strides.iter().map(|s| number(s).wrapping_mul(self.bytes)).collect(),
        };
        let mut last = lock(&self.last);
        if let Some((_, map)) = last.as_ref().filter(|(before, _)| *before == place) {
            return Ok(*map);
        }
        let whole = |n: &u64| n.is_multiple_of(16);
        if !whole(&place.at) || !place.strides.iter().all(whole) || place.extents.contains(&0) {
            return Err(Error::invalid(format!(
                "kernel {kernel} copies boxes of a tensor that is not empty, begins at a multiple of 16 bytes and has strides of such; \
                 this one is at {:#x}, has extents {:?} and {:?} bytes between neighbours, innermost first",
                place.at, place.extents, place.strides
            )));
        }
        let mut map = Map([0; 16]);
        // Bits are copied, whatever they mean: `CU_TENSOR_MAP_DATA_TYPE_UINT8`, `_UINT16`, `_UINT32`, `_UINT64`.
        let kind = match self.bytes {
            1 => 0,
            2 => 1,
            4 => 2,
            _ => 4,
        };
        let (rank, steps) = (self.size.len() as u32, [1u32; 5]);
        let swizzle = if self.swizzled { SWIZZLED } else { 0 };
        let code = unsafe {
            (context.api.cuTensorMapEncodeTiled)(
                (&raw mut map).cast(),
                kind,
                rank,
                place.at as *mut _,
                place.extents.as_ptr(),
                place.strides.as_ptr(),
                self.size.as_ptr(),
                steps.as_ptr(),
                0,
                swizzle,
                BY_LINES,
                0,
            )
        };
        context.good(&format!("cuTensorMapEncodeTiled for kernel {kernel}"), code)?;
        *last = Some((place, map));
        Ok(map)
    }
}
