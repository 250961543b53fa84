//! Copies between two opened devices of this process, without the host in between where the chips reach each other; where they do not,
//! the driver stages them.

use crate::{NAME, context::Stream, device::Device};
use anychip_hal::{Error, Exposed, Range, Result};
use cudarc::driver::sys::CUcontext;

impl Device {
    pub(crate) fn exposed(&self, r: Range) -> Result<Exposed> {
        let address = self.range(&r)?;
        Ok(Exposed { driver: NAME.into(), device: self.context.raw as u64, address, bytes: r.bytes })
    }

    pub(crate) fn fetched(&self, from: &Exposed, to: Range) -> Result<()> {
        let id = &self.info.id;
        if from.driver != NAME {
            let why = format!("{NAME} reaches memory of its own devices only");
            return Err(Error::unsupported(format!("{id}: a copy from a device of {}", from.driver), why));
        }
        if from.bytes != to.bytes {
            return Err(Error::invalid(format!("{id}: copy of {} bytes to {}", from.bytes, to.bytes)));
        }
        let (c, api) = (&self.context, self.context.api);
        let (at, peer) = (self.range(&to)?, from.device as CUcontext);
        let _here = c.enter()?;
        // Without it the driver stages the copy: a refusal, or that it has been done before, changes nothing else.
        if peer != c.raw {
            let _ = unsafe { (api.cuCtxEnablePeerAccess)(peer, 0) };
        }
        let stream = Stream::create(c)?;
        let code = unsafe { (api.cuMemcpyPeerAsync)(at, c.raw, from.address, peer, to.bytes as usize, stream.raw) };
        // Ends in every case: the memory goes back to the caller.
        let ended = stream.finish();
        c.good("cuMemcpyPeerAsync", code)?;
        ended
    }
}
