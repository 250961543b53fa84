//! A product as cuBLASLt is told of it: what it has algorithms for (by the tables of its documentation), and the numbers.

use super::Status;
use crate::settings::settings;

/// cudaDataType_t.
const F32: u32 = 0;
const F64: u32 = 1;
const F16: u32 = 2;
const I8: u32 = 3;
const I32: u32 = 10;
const BF16: u32 = 14;
const E4M3: u32 = 28;
const E5M2: u32 = 29;

/// cublasComputeType_t.
const IN_F32: u32 = 68;
const IN_F64: u32 = 70;
const IN_I32: u32 = 72;
const IN_TF32: u32 = 77;

/// cublasLtEpilogue_t.
const PLAIN: u32 = 1;
const RELU: u32 = 2;
const BIAS: u32 = 4;
const RELU_BIAS: u32 = 6;

#[derive(Debug, Clone, Copy)]
pub struct Operation {
    pub compute: u32,
    /// The type of alpha and beta.
    pub scale: u32,
    pub turned: [bool; 2],
    pub epilogue: u32,
    pub bias: u64,
}

impl Operation {
    pub fn new(compute: u32, scale: u32) -> Operation {
        Operation { compute, scale, turned: [false; 2], epilogue: PLAIN, bias: 0 }
    }

    /// A number of the host of the scale's type.
    ///
    /// # Safety
    /// One lies there.
    pub unsafe fn number(&self, at: *const std::ffi::c_void) -> f64 {
        // SAFETY: the caller's promise.
        unsafe { load(self.scale, at as u64, 0) }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub dtype: u32,
    pub rows: u64,
    pub cols: u64,
    pub lead: i64,
    pub batch: i32,
    pub step: i64,
}

impl Layout {
    /// From its first byte, how many; `None` for one that no memory holds.
    pub fn span(&self, at: u64) -> Option<(u64, u64)> {
        let last = i64::try_from(self.cols).ok()?.checked_sub(1)?.checked_mul(self.lead)?;
        let one = last.checked_add(i64::try_from(self.rows).ok()?)?;
        let far = i64::from(self.batch - 1).checked_mul(self.step)?;
        let size = bytes(self.dtype) as i64;
        let (low, high) = (far.min(0).checked_mul(size)?, far.max(0).checked_add(one)?.checked_mul(size)?);
        Some((at.checked_add_signed(low)?, u64::try_from(high - low).ok()?))
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Preference {
    pub workspace: u64,
    pub alignment: [u32; 4],
    pub schemes: u32,
}

fn bytes(dtype: u32) -> usize {
    match dtype {
        F64 => 8,
        F16 | BF16 => 2,
        I8 | E4M3 | E5M2 => 1,
        _ => 4,
    }
}

/// Rows and columns of op(A), op(B).
fn turned(l: &Layout, turned: bool) -> [u64; 2] {
    if turned { [l.cols, l.rows] } else { [l.rows, l.cols] }
}

/// Is there an algorithm for it?
pub fn check(o: &Operation, [a, b, c, d]: &[Layout; 4], chip: (u32, u32)) -> Result<(), Status> {
    let ([m, k], [k2, n]) = (turned(a, o.turned[0]), turned(b, o.turned[1]));
    let fits = |l: &Layout| l.rows > 0 && l.cols > 0 && l.lead >= l.rows as i64 && l.batch > 0 && l.batch == d.batch;
    if k != k2 || [d.rows, d.cols] != [m, n] || [c.rows, c.cols] != [m, n] || ![a, b, c, d].into_iter().all(fits) {
        return Err(Status::INVALID_VALUE);
    }
    // Matrices of a batch lie behind one another, or between one another's columns.
    let (step, batch) = (d.step.unsigned_abs(), d.batch as u64);
    let between = d.cols == 1 || (batch - 1) * step + d.rows <= d.lead as u64;
    if batch > 1 && step < (d.cols - 1) * d.lead as u64 + d.rows && !(step >= d.rows && between) {
        return Err(Status::INVALID_VALUE);
    }
    if matches!(o.epilogue, BIAS | RELU_BIAS) && o.bias == 0 {
        return Err(Status::INVALID_VALUE);
    }
    let narrow = |t: u32| matches!(t, E4M3 | E5M2);
    let fused = matches!(o.epilogue, PLAIN | RELU | BIAS | RELU_BIAS);
    let there = c.dtype == d.dtype
        && match (a.dtype, b.dtype, d.dtype) {
            (F32, F32, F32) => fused && o.scale == F32 && matches!(o.compute, IN_F32 | IN_TF32),
            (F64, F64, F64) => o.epilogue == PLAIN && o.scale == F64 && o.compute == IN_F64,
            (F16, F16, F16 | F32) => fused && o.scale == F32 && o.compute == IN_F32,
            (BF16, BF16, BF16 | F32) => fused && o.scale == F32 && o.compute == IN_F32 && chip >= (8, 0),
            (I8, I8, I32) => {
                let fours = [a.rows, a.cols, b.rows, b.cols, a.lead as u64, b.lead as u64].iter().all(|n| n % 4 == 0);
                o.epilogue == PLAIN && o.scale == I32 && o.compute == IN_I32 && fours && o.turned == [true, false]
            }
            (x, y, F16 | BF16 | F32) if narrow(x) && narrow(y) && (x, y) != (E5M2, E5M2) => {
                let sixteens = [a.rows, a.cols, b.rows, b.cols].iter().all(|n| n % 16 == 0);
                let ways = fused && o.turned == [true, false] && sixteens;
                ways && o.scale == F32 && o.compute == IN_F32 && chip >= (8, 9)
            }
            _ => false,
        };
    if there { Ok(()) } else { Err(Status::NOT_SUPPORTED) }
}

/// Tells products apart to which the same algorithm belongs.
pub fn mark(o: &Operation, layouts: &[Layout; 4]) -> u64 {
    let mut words = vec![u64::from(o.compute), u64::from(o.scale), u64::from(o.epilogue)];
    words.extend(o.turned.map(u64::from));
    for l in layouts {
        words.extend([u64::from(l.dtype), l.rows, l.cols, l.lead as u64, l.batch as u64, l.step as u64]);
    }
    words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23))
}

/// A product in a stream.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    pub operation: Operation,
    pub layouts: [Layout; 4],
    pub at: [u64; 4],
    pub alpha: f64,
    pub beta: f64,
    /// Its address and size.
    pub workspace: [u64; 2],
}

