//! Limits: what is stated holds, and one more is refused with `Unsupported`, or solved by hal; never a crash, never a wrong result.
//!
//! A limit so large that meeting it would take more than a minute or more memory than is free is met at a stated smaller size: the
//! note of the case says which.

use crate::{
    Case, Seen, Subject,
    cases::launch::{End, bytes, code, of_u32, refused, run, same, step, still_works, to_u32},
    oracle::sample::Random,
};
use anychip::{
    DType,
    hal::{
        device::{Checks, Grid, ScalarArg, Step},
        info::DeviceClass,
        ir::{Access, BinaryOp, Builder, Builtin, Kernel, Place},
    },
};

pub(super) fn cases(all: &mut Vec<Case>) {
    let mut case = |name: &str, run: fn(&Subject, &mut Random, &mut Seen) -> End| {
        all.push(Case::new(
            format!("runtime/limits/{name}"),
            name.split('/').next().unwrap_or_default(),
            None,
            "limit",
            run,
        ));
    };
    case("workgroup/any/at", |s, _, seen| {
        let l = &s.info().limits;
        let x = l.max_workgroup.min(l.max_workgroup_dim[0]);
        let y = (l.max_workgroup / x).min(l.max_workgroup_dim[1]).max(1);
        workgroup(s, [x, y, 1], seen)
    });
    case("workgroup/any/above", |s, r, seen| {
        let n = s.info().limits.max_workgroup.saturating_add(1);
        above(s, &numbers([n, 1, 1])?, &format!("a workgroup of {n} lanes"), r, seen)
    });
    case("workgroup/any/twice-above", |s, r, seen| {
        let n = s.info().limits.max_workgroup.saturating_mul(2);
        above(s, &numbers([n, 1, 1])?, &format!("a workgroup of {n} lanes"), r, seen)
    });
    case("dimension-0/any/at", |s, _, seen| along(s, 0, seen));
    case("dimension-1/any/at", |s, _, seen| along(s, 1, seen));
    case("dimension-2/any/at", |s, _, seen| along(s, 2, seen));
    case("dimension-0/any/above", |s, r, seen| beyond(s, 0, r, seen));
    case("dimension-1/any/above", |s, r, seen| beyond(s, 1, r, seen));
    case("dimension-2/any/above", |s, r, seen| beyond(s, 2, r, seen));
    case("shared/any/above", |s, r, seen| {
        let words = s.info().limits.max_shared / 4 + 4;
        let mut b = Builder::new("too_much_shared", [64, 1, 1]);
        let out = b.buffer("out", DType::U32, Access::Write);
        let tile = b.shared("tile", DType::U32, words);
        let (i, l) = (b.builtin(Builtin::GlobalId(0)), b.builtin(Builtin::LocalId(0)));
        b.store(Place::Shared(tile), l, l);
        b.barrier();
        let last = b.u32(words - 1);
        let at = b.sub(last, l);
        let v = b.load(Place::Shared(tile), at);
        b.store(Place::Buffer(out), i, v);
        above(s, &b.finish()?, &format!("{} bytes of shared memory", 4 * words), r, seen)
    });
    case("bindings/any/at", |s, r, seen| {
        let l = &s.info().limits;
        // An offset and a length for each; scalars that are too many take a binding of their own.
        let spilt = u32::from(8 * l.max_bindings.min(64) > l.max_scalars);
        let n = (l.max_bindings - spilt).min(64);
        if n < l.max_bindings {
            seen.notes.push(format!("{} buffers are stated; {n} were bound", s.info().limits.max_bindings));
        }
        bindings(s, n, r, seen)
    });
    case("bindings/any/above", |s, r, seen| {
        let n = s.info().limits.max_bindings;
        if n > 512 {
            seen.notes.push(format!("{n} buffers are stated: a kernel of one more is not built"));
            seen.elements += 1;
            return Ok(());
        }
        above(s, &adder(n + 1)?, &format!("{} buffers of a kernel", n + 1), r, seen)
    });
    for (name, off) in [("below", -40i64), ("at", -16), ("above", 0), ("far-above", 2000)] {
        all.push(Case::new(
            format!("runtime/limits/scalars/any/{name}"),
            "scalars",
            None,
            "limit",
            move |s, r, seen| scalars(s, off, r, seen),
        ));
    }
    for d in 0..3usize {
        all.push(Case::new(format!("runtime/limits/grid-{d}/any/at"), "grid", None, "limit", move |s, _, seen| {
            grid(s, d, seen)
        }));
        all.push(Case::new(format!("runtime/limits/grid-{d}/any/above"), "grid", None, "limit", move |s, r, seen| {
            let max = s.info().limits.max_groups[d];
            if max == u32::MAX {
                seen.notes.push(format!("{max} workgroups are stated: no launch asks for more"));
                seen.elements += 1;
                return Ok(());
            }
            let mut groups = [1; 3];
            groups[d] = max + 1;
            let p = s.chip().kernel(&numbers([1, 1, 1])?, Checks::On)?;
            let out = s.chip().alloc(64)?;
            let e = s.chip().submit(&[step(&p, Grid::Xyz(groups), vec![out.all()], &[])]);
            refused(format!("a grid of {groups:?}"), e, &[code::UNSUPPORTED])?;
            still_works(s, "a grid above the limit", r, seen)
        }));
    }
    let mut case = |name: &str, run: fn(&Subject, &mut Random, &mut Seen) -> End| {
        all.push(Case::new(
            format!("runtime/limits/{name}"),
            name.split('/').next().unwrap_or_default(),
            None,
            "limit",
            run,
        ));
    };
    case("alloc/any/above", |s, r, seen| {
        let s = s.plain()?;
        let n = s.info().memory.max_alloc;
        refused(format!("a buffer of {n} + 1 bytes"), s.chip().alloc(n + 1), &[code::MEMORY])?;
        refused("a buffer of 2^63 bytes", s.chip().alloc(1 << 63), &[code::MEMORY])?;
        still_works(&s, "a buffer above the limit", r, seen)
    });
    case("alloc/any/at", |s, r, seen| {
        let s = s.plain()?;
        let n = room(&s, s.info().memory.max_alloc / 16 * 16, seen);
        ends(&s, n, r, seen)
    });
    case("alloc/any/beyond-4-gib", |s, r, seen| {
        let s = s.plain()?;
        let n = (4u64 << 30) + 4096;
        if n > s.info().memory.max_alloc {
            seen.notes.push(format!("buffers have at most {} bytes", s.info().memory.max_alloc));
            seen.elements += 1;
            return Ok(());
        }
        if room(&s, n, seen) < n {
            return Ok(());
        }
        ends(&s, n, r, seen)
    });
    case("binding-bytes/any/at", |s, _, seen| {
        let s = s.plain()?;
        let l = &s.info().limits;
        let n = room(&s, l.max_binding_bytes.min(s.info().memory.max_alloc) / 64 * 64, seen);
        binding(&s, n, seen)
    });
    case("binding-bytes/any/above", |s, r, seen| {
        let s = s.plain()?;
        let n = s.info().limits.max_binding_bytes;
        if n.saturating_add(256) > s.info().memory.max_alloc {
            seen.notes.push(format!("no buffer is longer than a binding of {n} bytes"));
            seen.elements += 1;
            return Ok(());
        }
        if room(&s, n + 256, seen) < n + 256 {
            return Ok(());
        }
        let b = s.chip().alloc(n / 4 * 4 + 256)?;
        let p = s.chip().kernel(&crate::cases::launch::bump()?, Checks::On)?;
        let launch = step(&p, Grid::Linear(1), vec![b.all()], &[ScalarArg::U32(1)]);
        refused("a binding above the limit", s.chip().submit(&[launch]), &[code::UNSUPPORTED])?;
        still_works(&s, "a binding above the limit", r, seen)
    });
}

