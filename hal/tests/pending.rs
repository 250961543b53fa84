//! Work under way: waiting, polling, awaiting, failing, and losing the device.

mod common;

use anychip_hal::{
    Error, RawDevice,
    device::{Device, Layers, Step},
    layer::{Call, Fault, Planned},
};
use common::{Mock, info, infos, open};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

fn lost() -> Error {
    Error::DeviceLost { device: "mock:0".into(), why: "it fell off the bus".into(), restart: false }
}

fn odd() -> Error {
    Error::Backend { backend: "mock".into(), code: -5, message: "out of resources".into() }
}

/// A device whose calls fail by plan.
fn faulty() -> (Device, Arc<Fault>, Arc<Mock>) {
    let mock = Arc::new(Mock::new(info()));
    let fault = Arc::new(Fault::new(mock.clone() as Arc<dyn RawDevice>));
    (Device::with_layers(fault.clone(), &Layers::default()), fault, mock)
}

fn after(call: Call, after: u64, error: Error) -> Planned {
    Planned { call, after, times: 1, error }
}

#[test]
fn submitting_does_not_block_and_waiting_does() {
    for info in infos() {
        let (device, mock) = open(info);
        let buffer = device.alloc(64).unwrap();
        mock.hold();
        let work = device.submit(&[Step::Fill { dst: buffer.all(), word: 1 }]).unwrap();
        assert_eq!(work.poll(), None);
        let begin = Instant::now();
        let e = work.wait_timeout(Duration::from_millis(30)).unwrap_err();
        assert!(matches!(e, Error::Timeout { .. }) && begin.elapsed() >= Duration::from_millis(30), "{e}");
        std::thread::scope(|s| {
            // Several threads may wait for the same work.
            for _ in 0..3 {
                s.spawn(|| work.wait().unwrap());
            }
            std::thread::sleep(Duration::from_millis(20));
            mock.release_held();
        });
        assert_eq!(work.poll(), Some(Ok(())));
        work.wait().unwrap();
    }
}

struct Count(AtomicUsize);
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn work_can_be_awaited() {
    // With a driver that notifies, and with one that does not.
    for info in infos() {
        let (device, mock) = open(info);
        let buffer = device.alloc(64).unwrap();
        mock.hold();
        let mut work = pin!(device.submit(&[Step::Fill { dst: buffer.all(), word: 1 }]).unwrap());
        let (first, second) = (Arc::new(Count(AtomicUsize::new(0))), Arc::new(Count(AtomicUsize::new(0))));
        let (one, two) = (Waker::from(first.clone()), Waker::from(second.clone()));
        assert!(work.as_mut().poll(&mut Context::from_waker(&one)).is_pending());
        // The task moved: the last waker counts.
        assert!(work.as_mut().poll(&mut Context::from_waker(&two)).is_pending());
        mock.release_held();
        let begin = Instant::now();
        while second.0.load(Ordering::SeqCst) == 0 {
            assert!(begin.elapsed() < Duration::from_secs(10), "nobody was woken");
            std::thread::yield_now();
        }
        assert_eq!(work.as_mut().poll(&mut Context::from_waker(&two)), Poll::Ready(Ok(())));
    }
}

#[test]
fn a_lost_device_stays_lost_and_takes_all_work_along() {
    let (device, fault, mock) = faulty();
    let buffer = device.alloc(64).unwrap();
    let fill = || device.submit(&[Step::Fill { dst: buffer.all(), word: 1 }]);
    mock.hold();
    let (first, second) = (fill().unwrap(), fill().unwrap());
    fault.plan(after(Call::Submit, 0, lost()));
    let e = fill().unwrap_err();
    assert!(e.is_lost(), "{e}");
    mock.release_held();
    for work in [first, second] {
        assert_eq!(work.wait(), Err(lost()));
        assert_eq!(work.poll(), Some(Err(lost())));
    }
    assert_eq!(device.lost(), Some(lost()));
    let calls = fault.count(Call::Submit);
    assert_eq!(fill().unwrap_err(), lost());
    assert_eq!(device.alloc(1).unwrap_err(), lost());
    assert_eq!(device.upload(&buffer, 0, &[1]).unwrap_err(), lost());
    assert_eq!(device.download(&buffer, 0, &mut [1]).unwrap_err(), lost());
    assert_eq!(device.synchronize().unwrap_err(), lost());
    assert_eq!(fault.count(Call::Submit), calls, "a lost device is asked nothing any more");
    drop((buffer, device));
    assert!(mock.state().buffers.is_empty());
}

