//! Layers: each wraps a device and is one, so that any backend gets them and none implements them.
//!
//! [`Device`](crate::Device) puts them on in this order, outermost first: [`Validate`] (when asked for), [`Trace`] (when
//! asked for), [`Cache`], [`Pool`], [`Serial`] (when the device needs it), the backend. [`Exact`] stands on the backend of a device that was asked
//! for with exact numerics. [`Fault`] is for tests: it stands
//! directly on the backend and makes chosen calls fail. A layer knows the contract and nothing above it.
//!
//! | variable | effect |
//! |---|---|
//! | `ANYCHIP_CACHE=off` | no program cache on disk |
//! | `ANYCHIP_CACHE_DIR=<folder>` | it lies there and not in the user's cache folder |
//! | `ANYCHIP_CACHE_BYTES=<n>` | its bound, 1 GiB otherwise; the oldest entries go first |
//! | `ANYCHIP_POOL=quarantine` | no freed buffer is used again, and none is longer than asked for but to the next multiple of 16 bytes: for checkers of memory |
//! | `ANYCHIP_TRACE=<file>` | a trace for Perfetto or `about:tracing`: every command with its device time |
//! | `ANYCHIP_VALIDATE=1` | caller and backend are held to the contract, call by call |

mod cache;
pub mod exact;
mod fault;
mod pool;
mod serial;
mod trace;
mod validate;

pub use cache::{Cache, Entries, default_folder};
pub use exact::Exact;
pub use fault::{Call, Fault, Planned};
pub use pool::{MemoryUse, Pool};
pub use serial::Serial;
pub use trace::Trace;
pub use validate::Validate;

pub(crate) use crate::handles::lock;

/// Writes the methods of `RawDevice` that a layer hands on unchanged.
macro_rules! forward {
    ($($method:ident),* $(,)?) => { $($crate::layer::forward!(@ $method);)* };
    (@ info) => {
        fn info(&self) -> &$crate::DeviceInfo { self.inner.info() }
    };
    (@ alloc) => {
        fn alloc(&self, bytes: u64, memory: $crate::Memory) -> $crate::Result<$crate::RawBuffer> {
            self.inner.alloc(bytes, memory)
        }
    };
    (@ wipes) => {
        fn wipes(&self) -> bool { self.inner.wipes() }
    };
    (@ free) => {
        fn free(&self, buffer: $crate::RawBuffer) { self.inner.free(buffer) }
    };
    (@ host_write) => {
        fn host_write(&self, buffer: $crate::RawBuffer, at: u64, from: &[u8]) -> $crate::Result<()> {
            self.inner.host_write(buffer, at, from)
        }
    };
    (@ host_read) => {
        fn host_read(&self, buffer: $crate::RawBuffer, at: u64, to: &mut [u8]) -> $crate::Result<()> {
            self.inner.host_read(buffer, at, to)
        }
    };
    (@ accepts) => {
        fn accepts(&self, graph: &$crate::op::Graph) -> $crate::Result<()> { self.inner.accepts(graph) }
    };
    (@ load) => {
        fn load(&self, module: &$crate::Module<'_>, cached: Option<&[u8]>) -> $crate::Result<$crate::Loaded> {
            self.inner.load(module, cached)
        }
    };
    (@ binary) => {
        fn binary(&self, program: $crate::RawProgram) -> Option<Vec<u8>> { self.inner.binary(program) }
    };
    (@ unload) => {
        fn unload(&self, program: $crate::RawProgram) { self.inner.unload(program) }
    };
    (@ record) => {
        fn record(&self, commands: &[$crate::Command]) -> $crate::Result<$crate::RawList> {
            self.inner.record(commands)
        }
    };
    (@ release) => {
        fn release(&self, list: $crate::RawList) { self.inner.release(list) }
    };
    (@ submit) => {
        fn submit(&self, work: &$crate::Submission<'_>) -> $crate::Result<$crate::Ticket> { self.inner.submit(work) }
    };
    (@ wait) => {
        fn wait(
            &self,
            ticket: $crate::Ticket,
            timeout: std::time::Duration,
        ) -> $crate::Result<Option<$crate::Completion>> {
            self.inner.wait(ticket, timeout)
        }
    };
    (@ notify) => {
        fn notify(&self, ticket: $crate::Ticket, waker: std::task::Waker) -> bool { self.inner.notify(ticket, waker) }
    };
    (@ expose) => {
        fn expose(&self, range: $crate::Range) -> $crate::Result<$crate::Exposed> { self.inner.expose(range) }
    };
    (@ fetch) => {
        fn fetch(&self, from: &$crate::Exposed, to: $crate::Range) -> $crate::Result<()> { self.inner.fetch(from, to) }
    };
    (@ trim) => {
        fn trim(&self) { self.inner.trim() }
    };
}
pub(crate) use forward;
