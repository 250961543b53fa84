//! Small functions that the printed module defines for itself, where an expression would repeat its operand or a compiler
//! must not know the argument.

use super::Shape;
use crate::{DType, ir::UnaryOp};
use std::collections::BTreeSet;

/// The name of a shape's type; what the target has was checked where values are declared.
pub(super) fn name(s: Shape) -> String {
    let one = one(s.d);
    if s.lanes == 1 { one.into() } else { format!("vec{}<{one}>", s.lanes) }
}

fn one(d: DType) -> &'static str {
    match d {
        DType::Bool => "bool",
        DType::I32 => "i32",
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::I8 | DType::I16 => "i16",
        DType::U8 | DType::U16 => "u16",
        DType::I64 => "i64",
        DType::U64 => "u64",
        DType::F64 => "f64",
        DType::U32 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => "u32",
    }
}

/// A name for functions on this shape.
fn tag(s: Shape) -> String {
    if s.lanes == 1 { one(s.d).into() } else { format!("{}x{}", one(s.d), s.lanes) }
}

/// The functions that a module needs, each once, in the order of first use.
#[derive(Default)]
pub(super) struct Helpers {
    names: BTreeSet<String>,
    pub texts: Vec<String>,
}

impl Helpers {
    fn need(&mut self, name: String, text: impl FnOnce(&mut Helpers, &str) -> String) -> String {
        if self.names.insert(name.clone()) {
            let text = text(self, &name);
            self.texts.push(text);
        }
        name
    }

    fn literal(&mut self, s: Shape, bits: u64) -> String {
        super::number::literal(s, bits, self)
    }

    fn number(&mut self, s: Shape, x: f64) -> String {
        self.literal(s, crate::ir::build::encode_f64(s.d.into(), x))
    }

    /// A float from its bits. The argument of a function is known to no compiler when it looks for numbers that do not exist.
    pub fn bits(&mut self, d: DType) -> String {
        self.need(format!("bits_{}", one(d)), |_, name| match d {
            DType::F16 => format!("fn {name}(x: u32) -> f16 {{\n    return f16(unpack2x16float(x).x);\n}}\n"),
            DType::F64 => format!("fn {name}(x: u64) -> f64 {{\n    return bitcast<f64>(x);\n}}\n"),
            _ => format!("fn {name}(x: u32) -> f32 {{\n    return bitcast<f32>(x);\n}}\n"),
        })
    }

    /// `x / 0 = 0`, `x % 0 = 0`, `MIN / -1 = MIN`, `MIN % -1 = 0`.
    pub fn division(&mut self, s: Shape, rem: bool) -> String {
        let t = name(s);
        self.need(format!("{}_{}", if rem { "rem" } else { "div" }, tag(s)), |h, name| {
            let (zero, one) = (h.literal(s, 0), h.number(s, 1.0));
            let bits = s.d.size() * 8;
            let mut bad = format!("b == {zero}");
            if s.d.is_signed() {
                let (min, minus) = (h.literal(s, 1 << (bits - 1)), h.literal(s, u64::MAX >> (64 - bits)));
                bad = format!("({bad}) | ((a == {min}) & (b == {minus}))");
            }
            // MIN / 1 is MIN, and the remainder of 1 is 0: right in both cases.
            let result = match rem {
                // The remainder of negative numbers is anything in GLSL, which naga prints it in.
                true if s.d.is_signed() => "a - (a / by) * by".to_string(),
                true => "a % by".to_string(),
                false => format!("select(a / by, {zero}, b == {zero})"),
            };
            format!(
                "fn {name}(a: {t}, b: {t}) -> {t} {{\n    let by = select(b, {one}, {bad});\n    return {result};\n}}\n"
            )
        })
    }

    /// Minimum or maximum; NaN when either is NaN.
    pub fn min_max(&mut self, s: Shape, max: bool) -> String {
        let t = name(s);
        let (which, sign) = if max { ("max", ">") } else { ("min", "<") };
        self.need(format!("{which}_{}", tag(s)), |h, name| {
            let nan = h.is_nan(s);
            format!("fn {name}(a: {t}, b: {t}) -> {t} {{\n    return select(b, a, (a {sign} b) | {nan}(a));\n}}\n")
        })
    }

    /// -1, 0 or 1; zeros and NaN stay.
    pub fn sign(&mut self, s: Shape) -> String {
        let t = name(s);
        self.need(format!("sign_{}", tag(s)), |h, name| {
            let (zero, one) = (h.literal(s, 0), h.number(s, 1.0));
            let below = match s.d.is_float() || s.d.is_signed() {
                true => {
                    let minus = h.number(s, -1.0);
                    format!("select(a, {minus}, a < {zero})")
                }
                false => "a".into(),
            };
            format!("fn {name}(a: {t}) -> {t} {{\n    return select({below}, {one}, a > {zero});\n}}\n")
        })
    }

    /// NaN by its bits: compilers may assume that there is none.
    pub fn is_nan(&mut self, s: Shape) -> String {
        self.compared(s, "nan", ">")
    }

    /// Infinity by its bits.
    pub fn is_inf(&mut self, s: Shape) -> String {
        self.compared(s, "inf", "==")
    }

