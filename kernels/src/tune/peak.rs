//! A device's peaks, measured: multiply-adds in registers, a copy of large buffers, launches that do nothing.

use crate::schedule::roofline::Roofline;
use anychip_hal::{
    DType, Error, Result,
    device::{Checks, Device, Grid, ScalarArg, Step},
    ir::{Access, Builder, Builtin, Kernel, Place, Unroll},
    wait::may_time,
};
use std::time::{Duration, Instant};

/// Independent chains of a lane: more than the latency of a multiply-add on any chip known (4 to 8 cycles) times what a
/// core issues in one.
pub const CHAINS: usize = 16;
/// Lanes of a workgroup.
pub const LANES: u32 = 64;

/// out[i] = Σ of the chains, each vⱼ ← vⱼ·b + c from its own start, `rounds` times. |b| < 1, so that nothing overflows.
/// Bindings: x, out, an element per lane each.
pub fn multiply_adds(dtype: DType) -> Result<Kernel> {
    let mut b = Builder::new("fma_peak", [LANES, 1, 1]);
    let x = b.buffer("x", dtype, Access::Read);
    let out = b.buffer("out", dtype, Access::Write);
    let rounds = b.scalar("rounds", DType::U32);
    let lane = b.builtin(Builtin::GlobalId(0));
    let seed = b.load(Place::Buffer(x), lane);
    let factor = b.number(dtype, 0.75);
    let chains: Vec<_> = (0..CHAINS)
        .map(|j| {
            let offset = b.number(dtype, j as f64 / CHAINS as f64);
            let start = b.add(seed, offset);
            b.var(&format!("v{j}"), start)
        })
        .collect();
    let (zero, one) = (b.u32(0), b.u32(1));
    b.begin_for(zero, rounds, one, Unroll::By(4));
    for &v in &chains {
        let old = b.get(v);
        let new = b.mul_add(old, factor, seed);
        b.set(v, new);
    }
    b.end_for();
    let mut sum = b.get(chains[0]);
    for &v in &chains[1..] {
        let one = b.get(v);
        sum = b.add(sum, one);
    }
    b.store(Place::Buffer(out), lane, sum);
    b.finish()
}

/// The shortest of some runs: a peak is what the device can do when nothing disturbs it.
fn shortest(device: &Device, steps: Vec<Step>) -> Result<Duration> {
    let recorded = device.record(steps)?;
    device.run(&recorded)?.wait()?;
    let mut best = Duration::MAX;
    let begin = Instant::now();
    for n in 0..20 {
        let t = Instant::now();
        device.run(&recorded)?.wait()?;
        best = best.min(t.elapsed());
        if n >= 3 && begin.elapsed() > Duration::from_millis(500) {
            break;
        }
    }
    Ok(best)
}

/// Measures.
///
/// # Errors
/// What the device says, `OutOfMemory` among it.
pub fn measure(device: &Device) -> Result<Roofline> {
    may_time("measuring peaks")?;
    let info = device.info();
    if !info.kernels {
        return Err(Error::unsupported("measuring peaks", format!("{} runs no kernels", info.id)));
    }
    // 64 MiB each way is beyond every cache but the largest.
    let bytes = (64u64 << 20).min(info.memory.max_alloc / 4).next_multiple_of(64);
    let (from, to) = (device.alloc(bytes)?, device.alloc(bytes)?);
    // Ones: from zeros the chains would fall to subnormal numbers, which processors that play a chip compute a hundred times slower.
    let ones = Step::Fill { dst: from.all(), word: 1f32.to_bits() };
    device.submit(&[ones])?.wait()?;
    let copied = shortest(device, vec![Step::Copy { src: from.all(), dst: to.all() }])?;

    let program = device.kernel(&multiply_adds(DType::F32)?, Checks::On)?;
    let launch = |lanes: u64, rounds: u32| Step::Launch {
        program: program.clone(),
        grid: Grid::covering(lanes, LANES),
        bindings: vec![from.slice(0, lanes * 4), to.slice(0, lanes * 4)],
        scalars: vec![ScalarArg::U32(rounds)],
    };
    let (lanes, rounds) = (1u64 << 14, 1024);
    let computed = shortest(device, vec![launch(lanes, rounds)])?;
    const MANY: usize = 32;
    let launched = shortest(device, (0..MANY).map(|_| launch(u64::from(LANES), 1)).collect())?;
    let flops = 2.0 * lanes as f64 * CHAINS as f64 * f64::from(rounds);
    let seconds = |d: Duration| d.as_secs_f64().max(1e-9);
    Ok(Roofline {
        flops: flops / seconds(computed),
        bandwidth: 2.0 * bytes as f64 / seconds(copied),
        launch: seconds(launched) / MANY as f64,
        measured: true,
    })
}
