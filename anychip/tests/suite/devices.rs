//! Opening, letting go of, and losing devices.

use crate::common::{numbers, on_every_device};
use anychip::{
    Device, Error, Result, Tensor,
    hal::{
        DeviceInfo, Driver, RawDevice,
        layer::{Call, Fault, Planned},
    },
};
use std::sync::{Arc, Mutex};

/// A chip of the host's that fails by plan, under a name of its own.
struct Faulty {
    name: &'static str,
    planned: Vec<Planned>,
    /// What was opened last.
    opened: Mutex<Option<Arc<Fault>>>,
}

impl Faulty {
    fn register(name: &'static str, planned: Vec<Planned>) -> Arc<Faulty> {
        // The other tests' devices are all that is there: they are opened first.
        on_every_device(|_| ());
        let driver = Arc::new(Faulty { name, planned, opened: Mutex::default() });
        anychip::register(driver.clone());
        driver
    }

    fn submissions(&self) -> u64 {
        self.opened.lock().unwrap().as_ref().map_or(0, |f| f.count(Call::Submit))
    }
}

impl Driver for Faulty {
    fn name(&self) -> &str {
        self.name
    }

    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        let mut found = anychip_cpu::CpuDriver::new().devices()?;
        found.iter_mut().flatten().for_each(|i| i.id = self.name.into());
        Ok(found)
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        let fault = Arc::new(Fault::new(anychip_cpu::CpuDriver::new().open(ordinal)?));
        self.planned.iter().for_each(|p| fault.plan(p.clone()));
        *self.opened.lock().unwrap() = Some(fault.clone());
        Ok(fault)
    }
}

fn lost_at(call: Call, after: u64) -> Planned {
    let error = Error::DeviceLost { device: "cpu".into(), why: "planned".into(), restart: false };
    Planned { call, after, times: u64::MAX, error }
}

/// Work of several launches, whose history is there until it is done.
fn work(d: &Device) -> Result<Tensor> {
    let x = Tensor::from_vec(numbers(48 * 64, 1, -1.0, 1.0), (48, 64), d)?;
    let w = Tensor::from_vec(numbers(64 * 40, 2, -1.0, 1.0), (64, 40), d)?;
    let y = x.matmul(&w)?.softmax(-1)?;
    y.matmul(&w.t()?)?.add(&x)?.gelu()
}

#[test]
fn the_next_device_takes_over() {
    let want = work(&Device::open("cpu").unwrap()).unwrap().to_vec::<f32>().unwrap();

    let whole = Faulty::register("whole", vec![]);
    let d = Device::open("whole,cpu").unwrap();
    let out = work(&d).unwrap();
    out.realize().unwrap();
    let submissions = whole.submissions();
    assert!(submissions >= 2, "inputs go up and work is submitted, got {submissions}");
    assert_eq!(out.to_vec::<f32>().unwrap(), want);

    let losses = (0..submissions).map(|n| lost_at(Call::Submit, n)).chain([lost_at(Call::Wait, 0)]);
    for loss in losses {
        let which = format!("{:?} after {}", loss.call, loss.after);
        Faulty::register("lossy", vec![loss]);
        let d = Device::open("lossy,cpu").unwrap();
        let out = work(&d).unwrap();
        out.realize().unwrap_or_else(|e| panic!("{which}: {e}"));
        assert!(d.chain()[0].lost().is_some(), "{which}: nothing was lost");
        assert_eq!(out.to_vec::<f32>().unwrap(), want, "{which}");
        let more = out.mul(2.0).unwrap().to_vec::<f32>().unwrap_or_else(|e| panic!("{which}: later: {e}"));
        assert!(more.iter().zip(&want).all(|(m, w)| *m == 2.0 * w), "{which}: later");
        // Alone it stays lost.
        let alone = Device::from_chain(d.chain()[..1].to_vec()).unwrap();
        assert!(work(&alone).and_then(|x| x.to_vec::<f32>()).is_err_and(|e| e.is_lost()), "{which}: alone");
    }
}

/// Threads of this process.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
#[cfg(target_os = "linux")]
fn a_device_that_is_let_go_of_leaves_nothing() {
    // In a process of its own: other tests open devices at the same time.
    const ALONE: &str = "ANYCHIP_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let me = "devices::a_device_that_is_let_go_of_leaves_nothing";
        let me = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", me, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&me.stdout).into_owned() + &String::from_utf8_lossy(&me.stderr);
        assert!(me.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let once = || {
        let d = Device::open("cpu").unwrap();
        let x = work(&d).unwrap();
        drop(d);
        // A tensor alone keeps its device and its plans.
        assert_eq!(x.to_vec::<f32>().unwrap().len(), 48 * 64);
    };
    once();
    let before = threads();
    (0..30).for_each(|_| once());
    // Threads that were told to end may still be about it.
    let begin = std::time::Instant::now();
    while threads() > before && begin.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(threads() <= before, "{before} threads after one device, {} after 30 more", threads());
}
