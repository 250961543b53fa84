//! Random tensors from a counter: every number follows from a seed and a position alone, bit for bit the same on every device.
//!
//! Position p of seed s is the block of Philox4x32-10 with counter (p, 0) and key s, low words first. What is made of its words
//! uses integer operations and separately rounded sums and products only, in one order.

use super::{
    Tensor,
    axes::{IntoShape, shape},
    operand::Scalar,
};
use crate::Device;
use anychip_hal::{
    DType, Error, Result,
    ir::build::encode_f64,
    op::{BinaryOp, Op, UnaryOp},
};
use anychip_kernels::{Host, Node, View, shape::elements};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where random numbers come from: a seed, and how many were taken. Two generators of one seed give the same numbers in the same
/// order. Every element of a random tensor takes one position, whatever its type.
/// ```
/// # let device = anychip::Device::open("cpu")?;
/// use anychip::{DType, Generator, Tensor};
/// let x = Tensor::rand((2, 3), DType::F32, &Generator::new(7), &device)?.to_vec::<f32>()?;
/// let later = Generator::at(7, 4);
/// let y = Tensor::rand(2, DType::F32, &later, &device)?.to_vec::<f32>()?;
/// assert_eq!(x[4..], y);
/// assert_eq!(later.position(), 6);
/// # Ok::<(), anychip::Error>(())
/// ```
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    next: AtomicU64,
}

impl Generator {
    /// From the first position of a seed.
    pub fn new(seed: u64) -> Generator {
        Generator::at(seed, 0)
    }

