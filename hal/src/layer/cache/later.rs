//! Binaries that are whole only after a program has run: fetched when its first launch is complete, beside the work.
//!
//! PoCL compiles for a workgroup size at the first launch; what it gives at load lacks that code. Such a backend leaves
//! [`Loaded::binary`](crate::Loaded) empty, and the cache asks [`RawDevice::binary`] once the program has run: on a thread
//! of its own when the device is idle, so that nobody waits for it, except an `unload` and the end of the process, which
//! would lose it.

use super::entries::{Entries, Name};
use crate::{Command, RawDevice, RawList, RawProgram, Ticket, Work, layer::lock};
use rustc_hash::FxHashMap;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A device that was given no work for so long is idle. Fetching beside work would slow it down: PoCL compiles under a lock
/// that launches take too (a warm MiniLM pass took 5 s in place of 0.1 s).
const IDLE: Duration = Duration::from_millis(300);
/// A device that is never idle: from then on it is done beside the work.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the end of the process waits for binaries that are still being fetched (about 0.3 s each with PoCL).
const FAREWELL: Duration = Duration::from_secs(30);

/// How far a program without an entry is.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Loaded,
    Launched,
    /// Its first launch is complete.
    Ran,
    Fetching,
}

#[derive(Default)]
struct State {
    /// Programs that were loaded without a binary, until it is stored.
    fresh: FxHashMap<RawProgram, (Name, Stage)>,
    /// Recorded lists that launch some of them.
    lists: FxHashMap<RawList, Vec<RawProgram>>,
    /// First launches under way.
    open: Vec<(Ticket, Vec<RawProgram>)>,
    /// The device said that it has no binaries.
    never: bool,
    /// When work was last queued or seen to end, and since when something waits to be fetched.
    touched: Option<Instant>,
    waiting: Option<Instant>,
    /// The process or the device ends: no more patience.
    hurry: bool,
    closing: bool,
}

impl State {
    /// The fresh programs among those that commands launch.
    fn launched(&self, commands: &[Command]) -> Vec<RawProgram> {
        if self.fresh.is_empty() {
            return vec![];
        }
        let mut found = vec![];
        for c in commands {
            if let Command::Launch { program, .. } = c
                && self.fresh.contains_key(program)
                && !found.contains(program)
            {
                found.push(*program);
            }
        }
        found
    }

    fn set(&mut self, program: RawProgram, stage: Stage) {
        if let Some((_, s)) = self.fresh.get_mut(&program) {
            *s = stage;
        }
    }

    fn next(&self) -> Option<RawProgram> {
        self.fresh.iter().find(|(_, (_, s))| *s == Stage::Ran).map(|(p, _)| *p)
    }

    /// How long the thread should leave the device alone.
    fn pause(&self) -> Option<Duration> {
        let idle = self.touched.map_or(IDLE, |t| t.elapsed());
        let waited = self.waiting.map_or(PATIENCE, |t| t.elapsed());
        (!self.hurry && !self.closing && idle < IDLE && waited < PATIENCE).then(|| IDLE - idle)
    }

    fn busy(&self) -> bool {
        self.fresh.values().any(|(_, s)| matches!(s, Stage::Ran | Stage::Fetching))
    }
}