/// As many bytes of those asked for as leave half of what is free; where the device shares the host's memory a quarter of that, and
/// little more than 4 GiB. Less than was asked for is noted.
fn room(s: &Subject, n: u64, seen: &mut Seen) -> u64 {
    let total = s.info().memory.total;
    let host = matches!(s.info().class, DeviceClass::Cpu | DeviceClass::Software | DeviceClass::IntegratedGpu);
    let free = match host {
        true => free_memory().unwrap_or(total / 2).min(total),
        false => total,
    };
    seen.elements += 1;
    // hal fills what a driver does not clear, so that all of it is touched; some drivers on the host keep what they had.
    let fits = if host { (free / 4).min((4 << 30) + (64 << 20)) } else { free / 2 } / 64 * 64;
    if fits < n {
        seen.notes.push(format!("{n} bytes are stated; {free} are free, and {fits} is the most that is asked for"));
    }
    n.min(fits)
}

/// What the host could still give, where it says.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// The first and the last bytes of a large buffer, and what lies at 4 GiB.
fn ends(s: &Subject, n: u64, r: &mut Random, seen: &mut Seen) -> End {
    let d = s.chip();
    let b = d.alloc(n)?;
    let mut places = vec![0, n / 3 + 3, n - 1000];
    if n > (4 << 30) + 2000 {
        places.extend([(4 << 30) - 500, 1 << 31]);
    }
    places.sort_unstable();
    places.dedup_by(|b, a| *b - *a < 1000);
    let parts: Vec<_> = places.iter().map(|_| bytes(r, 1000)).collect();
    for (at, part) in places.iter().zip(&parts) {
        d.upload(&b, *at, part)?;
    }
    for (at, part) in places.iter().zip(&parts) {
        let got = crate::cases::launch::read(d, &b, *at, 1000)?;
        same(format!("bytes at {at} of a buffer of {n}"), &got, part, seen)?;
    }
    // A copy within it from the end to the beginning.
    d.submit(&[Step::Copy { src: b.slice(n - 1000, 1000), dst: b.slice(8, 1000) }])?.wait()?;
    let got = crate::cases::launch::read(d, &b, 8, 1000)?;
    same(format!("bytes copied from the end of {n}"), &got, &parts[parts.len() - 1], seen)
}

