//! Devices, what they declare, operands in all layouts, and the comparison.

use crate::chosen::DEVICES;
use anychip::{DType, Device, Result, Tensor, bf16, f16, hal::info};
use anychip_oracle::{
    Arithmetic, Array, Data, Facts, Number, Subnormals, Type,
    compare::{compare, compare_bits},
    sample::{Random, Values, element},
};

/// Every device, opened once for all tests.
pub fn every_device() -> &'static [Device] {
    &DEVICES
}

/// Runs a test on every device.
pub fn on_every_device(test: impl Fn(&Device)) {
    every_device().iter().for_each(test);
}

/// The type of a sum or a product of integers: theirs, or the widest of their kind where the library widens.
pub fn sum_type(ty: Type) -> Type {
    match ty {
        Type::F64 | Type::F32 | Type::F16 | Type::BF16 => ty,
        Type::U64 => Type::U64,
        _ => Type::I64,
    }
}

/// Kernels cost nothing to make there, so that it runs every kind of case.
pub fn compiles_at_once(device: &Device) -> bool {
    device.info().backend == "cpu"
}

/// Each kernel costs half a second to make there (PoCL): half the cases are left out. ANYCHIP_ALL_CASES, which
/// `scripts/test --full` sets, runs all.
pub fn compiles_slowly(device: &Device) -> bool {
    device.info().backend == "opencl" && std::env::var_os("ANYCHIP_ALL_CASES").is_none()
}

/// How many cases: many where kernels cost nothing to make.
pub fn rounds(device: &Device, many: u64, few: u64) -> std::ops::Range<u64> {
    0..if compiles_at_once(device) {
        many
    } else if compiles_slowly(device) {
        few.div_ceil(2)
    } else {
        few
    }
}

/// The library's name of a type.
pub fn dtype(ty: Type) -> DType {
    match ty {
        Type::Bool => DType::Bool,
        Type::I8 => DType::I8,
        Type::I16 => DType::I16,
        Type::I32 => DType::I32,
        Type::I64 => DType::I64,
        Type::U8 => DType::U8,
        Type::U16 => DType::U16,
        Type::U32 => DType::U32,
        Type::U64 => DType::U64,
        Type::F16 => DType::F16,
        Type::BF16 => DType::BF16,
        Type::F32 => DType::F32,
        Type::F64 => DType::F64,
    }
}

/// What a device declares of the arithmetic in which a type is computed.
pub fn arithmetic(device: &Device, ty: Type) -> Arithmetic {
    let compute = Arithmetic::compute_type(ty);
    let facts = device.info().arithmetic.get(&dtype(compute)).map_or(Facts::IEEE, |a| Facts {
        correctly_rounded: a.correctly_rounded,
        may_contract: a.may_contract,
        fma_fused: a.fma_fused,
        div_ulp: a.div_ulp as f64,
        sqrt_ulp: a.sqrt_ulp as f64,
        subnormals: match a.subnormals {
            info::Subnormals::Kept => Subnormals::Kept,
            _ => Subnormals::MayBeZero,
        },
        nan_inf: a.nan_inf,
    });
    Arithmetic::new(ty, facts)
}

/// An element's bits, or those of a zero of its sign where the device may take it for one.
pub fn kept(device: &Device, ty: Type, bits: u64) -> u64 {
    let a = arithmetic(device, ty);
    if !ty.is_float() {
        return bits;
    }
    let x = ty.float_of_bits(bits).abs();
    let small = a.facts.subnormals == Subnormals::MayBeZero && x != 0.0 && x < a.format().min_normal();
    if small { bits & 1 << (8 * ty.bytes() - 1) } else { bits }
}

/// The float types that a device computes with: f64 only where it has them.
pub fn floats(device: &Device) -> Vec<Type> {
    let mut all = vec![Type::F32, Type::F16, Type::BF16];
    if device.info().support(DType::F64).arithmetic {
        all.push(Type::F64);
    }
    all
}

