//! The arithmetic peak: a kernel that does nothing but a·b+c on numbers in registers, in enough independent chains that
//! no unit waits for a result.

use super::{SETS, ops::Case, ops::make, room};
use anychip::{
    DType, Device, Error, Result, Tensor,
    hal::{
        device::{Checks, Grid, ScalarArg, Step},
        ir::{Access, Builder, Builtin, Kernel, Place, Unroll},
    },
};

/// Independent chains of a lane: more than the latency of a multiply-add on any chip known (4 to 8 cycles) times what a
/// core issues in one.
const CHAINS: usize = 16;
/// Rounds of each chain.
const ROUNDS: u32 = 512;
/// Lanes of a workgroup.
const LANES: u32 = 64;

/// The case for this many lanes.
pub fn case(device: &Device, dtype: DType, lanes: usize) -> Result<Case> {
    if !dtype.is_float() {
        return Err(Error::DTypeMismatch(format!("bench: fma takes a float type, got {dtype}")));
    }
    let chip = &device.chain()[0];
    if !chip.info().support(dtype).arithmetic {
        return Err(Error::unsupported(format!("fma in {dtype}"), format!("{} does not compute with it", device.id())));
    }
    room::check("fma", device, dtype, &[vec![lanes]], &vec![vec![lanes]; SETS])?;
    let kernel = kernel(dtype)?;
    let program = chip.kernel(&kernel, Checks::On)?;
    let mut steps = vec![];
    for set in 0..SETS {
        let x = &make(&[vec![lanes]], dtype, set, device)?[0];
        let out = chip.alloc((lanes * dtype.size()) as u64)?;
        let launch = Step::Launch {
            program: program.clone(),
            grid: Grid::covering(lanes as u64, LANES),
            bindings: vec![x.buffer_on(chip)?, out.all()],
            scalars: vec![ScalarArg::U32(ROUNDS)],
        };
        steps.push((chip.record(vec![launch])?, Tensor::from_buffer(device, out, dtype, [lanes])?));
    }
    let flops = 2.0 * lanes as f64 * CHAINS as f64 * ROUNDS as f64;
    Ok(Case::of_steps(device, flops, 2.0 * (lanes * dtype.size()) as f64, steps))
}

/// out[i] = Σ of the chains, each vⱼ ← vⱼ·b + c from its own start. |b| < 1, so that nothing overflows.
fn kernel(dtype: DType) -> Result<Kernel> {
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
