//! More scalars than a device takes at a launch: they lie in a buffer, and nothing else changes.

mod common;

use anychip_hal::{
    Command, DType,
    device::{Checks, Device, Grid, ScalarArg, Step},
    ir::{Access, Builder, Builtin, Elem, Kernel, Place, legal},
};
use common::{info, narrow_info, open};
use half::{bf16, f16};

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

/// out[n] = scalar n; twice, in a loop and at the top, then out[i] += x[i].
fn gather(n: usize) -> Kernel {
    let mut b = Builder::new("gather", [1, 1, 1]);
    let first = b.scalar("s0", scalars()[0].0.elem());
    let x = b.buffer("x", DType::F32, Access::Read);
    let mut all = vec![first];
    all.extend(scalars().iter().enumerate().skip(1).map(|(i, (s, _))| b.scalar(&format!("s{i}"), s.elem())));
    let out = b.buffer("out", DType::F32, Access::Write);
    let lane = b.builtin(Builtin::GlobalId(0));
    let zero = b.f32(0.0);
    let sum = b.var("sum", zero);
    for (i, s) in all.iter().enumerate() {
        let n = b.idx(i as u64);
        let mine = b.compare(anychip_hal::ir::CmpOp::Eq, lane, n);
        b.begin_if(mine);
        let v = b.cast(Elem::D(DType::F32), *s);
        b.set(sum, v);
        b.end_if();
    }
    let v = b.load(Place::Buffer(x), lane);
    let s = b.get(sum);
    let v = b.add(v, s);
    b.store(Place::Buffer(out), lane, v);
    assert_eq!(all.len(), n);
    b.finish().unwrap()
}

fn run(device: &Device, record: bool) -> Vec<f32> {
    let given = scalars();
    let n = given.len();
    let program = device.kernel(&gather(n), Checks::On).unwrap();
    let x: Vec<u8> = (0..n + 3).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let (x, out) = (device.alloc_from(&x).unwrap(), device.alloc(4 * n as u64).unwrap());
    let step = Step::Launch {
        program,
        grid: Grid::Linear(n as u64 + 5),
        bindings: vec![x.slice(12, 4 * n as u64), out.all()],
        scalars: given.iter().map(|(s, _)| *s).collect(),
    };
    if record {
        let list = device.record(vec![step]).unwrap();
        device.run(&list).unwrap().wait().unwrap();
        device.run(&list).unwrap().wait().unwrap();
    } else {
        device.submit(&[step]).unwrap().wait().unwrap();
    }
    let mut got = vec![0; 4 * n];
    device.download(&out, 0, &mut got).unwrap();
    got.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

#[test]
fn scalars_beyond_the_limit_lie_in_a_buffer() {
    let want: Vec<f32> = scalars().iter().enumerate().map(|(i, (_, v))| v + (i + 3) as f32).collect();
    for info in [info(), narrow_info()] {
        for (max, spills) in [(256, false), (8, true), (0, true)] {
            let mut info = info.clone();
            info.limits.max_scalars = max;
            let (device, mock) = open(info);
            assert_eq!(run(&device, false), want, "at most {max} bytes");
            assert_eq!(run(&device, true), want, "at most {max} bytes, recorded");
            let log = mock.state().log.clone();
            for c in &log {
                if let Command::Launch { bindings, scalars, .. } = c {
                    assert_eq!((bindings.len(), scalars.is_empty()), (if spills { 3 } else { 2 }, spills));
                }
            }
        }
    }
}

#[test]
fn the_hidden_buffer_counts_as_a_binding() {
    let mut info = info();
    (info.limits.max_scalars, info.limits.max_bindings) = (8, 2);
    let (device, _) = open(info);
    let e = device.kernel(&gather(scalars().len()), Checks::On).unwrap_err();
    assert!(e.is_unsupported() && e.to_string().contains("3 buffers"), "{e}");
}

#[test]
fn a_spilled_kernel_has_no_scalars_and_prints_and_parses() {
    let info = info();
    let k = gather(scalars().len());
    for idx_bits in [32, 64] {
        let legal = legal::legalize(&k, &legal::Target { info: &info, idx_bits, checked: true }).unwrap();
        let spilled = legal::spill_scalars(&legal).unwrap();
        assert_eq!(spilled.scalar_layout().1, 0);
        assert_eq!(spilled.buffers().count(), 3);
        assert_eq!(spilled.to_string().parse::<Kernel>().unwrap(), spilled);
    }
}
