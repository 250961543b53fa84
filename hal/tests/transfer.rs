//! Bytes: uploads, downloads, copies and fills of any offset and length, on a device that aligns nothing and on one that
//! aligns everything; life and death of buffers; memory that runs out.

mod common;

use anychip_hal::{Error, device::Step};
use common::{info, infos, open};

/// A number that looks random, the same every time.
fn scramble(x: u64) -> u64 {
    let mut z = x.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 32)
}

fn bytes(n: usize, seed: u64) -> Vec<u8> {
    (0..n as u64).map(|i| scramble(i ^ (seed << 32)) as u8).collect()
}

#[test]
fn bytes_come_back_from_every_offset() {
    for info in infos() {
        let (device, _) = open(info);
        let buffer = device.alloc(100).unwrap();
        let mut expect = bytes(100, 1);
        device.upload(&buffer, 0, &expect).unwrap();
        for (at, n) in [(0, 0), (0, 1), (1, 1), (3, 2), (5, 7), (2, 90), (99, 1), (100, 0), (4, 8), (61, 39)] {
            let new = bytes(n, at as u64 + 2);
            device.upload(&buffer, at as u64, &new).unwrap();
            expect[at..at + n].copy_from_slice(&new);
            let mut part = vec![0; n];
            device.download(&buffer, at as u64, &mut part).unwrap();
            assert_eq!(part, new, "at {at}, {n} bytes");
            let mut all = vec![0; 100];
            device.download(&buffer, 0, &mut all).unwrap();
            assert_eq!(all, expect, "around {at}, {n} bytes");
        }
    }
}

#[test]
fn transfers_of_several_chunks() {
    for info in infos() {
        let (device, _) = open(info);
        let n = (17 << 20) + 5;
        let data = bytes(n, 3);
        let buffer = device.alloc(n as u64 + 3).unwrap();
        device.upload(&buffer, 3, &data).unwrap();
        let mut back = vec![0; n];
        device.download(&buffer, 3, &mut back).unwrap();
        assert!(back == data);
    }
}

#[test]
fn copies_of_every_phase_change_nothing_else() {
    for info in infos() {
        let (device, _) = open(info);
        for round in 0..200 {
            let r = |k: u64, n: u64| scramble(round * 16 + k) % n;
            let (len, same) = (64 + r(0, 40), r(1, 3) == 0);
            let (mut a, mut b) = (bytes(len as usize, round), bytes(len as usize, round + 1000));
            let (first, second) = (device.alloc_from(&a).unwrap(), device.alloc_from(&b).unwrap());
            let n = r(2, 20);
            // In one buffer the halves do not overlap.
            let from = r(3, len / 2 - n);
            let to = len / 2 + r(4, len / 2 - n);
            let src = first.slice(from, n);
            let (from, to, n) = (from as usize, to as usize, n as usize);
            if same {
                device.submit(&[Step::Copy { src, dst: first.slice(to as u64, n as u64) }]).unwrap().wait().unwrap();
                a.copy_within(from..from + n, to);
            } else {
                device.submit(&[Step::Copy { src, dst: second.slice(to as u64, n as u64) }]).unwrap().wait().unwrap();
                b[to..to + n].copy_from_slice(&a[from..from + n]);
            }
            for (buffer, expect) in [(&first, &a), (&second, &b)] {
                let mut got = vec![0; len as usize];
                device.download(buffer, 0, &mut got).unwrap();
                assert_eq!(&got, expect, "round {round}: {n} bytes from {from} to {to}, same buffer: {same}");
            }
        }
    }
}

#[test]
fn fills_of_every_phase_change_nothing_else() {
    for info in infos() {
        let (device, _) = open(info);
        let word = 0x4433_2211u32;
        for at in 0..9usize {
            for n in 0..14usize {
                let mut expect = bytes(32, 5);
                let buffer = device.alloc_from(&expect).unwrap();
                let dst = buffer.slice(at as u64, n as u64);
                device.submit(&[Step::Fill { dst, word }]).unwrap().wait().unwrap();
                for (i, b) in expect[at..at + n].iter_mut().enumerate() {
                    *b = word.to_le_bytes()[i % 4];
                }
                let mut got = vec![0; 32];
                device.download(&buffer, 0, &mut got).unwrap();
                assert_eq!(got, expect, "{n} bytes at {at}");
            }
        }
    }
}

