//! How far an upload has come.

use crate::{Device, Tensor};
use anychip_hal::Result;

/// Bytes between two calls of a progress function: seldom enough to cost nothing, often enough for a bar to move.
const PIECE: usize = 32 << 20;

/// How far loading has come, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The tensor that is under way.
    pub tensor: &'a str,
    /// Bytes on the device so far, of all tensors.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Brings named tensors, constants on the host, to their device piece by piece: only the piece under way is in memory twice.
pub(super) fn upload(
    tensors: &[(String, Tensor)],
    device: &Device,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<()> {
    let bytes = |t: &Tensor| (t.elem_count() * t.dtype().size()) as u64;
    let total = tensors.iter().map(|(_, t)| bytes(t)).sum();
    let mut before = 0;
    for (name, tensor) in tensors {
        anychip_kernels::upload(tensor.node(), device.chain(), PIECE, |sent| {
            progress(Progress { tensor: name, done: before + sent, total });
        })?;
        before += bytes(tensor);
    }
    Ok(())
}
