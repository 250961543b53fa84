//! A layer that lies in wait: guard zones around every buffer, and a pattern in new memory.
//!
//! It stands directly on the device under test and hides from everything above that buffers are longer than asked for. What the host
//! or a kernel writes beside a buffer is found when the buffer is freed and at [`Watch::check`]; what nothing wrote reads as
//! [`POISON`]. Limits are those of the device: a buffer so long that its guards would not fit has none.

use crate::Failure;
use anychip::{
    Error, Result,
    hal::{
        Command, Completion, DeviceInfo, Exposed, Loaded, Memory, Module, Range, RawBuffer, RawDevice, RawList,
        RawProgram, Submission, Ticket, Work, op,
    },
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

/// What new memory holds: a quiet NaN in f16, bf16, f32 and f64, odd and large as an integer, no bool.
pub const POISON: u32 = 0xfff5_fff5;
/// Bytes of a guard zone at the least; more where a binding must be aligned to more.
const GUARD: u64 = 256;
/// Freed buffers whose guards are still to be looked at, together: one submission looks at all of them.
const CONDEMNED: usize = 64;
/// And their bytes.
const CONDEMNED_BYTES: u64 = 64 << 20;
/// How long the watch's own work may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Launches that a buffer remembers, for the message.
const REMEMBERED: usize = 3;

/// Work that went to the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Launches.
    pub launches: u64,
    /// Copies and fills.
    pub moves: u64,
}

/// Programs that the device was asked to load, and how long that took: compiled, or taken from a cache.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loads {
    /// What each is known by: the same content, the same name.
    pub programs: Vec<String>,
    /// Together.
    pub time: Duration,
}

/// The layer.
pub struct Watch {
    inner: Arc<dyn RawDevice>,
    guard: u64,
    state: Mutex<State>,
    launches: AtomicU64,
    moves: AtomicU64,
}

#[derive(Default)]
struct State {
    live: HashMap<RawBuffer, Zone>,
    condemned: Vec<(RawBuffer, Zone)>,
    condemned_bytes: u64,
    programs: HashMap<RawProgram, String>,
    lists: HashMap<RawList, Vec<Command>>,
    /// What was found, for the next check.
    broken: Vec<String>,
    made: u64,
    /// Since they were last asked for.
    loads: Loads,
}

/// A guarded buffer.
#[derive(Clone)]
struct Zone {
    bytes: u64,
    /// The words of the zones before and behind it.
    words: [u32; 2],
    /// Programs that were bound to it last.
    users: Vec<String>,
}

impl Watch {
    /// Wraps a device.
    pub fn new(inner: Arc<dyn RawDevice>) -> Watch {
        let l = &inner.info().limits;
        let (a, b) = (l.binding_align.max(1), l.copy_align.max(4));
        // A multiple of both, so that every offset stays as aligned as it was.
        let both = a / gcd(a, b) * b;
        let guard = GUARD.next_multiple_of(both);
        Watch { inner, guard, state: Mutex::default(), launches: AtomicU64::new(0), moves: AtomicU64::new(0) }
    }

    /// What was submitted since it was opened, without the watch's own.
    pub fn traffic(&self) -> Traffic {
        Traffic { launches: self.launches.load(Ordering::Relaxed), moves: self.moves.load(Ordering::Relaxed) }
    }

    /// What was loaded since this was last asked.
    pub fn loads(&self) -> Loads {
        std::mem::take(&mut self.state().loads)
    }

    /// Counts what another handle of the same chip did as this one's.
    pub fn absorb(&self, other: &Watch) {
        let (traffic, loads) = (other.traffic(), other.loads());
        self.launches.fetch_add(traffic.launches, Ordering::Relaxed);
        self.moves.fetch_add(traffic.moves, Ordering::Relaxed);
        let mine = &mut self.state().loads;
        mine.time += loads.time;
        mine.programs.extend(loads.programs);
    }