    fn compared(&mut self, s: Shape, what: &str, op: &str) -> String {
        let t = name(s);
        let bool = name(Shape { d: DType::Bool, ..s });
        self.need(format!("is_{what}_{}", tag(s)), |h, function| {
            let (d, inf, x) = match s.d {
                DType::F64 => (DType::U64, 0x7ff0_0000_0000_0000, "x".to_string()),
                // Every f16 is an f32.
                DType::F16 => (DType::U32, 0x7f80_0000, format!("{}(x)", name(Shape { d: DType::F32, ..s }))),
                _ => (DType::U32, 0x7f80_0000, "x".to_string()),
            };
            let u = Shape { d, ..s };
            let (mask, inf) = (h.literal(u, u64::MAX >> if d == DType::U64 { 1 } else { 33 }), h.literal(u, inf));
            let u = name(u);
            format!("fn {function}(x: {t}) -> {bool} {{\n    return (bitcast<{u}>({x}) & {mask}) {op} {inf};\n}}\n")
        })
    }

    /// Bits of 16- and 64-bit integers, counted in 32-bit ones.
    pub fn counting(&mut self, op: UnaryOp, s: Shape) -> String {
        let (t, what) = (name(s), format!("{op:?}").to_lowercase());
        self.need(format!("{what}_{}", tag(s)), |h, function| {
            let words = Shape { d: DType::U32, ..s };
            let u = name(words);
            let n = |h: &mut Helpers, x: u64| h.literal(words, x);
            let (w16, w32, ones) = (n(h, 16), n(h, 32), n(h, 0xffff));
            let body = match (s.d.size(), op) {
                (2, UnaryOp::CountOnes) => format!("return {t}(countOneBits({u}(x) & {ones}));"),
                (2, UnaryOp::LeadingZeros) => format!("return {t}(countLeadingZeros({u}(x) & {ones}) - {w16});"),
                (2, _) => format!("return {t}(min(countTrailingZeros({u}(x)), {w16}));"),
                (_, op) => {
                    let halves = format!("let low = {u}(x);\n    let high = {u}(x >> {w32});\n    ");
                    let count = match op {
                        UnaryOp::CountOnes => "countOneBits(low) + countOneBits(high)".to_string(),
                        UnaryOp::LeadingZeros => {
                            let lower = format!("{w32} + countLeadingZeros(low)");
                            format!("select(countLeadingZeros(high), {lower}, high == {})", n(h, 0))
                        }
                        _ => {
                            let upper = format!("{w32} + countTrailingZeros(high)");
                            format!("select(countTrailingZeros(low), {upper}, low == {})", n(h, 0))
                        }
                    };
                    format!("{halves}return {t}({count});")
                }
            };
            format!("fn {function}(x: {t}) -> {t} {{\n    {body}\n}}\n")
        })
    }

    /// f64 to f16, rounded once: to f32 with the last bit set where something is lost, then to f16.
    pub fn half_of_double(&mut self, lanes: u8) -> String {
        let of = |d: DType| Shape { d, lanes };
        self.need(format!("{}_of_f64", tag(of(DType::F16))), |h, function| {
            let [half, double, single, u] =
                [DType::F16, DType::F64, DType::F32, DType::U32].map(|d| name(of(d)));
            let words = of(DType::U32);
            let (one, zero, rest, inf) =
                (h.literal(words, 1), h.literal(words, 0), h.literal(words, 0x7fff_ffff), h.literal(words, 0x7f80_0000));
            format!(
                "fn {function}(x: {double}) -> {half} {{\n    let near = {single}(x);\n    let back = {double}(near);\n    \
                 let bits = bitcast<{u}>(near);\n    \
                 let lost = (!(back == x)) & ((bits & {one}) == {zero}) & ((bits & {rest}) < {inf});\n    \
                 let odd = select(bits + {one}, bits - {one}, abs(back) > abs(x));\n    \
                 return {half}(bitcast<{single}>(select(bits, odd, lost)));\n}}\n"
            )
        })
    }

    /// u32 to f32 by its halves, which are exact: only their sum is rounded.
    pub fn single_of_word(&mut self, lanes: u8) -> String {
        let (words, single) = (Shape { d: DType::U32, lanes }, Shape { d: DType::F32, lanes });
        self.need(format!("{}_of_{}", tag(single), tag(words)), |h, function| {
            let (u, f) = (name(words), name(single));
            let (bits, mask, scale) = (h.literal(words, 16), h.literal(words, 0xffff), h.number(single, 65536.0));
            format!("fn {function}(x: {u}) -> {f} {{\n    return {f}(x >> {bits}) * {scale} + {f}(x & {mask});\n}}\n")
        })
    }

    /// Float to integer: towards zero, saturating, NaN gives 0.
    pub fn saturate(&mut self, from: Shape, to: Shape) -> String {
        let (f, t) = (name(from), name(to));
        self.need(format!("{}_of_{}", tag(to), tag(from)), |h, name| {
            let bits = to.d.size() as i32 * 8;
            let (low, high, min, max) = if to.d.is_signed() {
                let top = 2f64.powi(bits - 1);
                (-top, top, 1u64 << (bits - 1), (u64::MAX >> (64 - bits)) >> 1)
            } else {
                (0.0, 2f64.powi(bits), 0, u64::MAX >> (64 - bits))
            };
            let (low, high, zero) = (h.number(from, low), h.number(from, high), h.literal(from, 0));
            let (min, max) = (h.literal(to, min), h.literal(to, max));
            format!(
                "fn {name}(x: {f}) -> {t} {{\n    let inside = select({zero}, x, (x >= {low}) & (x < {high}));\n    \
                 return select(select({t}(inside), {max}, x >= {high}), {min}, x < {low});\n}}\n"
            )
        })
    }
}
