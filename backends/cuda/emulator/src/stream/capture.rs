//! Capture: instead of being queued, work becomes the nodes of a graph, each behind what its stream had before. An event that was
//! recorded in a capture brings the stream that waits for it into the same capture.

use super::{Stream, Work};
use crate::{
    calls::lock,
    code::{Code, Outcome},
    graph::Graph,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

/// A capture under way.
pub struct Session {
    pub graph: Arc<Graph>,
    spoilt: AtomicBool,
    /// The streams in it, the first of which began it.
    streams: Mutex<Vec<Arc<Stream>>>,
}

impl Session {
    /// Something was asked for that no graph can hold: the capture is of no use.
    pub fn spoil(&self) {
        self.spoilt.store(true, Ordering::Release);
    }

    pub fn spoilt(&self) -> bool {
        self.spoilt.load(Ordering::Acquire)
    }
}

/// A stream's part in a capture.
#[derive(Clone)]
pub struct Joined {
    pub session: Arc<Session>,
    /// The nodes that the next one comes behind.
    pub last: Vec<usize>,
}

impl Joined {
    /// The work becomes a node.
    pub fn add(&mut self, work: Work) -> Outcome {
        if self.session.spoilt() {
            return Err(Code::CAPTURE_INVALIDATED);
        }
        self.last = vec![self.session.graph.add(work, self.last.clone())];
        Ok(())
    }
}

impl Stream {
    pub fn begin_capture(self: &Arc<Stream>) -> Outcome {
        self.context.check()?;
        let mut queue = lock(&self.queue);
        if queue.capture.is_some() || self.handle == 0 {
            return Err(Code::CAPTURE_UNSUPPORTED);
        }
        let session = Session {
            graph: Arc::new(Graph::new()),
            spoilt: AtomicBool::new(false),
            streams: Mutex::new(vec![self.clone()]),
        };
        queue.capture = Some(Joined { session: Arc::new(session), last: Vec::new() });
        Ok(())
    }

    /// The graph; every stream of the capture leaves it.
    pub fn end_capture(self: &Arc<Stream>) -> Result<Arc<Graph>, Code> {
        let joined = self.joined().ok_or(Code(401))?;
        let session = joined.session;
        let streams = lock(&session.streams).clone();
        if !streams.first().is_some_and(|first| Arc::ptr_eq(first, self)) {
            return Err(Code::CAPTURE_UNMATCHED);
        }
        lock(&session.streams).clear();
        let parts: Vec<Joined> = streams.iter().filter_map(|stream| lock(&stream.queue).capture.take()).collect();
        if session.spoilt() {
            return Err(Code::CAPTURE_INVALIDATED);
        }
        let before = session.graph.before(&joined.last);
        match parts.iter().flat_map(|part| &part.last).all(|node| before.contains(node)) {
            true => Ok(session.graph.clone()),
            false => Err(Code::CAPTURE_UNJOINED),
        }
    }

    /// Its part in a capture.
    pub fn joined(&self) -> Option<Joined> {
        lock(&self.queue).capture.clone()
    }

    /// What comes now comes behind these nodes as well.
    pub fn join_capture(self: &Arc<Stream>, session: &Arc<Session>, behind: &[usize]) -> Outcome {
        let mut queue = lock(&self.queue);
        match queue.capture.as_mut() {
            Some(joined) if Arc::ptr_eq(&joined.session, session) => {
                joined
                    .last
                    .extend(behind.iter().filter(|node| !joined.last.contains(node)).copied().collect::<Vec<_>>());
            }
            Some(joined) => {
                joined.session.spoil();
                return Err(Code(902));
            }
            None => {
                queue.capture = Some(Joined { session: session.clone(), last: behind.to_vec() });
                lock(&session.streams).push(self.clone());
            }
        }
        Ok(())
    }
}
