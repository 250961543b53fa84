//! Recorded lists: a CUDA graph of the commands, captured from a stream, launched as one.

use crate::{
    context::{Exec, Graph, Stream},
    device::Device,
};
use anychip_hal::{Command, Error, RawList, Result};
use cudarc::driver::sys::CUstreamCaptureMode;
use std::{ptr, sync::Arc};

/// A recorded list.
pub struct List {
    /// For runs that are timed command by command.
    pub commands: Vec<Command>,
    exec: Exec,
}

impl List {
    /// The context is current.
    pub fn launch(&self, stream: &Stream) -> Result<()> {
        let c = &self.exec.context;
        c.good("cuGraphLaunch", unsafe { (c.api.cuGraphLaunch)(self.exec.raw, stream.raw) })
    }
}

impl Device {
    pub(crate) fn capture(&self, commands: &[Command]) -> Result<RawList> {
        let (c, api) = (&self.context, self.context.api);
        let _here = c.enter()?;
        // One of its own: a recording that does not end takes no other along.
        let stream = Stream::create(c)?;
        // Relaxed: what other threads do with the device meanwhile is no concern of this stream.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        c.good("cuStreamBeginCapture", unsafe { (api.cuStreamBeginCapture_v2)(stream.raw, mode) })?;
        let put = self.put(&stream, commands, false);
        let mut raw = ptr::null_mut();
        // Ends in every case: a stream that still records takes no work.
        let code = unsafe { (api.cuStreamEndCapture)(stream.raw, &mut raw) };
        let graph = (code == 0 && !raw.is_null()).then(|| Graph { raw, context: c.clone() });
        put?;
        c.good("cuStreamEndCapture", code)?;
        let graph = graph.ok_or_else(|| Error::Backend {
            backend: crate::NAME.into(),
            code: 0,
            message: format!("{}: cuStreamEndCapture gave no graph", self.info.id),
        })?;
        let exec = graph.instantiate()?;
        Ok(RawList(self.lists.insert(Arc::new(List { commands: commands.to_vec(), exec }))))
    }

    pub(crate) fn list(&self, l: RawList) -> Result<Arc<List>> {
        self.lists.find(l.0, &self.info.id, "list")
    }
}