/// The integer types.
pub const INTEGERS: [Type; 8] = [Type::I8, Type::U8, Type::I32, Type::U32, Type::I64, Type::I16, Type::U16, Type::U64];

/// A tensor of bits.
pub fn tensor(device: &Device, ty: Type, bits: &Array<u64>) -> Tensor {
    fn make<T: anychip::Element>(device: &Device, bits: &Array<u64>, f: impl Fn(u64) -> T) -> Result<Tensor> {
        Tensor::from_vec(bits.data.iter().map(|&b| f(b)).collect(), &bits.shape, device)
    }
    match ty {
        Type::Bool => make(device, bits, |b| b != 0),
        Type::I8 => make(device, bits, |b| b as i8),
        Type::I16 => make(device, bits, |b| b as i16),
        Type::I32 => make(device, bits, |b| b as i32),
        Type::I64 => make(device, bits, |b| b as i64),
        Type::U8 => make(device, bits, |b| b as u8),
        Type::U16 => make(device, bits, |b| b as u16),
        Type::U32 => make(device, bits, |b| b as u32),
        Type::U64 => make(device, bits, |b| b),
        Type::F16 => make(device, bits, |b| f16::from_bits(b as u16)),
        Type::BF16 => make(device, bits, |b| bf16::from_bits(b as u16)),
        Type::F32 => make(device, bits, |b| f32::from_bits(b as u32)),
        Type::F64 => make(device, bits, f64::from_bits),
    }
    .unwrap_or_else(|e| panic!("{ty:?} {:?}: {e}", bits.shape))
}

/// How an operand lies: what views lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row-major without gaps.
    Dense,
    /// Its axes in another order.
    Permuted,
    /// Every second element of one axis of something larger.
    Sliced,
    /// Some axes backwards.
    Flipped,
    /// Some axes repeat one element.
    Expanded,
}

pub const LAYOUTS: [Layout; 5] = [Layout::Dense, Layout::Permuted, Layout::Sliced, Layout::Flipped, Layout::Expanded];

/// A tensor and the same values on the host.
#[derive(Clone)]
pub struct Operand {
    pub ty: Type,
    pub tensor: Tensor,
    pub bits: Array<u64>,
}

impl Operand {
    pub fn new(device: &Device, ty: Type, bits: Array<u64>) -> Operand {
        Operand { ty, tensor: tensor(device, ty, &bits), bits }
    }

    /// Random values of a shape, dense.
    pub fn dense(device: &Device, ty: Type, shape: &[usize], values: Values, r: &mut Random) -> Operand {
        let bits = Array::build(shape, |_| element(ty, values, r));
        Operand::new(device, ty, bits)
    }

    /// Special values, with zeros for those subnormal numbers that the device does not promise to keep: for what has one right
    /// result only.
    pub fn kept(device: &Device, ty: Type, shape: &[usize], r: &mut Random) -> Operand {
        let bits = Array::build(shape, |_| element(ty, Values::Special, r));
        Operand::new(device, ty, bits.map(|&b| kept(device, ty, b)))
    }

