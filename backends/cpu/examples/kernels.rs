//! Times of a few kernels on the vector machine: what the machine itself costs, beside the memory it moves.
//!
//! `cargo run --release -p anychip-cpu --example kernels`; medians of 15 launches.

use anychip_cpu::CpuDriver;
use anychip_hal::{
    Command, DType, Driver, Memory, Module, Range, RawBuffer, RawDevice, Submission, Work,
    ir::{
        Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Kernel, ParamKind, Place, ReduceOp, Role, UnaryOp, Value,
        legal,
    },
};
use std::time::{Duration, Instant};

/// z = f(a, b, c), guarded by n.
fn elementwise(name: &str, f: impl FnOnce(&mut Builder, [Value; 3]) -> Value) -> Kernel {
    let mut b = Builder::new(name, [256, 1, 1]);
    let p = ["a", "b", "c"].map(|n| b.buffer(n, DType::F32, Access::Read));
    let z = b.buffer("z", DType::F32, Access::Write);
    let n = b.scalar("n", DType::U32);
    let n = b.cast(Elem::Idx, n);
    let i = b.builtin(Builtin::GlobalId(0));
    let inside = b.compare(CmpOp::Lt, i, n);
    b.when(inside, |b| {
        let v = p.map(|p| b.load(Place::Buffer(p), i));
        let r = f(b, v);
        b.store(Place::Buffer(z), i, r);
    });
    b.finish().expect("built by hand")
}

fn gelu(b: &mut Builder, [x, y, z]: [Value; 3]) -> Value {
    let v = b.mul_add(x, y, z);
    let (half, scale, one) = (b.f32(0.5), b.f32(std::f32::consts::FRAC_1_SQRT_2), b.f32(1.0));
    let e = b.mul(v, scale);
    let e = b.unary(UnaryOp::Erf, e);
    let e = b.add(e, one);
    let v = b.mul(v, half);
    b.mul(v, e)
}

/// Rows of `cols`, one per workgroup: softmax, or layer norm without weights.
fn rows(norm: bool, w: u32) -> Kernel {
    let mut b = Builder::new(if norm { "layer_norm" } else { "softmax" }, [w, 1, 1]);
    let (x, z) = (b.buffer("x", DType::F32, Access::Read), b.buffer("z", DType::F32, Access::ReadWrite));
    let cols = b.scalar("cols", DType::U32);
    let row = b.builtin(Builtin::GroupId(0));
    let row = b.cast(DType::U32, row);
    let (base, lane, step) = (b.mul(row, cols), b.builtin(Builtin::LocalId(0)), b.u32(w));
    let zero = b.f32(if norm { 0.0 } else { f32::NEG_INFINITY });
    let acc = b.var("acc", zero);
    b.count(lane, cols, step, |b, c| {
        let i = b.add(base, c);
        let (v, t) = (b.load(Place::Buffer(x), i), b.get(acc));
        let t = if norm { b.add(v, t) } else { b.binary(BinaryOp::Max, v, t) };
        b.set(acc, t);
    });
    let t = b.get(acc);
    let t = b.group_reduce(if norm { ReduceOp::Sum } else { ReduceOp::Max }, t);
    let n = b.cast(DType::F32, cols);
    let t = if norm { b.binary(BinaryOp::Div, t, n) } else { t };
    let zero = b.f32(0.0);
    let sum = b.var("sum", zero);
    b.count(lane, cols, step, |b, c| {
        let i = b.add(base, c);
        let v = b.load(Place::Buffer(x), i);
        let v = b.sub(v, t);
        let s = b.get(sum);
        if norm {
            let s = b.mul_add(v, v, s);
            b.set(sum, s);
        } else {
            let v = b.unary(UnaryOp::Exp, v);
            let s = b.add(s, v);
            b.set(sum, s);
            b.store(Place::Buffer(z), i, v);
        }
    });
    let s = b.get(sum);
    let s = b.group_reduce(ReduceOp::Sum, s);
    let s = if norm {
        let s = b.binary(BinaryOp::Div, s, n);
        b.unary(UnaryOp::Rsqrt, s)
    } else {
        b.unary(UnaryOp::Recip, s)
    };
    b.count(lane, cols, step, |b, c| {
        let i = b.add(base, c);
        let v = if norm {
            let v = b.load(Place::Buffer(x), i);
            b.sub(v, t)
        } else {
            b.load(Place::Buffer(z), i)
        };
        let v = b.mul(v, s);
        b.store(Place::Buffer(z), i, v);
    });
    b.finish().expect("built by hand")
}

