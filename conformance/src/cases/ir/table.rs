//! One kernel with many rows: a scalar says which row is computed. What a case asks for runs alone, and few kernels serve many cases.

use crate::{
    Failure, Seen, Subject,
    cases::launch::run,
    oracle::{
        Type,
        compare::permits,
        number::{Arithmetic, Number},
        sample::{Random, Values, element},
    },
    subject::dtype,
};
use anychip::hal::{
    device::{Grid, ScalarArg},
    ir::{Access, Builder, Builtin, CmpOp, Kernel, Place, Value},
};

/// How a row comes to its result from the operands.
pub type Build = Box<dyn Fn(&mut Builder, &[Value]) -> Value + Send + Sync>;

/// Rows over the same operands with results of one type.
pub struct Table {
    /// The kernel's name.
    pub name: String,
    /// Types of the operands.
    pub ins: Vec<Type>,
    /// Type of the results.
    pub out: Type,
    /// Lanes of the vectors that are computed with.
    pub lanes: u8,
    /// The rows.
    pub rows: Vec<Build>,
}

/// Lanes of a workgroup.
const LANES: u32 = 32;

impl Table {
    fn kernel(&self) -> anychip::Result<Kernel> {
        let mut b = Builder::new(&self.name, [LANES, 1, 1]);
        let ins: Vec<_> =
            self.ins.iter().enumerate().map(|(n, t)| b.buffer(&format!("x{n}"), dtype(*t), Access::Read)).collect();
        let out = b.buffer("out", dtype(self.out), Access::Write);
        let row = b.scalar("row", anychip::DType::U32);
        let i = b.builtin(Builtin::GlobalId(0));
        let step = b.idx(u64::from(self.lanes));
        let at = b.mul(i, step);
        let x: Vec<_> = ins.iter().map(|p| b.load_vec(Place::Buffer(*p), at, self.lanes)).collect();
        for (n, build) in self.rows.iter().enumerate() {
            let n = b.u32(n as u32);
            let mine = b.compare(CmpOp::Eq, row, n);
            b.begin_if(mine);
            let y = build(&mut b, &x);
            b.store(Place::Buffer(out), at, y);
            b.end_if();
        }
        b.finish()
    }

    /// Bits of a row's results for operands by bits; as many of each, a multiple of the lanes.
    pub fn run(&self, s: &Subject, row: usize, operands: &[Vec<u64>]) -> Result<Vec<u64>, Failure> {
        let n = operands[0].len();
        let mut buffers: Vec<_> = self.ins.iter().zip(operands).map(|(t, x)| put(*t, x)).collect();
        buffers.push(vec![0xcd; n * self.out.bytes()]);
        let grid = Grid::covering(n as u64 / u64::from(self.lanes), LANES);
        run(s, &self.kernel()?, grid, &mut buffers, &[ScalarArg::U32(row as u32)])?;
        Ok(get(self.out, &buffers[self.ins.len()]))
    }
}

/// Little-endian bytes of elements by bits.
pub fn put(ty: Type, bits: &[u64]) -> Vec<u8> {
    bits.iter().flat_map(|b| b.to_le_bytes()[..ty.bytes()].to_vec()).collect()
}

/// Elements' bits.
pub fn get(ty: Type, bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(ty.bytes()).map(|c| ty.bits(c)).collect()
}

/// The element as a reader wants it.
pub fn show(ty: Type, bits: u64) -> String {
    match ty.format() {
        Some(_) => format!("{:e} ({bits:#x})", ty.float_of_bits(bits)),
        None => format!("{}", ty.int_of_bits(bits)),
    }
}

/// Operands that matter: special values against each other and random bits, `n` of each.
pub fn operands<const N: usize>(s: &Subject, ty: Type, n: usize, r: &mut Random) -> [Vec<u64>; N] {
    let mut out = [const { vec![] }; N];
    for i in 0..n {
        for x in &mut out {
            let values = if i % 4 == 3 { Values::AnyBits } else { Values::Special };
            x.push(plain(s, ty, element(ty, values, r)));
        }
    }
    out
}

/// An element, or the zero of its sign where the device may take it for one; without NaN and infinity where it does not honour them.
pub fn plain(s: &Subject, ty: Type, bits: u64) -> u64 {
    let Some(format) = ty.format() else { return bits };
    let facts = facts(s, ty).facts;
    let x = ty.float_of_bits(bits);
    let sign = bits & 1 << (8 * ty.bytes() - 1);
    if facts.subnormals == crate::oracle::Subnormals::MayBeZero && x != 0.0 && x.abs() < format.min_normal() {
        return sign;
    }
    if !facts.nan_inf && !x.is_finite() {
        return ty.bits_of_float(1.5) | sign;
    }
    bits
}

/// What the device declares of a type: of the type itself where it computes with it.
pub fn facts(s: &Subject, ty: Type) -> Arithmetic {
    s.arithmetic(ty)
}

/// Fails at the first result that differs from what is meant; `tell` gives the operands of an element.
pub fn exactly(
    what: &str,
    ty: Type,
    got: &[u64],
    want: &[u64],
    tell: impl Fn(usize) -> String,
    seen: &mut Seen,
) -> Result<(), Failure> {
    seen.elements += want.len() as u64;
    let nan = |b: u64| ty.is_float() && ty.float_of_bits(b).is_nan();
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        if g != w && !(nan(*g) && nan(*w)) {
            let (g, w) = (show(ty, *g), show(ty, *w));
            return Err(Failure::Broken(format!("{what} of {}: element {i} is {g}, expected {w}", tell(i))));
        }
    }
    Ok(())
}

/// Fails at the first result that the device's arithmetic does not permit.
pub fn permitted(
    s: &Subject,
    what: &str,
    ty: Type,
    got: &[u64],
    want: &[Number],
    tell: impl Fn(usize) -> String,
    seen: &mut Seen,
) -> Result<(), Failure> {
    let a = facts(s, ty);
    let Some(format) = ty.format() else { return Ok(()) };
    seen.elements += want.len() as u64;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let x = ty.float_of_bits(*g);
        if w.radius > 0.0 && w.radius.is_finite() && x.is_finite() && w.value.is_finite() {
            let fraction =
                (x - w.value.hi).abs() / (w.radius + if ty == a.compute { 0.0 } else { format.ulp(x) / 2.0 });
            seen.fraction = Some(seen.fraction.unwrap_or(0.0).max(fraction.min(1.0)));
        }
        if !permits(ty, format, &a.facts, *w, x, a.compute) {
            return Err(Failure::Broken(format!(
                "{what} of {}: element {i} is {}, expected {:e} ± {:e}",
                tell(i),
                show(ty, *g),
                w.value.hi,
                w.radius
            )));
        }
    }
    Ok(())
}
