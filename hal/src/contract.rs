//! What a backend implements, and nothing more: it moves bytes, loads programs and runs commands.
//!
//! A backend may assume that its caller (the safe handles in [`crate::device`]) has checked every range, that a
//! buffer is freed only when nothing pending uses it, and that kernels have been verified and legalised against
//! [`RawDevice::info`]. It must not know tensors. It must never panic and never block in `submit`.
//!
//! # Errors
//! `DeviceLost` alone ends a device: hal remembers the first one, calls nothing more that starts work, and gives every
//! pending and later piece of work that error. After every other error the device is as usable as before; a call that
//! failed has changed nothing (an `alloc` that failed holds no memory, a `submit` that failed has no ticket and nothing of
//! it is under way any more when it returns). A backend that no longer knows what state its device is in says `DeviceLost`.
//!
//! # The end of a device
//! hal drops a device when its work has ended; one that hangs for longer than half a minute is left alone for good, memory
//! and all. Buffers, programs and lists may still be live at the drop: dropping a [`RawDevice`] frees everything that belongs
//! to it, its threads included. Callers without hal may drop it earlier: then it ends its work first.

use crate::{Result, info::DeviceInfo, ir, op, probe::Installed, telemetry::Telemetry};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, task::Waker, time::Duration};

/// A way to reach chips: `"cpu"`, `"opencl"`, a vendor's plugin. In a browser too it is `Send + Sync`: there the types of a backend say
/// that there is one thread.
pub trait Driver: Send + Sync {
    /// The name that stands before the colon in a device id: [`DeviceInfo::id`] is `"name:ordinal"`, the ordinal as in
    /// [`Driver::open`]. A driver that can only ever have one device may give the plain name (`"cpu"`); both forms open it.
    fn name(&self) -> &str;
    /// Every device, in a stable order. `Err(NoDriver)` when the run-time library is missing; a device that
    /// cannot be used is an `Err` in its place and hides no other.
    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>>;
    /// Opens a device: `ordinal` is its index in what `devices` gives, where an `Err` counts like a device, so that a broken
    /// one shifts no other. Beyond the end: `NoDevice`, which says what there is. Every call gives an independent handle:
    /// losing one does not lose another.
    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>>;
    /// How far this way is from the chip: 0, its maker's own interface; 1, a standard that makers implement; 2, a library on
    /// top of those. Of several ways to one chip `auto` takes the shortest.
    fn distance(&self) -> u8 {
        0
    }
    /// What a device says of its power, heat and clocks now, without opening it or disturbing its work.
    fn telemetry(&self, ordinal: u32) -> Result<Telemetry> {
        Err(crate::Error::unsupported(format!("telemetry of {}:{ordinal}", self.name()), "this driver has none"))
    }
    /// Files and variables on which it depends what happens when this driver is touched ([`crate::probe`]). `None`: it brings
    /// no code of others, as a backend for the host's cores; then it is never probed, and no record hides it.
    fn installed(&self) -> Option<Installed> {
        Some(Installed::new())
    }
}

/// A buffer, as a backend names it. Never zero, and never the same as another live one of the device; nor are
/// [`RawProgram`] and [`RawList`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RawBuffer(pub u64);
/// A loaded program, as a backend names it. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RawProgram(pub u64);
/// A recorded list of commands, as a backend names it. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RawList(pub u64);

/// A point in a queue. Tickets rise per queue; one complete means all before it on that queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket {
    /// The queue.
    pub queue: u32,
    /// Rises by at least one per submission.
    pub value: u64,
}

/// Where a buffer lives and who may touch it.
///
/// hal gives applications `Device` memory only and keeps the other two for its own staging: what a launch binds or a fill
/// writes is always `Device` memory, scalars that were too many included (they are copied there first). A copy reads
/// `Upload` or `Device` memory and writes `Device` or `Readback` memory. hal does not check this again before a submission,
/// as no other buffer can reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Memory {
    /// Read and written by commands only.
    Device,
    /// Written by the host, read by Copy.
    Upload,
    /// Written by Copy, read by the host.
    Readback,
}

/// A part of a buffer, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The buffer.
    pub buffer: RawBuffer,
    /// First byte.
    pub offset: u64,
    /// How many bytes; never zero in a command.
    pub bytes: u64,
}

/// A part of a device's memory as another device of the same driver in this process reaches it: plain numbers that only this driver reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exposed {
    /// The driver's name.
    pub driver: String,
    /// What the driver needs to know of the device.
    pub device: u64,
    /// Where the bytes begin.
    pub address: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// One step of work, in order within its submission: each sees the writes of those before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Copies bytes. Both ranges have the same length and do not overlap; offsets and length are multiples of
    /// `limits.copy_align` (hal completes odd edges).
    Copy {
        /// From.
        src: Range,
        /// To.
        dst: Range,
    },
    /// Repeats a 32-bit little-endian word; offset and length are multiples of 4.
    Fill {
        /// To.
        dst: Range,
        /// The word.
        word: u32,
    },
    /// Runs a loaded kernel or graph.
    Launch {
        /// What to run.
        program: RawProgram,
        /// Workgroups per dimension, none zero, each within `limits.max_groups`. `[1, 1, 1]` for a graph.
        groups: [u32; 3],
        /// One range per buffer parameter, in order; offsets are multiples of `limits.binding_align`. For a graph:
        /// its inputs, then its outputs, then its workspace.
        bindings: Vec<Range>,
        /// The scalar parameters, packed by [`ir::Kernel::scalar_layout`].
        scalars: Vec<u8>,
    },
}