    /// Looks at the guards of every buffer, live or freed since the last time. Nothing may be under way.
    ///
    /// # Errors
    /// A guard that something wrote to, or a device that cannot say.
    pub fn check(&self) -> Result<(), Failure> {
        self.bury()?;
        let live: Vec<_> = self.state().live.iter().map(|(&b, z)| (b, z.clone())).collect();
        for some in live.chunks(CONDEMNED) {
            let found = self.inspect(some)?;
            // Said once: it would be found again after every later case.
            let mend: Vec<_> = some.iter().filter(|(b, _)| found.iter().any(|(f, _)| f == b)).collect();
            if !mend.is_empty() {
                self.finish(&mend.iter().flat_map(|(b, z)| self.guards(*b, z)).collect::<Vec<_>>())?;
            }
            self.state().broken.extend(found.into_iter().map(|(_, why)| why));
        }
        let broken = std::mem::take(&mut self.state().broken);
        match broken.is_empty() {
            true => Ok(()),
            false => Err(Failure::Broken(broken.join("; "))),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does commands at once.
    fn finish(&self, commands: &[Command]) -> Result<()> {
        let ticket =
            self.inner.submit(&Submission { queue: 0, after: &[], work: Work::Commands(commands), profile: false })?;
        match self.inner.wait(ticket, PATIENCE)? {
            Some(_) => Ok(()),
            None => Err(Error::Timeout { what: "fills and copies of guard zones".into(), after: PATIENCE }),
        }
    }

    /// Fills of the zones before and behind a buffer.
    fn guards(&self, buffer: RawBuffer, zone: &Zone) -> [Command; 2] {
        let fill = |offset, word| Command::Fill { dst: Range { buffer, offset, bytes: self.guard }, word };
        [fill(0, zone.words[0]), fill(self.guard + zone.bytes, zone.words[1])]
    }

    /// Reads the zones around buffers that nothing uses; those that were written to, with a sentence.
    fn inspect(&self, zones: &[(RawBuffer, Zone)]) -> Result<Vec<(RawBuffer, String)>> {
        if zones.is_empty() {
            return Ok(vec![]);
        }
        let mut seen = vec![0; zones.len() * 2 * self.guard as usize];
        let back = self.inner.alloc(seen.len() as u64, Memory::Readback)?;
        let mut copies = Vec::new();
        for (n, (buffer, zone)) in zones.iter().enumerate() {
            for (side, offset) in [0, self.guard + zone.bytes].into_iter().enumerate() {
                let at = (2 * n + side) as u64 * self.guard;
                copies.push(Command::Copy {
                    src: Range { buffer: *buffer, offset, bytes: self.guard },
                    dst: Range { buffer: back, offset: at, bytes: self.guard },
                });
            }
        }
        let read = self.finish(&copies).and_then(|()| self.inner.host_read(back, 0, &mut seen));
        self.inner.free(back);
        read?;
        let mut found = Vec::new();
        for ((buffer, zone), seen) in zones.iter().zip(seen.chunks_exact(2 * self.guard as usize)) {
            let sides = seen.chunks_exact(self.guard as usize).zip(zone.words).zip([true, false]);
            for ((bytes, word), before) in sides {
                let Some(at) = (0..bytes.len()).find(|&i| bytes[i] != word.to_le_bytes()[i % 4]) else { continue };
                let last = (0..bytes.len()).rfind(|&i| bytes[i] != word.to_le_bytes()[i % 4]).unwrap_or(at);
                let place = match before {
                    true => format!("{} bytes before the first one", bytes.len() - last),
                    false => format!("{} bytes behind the last one", at + 1),
                };
                let users = match zone.users.is_empty() {
                    true => "no launch was bound to it".to_string(),
                    false => format!("launches bound to it last: {}", zone.users.join(", ")),
                };
                found.push((
                    *buffer,
                    format!("something wrote beside a buffer of {} bytes, {place}; {users}", zone.bytes),
                ));
            }
        }
        Ok(found)
    }

    /// Looks at the guards of freed buffers and gives them back.
    fn bury(&self) -> Result<()> {
        let zones = {
            let mut s = self.state();
            s.condemned_bytes = 0;
            std::mem::take(&mut s.condemned)
        };
        let found = self.inspect(&zones);
        zones.iter().for_each(|(buffer, _)| self.inner.free(*buffer));
        self.state().broken.extend(found?.into_iter().map(|(_, why)| why));
        Ok(())
    }

    /// The same range as the device knows it.
    fn shift(&self, s: &State, r: Range) -> Range {
        match s.live.contains_key(&r.buffer) {
            true => Range { offset: r.offset + self.guard, ..r },
            false => r,
        }
    }

    /// The same commands as the device knows them.
    fn translate(&self, commands: &[Command]) -> Vec<Command> {
        let mut s = self.state();
        let mut all = Vec::with_capacity(commands.len());
        for c in commands {
            all.push(match c {
                Command::Copy { src, dst } => Command::Copy { src: self.shift(&s, *src), dst: self.shift(&s, *dst) },
                Command::Fill { dst, word } => Command::Fill { dst: self.shift(&s, *dst), word: *word },
                Command::Launch { program, groups, bindings, scalars } => {
                    let name = s.programs.get(program).cloned().unwrap_or_default();
                    for b in bindings {
                        let Some(zone) = s.live.get_mut(&b.buffer) else { continue };
                        if zone.users.last() != Some(&name) {
                            if zone.users.len() == REMEMBERED {
                                zone.users.remove(0);
                            }
                            zone.users.push(name.clone());
                        }
                    }
                    Command::Launch {
                        program: *program,
                        groups: *groups,
                        bindings: bindings.iter().map(|b| self.shift(&s, *b)).collect(),
                        scalars: scalars.clone(),
                    }
                }
            });
        }
        all
    }

    fn count(&self, commands: &[Command]) {
        let launches = commands.iter().filter(|c| matches!(c, Command::Launch { .. })).count();
        self.launches.fetch_add(launches as u64, Ordering::Relaxed);
        self.moves.fetch_add((commands.len() - launches) as u64, Ordering::Relaxed);
    }

    /// A buffer of the device, filled; freed again if that fails.
    fn filled(&self, bytes: u64, fills: impl Fn(RawBuffer) -> Vec<Command>) -> Result<RawBuffer> {
        let buffer = self.inner.alloc(bytes, Memory::Device)?;
        match self.finish(&fills(buffer)) {
            Ok(()) => Ok(buffer),
            Err(e) => {
                self.inner.free(buffer);
                Err(e)
            }
        }
    }
}

/// The first 64 bits, in hexadecimal.
fn short(identity: &[u8; 32]) -> String {
    identity[..8].iter().map(|b| format!("{b:02x}")).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl RawDevice for Watch {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        if memory != Memory::Device {
            return self.inner.alloc(bytes, memory);
        }
        let poison = |buffer, offset, bytes| Command::Fill { dst: Range { buffer, offset, bytes }, word: POISON };
        let plain = || match bytes.is_multiple_of(4) {
            true => self.filled(bytes, |b| vec![poison(b, 0, bytes)]),
            false => self.inner.alloc(bytes, memory),
        };
        let body = bytes.next_multiple_of(self.info().limits.copy_align.max(4));
        let all = body.saturating_add(2 * self.guard);
        if all > self.info().memory.max_alloc {
            return plain();
        }
        let made = {
            let mut s = self.state();
            s.made += 1;
            s.made as u32
        };
        // Each zone has a word of its own, so that a copy that is too long does not carry one zone to another unseen.
        let words = [made.wrapping_mul(0x9e37_79b9) ^ 0x5afe_0000, made.wrapping_mul(0x85eb_ca6b) ^ 0x0000_5afe];
        let zone = Zone { bytes: body, words, users: vec![] };
        let fills = |b| {
            let [before, behind] = self.guards(b, &zone);
            vec![before, poison(b, self.guard, body), behind]
        };
        let got = match self.filled(all, fills) {
            Err(Error::OutOfMemory { .. }) => {
                self.bury()?;
                self.filled(all, fills)
            }
            got => got,
        };
        match got {
            Ok(buffer) => {
                self.state().live.insert(buffer, zone);
                Ok(buffer)
            }
            // The guards must not be what is too much.
            Err(Error::OutOfMemory { .. }) => plain(),
            Err(e) => Err(e),
        }
    }

    /// New memory holds the pattern, and must go on holding it.
    fn wipes(&self) -> bool {
        true
    }

    fn free(&self, buffer: RawBuffer) {
        let full = {
            let mut s = self.state();
            let Some(zone) = s.live.remove(&buffer) else {
                drop(s);
                return self.inner.free(buffer);
            };
            s.condemned_bytes += zone.bytes;
            s.condemned.push((buffer, zone));
            s.condemned.len() >= CONDEMNED || s.condemned_bytes > CONDEMNED_BYTES
        };
        if full && let Err(e) = self.bury() {
            self.state().broken.push(format!("the guard zones of freed buffers cannot be read: {e}"));
        }
    }

    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.inner.host_write(buffer, at, from)
    }

    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.inner.host_read(buffer, at, to)
    }

    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        self.inner.accepts(graph)
    }

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let begin = Instant::now();
        let loaded = self.inner.load(module, cached);
        let time = begin.elapsed();
        let identity = match module {
            Module::Kernel(k) => k.identity(),
            Module::Graph(g) => g.identity(),
        };
        let mut s = self.state();
        s.loads.time += time;
        s.loads.programs.extend(loaded.is_ok().then(|| short(&identity)));
        let loaded = loaded?;
        s.programs.insert(loaded.program, module.name().to_string());
        Ok(loaded)
    }

    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        self.inner.binary(program)
    }

    fn unload(&self, program: RawProgram) {
        self.state().programs.remove(&program);
        self.inner.unload(program);
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let list = self.inner.record(&self.translate(commands))?;
        self.state().lists.insert(list, commands.to_vec());
        Ok(list)
    }

    fn release(&self, list: RawList) {
        self.state().lists.remove(&list);
        self.inner.release(list);
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        match work.work {
            Work::Commands(commands) => {
                self.count(commands);
                let commands = self.translate(commands);
                self.inner.submit(&Submission { work: Work::Commands(&commands), ..*work })
            }
            Work::List(list) => {
                let commands = self.state().lists.get(&list).cloned().unwrap_or_default();
                self.count(&commands);
                self.inner.submit(work)
            }
        }
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.inner.wait(ticket, timeout)
    }

    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        self.inner.notify(ticket, waker)
    }

    fn expose(&self, range: Range) -> Result<Exposed> {
        let range = self.shift(&self.state(), range);
        self.inner.expose(range)
    }

    fn fetch(&self, from: &Exposed, to: Range) -> Result<()> {
        let to = self.shift(&self.state(), to);
        self.inner.fetch(from, to)
    }

    fn trim(&self) {
        if let Err(e) = self.bury() {
            self.state().broken.push(format!("the guard zones of freed buffers cannot be read: {e}"));
        }
        self.inner.trim();
    }
}