    /// From a position of a seed.
    pub fn at(seed: u64, position: u64) -> Generator {
        Generator { seed, next: AtomicU64::new(position) }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next position. Positions wrap at 2^64.
    pub fn position(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Words of the next `count` positions, u32, each a tensor of rank 1.
    fn words<const N: usize>(&self, what: &str, count: usize, device: &Device) -> Result<[Tensor; N]> {
        if count as u64 > 1 << 32 {
            return Err(Error::ShapeMismatch(format!(
                "{what}: {count} elements at once, at most {}; make parts and cat() them",
                1u64 << 32
            )));
        }
        let position = self.next.fetch_add(count as u64, Ordering::Relaxed);
        // Seed and position are data and no constants, so that one kernel serves them all.
        let state = [position as u32, (position >> 32) as u32, self.seed as u32, (self.seed >> 32) as u32];
        let state = Host::new(bytemuck::cast_slice::<u32, u8>(&state).to_vec());
        let state = Tensor::from_node(Node::leaf(state, DType::U32, &[4])?, device);
        let part = |i: usize| state.narrow(0, i, 1)?.view(View::Expand(vec![count]));
        let (low, high) = (part(0)?, part(1)?);
        let index = Tensor::from_node(Node::iota(0, DType::U32, &[count])?, device);
        let counter = index.add(&low)?;
        // The sum wrapped when it is below one of its parts.
        let high = high.add(counter.lt(&low)?.to_dtype(DType::U32)?)?;
        let (key0, key1) = (part(2)?, part(3)?);
        let mut words = Vec::with_capacity(N);
        for word in 0..N as u8 {
            words.push(counter.op(Op::Philox { word }, &[&high, &key0, &key1])?);
        }
        words.try_into().map_err(|_| Error::invalid(format!("{what}: a block has four words")))
    }
}

impl Tensor {
    /// Uniform in 0..1, 1 excluded: multiples of 2^−24 in f32, 2^−53 in f64, 2^−11 in f16, 2^−8 in bf16, all equally likely.
    ///
    /// # Errors
    /// `DTypeMismatch` for what is no float; `ShapeMismatch` for more than 2^32 elements.
    pub fn rand(extents: impl IntoShape, dtype: DType, from: &Generator, device: &Device) -> Result<Tensor> {
        let shape = shape("rand", extents)?;
        uniform("rand", elements(&shape)?, dtype, from, device)?.to_dtype(dtype)?.view(View::Reshape(shape))
    }

    /// Uniform in `low..high`, `high` excluded: low + u·(high − low) of u as [`Tensor::rand`] has it, in f32 (f64 for f64),
    /// rounded; what rounds up to `high` is the number below it.
    ///
    /// # Errors
    /// `InvalidArgument` unless low < high are finite numbers of the type, and their difference too.
    pub fn uniform(
        low: f64,
        high: f64,
        extents: impl IntoShape,
        dtype: DType,
        from: &Generator,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape("uniform", extents)?;
        let count = elements(&shape)?;
        float("uniform", dtype)?;
        let (a, b) = (rounded(low, dtype), rounded(high, dtype));
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let span = rounded(b - a, wide);
        if !(a < b && a.is_finite() && b.is_finite() && span.is_finite()) {
            return Err(Error::invalid(format!(
                "uniform: from {low} to {high} in {dtype}: the bounds must be finite, the first below the second, and their difference finite"
            )));
        }
        let u = uniform("uniform", count, dtype, from, device)?;
        u.mul(span)?.add(a)?.to_dtype(dtype)?.minimum(below(b, dtype))?.view(View::Reshape(shape))
    }

    /// Normally distributed with mean 0 and standard deviation 1: the quantile of a uniform number of 32 bits, by polynomials;
    /// within 1e-6 of it, from −6.34 to 6.34. Computed in f32, then converted.
    ///
    /// # Errors
    /// `DTypeMismatch` for what is no float; `ShapeMismatch` for more than 2^32 elements.
    pub fn randn(extents: impl IntoShape, dtype: DType, from: &Generator, device: &Device) -> Result<Tensor> {
        let shape = shape("randn", extents)?;
        float("randn", dtype)?;
        normal("randn", elements(&shape)?, from, device)?.to_dtype(dtype)?.view(View::Reshape(shape))
    }

    /// Normally distributed: mean + std·z of z as [`Tensor::randn`] has it, in f32 (f64 for f64), rounded.
    ///
    /// # Errors
    /// `InvalidArgument` unless mean and std are finite and std is at least 0.
    pub fn normal(
        mean: f64,
        std: f64,
        extents: impl IntoShape,
        dtype: DType,
        from: &Generator,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape("normal", extents)?;
        float("normal", dtype)?;
        if !(mean.is_finite() && std.is_finite() && std >= 0.0) {
            return Err(Error::invalid(format!(
                "normal: mean is {mean} and std is {std}; both must be finite, and std at least 0"
            )));
        }
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let z = normal("normal", elements(&shape)?, from, device)?.to_dtype(wide)?;
        z.mul(std)?.add(mean)?.to_dtype(dtype)?.view(View::Reshape(shape))
    }

    /// Integers in `low..high`, `high` excluded: low + w modulo (high − low) of a word w of 32 bits, or 64 where the range has more
    /// than 2^32 numbers. Some numbers are more likely than others by up to (high − low)/2^32 (2^64).
    ///
    /// # Errors
    /// `DTypeMismatch` for what is no integer; `InvalidArgument` for an empty range or one that the type does not hold.
    pub fn randint(
        low: i64,
        high: i64,
        extents: impl IntoShape,
        dtype: DType,
        from: &Generator,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape("randint", extents)?;
        let count = elements(&shape)?;
        if !dtype.is_int() {
            return Err(Error::DTypeMismatch(format!("randint: takes an integer type, got {dtype}")));
        }
        if low >= high {
            return Err(Error::invalid(format!("randint: from {low} to {high}: the first must be below the second")));
        }
        Scalar::Int(low as i128).bits("randint", dtype)?;
        Scalar::Int(high as i128 - 1).bits("randint", dtype)?;
        let span = high.wrapping_sub(low) as u64;
        let offset = match span <= 1 << 32 {
            true => {
                let [word] = from.words("randint", count, device)?;
                if span == 1 << 32 { word } else { word.rem(span)? }
            }
            false => {
                let [low, high] = from.words("randint", count, device)?;
                let high = high.to_dtype(DType::U64)?.bitwise_left_shift(32)?;
                high.or(low.to_dtype(DType::U64)?)?.rem(span)?
            }
        };
        // The type may be narrower than the offset: the sum wraps into the range.
        offset.to_dtype(dtype)?.add(low)?.view(View::Reshape(shape))
    }

    /// True with each element's own probability: is a uniform number of 24 bits ([`Tensor::rand`] in f32; 53 bits for f64) below
    /// it? Floats only, result bool; probabilities of 1 and more are always true, of 0 and less, and NaN, never.
    pub fn bernoulli(&self, from: &Generator) -> Result<Tensor> {
        self.expect_float("bernoulli")?;
        let wide = self.wide_dtype();
        let u = uniform("bernoulli", self.elem_count(), wide, from, &self.device)?;
        u.view(View::Reshape(self.dims().to_vec()))?.lt(self.to_dtype(wide)?)
    }
}

fn float(what: &str, dtype: DType) -> Result<()> {
    if matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(Error::DTypeMismatch(format!("{what}: takes f16, bf16, f32 or f64, got {dtype}")))
}

/// A number as a type holds it.
fn rounded(x: f64, dtype: DType) -> f64 {
    number(encode_f64(dtype.into(), x), dtype)
}

fn number(bits: u64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => half::f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => half::bf16::from_bits(bits as u16).to_f64(),
        DType::F64 => f64::from_bits(bits),
        _ => f32::from_bits(bits as u32) as f64,
    }
}

/// The largest number of a type below one of it.
fn below(x: f64, dtype: DType) -> f64 {
    let bits = encode_f64(dtype.into(), x);
    let sign = 1u64 << (8 * dtype.size() - 1);
    number(
        if x == 0.0 {
            sign | 1
        } else if x > 0.0 {
            bits - 1
        } else {
            bits + 1
        },
        dtype,
    )
}

/// Uniform numbers, rank 1, in f32 (f64 for f64) and exact in `dtype`.
fn uniform(what: &str, count: usize, dtype: DType, from: &Generator, device: &Device) -> Result<Tensor> {
    float(what, dtype)?;
    let bits: u32 = match dtype {
        DType::F64 => {
            let [low, high] = from.words(what, count, device)?;
            let low = low.bitwise_right_shift(6)?.to_dtype(DType::F64)?;
            let high = high.bitwise_right_shift(5)?.to_dtype(DType::F64)?;
            return high.mul(2f64.powi(26))?.add(low)?.mul(2f64.powi(-53));
        }
        DType::F16 => 11,
        DType::BF16 => 8,
        _ => 24,
    };
    let [word] = from.words(what, count, device)?;
    word.bitwise_right_shift(32 - bits)?.to_dtype(DType::F32)?.mul(2f64.powi(-(bits as i32)))
}

/// Standard normal numbers, rank 1, f32. The word's first bit is the sign; the others, v, are the place (v + 1/2)/2^32 in the lower
/// half of the distribution. Leading zeros of v choose the octave and its polynomial, what follows the first one bit is the argument.
fn normal(what: &str, count: usize, from: &Generator, device: &Device) -> Result<Tensor> {
    let [word] = from.words(what, count, device)?;
    let negative = word.bitwise_right_shift(31)?.ne(0)?;
    let v = word.and(0x7fff_ffffu32)?;
    let zeros = v.op(Op::Unary(UnaryOp::LeadingZeros), &[])?;
    let octave = zeros.sub(1)?;
    // In two steps: 32 zeros would be a shift by 33, which is one by 1.
    let fraction = v.op(Op::Binary(BinaryOp::Shl), &[&zeros])?.bitwise_left_shift(1)?.bitwise_right_shift(8)?;
    let t = fraction.to_dtype(DType::F32)?.mul(2f64.powi(-24))?;
    let table = Host::new(bytemuck::cast_slice::<[f32; 8], u8>(&QUANTILE).to_vec());
    let table = Tensor::from_node(Node::leaf(table, DType::F32, &[32 * 8, 1])?, device);
    let row = octave.mul(8)?;
    let coefficient = |i: u32| row.add(i)?.coefficients(&table);
    let mut z = coefficient(7)?;
    for i in (0..7).rev() {
        z = z.mul(&t)?.add(coefficient(i)?)?;
    }
    negative.where_cond(&z.neg()?, &z)
}

impl Tensor {
    /// Elements of a table `[n, 1]` at these indices, rank 1.
    fn coefficients(&self, table: &Tensor) -> Result<Tensor> {
        table.op(Op::Embedding, &[self])?.view(View::Reshape(self.dims().to_vec()))
    }
}

/// Row k: the polynomial, lowest coefficient first, of Φ⁻¹(1 − p) at p = (1 + t)/2^(k+2) + 2^−33, t in 0..1; row 31 is its value
/// at 2^−33. Interpolated at Chebyshev nodes from 30-digit values; with coefficients of f32 within 3e-7.
#[rustfmt::skip]
const QUANTILE: [[f32; 8]; 32] = [
    [0.6744897, -0.7867032, 0.20844498, -0.15257114, 0.09412182, -0.055283006, 0.021715559, -0.004214708],
    [1.1503493, -0.6072157, 0.21181792, -0.13382888, 0.087488495, -0.050252024, 0.01990636, -0.0037757435],
    [1.5341204, -0.5081851, 0.19785853, -0.122747816, 0.080873616, -0.046521213, 0.018453037, -0.0035021643],
    [1.8627318, -0.44399756, 0.18338285, -0.11386899, 0.075317316, -0.04340825, 0.017236538, -0.0032731914],
    [2.1538746, -0.39836705, 0.17069812, -0.10645947, 0.070637256, -0.04078004, 0.016207762, -0.0030793748],
    [2.417559, -0.36391977, 0.1598911, -0.10018699, 0.06665274, -0.038535718, 0.015327766, -0.0029134315],
    [2.6600673, -0.3367932, 0.15067816, -0.09481466, 0.063222125, -0.036597695, 0.0145666385, -0.0027697752],
    [2.885635, -0.3147524, 0.14275986, -0.09016245, 0.06023683, -0.034906626, 0.013901513, -0.0026441358],
    [3.097269, -0.29640654, 0.13588683, -0.08609261, 0.057613593, -0.03341698, 0.013314825, -0.0025332314],
    [3.2971933, -0.2808409, 0.12986279, -0.08249915, 0.055288132, -0.03209351, 0.012792959, -0.0024345159],
    [3.487104, -0.26742688, 0.12453506, -0.07929979, 0.05321032, -0.030908648, 0.0123252515, -0.0023459927],
    [3.668329, -0.2557168, 0.11978458, -0.07643003, 0.051340625, -0.029840589, 0.011903247, -0.0022660778],
    [3.8419302, -0.24538246, 0.11551765, -0.073838644, 0.0496475, -0.028871868, 0.011520165, -0.0021934996],
    [4.0087714, -0.2361771, 0.11165978, -0.07148453, 0.04810546, -0.027988337, 0.011170502, -0.0021272243],
    [4.1695676, -0.22791123, 0.10815101, -0.06933425, 0.046693668, -0.027178379, 0.010849725, -0.0020664006],
    [4.3249154, -0.22043653, 0.104942456, -0.067360245, 0.045394804, -0.026432294, 0.010554047, -0.0020103147],
    [4.475322, -0.21363473, 0.10199363, -0.06553933, 0.04419416, -0.025741791, 0.0102802105, -0.0019583518],
    [4.621218, -0.20740984, 0.099270225, -0.06385142, 0.04307877, -0.025099473, 0.010025291, -0.0019099575],
    [4.762976, -0.20168199, 0.09674207, -0.062278174, 0.042036425, -0.024498237, 0.009786443, -0.0018645888],
    [4.900916, -0.19638221, 0.094380744, -0.06080118, 0.0410543, -0.023930375, 0.009560524, -0.0018216388],
    [5.0353126, -0.19144705, 0.09215633, -0.05939916, 0.04011661, -0.023386046, 0.009343436, -0.0017803068],
    [5.1663957, -0.18681148, 0.09003188, -0.058043007, 0.039200425, -0.022850493, 0.009128923, -0.0017393583],
    [5.2943473, -0.18239757, 0.08795355, -0.056686543, 0.038267836, -0.022298772, 0.008906293, -0.0016966724],
    [5.4192862, -0.17809469, 0.085832216, -0.055249263, 0.037251238, -0.021685945, 0.0086561935, -0.0016483982],
    [5.5412316, -0.17372294, 0.08350927, -0.05358466, 0.036026675, -0.020929419, 0.008343024, -0.0015874528],
    [5.6600375, -0.16896702, 0.0806962, -0.05142591, 0.034369443, -0.01988016, 0.00790277, -0.0015011262],
    [5.7752605, -0.16326311, 0.076879114, -0.048307415, 0.031895217, -0.018287064, 0.007228621, -0.0013683457],
    [5.885934, -0.15563483, 0.07121077, -0.043504722, 0.028036427, -0.015793573, 0.006172843, -0.0011604486],
    [5.9902277, -0.14455707, 0.06253611, -0.036177047, 0.022235727, -0.012097215, 0.0046232804, -0.00085730763],
    [6.0851045, -0.12817156, 0.04995589, -0.026104424, 0.014666441, -0.0074588833, 0.002728051, -0.0004924491],
    [6.1664295, -0.1054679, 0.034287557, -0.014992135, 0.0071647447, -0.0032120603, 0.0010799519, -0.00018512674],
    [6.337958, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
];