/// What a program is made from.
#[derive(Debug, Clone, Copy)]
pub enum Module<'a> {
    /// A legalised kernel.
    Kernel(&'a ir::Kernel),
    /// Standard operations with concrete shapes; one operation is a graph of one node.
    Graph(&'a op::Graph),
}

impl Module<'_> {
    /// The name for messages and traces.
    pub fn name(&self) -> &str {
        match self {
            Module::Kernel(k) => &k.name,
            Module::Graph(g) => &g.name,
        }
    }
}

/// What `load` gives back.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The handle for `Launch`.
    pub program: RawProgram,
    /// Bytes that make the next load of the same module on the same device and driver fast; empty when the backend has
    /// none, or has them only after the first launch ([`RawDevice::binary`]). Of a load from `cached`: the same bytes.
    pub binary: Vec<u8>,
    /// What the program needs.
    pub resources: Resources,
}

/// What a loaded program needs at a launch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of workspace (bound last, for graphs).
    pub workspace: u64,
    /// Bytes of workgroup memory, where known.
    pub shared: u32,
    /// Registers per lane, where known.
    pub registers: Option<u32>,
    /// Subgroup size the program was compiled for, where known.
    pub subgroup: Option<u32>,
}

/// Work for one queue.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The queue, below `limits.queues`.
    pub queue: u32,
    /// Tickets of this device that must be complete first.
    pub after: &'a [Ticket],
    /// What to do.
    pub work: Work<'a>,
    /// Asks for a time span per command, where the device has a clock.
    pub profile: bool,
}

/// Commands, or a recorded list of them.
#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    /// Commands, in order.
    Commands(&'a [Command]),
    /// A recorded list.
    List(RawList),
}

/// Time of one command on the device's clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Begin.
    pub begin: u64,
    /// End.
    pub end: u64,
}

/// What is known of finished work.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// One span per command, in order; empty when not asked for or without a clock. Kept until first collected.
    pub spans: Vec<Span>,
}

/// One opened device. All methods may be called from several threads at once.
pub trait RawDevice: Send + Sync {
    /// Identity, memory, limits, features, arithmetic: probed data that does not change while it is open.
    fn info(&self) -> &DeviceInfo;

    /// Allocates at least `bytes` (never zero) bytes, contents undefined.
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer>;

    /// Does new `Device` memory read as zeros? Where it may hold what somebody left, hal fills it before anyone sees it.
    fn wipes(&self) -> bool {
        false
    }

    /// Frees a buffer. hal calls it only when nothing pending uses it.
    fn free(&self, buffer: RawBuffer);

    /// Writes into `Upload` memory that no pending work uses.
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()>;

    /// Reads `Readback` memory that no pending work uses.
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()>;

    /// Would `load` take this graph? Cheap: the planner asks it often. `Err(Unsupported)` says why not.
    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        Err(crate::Error::unsupported(format!("graph {}", graph.name), "this device takes kernels only"))
    }

    /// Compiles a module. `cached` is what an earlier `Loaded::binary` said; a backend that cannot use it
    /// compiles afresh.
    ///
    /// hal's cache has checked that `cached` is whole and unaltered and was made from this module, on a device and driver
    /// that name themselves the same, by this version of anychip. That the driver behind that name takes it is what only
    /// the backend can know: where a driver does not check its binaries, the backend does (what it printed, its compiler's
    /// options and version). A stale binary is never an error. Callers without that cache may hand in any bytes.
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded>;

    /// What [`Loaded::binary`] would be now: asked once, from any thread, when the program's first launch is complete, of
    /// programs that were loaded without one. Empty: none of this program. `None`: this device never has one.
    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        let _ = program;
        None
    }

    /// Drops a program that no pending work uses.
    fn unload(&self, program: RawProgram);

    /// Records commands for repeated submission. `Unsupported`: hal replays them.
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let _ = commands;
        Err(crate::Error::unsupported("recording", "this device replays commands"))
    }

    /// Drops a recorded list that no pending work uses.
    fn release(&self, list: RawList) {
        let _ = list;
    }

    /// Queues work and returns at once. Work of one queue runs in order.
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket>;

    /// Waits for a ticket; a zero timeout polls. `None`: still pending. Waiting twice is legal, also from several threads
    /// at once: a ticket that failed gives the same error every time, one that succeeded succeeds again (its spans are
    /// given once).
    ///
    /// The failure of a ticket is its own: what its commands wrote is undefined then; work submitted before and after it is
    /// not affected and succeeds or fails by itself. Only `DeviceLost` is the error of everything that was pending, and of
    /// everything later. A ticket that was never given out is `InvalidArgument`.
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>>;

    /// Wakes `waker` when the ticket is complete. `false`: the device has no such means and hal polls.
    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        let _ = (ticket, waker);
        false
    }

    /// A part of a buffer, for [`fetch`](Self::fetch) by another opened device. It holds while this device and the buffer live.
    fn expose(&self, range: Range) -> Result<Exposed> {
        let _ = range;
        Err(crate::Error::unsupported(
            "copying to another device",
            "this one's memory is reached through the host only",
        ))
    }

    /// Copies what another opened device exposed, as many bytes as `to` has, and waits for that. No pending work uses either end.
    /// `Unsupported`: hal carries the bytes through the host.
    fn fetch(&self, from: &Exposed, to: Range) -> Result<()> {
        let _ = (from, to);
        Err(crate::Error::unsupported(
            "copying from another device",
            "this one's memory is reached through the host only",
        ))
    }

    /// Gives unused memory that a layer holds back to the driver.
    fn trim(&self) {}
}
