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
    [0.674489677, -0.786703229, 0.208444983, -0.152571142, 0.0941218212, -0.0552830063, 0.0217155591, -0.00421470823],
    [1.15034926, -0.607215703, 0.21181792, -0.133828878, 0.0874884948, -0.0502520241, 0.0199063607, -0.00377574353],
    [1.53412044, -0.508185089, 0.197858527, -0.122747816, 0.080873616, -0.0465212129, 0.0184530374, -0.00350216427],
    [1.86273181, -0.443997562, 0.183382854, -0.113868989, 0.0753173158, -0.0434082486, 0.0172365382, -0.0032731914],
    [2.15387464, -0.398367047, 0.170698121, -0.106459469, 0.0706372559, -0.0407800414, 0.0162077621, -0.00307937479],
    [2.41755891, -0.363919765, 0.159891099, -0.100186989, 0.0666527376, -0.0385357179, 0.0153277656, -0.0029134315],
    [2.66006732, -0.336793214, 0.150678158, -0.0948146582, 0.0632221252, -0.0365976952, 0.0145666385, -0.00276977522],
    [2.8856349, -0.3147524, 0.14275986, -0.0901624486, 0.0602368303, -0.0349066257, 0.0139015131, -0.00264413585],
    [3.09726906, -0.296406537, 0.135886833, -0.0860926136, 0.0576135926, -0.033416979, 0.0133148246, -0.0025332314],
    [3.29719329, -0.280840904, 0.129862785, -0.0824991465, 0.0552881323, -0.03209351, 0.0127929589, -0.00243451586],
    [3.48710394, -0.267426878, 0.124535061, -0.0792997926, 0.0532103218, -0.0309086479, 0.0123252515, -0.00234599272],
    [3.668329, -0.255716801, 0.119784579, -0.0764300302, 0.0513406247, -0.0298405886, 0.0119032469, -0.00226607779],
    [3.84193015, -0.245382458, 0.115517654, -0.0738386437, 0.0496474989, -0.0288718678, 0.011520165, -0.00219349959],
    [4.00877142, -0.236177102, 0.11165978, -0.0714845285, 0.0481054597, -0.027988337, 0.0111705018, -0.00212722435],
    [4.16956758, -0.227911234, 0.108151011, -0.0693342537, 0.0466936678, -0.0271783788, 0.0108497255, -0.0020664006],
    [4.32491541, -0.220436528, 0.104942456, -0.0673602447, 0.0453948043, -0.0264322944, 0.0105540473, -0.00201031473],
    [4.47532177, -0.213634729, 0.101993628, -0.0655393302, 0.0441941582, -0.0257417914, 0.0102802105, -0.00195835182],
    [4.6212182, -0.207409844, 0.0992702246, -0.0638514236, 0.043078769, -0.0250994731, 0.0100252908, -0.0019099575],
    [4.76297617, -0.201681986, 0.0967420712, -0.0622781739, 0.0420364253, -0.0244982373, 0.00978644285, -0.00186458882],
    [4.9009161, -0.19638221, 0.0943807438, -0.0608011782, 0.041054301, -0.0239303745, 0.00956052355, -0.00182163878],
    [5.03531265, -0.191447049, 0.0921563283, -0.0593991615, 0.0401166081, -0.0233860463, 0.00934343599, -0.0017803068],
    [5.16639566, -0.186811477, 0.0900318772, -0.0580430068, 0.0392004251, -0.022850493, 0.0091289226, -0.0017393583],
    [5.29434729, -0.182397574, 0.0879535526, -0.0566865429, 0.038267836, -0.0222987719, 0.00890629273, -0.00169667241],
    [5.41928625, -0.178094685, 0.0858322158, -0.0552492626, 0.0372512378, -0.0216859449, 0.0086561935, -0.00164839823],
    [5.54123163, -0.173722938, 0.0835092664, -0.0535846613, 0.0360266753, -0.0209294185, 0.00834302418, -0.00158745283],
    [5.66003752, -0.168967023, 0.0806962028, -0.0514259115, 0.0343694426, -0.0198801607, 0.0079027703, -0.00150112621],
    [5.77526045, -0.163263112, 0.0768791139, -0.0483074151, 0.0318952166, -0.0182870645, 0.00722862082, -0.00136834569],
    [5.88593388, -0.155634835, 0.0712107718, -0.0435047224, 0.0280364268, -0.0157935731, 0.00617284281, -0.00116044865],
    [5.9902277, -0.144557074, 0.062536113, -0.0361770466, 0.0222357269, -0.0120972153, 0.00462328037, -0.000857307634],
    [6.08510447, -0.128171563, 0.0499558896, -0.0261044241, 0.0146664409, -0.00745888334, 0.00272805104, -0.000492449093],
    [6.16642952, -0.105467901, 0.034287557, -0.0149921346, 0.00716474466, -0.00321206031, 0.00107995188, -0.000185126744],
    [6.33795786, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
];
