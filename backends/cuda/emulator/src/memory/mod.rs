//! Memory of devices, and pinned memory of the host: every allocation is a map of its own between guard pages, its end as near to the
//! next as the alignment allows, what lies between filled with a pattern that is looked at when it is freed. It begins as NaNs. Freed
//! memory can be touched by nobody, and its addresses are not soon used again: all lie far apart in a range of addresses that is reserved
//! for them, so that an index that is far out of bounds hits nothing either.

mod api;

use crate::{
    calls::lock,
    code::{Code, Outcome},
    context::Context,
    handle,
    settings::settings,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// A NaN in every float type, and no likely integer.
pub const POISON: u16 = 0xffa5;
/// What lies between an allocation and its guard pages.
const MARGIN: u8 = 0xc5;
/// Allocations larger than twice this are poisoned at both ends only.
const POISONED: usize = 8 << 20;
/// Addresses for allocations.
const ARENA: usize = 4 << 40;
/// What lies between two of them at least.
const APART: usize = 128 << 20;

/// A device's default pool.
pub struct Pool {
    pub device: usize,
}

/// Where an allocation lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Device,
    Pinned,
}

pub struct Region {
    pub at: usize,
    pub bytes: usize,
    pub context: usize,
    pub device: usize,
    pub kind: Kind,
    /// The map, guard pages included.
    map: usize,
    map_bytes: usize,
    /// It can be touched: its turn has come, unless an error that sticks came before it.
    open: AtomicBool,
    /// Somebody has asked to free it.
    freed: AtomicBool,
}

/// How many live.
#[derive(Default, Clone, Copy)]
pub struct Live {
    pub device: i64,
    pub bytes: i64,
    pub pinned: i64,
}

#[derive(Default)]
struct Regions {
    by_address: BTreeMap<usize, Arc<Region>>,
    used: Vec<u64>,
    /// Where the addresses begin; 0 before the first allocation.
    arena: usize,
    /// Where in it the next allocation goes.
    next: usize,
}

static REGIONS: RwLock<Regions> =
    RwLock::new(Regions { by_address: BTreeMap::new(), used: Vec::new(), arena: 0, next: 0 });