#[test]
fn a_device_lost_while_waiting_is_lost() {
    let (device, fault, _) = faulty();
    let buffer = device.alloc(64).unwrap();
    fault.plan(after(Call::Wait, 0, lost()));
    let work = device.submit(&[Step::Fill { dst: buffer.all(), word: 1 }]).unwrap();
    assert_eq!(work.wait(), Err(lost()));
    assert_eq!(device.lost(), Some(lost()));
}

#[test]
fn failed_work_is_reported_where_it_is_waited_for() {
    let (device, fault, _) = faulty();
    let buffer = device.alloc(64).unwrap();
    fault.plan(after(Call::Wait, 0, odd()));
    let work = device.submit(&[Step::Fill { dst: buffer.all(), word: 1 }]).unwrap();
    assert_eq!(work.wait(), Err(odd()));
    assert_eq!(work.wait(), Err(odd()), "the end is remembered");
    drop(work);
    device.synchronize().unwrap();
    assert_eq!(device.lost(), None);
}

#[test]
fn failed_work_that_nobody_waited_for_is_not_forgotten() {
    let (device, fault, _) = faulty();
    let buffer = device.alloc_from(&[7; 64]).unwrap();
    device.synchronize().unwrap();
    fault.plan(after(Call::Wait, 0, odd()));
    drop(device.submit(&[Step::Fill { dst: buffer.all(), word: 1 }]).unwrap());
    assert_eq!(device.download(&buffer, 0, &mut [0; 4]), Err(odd()), "what was read may be wrong");
    // Said once; the device works on.
    device.download(&buffer, 0, &mut [0; 4]).unwrap();
    device.synchronize().unwrap();
}

#[test]
fn each_failing_call_is_an_error_and_nothing_leaks() {
    for call in [Call::Alloc, Call::HostWrite, Call::HostRead, Call::Submit, Call::Wait] {
        for nth in 0..3 {
            let (device, fault, mock) = faulty();
            fault.plan(after(call, nth, odd()));
            let round = || -> anychip_hal::Result<Vec<u8>> {
                let a = device.alloc_from(&[3; 40])?;
                let b = device.alloc(40)?;
                device.submit(&[Step::Copy { src: a.all(), dst: b.all() }])?.wait()?;
                let mut got = vec![0; 40];
                device.download(&b, 0, &mut got)?;
                Ok(got)
            };
            let mut failures = 0;
            for _ in 0..6 {
                match round() {
                    Ok(got) => assert_eq!(got, [3; 40]),
                    Err(e) => {
                        assert_eq!(e, odd());
                        failures += 1;
                    }
                }
            }
            assert_eq!(failures, 1, "{call:?} {nth}");
            device.synchronize().unwrap();
            assert_eq!(device.memory().in_use, 0, "{call:?} {nth}");
            drop(device);
            assert!(mock.state().buffers.is_empty());
        }
    }
}

#[test]
fn out_of_memory_is_tried_once_more() {
    let (device, fault, _) = faulty();
    let oom = Error::OutOfMemory { device: "mock:0".into(), asked: 1, why: "fragmented".into() };
    drop(device.alloc(1 << 20).unwrap());
    fault.plan(after(Call::Alloc, 0, oom.clone()));
    device.alloc(5 << 20).unwrap();
    assert_eq!(device.memory().cached, 5 << 20, "the kept megabyte was given back, the new buffer is kept");
    fault.plan(Planned { call: Call::Alloc, after: 0, times: u64::MAX, error: oom });
    let e = device.alloc(9 << 20).unwrap_err();
    assert!(matches!(e, Error::OutOfMemory { asked, .. } if asked == 9 << 20), "{e}");
    assert_eq!(device.lost(), None);
}
