//! The arithmetic peak: a kernel that does nothing but a·b+c on numbers in registers, in enough independent chains that
//! no unit waits for a result.

use super::{SETS, ops::Case, ops::make, room};
use anychip::{
    DType, Device, Error, Result, Tensor,
    hal::device::{Checks, Grid, ScalarArg, Step},
    tune::peak::{CHAINS, LANES, multiply_adds},
};

/// Rounds of each chain.
const ROUNDS: u32 = 512;
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
    let kernel = multiply_adds(dtype)?;
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
