//! The threads of a block. Kernels whose threads do nothing together run as a loop over them; the others as fibers, which run until they
//! must wait for each other. What is not ordered by a barrier runs in an order that is drawn, and shared memory begins as NaNs: a
//! barrier that is missing shows. Threads that wait for what cannot come end the launch.

use super::{
    Draw, Stop,
    library::{Calls, RunKernel, Together},
    stacks::{self, Slot, Stacks},
    trap::{End, Net, net},
};
use crate::{code::Code, launch::Launch, memory};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::{
    cell::{Cell, UnsafeCell},
    ffi::{CStr, c_char, c_void},
};

type Fiber = Coroutine<(), (), End, Slot>;
type Threads = [u32; 3];

/// What a thread waits for, and what it brings.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wait {
    /// 0 lanes of its warp, 1 threads of the block, 2 the four warps around it.
    scope: u32,
    /// Which barrier; the group of warps.
    which: u32,
    /// A mask of lanes; how many threads, 0 for all.
    lanes: u32,
    together: Option<usize>,
    line: u32,
}

/// Barriers of a block.
const BARRIERS: usize = 16;

impl Wait {
    /// Where it stands among the barriers.
    fn barrier(&self) -> Option<usize> {
        match self.scope {
            1 => (self.which < BARRIERS as u32).then_some(self.which as usize),
            _ => Some(BARRIERS + self.which as usize),
        }
    }
}

#[derive(Default)]
struct Lane {
    fiber: Option<Fiber>,
    yielder: Cell<*const Yielder<(), ()>>,
    wait: Option<Wait>,
    post: *mut c_void,
    together: Together,
    /// A thread that left has made what this one waits for complete: it does it for all.
    completes: bool,
}

#[derive(Default)]
struct Warp {
    alive: u32,
    ready: u32,
    /// Waiting for other lanes of the warp.
    waiting: u32,
}

#[derive(Default)]
struct State {
    lanes: Vec<Lane>,
    warps: Vec<Warp>,
    /// Who waits at barriers: of the block, by number, then of groups of warps.
    barriers: Vec<Vec<usize>>,
    alive: usize,
    current: usize,
    /// How often a thread has let others go on without waiting for anything.
    pauses: u64,
    stop: Option<(Code, String)>,
    /// The fiber of a block whose threads run as a loop.
    single: Cell<*const Yielder<(), ()>>,
}

/// Runs the blocks of a launch one after the other.
pub struct Runner<'a> {
    launch: &'a Launch,
    run: RunKernel,
    params: Vec<*const c_void>,
    fibers: bool,
    /// The threads' indices, in orders that are taken in turn.
    orders: Vec<Vec<Threads>>,
    threads: Vec<Threads>,
    stacks: Stacks,
    /// What each fiber has besides its stack.
    lane_memory: Vec<u128>,
    lane_words: usize,
    dynamic: Dynamic,
    draw: Draw,
    calls: Box<Calls>,
    net: &'static Cell<Option<Net>>,
    state: UnsafeCell<State>,
}

/// Dynamic shared memory: its end is where a page begins that nobody may touch.
struct Dynamic {
    map: *mut u8,
    mapped: usize,
    at: *mut u8,
    bytes: usize,
}

const PAGE: usize = 4096;