#[test]
fn what_leaves_a_buffer_is_refused_with_numbers() {
    let (device, _) = open(info());
    let (other, _) = open(info());
    let a = device.alloc(16).unwrap();
    let foreign = other.alloc(16).unwrap();
    let refused = |steps: &[Step], says: &[&str]| {
        let e = device.submit(steps).unwrap_err();
        assert_eq!(e.code(), 8, "{e}");
        says.iter().for_each(|s| assert!(e.to_string().contains(s), "{e} does not say {s}"));
    };
    refused(&[Step::Fill { dst: a.slice(8, 9), word: 0 }], &["8..17", "16 bytes", "mock:0"]);
    refused(&[Step::Fill { dst: a.slice(u64::MAX, 2), word: 0 }], &["do not lie within"]);
    refused(&[Step::Copy { src: a.slice(0, 4), dst: a.slice(2, 4) }], &["0..4", "2..6", "overlap"]);
    refused(&[Step::Copy { src: a.slice(0, 4), dst: a.slice(8, 5) }], &["4 bytes", "5"]);
    refused(&[Step::Copy { src: foreign.all(), dst: a.all() }], &["source", "another opened device"]);
    assert!(device.upload(&a, 12, &[0; 5]).unwrap_err().to_string().contains("12..17"));
    assert!(device.download(&a, 17, &mut []).unwrap_err().to_string().contains("17..17"));
    assert!(device.download(&foreign, 0, &mut [0; 4]).unwrap_err().to_string().contains("another opened device"));
    // Neighbours in one buffer do not overlap; a wrong step lets none of the others through.
    device.submit(&[Step::Copy { src: a.slice(0, 4), dst: a.slice(4, 4) }]).unwrap().wait().unwrap();
}

#[test]
fn a_wrong_step_queues_nothing() {
    let (device, mock) = open(info());
    let a = device.alloc(16).unwrap();
    let before = mock.state().log.len();
    let fill = Step::Fill { dst: a.all(), word: 1 };
    device.submit(&[fill, Step::Fill { dst: a.slice(1, 16), word: 1 }]).unwrap_err();
    assert_eq!(mock.state().log.len(), before);
    assert!(device.submit(&[]).unwrap().ticket().is_none());
}

#[test]
fn a_dropped_buffer_lives_as_long_as_its_work() {
    for info in infos() {
        let (device, mock) = open(info);
        let keep = device.alloc(256).unwrap();
        mock.hold();
        let gone = device.alloc(4096).unwrap();
        let in_use = device.memory().in_use;
        let work = device.submit(&[Step::Copy { src: gone.slice(0, 256), dst: keep.all() }]).unwrap();
        drop(gone);
        drop(work);
        assert_eq!(device.memory().in_use, in_use, "freed while work uses it");
        mock.release_held();
        device.synchronize().unwrap();
        assert_eq!(device.memory().in_use, in_use - 4096);
        // And is handed out again.
        let reused = device.memory().reused;
        let _again = device.alloc(4000).unwrap();
        assert_eq!(device.memory().reused, reused + 1);
    }
}

#[test]
fn handles_may_be_dropped_in_any_order() {
    let (device, mock) = open(info());
    let buffer = device.alloc(1024).unwrap();
    mock.hold();
    let work = device.submit(&[Step::Fill { dst: buffer.all(), word: 7 }]).unwrap();
    drop(buffer);
    drop(device);
    mock.release_held();
    work.wait().unwrap();
    drop(work);
    assert!(mock.state().buffers.is_empty(), "everything went back to the driver");
}

#[test]
fn memory_that_runs_out_is_an_error_and_no_end() {
    let (device, mock) = open(info());
    let e = device.alloc(1 << 40).unwrap_err();
    assert!(matches!(&e, Error::OutOfMemory { asked, .. } if *asked == 1 << 40), "{e}");
    assert!(e.to_string().contains(&(32 << 20).to_string()), "{e}");
    assert!(matches!(device.alloc(u64::MAX).unwrap_err(), Error::OutOfMemory { .. }));
    // Cached memory of another size is given back before an allocation fails.
    drop(device.alloc(16 << 20).unwrap());
    assert_eq!(device.memory().cached, 16 << 20);
    let a = device.alloc(30 << 20).unwrap();
    let b = device.alloc(30 << 20).unwrap();
    assert_eq!(device.memory().cached, 0);
    let e = device.alloc(30 << 20).unwrap_err();
    assert!(matches!(&e, Error::OutOfMemory { device, asked, .. } if device == "mock:0" && *asked == 30 << 20), "{e}");
    // What pending work keeps is waited for.
    mock.hold();
    drop(device.submit(&[Step::Copy { src: a.slice(0, 4), dst: b.slice(0, 4) }]).unwrap());
    drop((a, b));
    let later = std::thread::spawn({
        let mock = mock.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            mock.release_held();
        }
    });
    let c = device.alloc(30 << 20).unwrap();
    later.join().unwrap();
    device.submit(&[Step::Fill { dst: c.slice(0, 4), word: 3 }]).unwrap().wait().unwrap();
    assert_eq!(device.memory().peak, 60 << 20);
}

#[test]
fn empty_buffers_are_buffers() {
    for info in infos() {
        let (device, _) = open(info);
        let empty = device.alloc(0).unwrap();
        assert_eq!(empty.bytes(), 0);
        device.upload(&empty, 0, &[]).unwrap();
        device.download(&empty, 0, &mut []).unwrap();
        let work = device.submit(&[Step::Fill { dst: empty.all(), word: 0 }]).unwrap();
        assert_eq!(work.poll(), Some(Ok(())));
    }
}
