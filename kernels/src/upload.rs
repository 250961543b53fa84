//! Leaves brought to a device before they are needed, piece by piece, so that a caller can show how far it is.

use crate::graph::{Node, Placed};
use anychip_hal::{Error, Result, device::Device};

/// Copies a leaf's bytes to the first device of a chain, unless they lie there already; `sent` is told the bytes sent so far after
/// every `piece` bytes, and once for an empty leaf.
///
/// # Errors
/// `InvalidArgument` for a node without bytes on the host; `OutOfMemory`, `DeviceLost`.
pub fn upload(node: &Node, chain: &[Device], piece: usize, mut sent: impl FnMut(u64)) -> Result<()> {
    let device = chain.first().ok_or_else(|| Error::invalid("upload: no device given"))?;
    let bytes = (node.elements() * node.dtype().size()) as u64;
    let (host, here) = {
        let state = node.state();
        (state.host.clone(), state.placed.iter().any(|p| p.device == *device && p.failure().is_none()))
    };
    if here {
        sent(bytes);
        return Ok(());
    }
    let host = host.ok_or_else(|| Error::invalid(format!("upload: {node:?} has no bytes on the host")))?;
    let buffer = device.alloc(bytes)?;
    let mut at = 0;
    for part in host.bytes().chunks(piece.max(1)) {
        device.upload(&buffer, at, part)?;
        at += part.len() as u64;
        sent(at);
    }
    if bytes == 0 {
        sent(0);
    }
    let placed = Placed::ready(device, buffer);
    let mut state = node.state();
    state.placed.retain(|p| p.device != *device);
    state.placed.push(placed);
    Ok(())
}