impl Product {
    /// Computes it. Memory that must not be touched is a fault of the thread.
    pub fn perform(&self) {
        let [a, b, c, d] = self.layouts;
        let o = self.operation;
        let k = turned(&a, o.turned[0])[1];
        // Rows and columns of op(A) and op(B) as steps between elements.
        let steps = |l: &Layout, turned: bool| if turned { (l.lead as u64, 1) } else { (1, l.lead as u64) };
        let ((a_row, a_col), (b_row, b_col)) = (steps(&a, o.turned[0]), steps(&b, o.turned[1]));
        let cut = |x: f64| match o.compute {
            IN_TF32 => f64::from(f32::from_bits((x as f32).to_bits() & !0x1fff)),
            _ => x,
        };
        // What lies in a workspace is of no use to anybody else.
        // SAFETY: checked when it was submitted; where memory has gone since, the fault is caught and reported.
        unsafe { std::ptr::write_bytes(self.workspace[0] as *mut u8, 0xff, self.workspace[1] as usize) };
        let (relu, drops_nan) = (matches!(o.epilogue, RELU | RELU_BIAS), settings().relu_drops_nan);
        for batch in 0..d.batch as i64 {
            let base = |n: usize, l: &Layout| self.at[n].wrapping_add_signed(batch * l.step * bytes(l.dtype) as i64);
            let (left, right, third, out) = (base(0, &a), base(1, &b), base(2, &c), base(3, &d));
            for col in 0..d.cols {
                for row in 0..d.rows {
                    // SAFETY: as above.
                    unsafe {
                        let mut sum = 0.0;
                        for i in 0..k {
                            let x = load(a.dtype, left, row * a_row + i * a_col);
                            let y = load(b.dtype, right, i * b_row + col * b_col);
                            sum += cut(x) * cut(y);
                        }
                        // Sums of i32 go round; those of f32 are rounded.
                        sum = match o.compute {
                            IN_I32 => f64::from(sum as i64 as i32),
                            IN_F64 => sum,
                            _ => f64::from(sum as f32),
                        };
                        let mut x = self.alpha * sum;
                        if self.beta != 0.0 {
                            x += self.beta * load(c.dtype, third, row + col * c.lead as u64);
                        }
                        if matches!(o.epilogue, BIAS | RELU_BIAS) {
                            x += load(d.dtype, o.bias, row);
                        }
                        if relu && (x < 0.0 || x.is_nan() && drops_nan) {
                            x = 0.0;
                        }
                        store(d.dtype, out, row + col * d.lead as u64, x);
                    }
                }
            }
        }
    }
}

/// An element, exactly.
///
/// # Safety
/// It lies there.
unsafe fn load(dtype: u32, base: u64, index: u64) -> f64 {
    let at = (base + index * bytes(dtype) as u64) as *const u8;
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            F32 => f64::from(at.cast::<f32>().read_unaligned()),
            F64 => at.cast::<f64>().read_unaligned(),
            F16 => half::f16::from_bits(at.cast::<u16>().read_unaligned()).to_f64(),
            BF16 => half::bf16::from_bits(at.cast::<u16>().read_unaligned()).to_f64(),
            I8 => f64::from(at.cast::<i8>().read()),
            I32 => f64::from(at.cast::<i32>().read_unaligned()),
            E4M3 => eight(at.read(), 4, 3),
            _ => eight(at.read(), 5, 2),
        }
    }
}

/// Rounds to nearest, once.
///
/// # Safety
/// It lies there.
unsafe fn store(dtype: u32, base: u64, index: u64, x: f64) {
    let at = (base + index * bytes(dtype) as u64) as *mut u8;
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            F64 => at.cast::<f64>().write_unaligned(x),
            F16 => at.cast::<u16>().write_unaligned(half::f16::from_f64(x).to_bits()),
            BF16 => at.cast::<u16>().write_unaligned(half::bf16::from_f64(x).to_bits()),
            I32 => at.cast::<i32>().write_unaligned(x as i32),
            _ => at.cast::<f32>().write_unaligned(x as f32),
        }
    }
}

/// OCP 8-bit floats: E4M3 has no infinity and one NaN, E5M2 is like an f16 cut short.
fn eight(bits: u8, exponent: u32, fraction: u32) -> f64 {
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    let (e, f) = (u32::from(bits & 0x7f) >> fraction, u32::from(bits) & ((1 << fraction) - 1));
    let (most, bias) = ((1 << exponent) - 1, (1 << (exponent - 1)) - 1);
    let part = f64::from(f) / f64::from(1 << fraction);
    match (e, exponent) {
        (0, _) => sign * part * 2f64.powi(1 - bias),
        (e, 5) if e == most => {
            if f == 0 {
                sign * f64::INFINITY
            } else {
                f64::NAN
            }
        }
        (e, 4) if e == most && f == 7 => f64::NAN,
        (e, _) => sign * (1.0 + part) * 2f64.powi(e as i32 - bias),
    }
}
