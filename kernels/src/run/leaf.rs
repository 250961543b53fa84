//! Values that exist: on a device already, or brought there from the host or from another device.

use crate::graph::{Node, Placed};
use anychip_hal::{
    Error, Result,
    device::{Buffer, Device, Pending},
};
use std::sync::Arc;

/// Adds work once: the results of a run name all that it waited for, and a program's results may be its next inputs.
pub fn add(open: &mut Vec<Arc<Pending>>, work: &Arc<Pending>) {
    if !open.iter().any(|w| Arc::ptr_eq(w, work)) {
        open.push(work.clone());
    }
}

/// The buffer of a node's value on a device: where it lies already, or brought there. Work that still writes it is added to
/// `open`.
pub fn leaf_on(node: &Node, device: &Device, open: &mut Vec<Arc<Pending>>) -> Result<Buffer> {
    let (host, here, elsewhere) = {
        let state = node.state();
        let here = state.placed.iter().find(|p| p.device == *device).map(|p| (p.buffer.clone(), p.work.clone()));
        let elsewhere: Vec<Placed> = state.placed.iter().filter(|p| p.device != *device).cloned().collect();
        (state.host.clone(), here, elsewhere)
    };
    let mut failed = None;
    if let Some((buffer, work)) = here {
        let known = open.len();
        for w in work.iter() {
            match w.poll() {
                Some(Ok(())) => {}
                None => add(open, w),
                Some(Err(e)) => failed = failed.or(Some(e)),
            }
        }
        if failed.is_none() {
            return Ok(buffer);
        }
        open.truncate(known);
    }
    let buffer = match &host {
        Some(host) => device.alloc_from(host.bytes())?,
        None => carry(node, &elsewhere, device).map_err(|e| failed.unwrap_or(e))?,
    };
    let new = Placed::ready(device, buffer.clone());
    let mut state = node.state();
    // Two threads may have brought it at once: one copy is enough.
    if let Some(p) = state.placed.iter().find(|p| p.device == *device && p.failure().is_none()) {
        p.work.iter().for_each(|w| add(open, w));
        return Ok(p.buffer.clone());
    }
    state.placed.retain(|p| p.device != *device);
    state.placed.push(new);
    Ok(buffer)
}

/// A value on a device from the first of its copies on others that is whole.
fn carry(node: &Node, copies: &[Placed], to: &Device) -> Result<Buffer> {
    let mut failed = no_value(node);
    for p in copies {
        match p.wait().and_then(|()| to.carry(&p.device, &p.buffer)) {
            Ok(buffer) => return Ok(buffer),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

fn no_value(node: &Node) -> Error {
    Error::invalid(format!("{node:?} has no value: it is a parameter, or was never computed"))
}

/// A value's bytes from the first of its copies that is whole.
pub fn download(node: &Node, copies: &[Placed]) -> Result<Vec<u8>> {
    let mut bytes = vec![0; node.elements() * node.dtype().size()];
    let mut failed = no_value(node);
    for p in copies {
        match p.wait().and_then(|()| p.device.download(&p.buffer, 0, &mut bytes)) {
            Ok(()) => return Ok(bytes),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}
