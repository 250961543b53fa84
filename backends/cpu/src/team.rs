//! Threads that work together: the one that has work to do takes part in it itself, and others join when they are awake in time.
//!
//! Made for launches of tens of microseconds to milliseconds. A pool that takes the work over and hands back the result costs two
//! thread switches of up to 50 µs each, a third of a matrix product of 512³ (see benches/README.md); here the caller begins at once,
//! helpers watch for the next piece of work for [`WATCH`] before they sleep, and a helper that wakes up late is not waited for. It
//! knows nothing of what the work is.

use std::{
    any::Any,
    cell::{RefCell, UnsafeCell},
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// How long a helper watches for work before it sleeps: the pause between two launches of one program, or between two
/// programs run in a row, is shorter; nobody notices the processor time.
const WATCH: Duration = Duration::from_micros(100);
/// How often the leader looks whether the helpers are done before it sleeps: some 20 µs.
const LOOKS: usize = 1000;

/// A piece of work, run by each thread that takes part.
type Part<'a> = &'a (dyn Fn() + Sync + 'a);

/// Some threads: the caller and helpers of its own. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Team(Arc<Owner>);

/// Ends the helpers when the last handle goes.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.closed.store(true, SeqCst);
        let _asleep = self.0.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.begin.notify_all();
    }
}

struct Shared {
    helpers: usize,
    /// A call is under way; another one meanwhile runs on its own thread alone.
    led: AtomicBool,
    /// Bits 0..16: helpers at work. Bits 16..32: seats for helpers that are still open. The rest: number of the call.
    seats: AtomicU64,
    /// The work of the call under way; written while no seat is open and nobody is at work.
    part: UnsafeCell<Option<Part<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// How many helpers sleep, or are about to.
    sleepers: AtomicUsize,
    asleep: Mutex<()>,
    begin: Condvar,
    /// The leader sleeps until the last helper is done, or is about to.
    leader_sleeps: AtomicBool,
    finished: Condvar,
    closed: AtomicBool,
}

// SAFETY: `part` is written by the leader alone, before it opens seats and after the last helper has left; a helper reads it
// only while it holds a seat.
unsafe impl Sync for Shared {}
// SAFETY: as above; what it refers to is `Sync`.
unsafe impl Send for Shared {}

const ONE_AT_WORK: u64 = 1;
const ONE_SEAT: u64 = 1 << 16;
const ONE_CALL: u64 = 1 << 32;

fn at_work(seats: u64) -> u64 {
    seats & 0xffff
}

fn open(seats: u64) -> u64 {
    seats >> 16 & 0xffff
}

thread_local! {
    static CURRENT: RefCell<Option<Team>> = const { RefCell::new(None) };
}

impl Team {
    /// A team of `threads`, the caller included; 0 counts as 1.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn new(threads: usize) -> io::Result<Team> {
        let helpers = threads.clamp(1, 0xffff) - 1;
        let team = Team(Arc::new(Owner(Arc::new(Shared {
            helpers,
            led: AtomicBool::new(false),
            seats: AtomicU64::new(0),
            part: UnsafeCell::new(None),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            asleep: Mutex::new(()),
            begin: Condvar::new(),
            leader_sleeps: AtomicBool::new(false),
            finished: Condvar::new(),
            closed: AtomicBool::new(false),
        }))));
        for n in 1..=helpers {
            let shared = team.0.0.clone();
            std::thread::Builder::new().name(format!("anychip-cpu-{n}")).spawn(move || serve(&shared))?;
        }
        Ok(team)
    }

    /// The team that is installed on this thread; without one that of all cores, started at first use.
    pub fn current() -> Team {
        static ALL: OnceLock<Team> = OnceLock::new();
        CURRENT.with_borrow(Clone::clone).unwrap_or_else(|| {
            let all = ALL.get_or_init(|| {
                let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
                // Without threads the caller does everything.
                Team::new(cores).or_else(|_| Team::new(1)).expect("a team of one starts no thread")
            });
            all.clone()
        })
    }

    /// Makes this the current team of the calling thread while `work` runs, on this same thread.
    pub fn install<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<Team>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// Threads, the caller included.
    pub fn threads(&self) -> usize {
        self.0.0.helpers + 1
    }

    /// Runs `task` once for each of `0..count`, in no particular order, on all threads that are free. Inside a task the
    /// team is busy: what a task asks of it runs on that task's thread.
    ///
    /// # Panics
    /// When a task did.
    pub fn each(&self, count: usize, task: impl Fn(usize) + Sync) {
        if count <= 1 || self.threads() == 1 {
            return (0..count).for_each(task);
        }
        let next = AtomicUsize::new(0);
        self.together(count - 1, &|| {
            loop {
                let index = next.fetch_add(1, SeqCst);
                if index >= count {
                    break;
                }
                task(index);
            }
        });
    }

    /// Runs `part` on this thread, and meanwhile on up to `others` helpers. Each must look itself for what is still to be
    /// done; all is done once `part` has returned on the calling thread and on those helpers that began.
    ///
    /// # Panics
    /// When `part` did.
    pub fn together(&self, others: usize, part: Part<'_>) {
        let shared = &*self.0.0;
        let others = others.min(shared.helpers);
        if others == 0 || shared.led.swap(true, SeqCst) {
            return part();
        }
        // SAFETY: nobody uses it beyond this call: `End` closes the seats and waits for those who sit, also when `part` panics
        // here. No seat is open now, and nobody is at work, since the call before ended so.
        unsafe { *shared.part.get() = Some(std::mem::transmute::<Part<'_>, Part<'static>>(part)) };
        let call = shared.seats.load(SeqCst) / ONE_CALL;
        shared.seats.store(call.wrapping_add(1).wrapping_mul(ONE_CALL) + others as u64 * ONE_SEAT, SeqCst);
        let end = End(shared);
        if shared.sleepers.load(SeqCst) > 0 {
            let _asleep = shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            if others == 1 { shared.begin.notify_one() } else { shared.begin.notify_all() }
        }
        part();
        drop(end);
    }
}