    /// Random values of a shape in a layout.
    pub fn laid(device: &Device, ty: Type, shape: &[usize], values: Values, layout: Layout, r: &mut Random) -> Operand {
        let rank = shape.len();
        if rank == 0 {
            return Operand::dense(device, ty, shape, values, r);
        }
        match layout {
            Layout::Dense => Operand::dense(device, ty, shape, values, r),
            Layout::Permuted => {
                // Old axis order[i] becomes axis i, so that the base has shape[i] at order[i].
                let mut order: Vec<usize> = (0..rank).collect();
                (1..rank).for_each(|i| order.swap(i, r.below(i + 1)));
                let mut base = vec![0; rank];
                order.iter().zip(shape).for_each(|(&o, &n)| base[o] = n);
                let x = Operand::dense(device, ty, &base, values, r);
                let tensor = x.tensor.permute(&order[..]).unwrap();
                Operand { ty, tensor, bits: x.bits.permute(&order) }
            }
            Layout::Sliced => {
                let axis = r.below(rank);
                let mut base = shape.to_vec();
                base[axis] = 2 * shape[axis] + 1;
                let x = Operand::dense(device, ty, &base, values, r);
                let at = axis as i64;
                let tensor = x.tensor.narrow(at, 1, 2 * shape[axis]).unwrap().step_by(at, 2).unwrap();
                Operand { ty, tensor, bits: x.bits.slice(axis, 1, 2, shape[axis]) }
            }
            Layout::Flipped => {
                let axes: Vec<usize> = (0..rank).filter(|_| r.below(2) == 0).collect();
                let x = Operand::dense(device, ty, shape, values, r);
                let tensor = x.tensor.flip(&axes[..]).unwrap();
                Operand { ty, tensor, bits: axes.iter().fold(x.bits, |bits, &a| bits.flip(a)) }
            }
            Layout::Expanded => {
                let base: Vec<usize> = shape.iter().map(|&n| if r.below(2) == 0 { 1 } else { n }).collect();
                let x = Operand::dense(device, ty, &base, values, r);
                Operand { ty, tensor: x.tensor.expand(shape).unwrap(), bits: x.bits.expand(shape) }
            }
        }
    }

    pub fn shape(&self) -> &[usize] {
        &self.bits.shape
    }

    pub fn data(&self) -> Data {
        match self.ty.format() {
            Some(_) => Data::Real(self.real()),
            None => Data::Int(self.int()),
        }
    }

    pub fn real(&self) -> Array<Number> {
        self.bits.map(|&b| Number::from(self.ty.float_of_bits(b)))
    }

    pub fn int(&self) -> Array<i128> {
        self.bits.map(|&b| self.ty.int_of_bits(b))
    }
}

/// A shape of a rank whose elements number at most `limit`: mostly small primes and ones, now and then a 0.
pub fn shape(r: &mut Random, rank: usize, limit: usize) -> Vec<usize> {
    let mut left = limit;
    let mut shape: Vec<usize> = (0..rank)
        .map(|_| {
            let n = *r.one_of(&[1, 2, 3, 5, 7, 11, 13, 31, 67]);
            let n = if n <= left { n } else { 1 };
            left /= n;
            n
        })
        .collect();
    if rank > 0 && r.below(12) == 0 {
        let axis = r.below(rank);
        shape[axis] = 0;
    }
    shape
}

/// A shape that broadcasts with another: some extents 1, some leading axes gone.
pub fn broadcastable(r: &mut Random, shape: &[usize]) -> Vec<usize> {
    let skip = if r.below(3) == 0 { r.below(shape.len() + 1) } else { 0 };
    shape[skip..].iter().map(|&n| if r.below(4) == 0 { 1 } else { n }).collect()
}

/// Fails unless the result is what the oracle permits.
pub fn check(case: &str, got: Result<Tensor>, ty: Type, want: impl Into<Data>, arithmetic: &Arithmetic) {
    let got = got.unwrap_or_else(|e| panic!("{case}: {e}"));
    let want = want.into();
    assert_eq!(got.dims(), want.shape(), "{case}: shape");
    assert_eq!(got.dtype(), dtype(ty), "{case}: type");
    let bytes = got.to_bytes().unwrap_or_else(|e| panic!("{case}: {e}"));
    if let Err(e) = compare(ty, &bytes, &want, arithmetic) {
        panic!("{case}: {e}");
    }
}

/// Fails unless the result is the same bit for bit.
pub fn same(case: &str, got: Result<Tensor>, ty: Type, want: &Array<u64>) {
    let got = got.unwrap_or_else(|e| panic!("{case}: {e}"));
    assert_eq!(got.dims(), want.shape, "{case}: shape");
    assert_eq!(got.dtype(), dtype(ty), "{case}: type");
    let bytes = got.to_bytes().unwrap_or_else(|e| panic!("{case}: {e}"));
    if let Err(e) = compare_bits(ty, &bytes, want) {
        panic!("{case}: {e}");
    }
}
