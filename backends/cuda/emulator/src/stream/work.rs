//! What a stream does when its turn comes, one kind after the other.

use super::Stream;
use crate::{blas::Product, code::Code, exec, graph::Executable, launch::Launch, memory::Region};
use std::{
    ffi::c_void,
    sync::{Arc, OnceLock},
    time::Instant,
};

/// A copy of `depth` times `height` rows of `width` bytes; pitches are from row to row and from plane to plane.
#[derive(Clone, Copy)]
pub struct Copy {
    pub dst: usize,
    pub src: usize,
    pub width: usize,
    pub rows: [usize; 2],
    pub dst_pitch: [usize; 2],
    pub src_pitch: [usize; 2],
}

impl Copy {
    /// Bytes in a row.
    pub fn line(dst: usize, src: usize, bytes: usize) -> Copy {
        Copy { dst, src, width: bytes, rows: [1, 1], dst_pitch: [0, 0], src_pitch: [0, 0] }
    }

    fn perform(self) {
        for plane in 0..self.rows[1] {
            for row in 0..self.rows[0] {
                let at = |pitch: [usize; 2]| row * pitch[0] + plane * pitch[1];
                // SAFETY: checked when it was submitted; where memory has gone since, the fault is caught and reported.
                unsafe {
                    std::ptr::copy(
                        (self.src + at(self.src_pitch)) as *const u8,
                        (self.dst + at(self.dst_pitch)) as *mut u8,
                        self.width,
                    )
                }
            }
        }
    }
}

/// `height` rows of `width` elements of 1, 2 or 4 bytes.
#[derive(Clone, Copy)]
pub struct Fill {
    pub dst: usize,
    pub pitch: usize,
    pub value: u32,
    pub element: usize,
    pub width: usize,
    pub height: usize,
}

impl Fill {
    fn perform(self) {
        for row in 0..self.height {
            let at = self.dst + row * self.pitch;
            // SAFETY: as for a copy.
            unsafe {
                match self.element {
                    1 => std::slice::from_raw_parts_mut(at as *mut u8, self.width).fill(self.value as u8),
                    2 => std::slice::from_raw_parts_mut(at as *mut u16, self.width).fill(self.value as u16),
                    _ => std::slice::from_raw_parts_mut(at as *mut u32, self.width).fill(self.value),
                }
            }
        }
    }
}

/// A function of the host.
#[derive(Clone, Copy)]
pub struct HostCall {
    pub function: unsafe extern "C" fn(*mut c_void),
    pub data: usize,
}

#[derive(Clone)]
pub enum Work {
    Launch(Arc<Launch>),
    Copy(Copy),
    /// Bytes that were taken from the host when the copy was asked for.
    Write {
        dst: usize,
        bytes: Vec<u8>,
    },
    Fill(Fill),
    /// An event's moment.
    Mark(Arc<OnceLock<Instant>>),
    /// Until another stream has come so far.
    Wait(Arc<Stream>, u64),
    /// Memory appears, and goes.
    Open(Arc<Region>),
    Close(Arc<Region>),
    Graph(Arc<Executable>),
    Host(HostCall),
    /// A product of matrices in the vendor's library.
    Multiply(Product),
    Nothing,
}

/// What went wrong, with words for whoever reads the test's output.
pub struct Failure {
    pub code: Code,
    pub why: String,
}

impl Work {
    /// Does it. Memory that must not be touched is a failure, not the end of the process.
    pub fn perform(self) -> Result<(), Failure> {
        let fault = |what: &'static str| {
            move |why: exec::Fault| Failure { code: why.code, why: format!("{what}: {}", why.words()) }
        };
        match self {
            Work::Launch(launch) => exec::run(&launch),
            Work::Copy(copy) => exec::guarded(move || copy.perform()).map_err(fault("a copy")),
            Work::Write { dst, bytes } => {
                let (src, n) = (bytes.as_ptr() as usize, bytes.len());
                let done = exec::guarded(move || Copy::line(dst, src, n).perform()).map_err(fault("a copy"));
                drop(bytes);
                done
            }
            Work::Multiply(product) => exec::guarded(move || product.perform()).map_err(fault("a product")),
            Work::Fill(fill) => exec::guarded(move || fill.perform()).map_err(fault("a fill")),
            Work::Open(region) => region
                .open()
                .map_err(|code| Failure { code, why: format!("{} bytes could not be mapped", region.bytes) }),
            Work::Close(region) => {
                region.close(true);
                Ok(())
            }
            Work::Graph(graph) => graph.perform(),
            Work::Host(call) => {
                // SAFETY: the caller's function, with the caller's data.
                unsafe { (call.function)(call.data as *mut c_void) };
                Ok(())
            }
            Work::Mark(_) | Work::Wait(..) | Work::Nothing => Ok(()),
        }
    }
}
