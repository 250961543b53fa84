//! Events: the last moment that was recorded, which is a place on a stream and, once that is reached, a time of the host's clock.

use crate::{
    abi::Handle,
    calls::{driver_api, lock},
    code::{Code, Outcome},
    context, handle,
    stream::{self, Session, Stream, Work},
};
use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

#[derive(Clone)]
enum Recorded {
    Never,
    On {
        stream: Arc<Stream>,
        at: u64,
        time: Arc<OnceLock<Instant>>,
    },
    /// In a capture, behind these nodes.
    Captured(Arc<Session>, Vec<usize>),
}

pub struct Event {
    pub context: Handle,
    timed: bool,
    recorded: Mutex<Recorded>,
}

impl Event {
    fn recorded(&self) -> Recorded {
        lock(&self.recorded).clone()
    }
}

fn record(event: &Event, stream: &Arc<Stream>) -> Outcome {
    if event.context != stream.context.handle {
        return Err(Code::INVALID_HANDLE);
    }
    let now = match stream.joined() {
        Some(joined) => Recorded::Captured(joined.session, joined.last),
        None => {
            let time = Arc::new(OnceLock::new());
            Recorded::On { stream: stream.clone(), at: stream.submit_always(Work::Mark(time.clone())), time }
        }
    };
    *lock(&event.recorded) = now;
    Ok(())
}

/// What the stream does from now on comes behind the event.
pub fn make_wait(stream: &Arc<Stream>, event: &Event) -> Outcome {
    match event.recorded() {
        Recorded::Never => Ok(()),
        Recorded::Captured(session, behind) => stream.join_capture(&session, &behind),
        Recorded::On { .. } if stream.capturing() => {
            stream.not_capturing()?;
            Err(Code(905))
        }
        Recorded::On { stream: other, at, .. } => {
            if !Arc::ptr_eq(stream, &other) {
                stream.submit_always(Work::Wait(other, at));
            }
            Ok(())
        }
    }
}

fn elapsed(to: *mut f32, start: Handle, end: Handle) -> Outcome {
    context::usable()?;
    let (start, end) = (handle::get::<Event>(start)?, handle::get::<Event>(end)?);
    if !(start.timed && end.timed) || to.is_null() {
        return Err(if to.is_null() { Code::INVALID_VALUE } else { Code::INVALID_HANDLE });
    }
    let time = |event: &Event| match event.recorded() {
        Recorded::On { stream, at, time } => {
            if !stream.reached(at) {
                return Err(Code::NOT_READY);
            }
            time.get().copied().ok_or(Code::INVALID_HANDLE)
        }
        Recorded::Never => Err(Code::INVALID_HANDLE),
        Recorded::Captured(..) => Err(Code::CAPTURED_EVENT),
    };
    let (start, end) = (time(&start)?, time(&end)?);
    let span = if end >= start { (end - start).as_secs_f32() } else { -(start - end).as_secs_f32() };
    // SAFETY: the caller's pointer to a place for it.
    unsafe { to.write(span * 1e3) };
    Ok(())
}

driver_api! {
    fn cuEventCreate(event: *mut Handle, flags: u32) {
        let context = context::usable()?;
        if event.is_null() || flags > 7 {
            return Err(Code::INVALID_VALUE);
        }
        let (handle, _) = handle::insert(|_| {
            Arc::new(Event { context: context.handle, timed: flags & 2 == 0, recorded: Mutex::new(Recorded::Never) })
        });
        // SAFETY: the caller's pointer to a place for it.
        unsafe { event.write(handle) };
        Ok(())
    }

    #[frees]
    fn cuEventDestroy_v2(event: Handle) {
        handle::remove::<Event>(event)?;
        context::current().map_or(Ok(()), |context| context.check())
    }

    fn cuEventRecord(event: Handle, stream: Handle) { record(&*handle::get::<Event>(event)?, &stream::usable(stream)?) }

    fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: u32) {
        record(&*handle::get::<Event>(event)?, &stream::usable(stream)?)
    }

    fn cuEventQuery(event: Handle) {
        let event = handle::get::<Event>(event)?;
        match event.recorded() {
            Recorded::Never => context::usable().map(drop),
            Recorded::Captured(..) => Err(Code::CAPTURED_EVENT),
            Recorded::On { stream, at, .. } => {
                let reached = stream.reached(at);
                stream.context.check()?;
                if reached { Ok(()) } else { Err(Code::NOT_READY) }
            }
        }
    }

    fn cuEventSynchronize(event: Handle) {
        let event = handle::get::<Event>(event)?;
        match event.recorded() {
            Recorded::Never => context::usable().map(drop),
            Recorded::Captured(..) => Err(Code::CAPTURED_EVENT),
            Recorded::On { stream, at, .. } => {
                stream.wait(at);
                stream.context.check()
            }
        }
    }

    fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) { elapsed(milliseconds, start, end) }

    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: Handle, end: Handle) { elapsed(milliseconds, start, end) }
}
