//! The kernel that a probed device runs: a few sums and products in every type that it says it computes with, whose results
//! are whole numbers and the same on every chip.

use crate::{
    DType, Device, DeviceInfo, Result,
    device::{Checks, Grid, Step},
    ir::{Access, Builder, Builtin, CmpOp, Kernel, Place},
};

/// Elements of each type.
const COUNT: usize = 64;
/// Lanes of a workgroup.
const LANES: u32 = 16;

/// What is wrong with the numbers; `None`: nothing. Errors are the device's own.
pub fn run(device: &Device) -> Result<Option<String>> {
    let info = device.info();
    if !info.kernels {
        return Ok(None);
    }
    let types = computed(info);
    // The legaliser may add a binding of its own for what does not fit elsewhere.
    let at_once = (info.limits.max_bindings as usize).saturating_sub(1).max(1);
    for types in types.chunks(at_once) {
        let program = device.kernel(&kernel(types, info)?, Checks::On)?;
        let inputs: Result<Vec<_>> = types.iter().map(|&t| device.alloc_from(&encode(t, before))).collect();
        let buffers = inputs?;
        let step = Step::Launch {
            program,
            grid: Grid::covering(COUNT as u64, lanes(info)),
            bindings: buffers.iter().map(|b| b.all()).collect(),
            scalars: vec![],
        };
        device.submit(&[step])?.wait()?;
        for (&dtype, buffer) in types.iter().zip(&buffers) {
            let mut got = vec![0; COUNT * dtype.size()];
            device.download(buffer, 0, &mut got)?;
            let expected = encode(dtype, after);
            if let Some(byte) = got.iter().zip(&expected).position(|(g, e)| g != e) {
                let n = byte / dtype.size();
                let bytes = |of: &[u8]| {
                    let element = &of[n * dtype.size()..][..dtype.size()];
                    element.iter().rev().fold("0x".to_string(), |s, b| s + &format!("{b:02x}"))
                };
                return Ok(Some(format!(
                    "in {dtype}, from {} it makes {} where {} is right",
                    before(dtype, n),
                    bytes(&got),
                    bytes(&expected)
                )));
            }
        }
    }
    Ok(None)
}

fn lanes(info: &DeviceInfo) -> u32 {
    LANES.min(info.limits.max_workgroup).max(1)
}

/// What the device says it computes with. Nothing computes with floats of 8 bits.
fn computed(info: &DeviceInfo) -> Vec<DType> {
    let small = |d: &DType| matches!(d, DType::F8E4M3 | DType::F8E5M2);
    DType::ALL.into_iter().filter(|d| !small(d) && info.support(*d).arithmetic).collect()
}

/// For every element: x·x + 3 where x is below 5, else x + x; a bool is inverted.
fn kernel(types: &[DType], info: &DeviceInfo) -> Result<Kernel> {
    let mut b = Builder::new("probe", [lanes(info), 1, 1]);
    let params: Vec<_> = types.iter().map(|t| b.buffer(t.name(), *t, Access::ReadWrite)).collect();
    let i = b.builtin(Builtin::GlobalId(0));
    for (&dtype, &param) in types.iter().zip(&params) {
        let x = b.load(Place::Buffer(param), i);
        let y = match dtype {
            DType::Bool => {
                let no = b.bool(false);
                b.compare(CmpOp::Eq, x, no)
            }
            _ => {
                let (three, five) = (b.integer(dtype, 3), b.integer(dtype, 5));
                let squared = b.mul(x, x);
                let (low, high) = (b.add(squared, three), b.add(x, x));
                let below = b.compare(CmpOp::Lt, x, five);
                b.select(below, low, high)
            }
        };
        b.store(Place::Buffer(param), i, y);
    }
    b.finish()
}

/// Whole numbers that every type holds.
fn before(dtype: DType, n: usize) -> u8 {
    if dtype == DType::Bool { n.is_multiple_of(3) as u8 } else { (n % 11) as u8 }
}

fn after(dtype: DType, n: usize) -> u8 {
    match (dtype, before(dtype, n)) {
        (DType::Bool, x) => 1 - x,
        (_, x) if x < 5 => x * x + 3,
        (_, x) => x + x,
    }
}

/// `COUNT` elements as they lie in memory.
fn encode(dtype: DType, number: impl Fn(DType, usize) -> u8) -> Vec<u8> {
    let element = |x: u8| -> Vec<u8> {
        match dtype {
            DType::F16 => half::f16::from_f32(x.into()).to_le_bytes().into(),
            DType::BF16 => half::bf16::from_f32(x.into()).to_le_bytes().into(),
            DType::F32 => f32::from(x).to_le_bytes().into(),
            DType::F64 => f64::from(x).to_le_bytes().into(),
            _ => u64::from(x).to_le_bytes()[..dtype.size()].into(),
        }
    };
    (0..COUNT).flat_map(|n| element(number(dtype, n))).collect()
}
