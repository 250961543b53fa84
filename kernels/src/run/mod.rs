//! Realising nodes, reading values, and programs that replay a plan.
//!
//! Plans are cached by structure and chain. Work is queued and not waited for: errors of the device come out where a value is
//! read, except in a chain of several devices, where a lost device hands over to the next before the history is dropped.

pub(crate) mod exec;
mod leaf;
mod lists;
mod program;

pub use program::Program;

use crate::{
    graph::{Host, Node},
    plan::{
        cache::{forget as forget_plans, planned},
        snapshot::Snapshot,
    },
};
use anychip_hal::{
    Result,
    device::{Device, Slice},
};
use exec::{Prepared, execute};
use leaf::{download, leaf_on};

/// Forgets every plan made for a device, and with them its programs: for a device that was lost or is no longer used.
pub fn forget(device: &Device) {
    forget_plans(device);
}

/// Computes nodes. The first device of the chain that can do a piece of work does it; the device is not waited for.
///
/// # Errors
/// `Unsupported` when no device of the chain can do some piece, `OutOfMemory`, `CompileFailed`, `DeviceLost`.
pub fn realize(nodes: &[Node], chain: &[Device]) -> Result<()> {
    let mut pending: Vec<Node> = vec![];
    for n in nodes {
        if !n.is_realized() && !pending.iter().any(|p| p.id() == n.id()) {
            pending.push(n.clone());
        }
    }
    if pending.is_empty() {
        return Ok(());
    }
    let mut done = realize_once(&pending, chain);
    let mut left = vec![];
    while let Err(e) = done {
        if !e.is_lost() {
            return Err(e);
        }
        left = without_lost(if left.is_empty() { chain } else { &left }).ok_or(e)?;
        done = realize_once(&pending, &left);
    }
    Ok(())
}

/// The chain without the devices that are lost; `None` when no other is left, or none of them is lost.
fn without_lost(chain: &[Device]) -> Option<Vec<Device>> {
    let (lost, left): (Vec<Device>, Vec<Device>) = chain.iter().cloned().partition(|d| d.lost().is_some());
    lost.iter().for_each(forget);
    (!lost.is_empty() && !left.is_empty()).then_some(left)
}

fn realize_once(pending: &[Node], chain: &[Device]) -> Result<()> {
    let s = Snapshot::take(pending, &[]);
    let plan = planned(&s, chain)?;
    let (outputs, under_way) = execute(&plan, &plan.memory, chain, &s.leaves, false, Prepared::default())?;
    if chain.len() > 1 {
        // The next device can take over only while the history is there.
        under_way.iter().try_for_each(|w| w.wait())?;
    }
    for (node, placed) in pending.iter().zip(outputs) {
        node.place(placed);
    }
    Ok(())
}

/// A node's elements, row-major, little-endian; realised on the chain if need be. Waits.
pub fn read(node: &Node, chain: &[Device]) -> Result<Vec<u8>> {
    realize(std::slice::from_ref(node), chain)?;
    let (host, placed) = {
        let state = node.state();
        (state.host.clone(), state.placed.clone())
    };
    if let Some(host) = host {
        return Ok(host.bytes().to_vec());
    }
    download(node, &placed)
}

/// Keeps a copy of a node's value on the host: it survives the loss of its device.
pub fn checkpoint(node: &Node, chain: &[Device]) -> Result<()> {
    let bytes = read(node, chain)?;
    node.keep_on_host(Host::new(bytes));
    Ok(())
}

/// A node's value on a device, dense from the slice's first byte; realised and carried there if need be.
pub fn buffer_of(node: &Node, device: &Device) -> Result<Slice> {
    realize(std::slice::from_ref(node), std::slice::from_ref(device))?;
    let bytes = (node.elements() * node.dtype().size()) as u64;
    // Later work of the device comes after what still writes it.
    Ok(Slice { buffer: leaf_on(node, device, &mut vec![])?, offset: 0, bytes })
}

/// What realising the nodes would do: per launch what was fused, the schedule and why, the estimated time; then memory and
/// fallbacks.
pub fn explain(nodes: &[Node], chain: &[Device]) -> Result<String> {
    let s = Snapshot::take(nodes, &[]);
    let plan = planned(&s, chain)?;
    Ok(plan.explain(&s, chain, &plan.report(&s, &plan.memory, None), &[]))
}