/// The end of a call: no more seats, all helpers are out. Passes on a helper's panic.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let shared = self.0;
        let mut now = shared.seats.load(SeqCst);
        while let Err(other) = shared.seats.compare_exchange_weak(now, now - open(now) * ONE_SEAT, SeqCst, SeqCst) {
            now = other;
        }
        let busy = || at_work(shared.seats.load(SeqCst)) > 0;
        let mut looks = 0;
        while busy() && looks < LOOKS {
            std::hint::spin_loop();
            looks += 1;
        }
        if busy() {
            let mut asleep = shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            shared.leader_sleeps.store(true, SeqCst);
            while busy() {
                asleep = shared.finished.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            }
            shared.leader_sleeps.store(false, SeqCst);
        }
        // SAFETY: nobody sits, no seat is open.
        unsafe { *shared.part.get() = None };
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.led.store(false, SeqCst);
        if let Some(panic) = panic
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// A helper's life.
fn serve(shared: &Arc<Shared>) {
    // What a task asks of the team runs on its own thread: the team it sees has no helpers.
    if let Ok(alone) = Team::new(1) {
        CURRENT.set(Some(alone));
    }
    let mut since = Instant::now();
    loop {
        let now = shared.seats.load(SeqCst);
        if open(now) > 0 {
            let taken = now - ONE_SEAT + ONE_AT_WORK;
            if shared.seats.compare_exchange(now, taken, SeqCst, SeqCst).is_ok() {
                work(shared);
                since = Instant::now();
            }
            continue;
        }
        if shared.closed.load(SeqCst) {
            return;
        }
        for _ in 0..32 {
            std::hint::spin_loop();
        }
        if since.elapsed() >= WATCH {
            let mut asleep = shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            shared.sleepers.fetch_add(1, SeqCst);
            // Said before looking again: whoever opens seats afterwards finds a sleeper.
            while open(shared.seats.load(SeqCst)) == 0 && !shared.closed.load(SeqCst) {
                asleep = shared.begin.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            }
            shared.sleepers.fetch_sub(1, SeqCst);
            drop(asleep);
            since = Instant::now();
        }
    }
}

/// A helper on a seat.
fn work(shared: &Shared) {
    // SAFETY: it was written before the seat was opened and stays until this thread has left it.
    if let Some(part) = unsafe { *shared.part.get() }
        && let Err(panic) = catch_unwind(AssertUnwindSafe(part))
    {
        shared.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
    }
    let before = shared.seats.fetch_sub(ONE_AT_WORK, SeqCst);
    if at_work(before) == 1 && shared.leader_sleeps.load(SeqCst) {
        let _asleep = shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        shared.finished.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 8] {
            let team = Team::new(threads).unwrap();
            for count in [0, 1, 2, 7, 1000] {
                let runs: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                team.each(count, |i| {
                    runs[i].fetch_add(1, SeqCst);
                });
                assert!(runs.iter().all(|n| n.load(SeqCst) == 1), "{threads} threads, {count} tasks");
            }
        }
    }

    #[test]
    fn many_calls_from_many_threads() {
        let team = Team::new(4).unwrap();
        let sum = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for round in 0..500 {
                        team.each(8, |i| {
                            sum.fetch_add(i + 1, SeqCst);
                        });
                        if round % 100 == 0 {
                            // Helpers fall asleep and are woken again.
                            std::thread::sleep(WATCH * 5);
                        }
                    }
                });
            }
        });
        assert_eq!(sum.load(SeqCst), 4 * 500 * 36);
    }

    #[test]
    fn a_task_may_ask_the_team_again() {
        let team = Team::new(3).unwrap();
        let sum = AtomicUsize::new(0);
        team.install(|| {
            Team::current().each(6, |_| {
                Team::current().each(5, |_| {
                    sum.fetch_add(1, SeqCst);
                });
            });
        });
        assert_eq!(sum.load(SeqCst), 30);
    }

    #[test]
    fn helpers_take_part() {
        // Two tasks that wait for each other end only when two threads run them.
        let team = Team::new(2).unwrap();
        let meet = std::sync::Barrier::new(2);
        team.each(2, |_| {
            meet.wait();
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(3).unwrap();
        for bad in [0, 5, 63] {
            let caught = catch_unwind(AssertUnwindSafe(|| team.each(64, |i| assert!(i != bad, "task {i}"))));
            assert!(caught.is_err(), "task {bad} panicked");
            let n = AtomicUsize::new(0);
            team.each(64, |_| {
                n.fetch_add(1, SeqCst);
            });
            assert_eq!(n.load(SeqCst), 64);
        }
    }
}