impl Dynamic {
    fn new(bytes: usize) -> Result<Dynamic, Code> {
        if bytes == 0 {
            return Ok(Dynamic { map: std::ptr::null_mut(), mapped: 0, at: std::ptr::null_mut(), bytes });
        }
        // Large tiles are laid out for swizzles of 1024 bytes.
        let align = if bytes >= 16 << 10 { 1024 } else { 128 };
        let room = bytes.next_multiple_of(align).next_multiple_of(PAGE);
        // SAFETY: a new map where the system likes, the last page of which nobody may touch.
        unsafe {
            let map = libc::mmap(
                std::ptr::null_mut(),
                room + PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if map == libc::MAP_FAILED {
                return Err(Code::OPERATING_SYSTEM);
            }
            let map = map.cast::<u8>();
            libc::mprotect(map.add(room).cast(), PAGE, libc::PROT_NONE);
            let at = map.add((room - bytes) / align * align);
            Ok(Dynamic { map, mapped: room, at, bytes })
        }
    }

    /// What lies between its end and the guard page.
    fn margin(&mut self) -> &mut [u8] {
        if self.map.is_null() {
            return &mut [];
        }
        // SAFETY: the rest of the map, which no kernel has a right to.
        unsafe {
            let end = self.at.add(self.bytes);
            std::slice::from_raw_parts_mut(end, self.map.add(self.mapped).offset_from(end) as usize)
        }
    }
}

impl Drop for Dynamic {
    fn drop(&mut self) {
        if !self.map.is_null() {
            // SAFETY: our own map.
            unsafe { libc::munmap(self.map.cast(), self.mapped + PAGE) };
        }
    }
}

const MARGIN: u8 = 0xc5;
/// So often all threads may look for what does not come.
const IDLE: u32 = 10_000;

impl<'a> Runner<'a> {
    pub fn new(launch: &'a Launch, draw: &mut Draw) -> Result<Runner<'a>, Code> {
        let module = &launch.function.module;
        let [x, y, z] = launch.block;
        let count = (x * y * z) as usize;
        let threads: Vec<Threads> = (0..x * y * z).map(|i| [i % x, i / x % y, i / (x * y)]).collect();
        let fibers = module.library.needs_fibers();
        let lane_words = (module.binding.lane_bytes as usize).div_ceil(16);
        let (orders, stacks) = if fibers {
            (Vec::new(), stacks::take(count)?)
        } else {
            let mut orders = vec![threads.clone(), threads.iter().rev().copied().collect()];
            let step = super::stride(draw, count as u64) as usize;
            orders.push((0..count).map(|i| threads[(i * step + 1) % count]).collect());
            (orders, stacks::take(1)?)
        };
        let dynamic = Dynamic::new(launch.shared as usize)?;
        let calls = Box::new(Calls { collective, alive, pause, fail, runner: Cell::new(std::ptr::null()) });
        // SAFETY: the module's variables; the caller holds its lock.
        unsafe {
            let to = &module.binding;
            *to.calls = &*calls;
            *to.threads = launch.block;
            *to.blocks = launch.grid;
            *to.lane = std::ptr::null_mut();
            *to.dynamic = dynamic.at;
            *to.dynamic_bytes = launch.shared;
        }
        Ok(Runner {
            run: launch.function.run,
            params: launch.pointers(),
            fibers,
            orders,
            lane_memory: vec![0; if fibers { lane_words * count } else { 0 }],
            lane_words,
            threads,
            stacks,
            dynamic,
            draw: Draw::new(draw.next()),
            calls,
            net: net(),
            state: UnsafeCell::default(),
            launch,
        })
    }

    /// The state, for a moment: never across a switch of fibers.
    #[allow(clippy::mut_from_ref)]
    fn state(&self) -> &mut State {
        // SAFETY: one thread, and no reference lives while another fiber runs.
        unsafe { &mut *self.state.get() }
    }

    /// Runs a block.
    pub fn block(&mut self, index: [u32; 3]) -> Result<(), Stop> {
        let binding = &self.launch.function.module.binding;
        // SAFETY: the module's variables and this launch's shared memory.
        unsafe {
            *binding.block = index;
            memory::poison(binding.shared, binding.shared_bytes());
            memory::poison(self.dynamic.at, self.dynamic.bytes);
        }
        self.dynamic.margin().fill(MARGIN);
        let order = self.draw.next();
        self.calls.runner.set(std::ptr::from_ref(self).cast());
        let done = if self.fibers { self.together(order) } else { self.alone(order as usize) };
        self.net.set(None);
        for lane in &mut self.state().lanes {
            if let Some(mut fiber) = lane.fiber.take() {
                // SAFETY: a kernel's frames hold nothing that needs to be dropped.
                unsafe { fiber.force_reset() };
            }
        }
        // SAFETY: the module's variable.
        let thread = unsafe { *binding.thread };
        done.map_err(|(code, why)| (code, thread, why))?;
        match self.dynamic.margin().iter().all(|byte| *byte == MARGIN) {
            true => Ok(()),
            false => {
                Err((Code::ILLEGAL_ADDRESS, thread, "somebody wrote behind the block's dynamic shared memory".into()))
            }
        }
    }

    /// One thread after the other.
    fn alone(&self, order: usize) -> Result<(), (Code, String)> {
        let threads = &self.orders[order % self.orders.len()];
        let (run, params, first, n) =
            (self.run, self.params.as_ptr() as usize, threads.as_ptr() as usize, threads.len());
        let slot = self.stacks.slot(0);
        let runner = std::ptr::from_ref(self) as usize;
        let mut fiber = Fiber::with_stack(slot, move |yielder, ()| {
            // SAFETY: the runner outlives its fiber; the kernel is called as its module says.
            unsafe {
                (*(runner as *const Runner<'static>)).state().single.set(yielder);
                run(params as *const _, first as *const _, n as u32);
            }
            End::Done
        });
        self.net.set(Some(Net::new(&fiber)));
        let end = fiber.resume(());
        self.net.set(None);
        match end {
            CoroutineResult::Return(End::Done) => Ok(()),
            CoroutineResult::Return(End::Fault(fault)) => Err((fault.code, fault.words())),
            CoroutineResult::Yield(()) => {
                // SAFETY: a kernel's frames hold nothing that needs to be dropped.
                unsafe { fiber.force_reset() };
                Err(self.state().stop.take().unwrap_or((Code::UNKNOWN, "it stopped and did not say why".into())))
            }
        }
    }

    /// Fibers, until all have ended or none can go on.
    fn together(&mut self, order: u64) -> Result<(), (Code, String)> {
        self.begin();
        let (warps, descending, turn) = (self.state().warps.len(), order & 1 == 1, (order >> 8) as u32 & 31);
        let (first, bursts) = ((order >> 16) as usize, order & 2 == 2);
        let mut idle = 0;
        loop {
            let (mut progress, paused, mut resumed) = (false, self.state().pauses, 0);
            for i in 0..warps {
                let warp = if descending { (first + warps - i % warps) % warps } else { (first + i) % warps };
                loop {
                    let ready = self.state().warps[warp].ready;
                    let mut left = ready.rotate_right(turn);
                    while left != 0 {
                        let bit = if descending { 31 - left.leading_zeros() } else { left.trailing_zeros() };
                        left &= !(1 << bit);
                        self.resume(warp * 32 + ((bit + turn) & 31) as usize)?;
                        resumed += 1;
                    }
                    progress |= ready != 0;
                    // Who only looks again must let others go on.
                    if ready == 0 || !bursts || self.state().pauses != paused {
                        break;
                    }
                }
            }
            if !progress {
                break;
            }
            idle = if self.state().pauses - paused == resumed { idle + 1 } else { 0 };
            if idle == IDLE {
                return Err((Code::LAUNCH_TIMEOUT, "its threads wait for each other, and none goes on".into()));
            }
        }
        if self.state().alive == 0 { Ok(()) } else { Err((Code::LAUNCH_FAILED, self.stuck())) }
    }

    fn begin(&mut self) {
        let count = self.threads.len();
        // What a lane counts with comes first; the rest is written before it is read.
        for lane in self.lane_memory.chunks_mut(self.lane_words) {
            lane[..4.min(self.lane_words)].fill(0);
        }
        let runner = std::ptr::from_ref(self) as usize;
        let (run, params) = (self.run, self.params.as_ptr() as usize);
        let state = self.state.get_mut();
        state.alive = count;
        state.stop = None;
        state.barriers.resize_with(BARRIERS + 8, Vec::new);
        state.barriers.iter_mut().for_each(Vec::clear);
        state.lanes.resize_with(count, Lane::default);
        state.warps.clear();
        for first in (0..count).step_by(32) {
            let mask = if count - first >= 32 { u32::MAX } else { (1 << (count - first)) - 1 };
            state.warps.push(Warp { alive: mask, ready: mask, waiting: 0 });
        }
        for (i, lane) in state.lanes.iter_mut().enumerate() {
            let thread = self.threads[i..].as_ptr() as usize;
            lane.wait = None;
            lane.completes = false;
            lane.fiber = Some(Fiber::with_stack(self.stacks.slot(i), move |yielder, ()| {
                // SAFETY: the runner outlives its fibers; the kernel is called as its module says.
                unsafe {
                    (*(runner as *const Runner<'static>)).state().lanes[i].yielder.set(yielder);
                    run(params as *const _, thread as *const _, 1);
                }
                End::Done
            }));
        }
    }

    fn resume(&self, thread: usize) -> Result<(), (Code, String)> {
        let (warp, bit) = (thread / 32, 1u32 << (thread % 32));
        let binding = &self.launch.function.module.binding;
        let state = self.state();
        state.current = thread;
        state.warps[warp].ready &= !bit;
        let Some(mut fiber) = state.lanes[thread].fiber.take() else { return Ok(()) };
        // SAFETY: the module's variables.
        unsafe {
            *binding.thread = self.threads[thread];
            *binding.lane = self.lane_memory[thread * self.lane_words..].as_ptr().cast_mut().cast();
        }
        self.net.set(Some(Net::new(&fiber)));
        let end = fiber.resume(());
        self.net.set(None);
        let state = self.state();
        match end {
            CoroutineResult::Yield(()) => {
                state.lanes[thread].fiber = Some(fiber);
                state.stop.take().map_or(Ok(()), Err)
            }
            CoroutineResult::Return(End::Fault(fault)) => Err((fault.code, fault.words())),
            CoroutineResult::Return(End::Done) => {
                state.alive -= 1;
                state.warps[warp].alive &= !bit;
                // The others may have waited for this one only.
                let mut waiting = state.warps[warp].waiting;
                while waiting != 0 {
                    let lane = waiting.trailing_zeros() as usize;
                    waiting &= waiting - 1;
                    if let Some(members) = self.complete_warp(warp, warp * 32 + lane) {
                        state.lanes[warp * 32 + lane].completes = true;
                        state.warps[warp].ready |= 1 << lane;
                        waiting &= !members;
                    }
                }
                Ok(())
            }
        }
    }

    /// The lanes that wait together with this one, if all are there that must be.
    fn complete_warp(&self, warp: usize, thread: usize) -> Option<u32> {
        let state = self.state();
        let wait = state.lanes[thread].wait?;
        let members = wait.lanes & state.warps[warp].alive;
        if members & !state.warps[warp].waiting != 0 {
            return None;
        }
        let same = |lane: usize| {
            let other = state.lanes[warp * 32 + lane].wait;
            other.is_some_and(|o| o.lanes == wait.lanes && o.together == wait.together)
        };
        (0..32).filter(|lane| members >> lane & 1 == 1).all(same).then_some(members)
    }

    /// The last of a warp's lanes does it for all.
    fn finish_warp(&self, warp: usize, thread: usize, members: u32) {
        let state = self.state();
        let mut posts = [std::ptr::null_mut(); 32];
        for (lane, post) in posts.iter_mut().enumerate() {
            if members >> lane & 1 == 1 {
                *post = state.lanes[warp * 32 + lane].post;
            }
        }
        if let Some(together) = state.lanes[thread].together {
            // SAFETY: what the shim passed with these posts, all of which lie on stacks of fibers that wait.
            unsafe { together(posts.as_ptr(), members) };
        }
        let state = self.state();
        for lane in (0..32).filter(|lane| members >> lane & 1 == 1) {
            state.lanes[warp * 32 + lane].wait = None;
        }
        let warp = &mut state.warps[warp];
        warp.waiting &= !members;
        warp.ready |= members & !(1 << (thread % 32));
    }

    /// The thread that runs now has come to wait with others. Inlined, as `suspend` is: after a switch every return is one that the
    /// processor has not foreseen.
    #[inline(always)]
    fn arrive(&self, wait: Wait, together: Together, post: *mut c_void) {
        let state = self.state();
        let thread = state.current;
        let (warp, bit) = (thread / 32, 1u32 << (thread % 32));
        state.lanes[thread].wait = Some(wait);
        state.lanes[thread].post = post;
        state.lanes[thread].together = together;
        if wait.scope == 0 {
            if wait.lanes & bit == 0 {
                return self
                    .halt(Code::LAUNCH_FAILED, format!("its mask {:#010x} does not name its own lane", wait.lanes));
            }
            state.warps[warp].waiting |= bit;
            match self.complete_warp(warp, thread) {
                Some(members) => self.finish_warp(warp, thread, members),
                None => {
                    self.suspend();
                    if std::mem::take(&mut self.state().lanes[thread].completes)
                        && let Some(members) = self.complete_warp(warp, thread)
                    {
                        self.finish_warp(warp, thread, members);
                    }
                }
            }
            return;
        }
        let Some(at) = wait.barrier() else {
            return self.halt(Code::LAUNCH_FAILED, format!("there is no barrier {}, only 0 to 15", wait.which));
        };
        let waiting = &mut state.barriers[at];
        waiting.push(thread);
        let arrived = waiting.len();
        let needed = if wait.lanes == 0 { state.alive } else { wait.lanes as usize };
        if arrived < needed {
            return self.suspend();
        }
        if let Some(why) = self.divergent(wait, at) {
            return self.halt(Code::LAUNCH_FAILED, why);
        }
        let mut waiting = std::mem::take(&mut state.barriers[at]);
        if let Some(together) = together {
            let posts: Vec<*mut c_void> = waiting.iter().map(|thread| state.lanes[*thread].post).collect();
            // SAFETY: as for a warp.
            unsafe { together(posts.as_ptr(), posts.len() as u32) };
        }
        let state = self.state();
        for other in waiting.drain(..) {
            state.lanes[other].wait = None;
            if other != thread {
                state.warps[other / 32].ready |= 1 << (other % 32);
            }
        }
        state.barriers[at] = waiting;
    }

    /// Words, if not all have come to the same barrier.
    fn divergent(&self, wait: Wait, at: usize) -> Option<String> {
        let state = self.state();
        let missing = self.threads.len() - state.alive;
        if wait.lanes == 0 && missing > 0 {
            return Some(format!(
                "divergent barrier: {missing} threads have left the kernel, the others wait in line {}",
                wait.line
            ));
        }
        let other =
            state.barriers[at].iter().filter_map(|thread| state.lanes[*thread].wait).find(|other| *other != wait)?;
        Some(format!("divergent barrier: some threads wait in line {}, others in line {}", other.line, wait.line))
    }

    /// What those wait for that are left, when none can go on.
    fn stuck(&self) -> String {
        let state = self.state();
        let missing = self.threads.len() - state.alive;
        let mut groups: Vec<(String, usize)> = Vec::new();
        for wait in state.lanes.iter().filter_map(|lane| lane.wait) {
            let place = match wait.scope {
                0 => format!("for the lanes {:#010x} of their warp", wait.lanes),
                1 => format!("at barrier {} in line {}", wait.which, wait.line),
                _ => format!("for their group of warps in line {}", wait.line),
            };
            match groups.iter_mut().find(|(known, _)| *known == place) {
                Some((_, count)) => *count += 1,
                None => groups.push((place, 1)),
            }
        }
        let waits: Vec<String> = groups.iter().map(|(place, count)| format!("{count} threads wait {place}")).collect();
        format!("divergent barrier: {}; {missing} have left the kernel", waits.join(", "))
    }

    #[inline(always)]
    fn suspend(&self) {
        let state = self.state();
        let yielder = if self.fibers { state.lanes[state.current].yielder.get() } else { state.single.get() };
        // SAFETY: the fiber that runs now has set it, and lives.
        unsafe { (*yielder).suspend(()) };
    }

    /// Ends the launch; the fiber is never resumed.
    #[cold]
    fn halt(&self, code: Code, why: String) {
        self.state().stop = Some((code, why));
        self.suspend();
    }
}

/// Who runs the block that calls.
unsafe fn runner(calls: &Calls) -> &Runner<'static> {
    // SAFETY: kernels call only while a block runs, and then it is set.
    unsafe { &*calls.runner.get().cast() }
}

unsafe extern "C" fn collective(calls: &Calls, place: u32, lanes: u32, together: Together, post: *mut c_void) {
    // SAFETY: called by a kernel.
    let runner = unsafe { runner(calls) };
    let (scope, which, line) = (place & 3, place >> 2 & 63, place >> 8);
    let (which, lanes) = match scope {
        2 => (runner.state().current as u32 / 128, 128),
        _ => (which, lanes),
    };
    let wait = Wait { scope, which, lanes, together: together.map(|f| f as usize), line };
    runner.arrive(wait, together, post);
}

unsafe extern "C" fn alive(calls: &Calls) -> u32 {
    // SAFETY: called by a kernel.
    let state = unsafe { runner(calls) }.state();
    state.warps[state.current / 32].alive
}

unsafe extern "C" fn pause(calls: &Calls) {
    // SAFETY: called by a kernel.
    let runner = unsafe { runner(calls) };
    let state = runner.state();
    let thread = state.current;
    state.warps[thread / 32].ready |= 1 << (thread % 32);
    state.pauses += 1;
    runner.suspend();
}

unsafe extern "C" fn fail(calls: &Calls, code: i32, why: *const c_char) {
    // SAFETY: called by a kernel, with a literal of the shim or its own.
    let (runner, why) = unsafe { (runner(calls), CStr::from_ptr(why)) };
    runner.halt(Code(code as u32), why.to_string_lossy().into_owned());
}