/// Time that this process's threads have spent on cores, where the system tells.
fn busy() -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?);
    }
    Some(sum)
}

/// Medians of wall time and of time on cores, in ms.
fn median(mut f: impl FnMut()) -> Time {
    let mut times: [Vec<f64>; 2] = [vec![], vec![]];
    for _ in 0..15 {
        let (from, begun) = (busy().unwrap_or_default(), Instant::now());
        f();
        times[0].push(begun.elapsed().as_secs_f64() * 1e3);
        times[1].push(busy().unwrap_or_default().saturating_sub(from).as_secs_f64() * 1e3);
    }
    let [wall, cores] = times.map(|mut t| {
        t.sort_by(f64::total_cmp);
        t[7]
    });
    Time { wall, cores }
}

struct Time {
    wall: f64,
    cores: f64,
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ms ({:.2} on cores)", self.wall, self.cores)
    }
}

fn time(dev: &dyn RawDevice, k: &Kernel, groups: [u32; 3], buffers: &[(RawBuffer, u64)], user: u32) -> Time {
    let k = legal::legalize(k, &legal::Target { info: dev.info(), idx_bits: 32, checked: false }).expect("legal");
    let program = dev.load(&Module::Kernel(&k), None).expect("loads").program;
    let (slots, bytes) = k.scalar_layout();
    let mut scalars = vec![0u8; bytes as usize];
    for s in slots {
        if let ParamKind::Scalar { role: Role::User, .. } = k.params[s.param.at()].kind {
            scalars[s.offset as usize..][..4].copy_from_slice(&user.to_le_bytes());
        }
    }
    let bindings: Vec<Range> = buffers.iter().map(|&(buffer, bytes)| Range { buffer, offset: 0, bytes }).collect();
    let commands = [Command::Launch { program, groups, bindings, scalars }];
    let work = Submission { queue: 0, after: &[], work: Work::Commands(&commands), profile: false };
    let run = || {
        let t = dev.submit(&work).expect("submits");
        dev.wait(t, Duration::from_secs(60)).expect("runs");
    };
    run();
    median(run)
}

fn main() -> anychip_hal::Result<()> {
    let dev = CpuDriver::new().open(0)?;
    println!("{}, {} threads, {}", dev.info().identity.name, dev.info().units, dev.info().identity.driver);
    let n = 16u32 << 20;
    let bytes = 4 * n as u64;
    let mut buffers = Vec::new();
    for i in 0..4 {
        let b = dev.alloc(bytes, Memory::Device)?;
        let data: Vec<u8> = (0..n).flat_map(|j| (((j * 7 + i) % 1000) as f32 * 0.004 - 2.0).to_le_bytes()).collect();
        dev.host_write(b, 0, &data)?;
        buffers.push((b, bytes));
    }
    let groups = [n / 256, 1, 1];
    let copy = time(&*dev, &elementwise("copy", |_, [x, _, _]| x), groups, &buffers, n);
    let add = time(&*dev, &elementwise("mul_add", |b, [x, y, z]| b.mul_add(x, y, z)), groups, &buffers, n);
    let with_gelu = time(&*dev, &elementwise("gelu", gelu), groups, &buffers, n);
    println!("16M f32: copy {copy}, x·y+z {add}, gelu(x·y+z) {with_gelu}");
    let (rows_, cols) = (4096, 1024);
    let two: Vec<(RawBuffer, u64)> = buffers[..2].iter().map(|&(b, _)| (b, 4 * rows_ as u64 * cols as u64)).collect();
    for w in [64, 256, 1024] {
        let softmax = time(&*dev, &rows(false, w), [rows_, 1, 1], &two, cols);
        let norm = time(&*dev, &rows(true, w), [rows_, 1, 1], &two, cols);
        println!("4096×1024 by workgroups of {w}: softmax {softmax}, layer norm {norm}");
    }
    let small: Vec<(RawBuffer, u64)> = buffers.iter().map(|&(b, _)| (b, 4096)).collect();
    let us = 1e3 * time(&*dev, &elementwise("gelu", gelu), [4, 1, 1], &small, 1024).wall;
    println!("gelu of 1024 elements, submit to wait: {us:.1} µs");
    Ok(())
}
