//! More scalars than a device takes at a launch: hal puts them into a buffer, whose words each driver reads right.

mod common;

use anychip_hal::{
    Completion, DType, Device, DeviceInfo, Driver, Loaded, Memory, Module, RawBuffer, RawDevice, RawProgram, Result,
    Submission, Ticket,
    device::{Layers, ScalarArg},
    ir::{Access, Builder, Builtin, CmpOp, Elem, Place},
};
use anychip_opencl::OpenClDriver;
use common::*;
use half::{bf16, f16};
use std::{sync::Arc, time::Duration};

/// A device that takes fewer scalars.
struct Narrow {
    inner: Arc<dyn RawDevice>,
    info: DeviceInfo,
}

impl RawDevice for Narrow {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.inner.alloc(bytes, memory)
    }
    fn free(&self, buffer: RawBuffer) {
        self.inner.free(buffer)
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.inner.host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.inner.host_read(buffer, at, to)
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        self.inner.load(module, cached)
    }
    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        self.inner.binary(program)
    }
    fn unload(&self, program: RawProgram) {
        self.inner.unload(program)
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.inner.submit(work)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.inner.wait(ticket, timeout)
    }
}

/// A scalar of every type, what the kernel makes of it as f32, bytes apart so that all places in a word occur.
fn scalars() -> Vec<(ScalarArg, f32)> {
    vec![
        (ScalarArg::I8(-5), -5.0),
        (ScalarArg::Bool(true), 1.0),
        (ScalarArg::U8(250), 250.0),
        (ScalarArg::Bool(false), 0.0),
        (ScalarArg::I64(-3 << 33), -3.0 * 2f32.powi(33)),
        (ScalarArg::U16(65535), 65535.0),
        (ScalarArg::I16(-300), -300.0),
        (ScalarArg::F16(f16::from_f32(-1.5)), -1.5),
        (ScalarArg::BF16(bf16::from_f32(3.25)), 3.25),
        (ScalarArg::I32(-70_000), -70_000.0),
        (ScalarArg::F32(0.15625), 0.15625),
        (ScalarArg::U32(1 << 31), 2f32.powi(31)),
        (ScalarArg::Idx(77), 77.0),
        (ScalarArg::U64(5 << 40), 5.0 * 2f32.powi(40)),
        (ScalarArg::F64(-0.375), -0.375),
    ]
}

#[test]
fn scalars_beyond_the_limit_lie_in_a_buffer() {
    for device in devices("scalars_beyond_the_limit_lie_in_a_buffer") {
        let given: Vec<_> = scalars()
            .into_iter()
            .filter(|(s, _)| s.elem() != Elem::D(DType::F64) || device.info().support(DType::F64).arithmetic)
            .collect();
        let mut b = Builder::new("gather", [4, 1, 1]);
        let x = b.buffer("x", DType::F32, Access::Read);
        let all: Vec<_> = given.iter().enumerate().map(|(i, (s, _))| b.scalar(&format!("s{i}"), s.elem())).collect();
        let out = b.buffer("out", DType::F32, Access::Write);
        let lane = b.builtin(Builtin::GlobalId(0));
        let v = b.load(Place::Buffer(x), lane);
        let sum = b.var("sum", v);
        for (i, s) in all.iter().enumerate() {
            let n = b.idx(i as u64);
            let mine = b.compare(CmpOp::Eq, lane, n);
            b.begin_if(mine);
            let (v, old) = (b.cast(Elem::D(DType::F32), *s), b.get(sum));
            let v = b.add(v, old);
            b.set(sum, v);
            b.end_if();
        }
        let v = b.get(sum);
        b.store(Place::Buffer(out), lane, v);
        let k = b.finish().expect("well-formed");
        let n = given.len();
        let args: Vec<_> = given.iter().map(|(s, _)| *s).collect();
        let ordinal = device.info().id["opencl:".len()..].parse().expect("a number");
        for max in [4096, 8] {
            let inner = OpenClDriver::new().open(ordinal).expect("opens");
            let mut info = inner.info().clone();
            info.limits.max_scalars = max;
            let narrow = Device::with_layers(Arc::new(Narrow { inner, info }), &Layers::default());
            let mut buffers = [bytes_of(&[0.5f32; 20][..n], f32::to_le_bytes), vec![0; 4 * n]];
            run(&narrow, &k, n as u64, &mut buffers, &args).expect("runs");
            let want: Vec<f32> = given.iter().map(|(_, v)| v + 0.5).collect();
            assert_eq!(f32s(&buffers[1]), want, "{}, at most {max} bytes", device.info().id);
        }
    }
}