fn read<T>(f: impl FnOnce(&Regions) -> T) -> T {
    f(&REGIONS.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn write<T>(f: impl FnOnce(&mut Regions) -> T) -> T {
    f(&mut REGIONS.write().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

const PAGE: usize = 4096;

/// Fills memory with [`POISON`].
///
/// # Safety
/// The bytes are writable and belong to the caller.
pub unsafe fn poison(at: *mut u8, bytes: usize) {
    if bytes == 0 {
        return;
    }
    if (at as usize).is_multiple_of(2) {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(at.cast::<u16>(), bytes / 2) }.fill(POISON);
        if bytes % 2 == 1 {
            // SAFETY: the last byte.
            unsafe { at.add(bytes - 1).write(POISON as u8) };
        }
    } else {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(at, bytes) }.fill(POISON as u8);
    }
}

impl Region {
    fn inner(&self) -> (usize, usize) {
        (self.map + PAGE, self.map_bytes - 2 * PAGE)
    }

    /// Makes it accessible, and poisons it.
    pub fn open(&self) -> Outcome {
        let (inner, bytes) = self.inner();
        // SAFETY: the map is ours, and nobody uses it yet.
        unsafe {
            if libc::mprotect(inner as *mut _, bytes, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                return Err(Code::OUT_OF_MEMORY);
            }
            std::ptr::write_bytes(inner as *mut u8, MARGIN, self.at - inner);
            let end = self.at + self.bytes;
            std::ptr::write_bytes(end as *mut u8, MARGIN, inner + bytes - end);
            let from = self.at as *mut u8;
            if self.bytes <= 2 * POISONED {
                poison(from, self.bytes);
            } else {
                poison(from, POISONED);
                poison(from.add((self.bytes - POISONED) & !1), POISONED);
            }
        }
        self.open.store(true, Ordering::Release);
        Ok(())
    }

    /// Has anybody written beside it?
    fn overrun(&self) -> bool {
        let ((inner, bytes), end) = (self.inner(), self.at + self.bytes);
        let clean = |from: usize, to: usize| {
            // SAFETY: accessible while the region is open; both lie inside of its map.
            unsafe { std::slice::from_raw_parts(from as *const u8, to - from) }.iter().all(|byte| *byte == MARGIN)
        };
        !(clean(inner, self.at) && clean(end, inner + bytes))
    }

    /// Nobody touches it any more; the addresses rest. `look`: at what lies beside it.
    pub fn close(self: &Arc<Region>, look: bool) {
        if self.open.swap(false, Ordering::AcqRel) && look && self.overrun() {
            eprintln!(
                "anychip CUDA emulator: somebody wrote beside an allocation of {} bytes: within {} bytes of it",
                self.bytes,
                settings().align
            );
            if let Ok(context) = handle::get::<Context>(self.context) {
                context.strike(Code::ILLEGAL_ADDRESS);
            }
        }
        // SAFETY: replaces our own map by one that nobody may touch; the memory goes back to the system.
        let kept = unsafe { map_nobodys(self.map as *mut _, self.map_bytes, libc::MAP_FIXED) };
        debug_assert!(kept as usize == self.map);
        write(|regions| {
            if regions.by_address.remove(&self.at).is_some() && self.kind == Kind::Device {
                regions.used[self.device] -= self.bytes as u64;
            }
        });
    }

    /// Marks it as freed; an error where somebody has done so already.
    pub fn give_up(&self) -> Outcome {
        if self.freed.swap(true, Ordering::AcqRel) { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }
}

/// Reserves addresses and accounts for the bytes; [`Region::open`] makes them usable.
pub fn reserve(context: &Context, bytes: usize, kind: Kind) -> Result<Arc<Region>, Code> {
    if bytes == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let (align, limit, device) = (settings().align, settings().memory, context.device);
    let room = bytes.checked_next_multiple_of(align).and_then(|n| n.checked_next_multiple_of(PAGE));
    let (room, map_bytes) = room.and_then(|n| Some((n, n.checked_add(2 * PAGE)?))).ok_or(Code::OUT_OF_MEMORY)?;
    if kind == Kind::Device {
        write(|regions| {
            if regions.used.len() <= device {
                regions.used.resize(device + 1, 0);
            }
            let used = regions.used[device]
                .checked_add(bytes as u64)
                .filter(|used| *used <= limit)
                .ok_or(Code::OUT_OF_MEMORY)?;
            regions.used[device] = used;
            Ok(())
        })?;
    }
    let placed = write(|regions| {
        let map = regions.place(map_bytes)?;
        let end = map + PAGE + room;
        let at = (end - bytes) & !(align - 1);
        let (open, freed) = (AtomicBool::new(false), AtomicBool::new(false));
        let context = context.handle;
        let region = Arc::new(Region { at, bytes, context, device, kind, map, map_bytes, open, freed });
        regions.by_address.insert(at, region.clone());
        Some(region)
    });
    placed.ok_or_else(|| {
        if kind == Kind::Device {
            write(|regions| regions.used[device] -= bytes as u64);
        }
        Code::OUT_OF_MEMORY
    })
}

/// A map that nobody may touch.
unsafe fn map_nobodys(at: *mut libc::c_void, bytes: usize, flags: i32) -> *mut libc::c_void {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new map where the system likes, or in place of one of ours.
    unsafe { libc::mmap(at, bytes, libc::PROT_NONE, flags, -1, 0) }
}

impl Regions {
    /// Free addresses for so many bytes, behind those of the last allocation.
    fn place(&mut self, bytes: usize) -> Option<usize> {
        if self.arena == 0 {
            // SAFETY: only addresses.
            let arena = unsafe { map_nobodys(std::ptr::null_mut(), ARENA, 0) };
            if arena == libc::MAP_FAILED {
                eprintln!("anychip CUDA emulator: the system gives no {ARENA} bytes of addresses");
                return None;
            }
            (self.arena, self.next) = (arena as usize, arena as usize);
        }
        let needed = bytes.checked_add(APART)?;
        for wrapped in [false, true] {
            if wrapped {
                self.next = self.arena;
            }
            while self.next.checked_add(needed)? <= self.arena + ARENA {
                let (at, end) = (self.next, self.next + needed);
                // Whatever lies there or reaches into it.
                let last = self.by_address.range(..end).next_back().map(|(_, region)| region.map + region.map_bytes);
                match last {
                    Some(busy) if busy + APART > at => self.next = (busy + APART).next_multiple_of(APART),
                    _ => {
                        self.next = end.next_multiple_of(APART);
                        return Some(at);
                    }
                }
            }
        }
        None
    }
}

/// The allocation that these bytes lie in.
pub fn find(at: usize, bytes: usize) -> Option<Arc<Region>> {
    let region = read(|regions| regions.by_address.range(..=at).next_back().map(|(_, region)| region.clone()))?;
    (at.checked_add(bytes)? <= region.at + region.bytes && (bytes > 0 || at < region.at + region.bytes))
        .then_some(region)
}

/// The device allocation that these bytes lie in and that nobody has freed.
pub fn on_device(at: usize, bytes: usize) -> Result<Arc<Region>, Code> {
    find(at, bytes).filter(|r| r.kind == Kind::Device && !r.freed.load(Ordering::Acquire)).ok_or(Code::INVALID_VALUE)
}

/// Do these bytes of the host lie in pinned memory?
pub fn pinned(at: usize, bytes: usize) -> bool {
    find(at, bytes).is_some_and(|r| r.kind == Kind::Pinned)
}

/// Words for an address that a kernel had no business with.
pub fn describe(at: usize) -> String {
    let near = read(|regions| {
        let below = regions.by_address.range(..=at).next_back().map(|(_, r)| (at - r.at, r.clone()));
        let above = regions.by_address.range(at..).next().map(|(_, r)| (r.at - at, r.clone()));
        let ours = (regions.arena..regions.arena + ARENA).contains(&at) && at < regions.next;
        (below, above, ours)
    });
    match near {
        (Some((by, r)), _, _) if by < r.bytes => {
            format!(
                "{at:#x}, inside of an allocation of {} bytes whose turn on its stream has not come, or has passed",
                r.bytes
            )
        }
        (Some((by, r)), _, _) if by < r.bytes + (1 << 20) => {
            format!("{at:#x}, {} bytes behind the end of an allocation of {} bytes", by - r.bytes, r.bytes)
        }
        (_, Some((by, r)), _) if by < 1 << 20 => {
            format!("{at:#x}, {by} bytes before an allocation of {} bytes", r.bytes)
        }
        (_, _, true) => format!("{at:#x}, where memory was that has been freed, or far from any"),
        _ => format!("{at:#x}, outside of every allocation"),
    }
}

/// Frees what a context has allocated on devices and pinned.
pub fn free_all_of(context: usize) {
    let gone: Vec<Arc<Region>> =
        read(|regions| regions.by_address.values().filter(|r| r.context == context).cloned().collect());
    for region in gone {
        region.close(false);
    }
}

/// How many allocations live.
pub fn live() -> Live {
    read(|regions| {
        let mut live = Live::default();
        for region in regions.by_address.values() {
            match region.kind {
                Kind::Device => {
                    live.device += 1;
                    live.bytes += region.bytes as i64;
                }
                Kind::Pinned => live.pinned += 1,
            }
        }
        live
    })
}

/// Bytes in use on a device.
fn used(device: usize) -> u64 {
    read(|regions| regions.used.get(device).copied().unwrap_or(0))
}

/// Handles of the devices' default pools.
static POOLS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// The handle of a device's default pool.
fn default_pool(device: usize) -> usize {
    let mut pools = lock(&POOLS);
    if let Some((_, handle)) = pools.iter().find(|(d, _)| *d == device) {
        return *handle;
    }
    let (handle, _) = handle::insert(|_| Arc::new(Pool { device }));
    pools.push((device, handle));
    handle
}
