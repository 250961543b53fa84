//! The work of the benches: one place for shapes and inputs, so that every program here measures the same.

pub mod small;

use anychip::{DType, Device, Program, Result, Tensor};

/// Numbers in −0.5..0.5 that differ from seed to seed.
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

/// A tensor of such numbers, on its device.
pub fn tensor(shape: &[usize], seed: u64, device: &Device) -> Result<Tensor> {
    let t = Tensor::from_vec(values(shape.iter().product(), seed), shape, device)?;
    t.realize()?;
    Ok(t)
}

/// An operation of the benches, captured.
pub struct Work {
    /// Its name in reports.
    pub name: &'static str,
    /// The captured operation.
    pub program: Program,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// Floating-point operations, 0 where bytes count.
    pub flops: f64,
    /// Bytes that have to move.
    pub bytes: f64,
}

impl Work {
    /// Runs once and waits.
    pub fn run(&self, device: &Device) -> Result<()> {
        let out = self.program.run(&self.inputs)?;
        device.synchronize()?;
        drop(out);
        Ok(())
    }
}

/// The work of `../shared/peers`: matmul n³, softmax and layer norm over [4096, 1024], gelu(x·y+z), add and sum on 2²⁴
/// elements, attention 1×12×512×64.
pub fn work(device: &Device) -> Result<Vec<Work>> {
    let mut list = vec![];
    for (n, name) in [(512, "matmul512"), (1024, "matmul1024"), (2048, "matmul2048")] {
        list.push(matmul(n, name, device)?);
    }
    let rows = [4096, 1024];
    let x = tensor(&rows, 3, device)?;
    let moved = 2.0 * 4.0 * 4096.0 * 1024.0;
    let program = Program::new(device, std::slice::from_ref(&x), |i| Ok(vec![i[0].softmax(-1)?]))?;
    list.push(Work { name: "softmax", program, inputs: vec![x.clone()], flops: 0.0, bytes: moved });
    let (w, b) = (Tensor::ones(1024, DType::F32, device)?, Tensor::zeros(1024, DType::F32, device)?);
    Tensor::realize_all(&[&w, &b])?;
    let program = Program::new(device, std::slice::from_ref(&x), |i| Ok(vec![i[0].layer_norm(&w, &b, 1e-5)?]))?;
    list.push(Work { name: "layer_norm", program, inputs: vec![x], flops: 0.0, bytes: moved });
    let n = 1 << 24;
    let (x, y, z) = (tensor(&[n], 4, device)?, tensor(&[n], 5, device)?, tensor(&[n], 6, device)?);
    let program =
        Program::new(device, &[x.clone(), y.clone(), z.clone()], |i| Ok(vec![i[0].mul(&i[1])?.add(&i[2])?.gelu()?]))?;
    let inputs = vec![x.clone(), y.clone(), z];
    list.push(Work { name: "gelu(x*y+z)", program, inputs, flops: 0.0, bytes: 16.0 * n as f64 });
    let program = Program::new(device, &[x.clone(), y.clone()], |i| Ok(vec![i[0].add(&i[1])?]))?;
    list.push(Work { name: "add", program, inputs: vec![x.clone(), y], flops: 0.0, bytes: 12.0 * n as f64 });
    let program = Program::new(device, std::slice::from_ref(&x), |i| Ok(vec![i[0].sum(0)?]))?;
    list.push(Work { name: "sum", program, inputs: vec![x.clone()], flops: 0.0, bytes: 4.0 * n as f64 });
    let program = Program::new(device, std::slice::from_ref(&x), |i| Ok(vec![i[0].neg()?]))?;
    list.push(Work { name: "neg", program, inputs: vec![x], flops: 0.0, bytes: 8.0 * n as f64 });
    let heads = [1, 12, 512, 64];
    let (q, k, v) = (tensor(&heads, 7, device)?, tensor(&heads, 8, device)?, tensor(&heads, 9, device)?);
    let program = Program::new(device, &[q.clone(), k.clone(), v.clone()], |i| {
        Ok(vec![i[0].attention(&i[1], &i[2], None, None, false)?])
    })?;
    let flops = 4.0 * 12.0 * 512.0 * 512.0 * 64.0;
    list.push(Work { name: "attention", program, inputs: vec![q, k, v], flops, bytes: 0.0 });
    Ok(list)
}

/// A product of two n×n matrices.
pub fn matmul(n: usize, name: &'static str, device: &Device) -> Result<Work> {
    let (a, b) = (tensor(&[n, n], 1, device)?, tensor(&[n, n], 2, device)?);
    let program = Program::new(device, &[a.clone(), b.clone()], |i| Ok(vec![i[0].matmul(&i[1])?]))?;
    Ok(Work { name, program, inputs: vec![a, b], flops: 2.0 * (n as f64).powi(3), bytes: 0.0 })
}

/// The token ids on which MiniLM's latency is measured: id i is 1000 + (i·7919) mod 20000.
pub fn minilm_ids(batch: usize) -> Vec<Vec<u32>> {
    (0..batch).map(|b| (0..128).map(|i| (1000 + ((b * 128 + i) * 7919) % 20000) as u32).collect()).collect()
}
