//! Bytes to a device, within it and back: odd offsets and lengths, no bytes, more than one staging buffer; neighbours stay.

use crate::{
    Case,
    cases::launch::{End, bytes, ensure, read, read_all, same},
};
use anychip::hal::device::{Device, Step};

/// Offsets and lengths that are tried: the ends of words, of 16 bytes, of pages, and around them.
const PARTS: [(u64, usize); 30] = [
    (0, 0),
    (5, 0),
    (0, 1),
    (1, 1),
    (3, 1),
    (2, 2),
    (3, 2),
    (1, 3),
    (0, 4),
    (1, 4),
    (7, 5),
    (4, 8),
    (13, 15),
    (15, 16),
    (16, 17),
    (1, 31),
    (31, 33),
    (0, 63),
    (2, 64),
    (255, 65),
    (254, 127),
    (3, 255),
    (256, 256),
    (257, 509),
    (4095, 1021),
    (4093, 4096),
    (1, 4099),
    (0, 65535),
    (9, 65537),
    (11, 131_101),
];

/// Source offset, destination offset, length.
const COPIES: [(u64, u64, u64); 32] = [
    (0, 0, 1),
    (1, 0, 1),
    (0, 3, 1),
    (0, 0, 4),
    (1, 1, 2),
    (1, 2, 2),
    (3, 0, 3),
    (0, 1, 5),
    (2, 3, 7),
    (3, 2, 9),
    (5, 5, 16),
    (4, 8, 16),
    (7, 13, 31),
    (13, 7, 31),
    (1, 1, 64),
    (1, 0, 64),
    (0, 1, 65),
    (16, 16, 255),
    (15, 17, 256),
    (17, 15, 257),
    (2, 2, 1000),
    (2, 1, 1001),
    (255, 256, 1024),
    (256, 255, 4095),
    (3, 3, 4097),
    (1, 3, 65_536),
    (3, 1, 65_537),
    (0, 0, 99_991),
    (4, 4, 100_003),
    (5, 6, 100_003),
    (6, 5, 131_071),
    (1, 1, 131_073),
];

/// Bytes before and after what is written, which must stay.
const ROOM: usize = 96;