/// A kernel touches the first and the last word of a binding.
fn binding(s: &Subject, n: u64, seen: &mut Seen) -> End {
    let mut b = Builder::new("both_ends", [1, 1, 1]);
    let x = b.buffer("x", DType::U32, Access::ReadWrite);
    let (zero, one) = (b.idx(0), b.idx(1));
    let len = b.buf_len(x);
    let last = b.sub(len, one);
    let (p, q) = (b.load(Place::Buffer(x), zero), b.load(Place::Buffer(x), last));
    b.store(Place::Buffer(x), zero, q);
    b.store(Place::Buffer(x), last, p);
    let d = s.chip();
    let p = d.kernel(&b.finish()?, Checks::On)?;
    let x = d.alloc(n)?;
    d.upload(&x, 0, &of_u32([11]))?;
    d.upload(&x, n - 4, &of_u32([22]))?;
    d.submit(&[step(&p, Grid::Linear(1), vec![x.all()], &[])])?.wait()?;
    let (first, last) = (crate::cases::launch::read(d, &x, 0, 4)?, crate::cases::launch::read(d, &x, n - 4, 4)?);
    same(format!("the ends of a binding of {n} bytes"), &[to_u32(&first)[0], to_u32(&last)[0]], &[22, 11], seen)
}

/// Every lane writes its number in the grid.
fn numbers(size: [u32; 3]) -> anychip::Result<Kernel> {
    let mut b = Builder::new("numbers", size);
    let out = b.buffer("out", DType::U32, Access::Write);
    let mut at = b.u32(0);
    for d in [2u8, 1, 0] {
        let (n, w) = (b.builtin(Builtin::NumGroups(d)), b.builtin(Builtin::LocalSize(d)));
        let n = b.cast(DType::U32, n);
        let (n, i) = (b.mul(n, w), b.builtin(Builtin::GlobalId(d)));
        let i = b.cast(DType::U32, i);
        at = b.mul(at, n);
        at = b.add(at, i);
    }
    b.store(Place::Buffer(out), at, at);
    b.finish()
}

fn workgroup(s: &Subject, size: [u32; 3], seen: &mut Seen) -> End {
    let lanes: u32 = size.iter().product();
    let mut buffers = [vec![0xee; 4 * lanes as usize]];
    run(s, &numbers(size)?, Grid::Xyz([1, 1, 1]), &mut buffers, &[])?;
    same(format!("a workgroup of {size:?}"), &to_u32(&buffers[0]), &(0..lanes).collect::<Vec<_>>(), seen)
}

fn along(s: &Subject, d: usize, seen: &mut Seen) -> End {
    let l = &s.info().limits;
    let mut size = [1; 3];
    size[d] = l.max_workgroup_dim[d].min(l.max_workgroup);
    workgroup(s, size, seen)
}

