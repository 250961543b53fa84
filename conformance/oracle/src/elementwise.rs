//! Operations on each element: integers by their rules, conversion, comparison, choice.
//!
//! Float functions are rows of [`super::table`]; here is what has no error: integers wrap, division by zero gives 0, MIN/−1 is MIN, amounts of
//! shifts are taken modulo the width.

use super::{
    array::Array,
    compare::Data,
    format::Type,
    number::{Arithmetic, Number},
    table::{Binary, Unary, apply, apply2},
    wide::Wide,
};
use std::cmp::Ordering;

/// A row of the table on every element of a float array.
pub fn unary(row: &Unary, a: &Arithmetic, x: &Array<Number>) -> Array<Number> {
    x.map(|x| apply(row, a, x.value.hi))
}

/// A row of the table on pairs of elements; the shapes broadcast.
pub fn binary(row: &Binary, a: &Arithmetic, x: &Array<Number>, y: &Array<Number>) -> Array<Number> {
    x.zip(y, |x, y| apply2(row, a, x.value.hi, y.value.hi))
}

/// Functions of one integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the field's own names
pub enum IntUnary {
    Neg,
    Abs,
    Sign,
    /// Every bit inverted; of bool the other value.
    Not,
}

/// Functions of two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the field's own names
pub enum IntBinary {
    Add,
    Sub,
    Mul,
    /// Towards zero; x/0 = 0.
    Div,
    /// Sign of x; x%0 = 0.
    Rem,
    Max,
    Min,
    And,
    Or,
    Xor,
    /// The amount modulo the width.
    Shl,
    /// Filling with the sign; the amount modulo the width.
    Shr,
    /// Wrapping; of a negative exponent 1/x^|y| towards zero, 0 for x = 0.
    Pow,
}

/// A function of one integer of a type.
pub fn int_unary(op: IntUnary, ty: Type, x: i128) -> i128 {
    match op {
        IntUnary::Not if ty == Type::Bool => 1 - x,
        IntUnary::Neg => ty.wrap(-x),
        IntUnary::Abs => ty.wrap(x.abs()),
        IntUnary::Sign => x.signum(),
        IntUnary::Not => ty.wrap(!x),
    }
}

/// A function of two integers of a type.
pub fn int_binary(op: IntBinary, ty: Type, x: i128, y: i128) -> i128 {
    let width = 8 * ty.bytes() as i128;
    let raw = match op {
        IntBinary::Add => x + y,
        IntBinary::Sub => x - y,
        IntBinary::Mul => x.wrapping_mul(y),
        IntBinary::Div if y == 0 => 0,
        IntBinary::Div => x / y,
        IntBinary::Rem if y == 0 => 0,
        IntBinary::Rem => x % y,
        IntBinary::Max => x.max(y),
        IntBinary::Min => x.min(y),
        IntBinary::And => x & y,
        IntBinary::Or => x | y,
        IntBinary::Xor => x ^ y,
        IntBinary::Shl => x << y.rem_euclid(width),
        IntBinary::Shr => x >> y.rem_euclid(width),
        IntBinary::Pow => int_pow(ty, x, y),
    };
    ty.wrap(raw)
}