fn shape(n: u64) -> &'static str {
    match n {
        0 => "empty",
        1 => "one",
        n if n % 16 == 0 => "aligned",
        _ => "unaligned",
    }
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for (at, n) in PARTS {
        let class = shape(n as u64);
        all.push(Case::new(
            format!("runtime/bytes/write/u8/{class}/{at}-{n}"),
            "write",
            None,
            class,
            move |s, r, seen| {
                let d = s.chip();
                let old = bytes(r, at as usize + n + ROOM);
                let new = bytes(r, n);
                let b = d.alloc_from(&old)?;
                d.upload(&b, at, &new)?;
                let mut want = old;
                want[at as usize..at as usize + n].copy_from_slice(&new);
                same(format!("{n} bytes written at byte {at}"), &read_all(d, &b)?, &want, seen)
            },
        ));
        all.push(Case::new(
            format!("runtime/bytes/read/u8/{class}/{at}-{n}"),
            "read",
            None,
            class,
            move |s, r, seen| {
                let d = s.chip();
                let old = bytes(r, at as usize + n + ROOM);
                let b = d.alloc_from(&old)?;
                let got = read(d, &b, at, n)?;
                same(format!("{n} bytes read from byte {at}"), &got, &old[at as usize..at as usize + n], seen)
            },
        ));
    }
    for (from, to, n) in COPIES {
        let class = if from % 4 == to % 4 && n > 4 { "same phase" } else { shape(n) };
        let part = class.replace(' ', "-");
        let id = format!("runtime/bytes/copy/u8/{part}/{from}-{to}-{n}");
        all.push(Case::new(id, "copy", None, class, move |s, r, seen| {
            let d = s.chip();
            let room = ROOM as u64;
            let (x, y) = (bytes(r, (from + n + room) as usize), bytes(r, (to + n + room) as usize));
            let (src, dst) = (d.alloc_from(&x)?, d.alloc_from(&y)?);
            d.submit(&[Step::Copy { src: src.slice(from, n), dst: dst.slice(to, n) }])?.wait()?;
            let mut want = y;
            want[to as usize..(to + n) as usize].copy_from_slice(&x[from as usize..(from + n) as usize]);
            same(format!("{n} bytes copied from byte {from} to byte {to}"), &read_all(d, &dst)?, &want, seen)?;
            same("the source of the copy", &read_all(d, &src)?, &x, seen)
        }));
    }
    for (from, to, n) in [(0u64, 64u64, 64u64), (64, 0, 64), (1, 40, 31), (40, 1, 39), (3, 5003, 5000), (5000, 0, 4999)]
    {
        let id = format!("runtime/bytes/copy-within/u8/{}/{from}-{to}-{n}", shape(n));
        all.push(Case::new(id, "copy", None, shape(n), move |s, r, seen| {
            let d = s.chip();
            let mut want = bytes(r, (from.max(to) + n) as usize + ROOM);
            let b = d.alloc_from(&want)?;
            d.submit(&[Step::Copy { src: b.slice(from, n), dst: b.slice(to, n) }])?.wait()?;
            want.copy_within(from as usize..(from + n) as usize, to as usize);
            same(format!("{n} bytes copied within a buffer, {from} to {to}"), &read_all(d, &b)?, &want, seen)
        }));
    }
    for (n, (at, len)) in PARTS.into_iter().enumerate() {
        let class = shape(len as u64);
        let id = format!("runtime/bytes/fill/u8/{class}/{at}-{len}");
        all.push(Case::new(id, "fill", None, class, move |s, r, seen| {
            let d = s.chip();
            let mut want = bytes(r, at as usize + len + ROOM);
            // Every fourth fills with one byte, as a driver's fastest way may.
            let word = match n % 4 {
                0 => 0,
                1 => 0x0403_0201,
                2 => u32::MAX,
                _ => r.bits() as u32,
            };
            let b = d.alloc_from(&want)?;
            d.submit(&[Step::Fill { dst: b.slice(at, len as u64), word }])?.wait()?;
            for i in 0..len {
                want[at as usize + i] = word.to_le_bytes()[i % 4];
            }
            same(format!("{len} bytes from byte {at} filled with {word:#010x}"), &read_all(d, &b)?, &want, seen)
        }));
    }
    for (name, n) in [("below-8-mib", (8 << 20) - 1), ("above-8-mib", (8 << 20) + 1), ("35-mib", (35 << 20) + 13)] {
        all.push(Case::new(
            format!("runtime/bytes/transfer/u8/large/{name}"),
            "write",
            None,
            "large",
            move |s, r, seen| {
                let d = s.chip();
                let want = bytes(r, n);
                let b = d.alloc_from(&want)?;
                same(format!("{n} bytes written and read"), &read_all(d, &b)?, &want, seen)
            },
        ));
        all.push(Case::new(format!("runtime/bytes/copy/u8/large/{name}"), "copy", None, "large", move |s, r, seen| {
            let d = s.chip();
            let want = bytes(r, n);
            let (a, b) = (d.alloc_from(&want)?, d.alloc(n as u64)?);
            d.submit(&[Step::Copy { src: a.all(), dst: b.all() }])?.wait()?;
            same(format!("{n} bytes copied"), &read_all(d, &b)?, &want, seen)
        }));
    }
    all.push(Case::new("runtime/bytes/alloc/u8/empty", "alloc", None, "empty", |s, _, seen| {
        let d = s.chip();
        let (a, b) = (d.alloc(0)?, d.alloc(0)?);
        ensure(a.bytes() == 0, || format!("a buffer of no bytes has {}", a.bytes()))?;
        d.upload(&a, 0, &[])?;
        d.submit(&[Step::Copy { src: a.all(), dst: b.all() }, Step::Fill { dst: b.all(), word: 1 }])?.wait()?;
        read_all(d, &b)?;
        seen.elements += 2;
        Ok(())
    }));
    for (name, count) in [("1000-small", 1000usize), ("300-mixed", 300)] {
        all.push(Case::new(format!("runtime/bytes/alloc/u8/many/{name}"), "alloc", None, "many", move |s, r, seen| {
            many(s.chip(), count, name == "300-mixed", r, seen)
        }));
    }
}

/// Many live buffers hold what was written to each.
fn many(d: &Device, count: usize, mixed: bool, r: &mut anychip_oracle::sample::Random, seen: &mut crate::Seen) -> End {
    let held = (0..count)
        .map(|_| {
            let n = if mixed { 1 + r.below(20_000) } else { 1 + r.below(64) };
            let x = bytes(r, n);
            Ok((d.alloc_from(&x)?, x))
        })
        .collect::<anychip::Result<Vec<_>>>()?;
    for (n, (b, want)) in held.iter().enumerate() {
        same(format!("buffer {n} of {count} that are live"), &read_all(d, b)?, want, seen)?;
    }
    Ok(())
}
