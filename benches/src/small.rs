//! Small eager work: what the library itself costs around a kernel that takes next to no time.

use crate::tensor;
use anychip::{Device, Result, Tensor};
use std::time::{Duration, Instant};

/// Elements of each operand.
pub const ELEMENTS: usize = 1000;

/// Additions in a sample: the clock's own cost and its steps vanish.
const BATCH: u32 = 32;

/// Two tensors of [`ELEMENTS`] elements to be added again and again.
pub struct SmallAdd {
    a: Tensor,
    b: Tensor,
    device: Device,
}

impl SmallAdd {
    /// Makes the operands.
    pub fn new(device: &Device) -> Result<SmallAdd> {
        Ok(SmallAdd { a: tensor(&[ELEMENTS], 1, device)?, b: tensor(&[ELEMENTS], 2, device)?, device: device.clone() })
    }

    /// One addition, started and not waited for.
    pub fn start(&self) -> Result<Tensor> {
        let c = (&self.a + &self.b)?;
        c.realize()?;
        Ok(c)
    }

    /// One addition, until it is done.
    pub fn finish(&self) -> Result<Tensor> {
        let c = self.start()?;
        self.device.synchronize()?;
        Ok(c)
    }

    /// Median and minimum in microseconds of an addition over some seconds of samples: until each is done, and in a row of
    /// 32 of which only the last is waited for.
    pub fn time(&self, seconds: f64) -> Result<[(f64, f64); 2]> {
        let one = |_| self.finish().map(drop);
        let row = |n: u32| if n + 1 == BATCH { self.finish() } else { self.start() }.map(drop);
        Ok([sample(seconds, &one)?, sample(seconds, &row)?])
    }
}

/// Median and minimum over samples of a batch each, per call, in microseconds.
fn sample(seconds: f64, f: &dyn Fn(u32) -> Result<()>) -> Result<(f64, f64)> {
    let mut times = vec![];
    let begin = Instant::now();
    while times.len() < 16 || begin.elapsed() < Duration::from_secs_f64(seconds) {
        let t = Instant::now();
        (0..BATCH).try_for_each(f)?;
        times.push(t.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH));
    }
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], times[0]))
}
