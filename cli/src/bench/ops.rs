//! The operations that are timed: inputs, what a run does, and how much work and traffic it is.
//!
//! Work is counted as by its formula, a transcendental function as one operation; traffic is what must be read and written
//! at least once.

use super::{Name, SETS, fma, room};
use anychip::{
    DType, Device, Error, Program, Result, Tensor,
    hal::device::{Recorded, Step},
};
use std::time::Duration;

/// One operation on one device.
pub struct Case {
    /// Floating-point operations of a run.
    pub flops: f64,
    /// Bytes that a run reads and writes at least.
    pub bytes: f64,
    device: Device,
    work: Work,
}

enum Work {
    /// A captured tensor operation and its inputs.
    Program { program: Box<Program>, sets: Vec<Vec<Tensor>> },
    /// Steps recorded once per input, and the tensors that they write.
    Steps(Vec<(Recorded, Tensor)>),
}

impl Case {
    /// Makes the inputs and captures the operation.
    pub fn new(op: Name, device: &Device, dtype: DType, shape: &[usize]) -> Result<Case> {
        let n: f64 = shape.iter().map(|&n| n as f64).product();
        let size = dtype.size() as f64;
        let last = shape.last().copied().unwrap_or(1);
        let same = |count: usize| vec![shape.to_vec(); count];
        let (inputs, flops, bytes): (Vec<Vec<usize>>, f64, f64) = match op {
            Name::Matmul => {
                let [m, k, cols] = [shape[0], shape[1], shape[2]];
                let (mf, kf, nf) = (m as f64, k as f64, cols as f64);
                (vec![vec![m, k], vec![k, cols]], 2.0 * n, (mf * kf + kf * nf + mf * nf) * size)
            }
            Name::Softmax => (same(1), 5.0 * n, 2.0 * n * size),
            Name::LayerNorm => (vec![shape.to_vec(), vec![last], vec![last]], 8.0 * n, 2.0 * n * size),
            Name::Elementwise => (same(3), 7.0 * n, 4.0 * n * size),
            Name::Sum => (same(1), n, n * size),
            Name::Attention => (same(3), 4.0 * n * shape[2] as f64, 4.0 * n * size),
            Name::Copy => return Case::copy(device, dtype, shape),
            Name::Fma => return fma::case(device, dtype, shape[0]),
        };
        let result = match op {
            Name::Matmul => vec![shape[0], shape[2]],
            Name::Sum => vec![],
            _ => shape.to_vec(),
        };
        room::check(&op.to_string(), device, dtype, &inputs, &[result])?;
        let sets = (0..SETS).map(|set| make(&inputs, dtype, set, device)).collect::<Result<Vec<_>>>()?;
        let program = Program::new(device, &sets[0], |x| {
            Ok(vec![match op {
                Name::Matmul => x[0].matmul(&x[1])?,
                Name::Softmax => x[0].softmax(-1)?,
                Name::LayerNorm => x[0].layer_norm(&x[1], &x[2], 1e-5)?,
                Name::Elementwise => x[0].mul(&x[1])?.add(&x[2])?.gelu()?,
                Name::Sum => x[0].sum_all()?,
                Name::Attention => x[0].attention(&x[1], &x[2], None, None, false)?,
                Name::Copy | Name::Fma => return Err(Error::invalid("bench: not a tensor operation")),
            }])
        })?;
        Ok(Case { flops, bytes, device: device.clone(), work: Work::Program { program: Box::new(program), sets } })
    }

    fn copy(device: &Device, dtype: DType, shape: &[usize]) -> Result<Case> {
        let chip = &device.chain()[0];
        room::check("copy", device, dtype, &[shape.to_vec()], &[shape.to_vec()])?;
        let bytes = shape.iter().product::<usize>() * dtype.size();
        let target = chip.alloc(bytes as u64)?;
        let mut steps = vec![];
        for set in 0..SETS {
            let source = &make(&[shape.to_vec()], dtype, set, device)?[0];
            let src = source.buffer_on(chip)?;
            let recorded = chip.record(vec![Step::Copy { src, dst: target.all() }])?;
            steps.push((recorded, Tensor::from_buffer(device, target.clone(), dtype, shape)?));
        }
        Ok(Case::of_steps(device, 0.0, 2.0 * bytes as f64, steps))
    }

    /// A case of recorded steps on the first device of the chain, each with the tensor that it writes.
    pub fn of_steps(device: &Device, flops: f64, bytes: f64, steps: Vec<(Recorded, Tensor)>) -> Case {
        Case { flops, bytes, device: device.clone(), work: Work::Steps(steps) }
    }

    /// Runs on one set of inputs and waits; the time on the device's clock, where it has one.
    pub fn run(&self, set: usize) -> Result<Option<Duration>> {
        Ok(self.output(set)?.1)
    }

    /// Runs on one set of inputs and sums the result.
    pub fn checksum(&self, set: usize) -> Result<f64> {
        let out = self.output(set)?.0;
        let wide = if out.dtype().is_float() { DType::F32 } else { DType::I64 };
        let out = out.to_device(&self.device)?.to_dtype(wide)?;
        match wide {
            DType::F32 => Ok(out.to_vec::<f32>()?.iter().map(|&x| x as f64).sum()),
            _ => Ok(out.to_vec::<i64>()?.iter().map(|&x| x as f64).sum()),
        }
    }

    fn output(&self, set: usize) -> Result<(Tensor, Option<Duration>)> {
        match &self.work {
            Work::Program { program, sets } => {
                let (mut outputs, time) = program.run_timed(&sets[set])?;
                let out = outputs.pop().ok_or_else(|| Error::invalid("bench: the program gave no output"))?;
                Ok((out, time))
            }
            Work::Steps(steps) => {
                let (recorded, written) = &steps[set];
                let chip = &self.device.chain()[0];
                let spans = chip.run_profiled(recorded)?.spans()?;
                let nanos = spans.iter().flatten().map(|s| s.end.saturating_sub(s.begin)).sum();
                Ok((written.clone(), chip.info().clock.is_some().then(|| Duration::from_nanos(nanos))))
            }
        }
    }
}

/// Tensors of the shapes, on the device, of numbers that follow from the set and the position.
pub fn make(shapes: &[Vec<usize>], dtype: DType, set: usize, device: &Device) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::with_capacity(shapes.len());
    for (i, shape) in shapes.iter().enumerate() {
        let count: usize = shape.iter().product();
        let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul((1 + set * shapes.len() + i) as u64);
        let mut values: Vec<f32> = vec![];
        // A device may have more memory than its host.
        values.try_reserve_exact(count).map_err(|_| {
            Error::invalid(format!(
                "bench: the host has no room for an input of shape {shape:?}, {count} numbers of 4 bytes"
            ))
        })?;
        values.extend((0..count).map(|_| uniform(&mut state)));
        let x = Tensor::from_vec(values, shape, device)?;
        // Integers would all be 0 between −1 and 1.
        let x = if dtype.is_float() { x.to_dtype(dtype)? } else { x.mul(8.0)?.to_dtype(dtype)? };
        x.realize()?;
        tensors.push(x);
    }
    device.synchronize()?;
    Ok(tensors)
}

/// A number in −1..1 (xorshift64*, its upper 24 bits).
fn uniform(state: &mut u64) -> f32 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    let bits = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
    bits as f32 / (1u32 << 23) as f32 - 1.0
}