fn beyond(s: &Subject, d: usize, r: &mut Random, seen: &mut Seen) -> End {
    let mut size = [1; 3];
    size[d] = s.info().limits.max_workgroup_dim[d].saturating_add(1);
    above(s, &numbers(size)?, &format!("a workgroup of {size:?}"), r, seen)
}

fn above(s: &Subject, k: &Kernel, what: &str, r: &mut Random, seen: &mut Seen) -> End {
    refused(what, s.chip().kernel(k, Checks::On), &[code::UNSUPPORTED])?;
    still_works(s, what, r, seen)
}

/// out = Σ (n + 1) · xₙ over `count` − 1 operands.
fn adder(count: u32) -> anychip::Result<Kernel> {
    let mut b = Builder::new(&format!("adder_{count}"), [64, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let mut sum = b.u32(0);
    for n in 1..count {
        let x = b.buffer(&format!("x{n}"), DType::U32, Access::Read);
        let (x, m) = (b.load(Place::Buffer(x), i), b.u32(n));
        let p = b.mul(x, m);
        sum = b.add(sum, p);
    }
    b.store(Place::Buffer(out), i, sum);
    b.finish()
}

fn bindings(s: &Subject, n: u32, r: &mut Random, seen: &mut Seen) -> End {
    let x: Vec<Vec<u32>> = (1..n).map(|_| to_u32(&bytes(r, 4 * 100))).collect();
    let mut buffers = vec![vec![0; 400]];
    buffers.extend(x.iter().map(|x| of_u32(x.iter().copied())));
    run(s, &adder(n)?, Grid::covering(100, 64), &mut buffers, &[])?;
    let want: Vec<u32> =
        (0..100).map(|i| x.iter().zip(1u32..).fold(0u32, |t, (x, n)| t.wrapping_add(x[i].wrapping_mul(n)))).collect();
    same(format!("{n} buffers"), &to_u32(&buffers[0]), &want, seen)
}

/// Scalars of so many bytes more than the device takes at a launch; hal passes them otherwise.
fn scalars(s: &Subject, off: i64, r: &mut Random, seen: &mut Seen) -> End {
    let limit = i64::from(s.info().limits.max_scalars.min(4096));
    // The offsets and lengths of two buffers are scalars too: 16 bytes of them.
    let n = ((limit + off) / 4).max(1);
    let mut b = Builder::new(&format!("scalars_{n}_words"), [64, 1, 1]);
    let (x, out) = (b.buffer("x", DType::U32, Access::Read), b.buffer("out", DType::U32, Access::Write));
    let i = b.builtin(Builtin::GlobalId(0));
    let mut sum = b.load(Place::Buffer(x), i);
    for k in 0..n {
        let v = b.scalar(&format!("s{k}"), DType::U32);
        let three = b.u32(3);
        sum = b.mul(sum, three);
        sum = b.binary(BinaryOp::Xor, sum, v);
    }
    b.store(Place::Buffer(out), i, sum);
    let k = b.finish()?;
    for _ in 0..2 {
        let x = to_u32(&bytes(r, 4 * 100));
        let values: Vec<u32> = (0..n).map(|_| r.bits() as u32).collect();
        let mut buffers = [of_u32(x.iter().copied()), vec![0; 400]];
        let args: Vec<_> = values.iter().map(|v| ScalarArg::U32(*v)).collect();
        run(s, &k, Grid::covering(100, 64), &mut buffers, &args)?;
        let want: Vec<u32> = x.iter().map(|x| values.iter().fold(*x, |t, v| t.wrapping_mul(3) ^ v)).collect();
        same(format!("{} bytes of scalars", 4 * n), &to_u32(&buffers[1]), &want, seen)?;
    }
    Ok(())
}

/// As many workgroups along a dimension as are stated, or 2²⁰.
fn grid(s: &Subject, d: usize, seen: &mut Seen) -> End {
    let max = s.info().limits.max_groups[d];
    let n = max.min(1 << 20);
    if n < max {
        seen.notes.push(format!("{max} workgroups are stated; {n} were launched"));
    }
    let mut groups = [1; 3];
    groups[d] = n;
    let mut buffers = [vec![0xee; 4 * n as usize]];
    run(s, &numbers([1, 1, 1])?, Grid::Xyz(groups), &mut buffers, &[])?;
    same(format!("a grid of {groups:?}"), &to_u32(&buffers[0]), &(0..n).collect::<Vec<_>>(), seen)
}