fn int_pow(ty: Type, x: i128, y: i128) -> i128 {
    if y < 0 {
        return match x {
            1 => 1,
            -1 => 1 - 2 * (y & 1),
            _ => 0,
        };
    }
    let (mut result, mut base, mut left) = (1, x, y);
    while left > 0 {
        if left & 1 == 1 {
            result = ty.wrap(base.wrapping_mul(result));
        }
        base = ty.wrap(base.wrapping_mul(base));
        left >>= 1;
    }
    result
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the field's own names
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    /// All of them.
    pub const ALL: [Comparison; 6] =
        [Comparison::Eq, Comparison::Ne, Comparison::Lt, Comparison::Le, Comparison::Gt, Comparison::Ge];

    /// Of an ordering; `None` where NaN takes part, which differs from everything and is not ordered.
    pub fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Comparison::Eq => order == Some(Ordering::Equal),
            Comparison::Ne => order != Some(Ordering::Equal),
            Comparison::Lt => order == Some(Ordering::Less),
            Comparison::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Gt => order == Some(Ordering::Greater),
            Comparison::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// Comparison of values of one type; the result is bool.
///
/// # Panics
/// When one is of floats and the other of integers.
pub fn compare(op: Comparison, x: &Data, y: &Data) -> Data {
    Data::Int(match (x, y) {
        (Data::Real(x), Data::Real(y)) => x.zip(y, |x, y| op.holds(x.value.partial_cmp(&y.value)) as i128),
        (Data::Int(x), Data::Int(y)) => x.zip(y, |x, y| op.holds(x.partial_cmp(y)) as i128),
        _ => panic!("floats compared with integers"),
    })
}

/// Where the condition is not 0 the element of `x`, elsewhere that of `y`; all three broadcast.
pub fn choose<T: Clone>(condition: &Array<i128>, x: &Array<T>, y: &Array<T>) -> Array<T> {
    let both = x.zip(y, |x, y| (x.clone(), y.clone()));
    condition.zip(&both, |&c, (x, y)| if c != 0 { x.clone() } else { y.clone() })
}

/// Conversion: float to integer truncates and saturates, NaN gives 0; to bool is ≠ 0; integers wrap; to floats rounds to nearest even.
pub fn cast(x: &Data, to: Type) -> Data {
    match (x, to.format()) {
        (Data::Real(x), Some(format)) => Data::Real(x.map(|x| Number::from(format.round(x.value)))),
        (Data::Int(x), Some(format)) => Data::Real(x.map(|&x| Number::from(format.round(Wide::from_int(x))))),
        (Data::Real(x), None) => Data::Int(x.map(|x| saturated(x.value.hi, to))),
        (Data::Int(x), None) => Data::Int(x.map(|&x| to.wrap(x))),
    }
}

fn saturated(x: f64, to: Type) -> i128 {
    match to.range() {
        _ if to == Type::Bool => (x != 0.0) as i128,
        // `as` of the language saturates at i128 and gives 0 for NaN.
        Some((low, high)) => (x.trunc() as i128).clamp(low, high),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_the_compiler_has_them() {
        for x in i8::MIN..=i8::MAX {
            let wide = x as i128;
            assert_eq!(int_unary(IntUnary::Neg, Type::I8, wide), x.wrapping_neg() as i128);
            assert_eq!(int_unary(IntUnary::Abs, Type::I8, wide), x.wrapping_abs() as i128);
            assert_eq!(int_unary(IntUnary::Not, Type::I8, wide), !x as i128);
            assert_eq!(int_unary(IntUnary::Not, Type::U8, x as u8 as i128), !(x as u8) as i128);
            for y in [-128i8, -7, -1, 0, 1, 3, 9, 127] {
                let is = |op, want: i8| {
                    assert_eq!(int_binary(op, Type::I8, wide, y as i128), want as i128, "{op:?} {x} {y}")
                };
                is(IntBinary::Add, x.wrapping_add(y));
                is(IntBinary::Sub, x.wrapping_sub(y));
                is(IntBinary::Mul, x.wrapping_mul(y));
                is(IntBinary::Div, if y == 0 { 0 } else { x.wrapping_div(y) });
                is(IntBinary::Rem, if y == 0 { 0 } else { x.wrapping_rem(y) });
                is(IntBinary::Shl, x.wrapping_shl(y as u32));
                is(IntBinary::Shr, x.wrapping_shr(y as u32));
                is(IntBinary::Xor, x ^ y);
            }
        }
        assert_eq!(int_binary(IntBinary::Pow, Type::I8, -3, 5), (-3i8).wrapping_pow(5) as i128);
        assert_eq!([2, 1, -1, 0].map(|x| int_binary(IntBinary::Pow, Type::I32, x, -3)), [0, 1, -1, 0]);
        let big = u64::MAX as i128;
        assert_eq!(int_binary(IntBinary::Mul, Type::U64, big, big), u64::MAX.wrapping_mul(u64::MAX) as i128);
        assert_eq!(int_binary(IntBinary::Shl, Type::U64, big, 63), (u64::MAX << 63) as i128);
    }

    #[test]
    fn conversions_as_the_compiler_has_them() {
        for x in
            [0.0f32, -0.5, 0.9, -1.5, 255.9, 256.0, 3e9, -3e9, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]
        {
            let data = Data::Real(Array::new(&[], vec![Number::from(x as f64)]));
            let to = |ty| cast(&data, ty).int().data[0];
            assert_eq!(to(Type::U8), x as u8 as i128);
            assert_eq!(to(Type::I32), x as i32 as i128);
            assert_eq!(to(Type::I64), x as i64 as i128);
            assert_eq!(to(Type::U64), x as u64 as i128);
            assert_eq!(to(Type::Bool), (x != 0.0) as i128);
        }
        for x in [16_777_217i64, -16_777_219, i64::MAX, i64::MIN, 0, (1 << 60) + 1] {
            let data = Data::Int(Array::new(&[], vec![x as i128]));
            assert_eq!(cast(&data, Type::F32).real().data[0].value.hi, x as f32 as f64);
            assert_eq!(cast(&data, Type::F64).real().data[0].value.hi, x as f64);
            assert_eq!(cast(&data, Type::U8).int().data[0], x as u8 as i128);
        }
    }

    #[test]
    fn nan_is_equal_to_nothing_and_chosen_like_any_other() {
        let x = Data::Real(Array::new(&[2], vec![Number::from(f64::NAN), Number::from(-0.0)]));
        assert_eq!(compare(Comparison::Eq, &x, &x).int().data, [0, 1]);
        assert_eq!(compare(Comparison::Ne, &x, &x).int().data, [1, 0]);
        let c = Array::new(&[2, 1], vec![1, 0]);
        let y = choose(&c, x.real(), &Array::full(&[], Number::ZERO));
        assert!(y.data[0].is_nan() && y.data[2] == Number::ZERO && y.shape == [2, 2]);
    }
}