/// What is to be fetched, and the thread that does it.
pub(super) struct Later {
    work: Arc<Fetch>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Fetch {
    inner: Arc<dyn RawDevice>,
    entries: Arc<Entries>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Later {
    pub fn new(inner: Arc<dyn RawDevice>, entries: Arc<Entries>) -> Later {
        let work = Fetch { inner, entries, state: Mutex::default(), changed: Condvar::new() };
        Later { work: Arc::new(work), thread: Mutex::default() }
    }

    /// A program was loaded; there is no entry for it, and the device gave no binary yet.
    pub fn expect(&self, program: RawProgram, name: Name) {
        let mut s = lock(&self.work.state);
        if !s.never {
            s.fresh.insert(program, (name, Stage::Loaded));
        }
    }

    pub fn recorded(&self, list: RawList, commands: &[Command]) {
        let mut s = lock(&self.work.state);
        let programs = s.launched(commands);
        if !programs.is_empty() {
            s.lists.insert(list, programs);
        }
    }

    pub fn released(&self, list: RawList) {
        lock(&self.work.state).lists.remove(&list);
    }

    /// Work was queued under this ticket.
    pub fn submitted(&self, work: &Work<'_>, ticket: Ticket) {
        let mut s = lock(&self.work.state);
        if s.fresh.is_empty() {
            return;
        }
        s.touched = Some(Instant::now());
        let mut programs = match work {
            Work::Commands(commands) => s.launched(commands),
            Work::List(list) => s.lists.get(list).cloned().unwrap_or_default(),
        };
        programs.retain(|p| s.fresh.get(p).is_some_and(|(_, stage)| *stage == Stage::Loaded));
        if !programs.is_empty() {
            programs.iter().for_each(|p| s.set(*p, Stage::Launched));
            s.open.push((ticket, programs));
        }
    }

    /// A ticket is complete, and so is all before it on its queue. After a failure the next launch counts as the first.
    pub fn ended(&self, ticket: Ticket, well: bool) {
        let mut s = lock(&self.work.state);
        if s.fresh.is_empty() {
            s.open.clear();
            return;
        }
        s.touched = Some(Instant::now());
        let mut ran = false;
        let (done, open) = std::mem::take(&mut s.open)
            .into_iter()
            .partition(|(t, _)| t.queue == ticket.queue && t.value <= ticket.value);
        s.open = open;
        let done: Vec<(Ticket, Vec<RawProgram>)> = done;
        for program in done.into_iter().flat_map(|(_, programs)| programs) {
            // It may have been unloaded in the meantime, which stored it.
            if s.fresh.get(&program).is_some_and(|(_, stage)| *stage == Stage::Launched) {
                s.set(program, if well { Stage::Ran } else { Stage::Loaded });
                ran |= well;
            }
        }
        if ran {
            s.waiting.get_or_insert_with(Instant::now);
        }
        drop(s);
        if ran {
            self.wake();
        }
    }

    /// Before a program goes: its binary is stored now if it ran, for it will not be asked for again.
    pub fn unloading(&self, program: RawProgram) {
        let mut s = lock(&self.work.state);
        loop {
            match s.fresh.get(&program).map(|(_, stage)| *stage) {
                None => return,
                Some(Stage::Loaded) => {
                    s.fresh.remove(&program);
                    return;
                }
                // hal unloads nothing that pending work uses: what was launched has run.
                Some(Stage::Launched | Stage::Ran) => s = self.work.fetch(s, program),
                Some(Stage::Fetching) => s = self.work.changed.wait(s).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Wakes the thread, which begins with the first program that has run. Without one, `unloading` does its work.
    fn wake(&self) {
        // A browser has neither threads nor an end of the process.
        #[cfg(not(target_arch = "wasm32"))]
        {
            let mut thread = lock(&self.thread);
            if thread.is_none() {
                let work = self.work.clone();
                *thread = std::thread::Builder::new().name("anychip-cache".into()).spawn(move || work.run()).ok();
            }
            if thread.is_some() {
                at_exit(&self.work);
            }
        }
        self.work.changed.notify_all();
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        lock(&self.work.state).closing = true;
        self.work.changed.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Fetch {
    fn run(&self) {
        let mut s = lock(&self.state);
        loop {
            s = match (s.next(), s.pause()) {
                (Some(_), Some(pause)) => self.changed.wait_timeout(s, pause).unwrap_or_else(PoisonError::into_inner).0,
                (Some(program), None) => self.fetch(s, program),
                (None, _) if s.closing => return,
                (None, _) => {
                    s.waiting = None;
                    self.changed.wait(s).unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// Fetches and stores one binary, without the lock.
    fn fetch<'s>(&'s self, mut s: MutexGuard<'s, State>, program: RawProgram) -> MutexGuard<'s, State> {
        let Some(&(name, _)) = s.fresh.get(&program) else { return s };
        s.set(program, Stage::Fetching);
        let asked = !s.never;
        drop(s);
        let binary = if asked { self.inner.binary(program) } else { None };
        if let Some(binary) = binary.as_ref().filter(|b| !b.is_empty()) {
            // A full disk or a folder that went away costs the next start its time, nothing else.
            let _ = self.entries.write(&name, binary);
        }
        let mut s = lock(&self.state);
        s.fresh.remove(&program);
        if binary.is_none() {
            s.never = true;
            s.fresh.clear();
        }
        self.changed.notify_all();
        s
    }

    /// Waits until nothing that ran is left to fetch.
    fn drain(&self, until: Instant) {
        let mut s = lock(&self.state);
        s.hurry = true;
        self.changed.notify_all();
        while s.busy() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            s = self.changed.wait_timeout(s, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Devices whose thread may have work when the process ends.
#[cfg(not(target_arch = "wasm32"))]
static OPEN: Mutex<Vec<Weak<Fetch>>> = Mutex::new(Vec::new());

/// A process that keeps its devices in statics never drops them: its end, by `exit` or by returning from `main`, waits for
/// what is being fetched.
///
/// Registered again after every first launch: what is registered last runs first, and a driver's compiler registers its
/// own farewell piece by piece while it compiles. Registered only once, this ran after LLVM had taken parts of itself down,
/// and PoCL crashed while it compiled.
#[cfg(not(target_arch = "wasm32"))]
fn at_exit(work: &Arc<Fetch>) {
    let mut open = lock(&OPEN);
    open.retain(|w| w.strong_count() > 0);
    if !open.iter().any(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(work))) {
        open.push(Arc::downgrade(work));
    }
    drop(open);
    #[cfg(any(unix, windows))]
    {
        unsafe extern "C" {
            safe fn atexit(f: extern "C" fn()) -> std::ffi::c_int;
        }
        // Refused when the table is full: the next start is slow then, nothing else.
        let _ = atexit(drain_all);
    }
}

#[cfg(any(unix, windows))]
extern "C" fn drain_all() {
    let until = Instant::now() + FAREWELL;
    let open = std::mem::take(&mut *lock(&OPEN));
    for work in open {
        if let Some(work) = work.upgrade() {
            work.drain(until);
            // The process ends here: dropping the last handle would close a device in the middle of that.
            std::mem::forget(work);
        }
    }
}
