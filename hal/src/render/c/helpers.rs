//! Small functions that the printed text defines for itself, where an expression would repeat its operand, and the
//! spelling of operations by shape.

use super::Dialect;
use crate::DType;
use std::collections::BTreeSet;

/// How values are held in C: a scalar type and a number of lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub d: DType,
    pub name: &'static str,
    pub lanes: u8,
    /// The dialect's names of scalar types.
    pub scalar: fn(DType) -> Option<&'static str>,
}

/// Where a function of the driver's is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Range {
    /// Everywhere but for NaN.
    Numbers,
    /// Not for infinities either.
    Finite,
    /// Where numbers have a fractional part.
    Fractions,
}

impl Shape {
    /// The type's name.
    pub fn c(self) -> String {
        if self.lanes == 1 { self.name.to_string() } else { format!("{}{}", self.name, self.lanes) }
    }

    fn literal(self, bits: u64) -> String {
        let one = super::number::literal(self.d, self.name, bits);
        if self.lanes == 1 { one } else { format!("(({})({one}))", self.c()) }
    }

    fn number(self, x: f64) -> String {
        self.literal(crate::ir::build::encode_f64(self.d.into(), x))
    }

    pub fn zero(self) -> String {
        self.literal(0)
    }

    pub fn one(self) -> String {
        self.number(1.0)
    }

    fn bits(self) -> usize {
        self.d.size() * 8
    }

    /// The signed integer type of the same width, which comparisons of vectors give.
    fn signed_name(self) -> &'static str {
        self.named(match self.d.size() {
            1 => DType::I8,
            2 => DType::I16,
            4 => DType::I32,
            _ => DType::I64,
        })
    }

    /// The unsigned integer type of the same width.
    pub fn unsigned_name(self) -> &'static str {
        self.named(match self.d.size() {
            1 => DType::U8,
            2 => DType::U16,
            4 => DType::U32,
            _ => DType::U64,
        })
    }

    /// Every dialect has all integers.
    fn named(self, d: DType) -> &'static str {
        (self.scalar)(d).unwrap_or(self.name)
    }

    /// A name for functions on this shape.
    fn tag(self) -> String {
        self.c()
    }

    /// The same bits as this type.
    pub fn reinterpret(self, x: &str) -> String {
        format!("as_{}({x})", self.c())
    }

    /// A conversion that needs no care: it cannot leave the range.
    pub fn convert(self, x: &str) -> String {
        if self.lanes == 1 { format!("(({}){x})", self.name) } else { format!("convert_{}({x})", self.c()) }
    }

    /// A vector of bool (lanes of `int`) as the mask that `select` wants beside operands of this shape.
    pub fn mask(self, x: &str) -> String {
        let name = self.signed_name();
        match self.d.size() {
            4 => x.to_string(),
            // Compared again: rusticl 22.3 chooses wrongly by a mask that was only widened.
            8 => format!("(convert_{name}{0}({x}) != (({name}{0})(0)))", self.lanes),
            _ => format!("convert_{name}{}({x})", self.lanes),
        }
    }

    /// The result of a comparison of values of this shape as a bool.
    pub fn bool_of(self, x: &str) -> String {
        if self.lanes == 1 || self.d.size() == 4 { x.to_string() } else { format!("convert_int{}({x})", self.lanes) }
    }

    /// Cast back to the type after C promoted it to `int`.
    pub fn narrow(self, x: String) -> String {
        if self.lanes == 1 && self.d.size() < 4 && self.d != DType::Bool { format!("(({}){x})", self.name) } else { x }
    }

    /// Integer arithmetic modulo the width: on the unsigned type, because signed overflow is undefined.
    pub fn wrapping(self, op: &str, x: &str, y: &str) -> String {
        if self.lanes == 1 && self.d.size() < 4 {
            format!("(({})((uint){x} {op} (uint){y}))", self.name)
        } else if self.d.is_signed() {
            let u = if self.lanes == 1 {
                self.unsigned_name().into()
            } else {
                format!("{}{}", self.unsigned_name(), self.lanes)
            };
            self.reinterpret(&format!("as_{u}({x}) {op} as_{u}({y})"))
        } else {
            format!("({x} {op} {y})")
        }
    }

    /// A shift by the amount modulo the width.
    pub fn shift(self, op: &str, x: &str, y: &str) -> String {
        let amount = format!("({y} & {})", self.literal(self.bits() as u64 - 1));
        if self.lanes == 1 && self.d.size() < 4 {
            if op == "<<" {
                format!("(({})((uint){x} << {amount}))", self.name)
            } else {
                format!("(({})({x} >> {amount}))", self.name)
            }
        } else if self.d.is_signed() && op == "<<" {
            let u = if self.lanes == 1 {
                self.unsigned_name().into()
            } else {
                format!("{}{}", self.unsigned_name(), self.lanes)
            };
            self.reinterpret(&format!("as_{u}({x}) << as_{u}({amount})"))
        } else {
            format!("({x} {op} {amount})")
        }
    }

    /// `mask ? yes : no` for the result of a comparison of values of this shape.
    fn pick(self, mask: &str, yes: &str, no: &str) -> String {
        if self.lanes == 1 { format!("({mask} ? {yes} : {no})") } else { format!("select({no}, {yes}, {mask})") }
    }

    /// The unsigned type of the same width for integers, itself for others.
    pub fn unsigned_or_same(self) -> Shape {
        let d = match self.d {
            DType::I8 => DType::U8,
            DType::I16 => DType::U16,
            DType::I32 => DType::U32,
            DType::I64 => DType::U64,
            other => other,
        };
        Shape { d, name: self.named(d), ..self }
    }
}

/// The functions that a text needs, each once, in the order of first use.
pub(super) struct Helpers {
    names: BTreeSet<String>,
    pub texts: Vec<String>,
    /// What stands before a function.
    function: &'static str,
    /// Qualifier of a lane's own memory.
    private: &'static str,
}

impl Helpers {
    pub fn new(d: &Dialect) -> Helpers {
        Helpers { names: BTreeSet::new(), texts: vec![], function: d.function, private: d.private }
    }

    /// `text` gives what follows the qualifiers of the function.
    fn need(&mut self, name: String, text: impl FnOnce(&str) -> String) -> String {
        if self.names.insert(name.clone()) {
            self.texts.push(format!("{}{}", self.function, text(&name)));
        }
        name
    }

    /// `x / 0 = 0`, `x % 0 = 0`, `MIN / -1 = MIN`, `MIN % -1 = 0`.
    pub fn division(&mut self, s: Shape, rem: bool) -> String {
        let t = s.c();
        self.need(format!("{}_{}", if rem { "rem" } else { "div" }, s.tag()), |name| {
            let zero = format!("b == {}", s.zero());
            let bad = if s.d.is_signed() {
                let min = s.literal(1 << (s.bits() - 1));
                format!("(({zero}) | ((a == {min}) & (b == {})))", s.literal(u64::MAX >> (64 - s.bits())))
            } else {
                format!("({zero})")
            };
            let by = s.pick(&bad, &s.one(), "b");
            let result = if rem {
                // Modulo 1 is 0, which is right in both cases.
                s.narrow("(a % by)".into())
            } else {
                s.pick(&format!("({zero})"), &s.zero(), &s.narrow("(a / by)".into()))
            };
            format!("{t} {name}({t} a, {t} b) {{\n    {t} by = {by};\n    return {result};\n}}\n")
        })
    }

    /// Minimum or maximum; NaN when either is NaN.
    pub fn min_max(&mut self, s: Shape, max: bool) -> String {
        let t = s.c();
        let (name, sign) = if max { ("max", ">") } else { ("min", "<") };
        self.need(format!("{name}_{}", s.tag()), |name| {
            let first = s.pick(&format!("((a {sign} b) | (a != a))"), "a", "b");
            format!("{t} {name}({t} a, {t} b) {{\n    return {first};\n}}\n")
        })
    }

    /// -1, 0 or 1; zeros and NaN stay.
    pub fn sign(&mut self, s: Shape) -> String {
        let t = s.c();
        self.need(format!("sign_{}", s.tag()), |name| {
            let zero = s.zero();
            if s.lanes == 1 && !s.d.is_float() {
                // Not by choosing: rusticl on llvmpipe 22.3 dies on choices among constants of 8 bits.
                let number = if s.d.is_signed() { "(a > 0) - (a < 0)" } else { "a != 0" };
                return format!("{t} {name}({t} a) {{\n    return ({t})({number});\n}}\n");
            }
            let below = if s.d.is_float() || s.d.is_signed() {
                s.pick(&format!("(a < {zero})"), &s.number(-1.0), "a")
            } else {
                "a".into()
            };
            let result = s.pick(&format!("(a > {zero})"), &s.one(), &below);
            format!("{t} {name}({t} a) {{\n    return {result};\n}}\n")
        })
    }

    /// ±1 from where on the nearest number to the hyperbolic tangent is that; below, what is printed as `inside`.
    pub fn tanh(&mut self, s: Shape, inside: &str) -> String {
        let t = s.c();
        self.need(format!("tanh_to_one_{}", s.tag()), |name| {
            let from = s.number(if s.d == DType::F64 { 20.0 } else { 10.0 });
            let result = s.pick(&format!("(fabs(x) >= {from})"), &format!("copysign({}, x)", s.one()), inside);
            format!("{t} {name}({t} x) {{\n    return {result};\n}}\n")
        })
    }

    /// `f` inside its range, by halves of a vector where asked for; outside what is its limit: NaN, or the argument.
    pub fn in_range(&mut self, f: &'static str, range: Range, s: Shape, by_elements: bool) -> String {
        let t = s.c();
        self.need(format!("{f}_{}", s.tag()), |name| {
            let whole = match s.d {
                DType::F64 => 52,
                DType::F16 => 10,
                _ => 23,
            };
            let (inside, outside) = match range {
                Range::Numbers => ("(x == x)".to_string(), "x"),
                Range::Finite => ("((x - x) == (x - x))".to_string(), "(x - x)"),
                Range::Fractions => (format!("(fabs(x) < {})", s.number(2f64.powi(whole))), "x"),
            };
            let each: Vec<String> = (0..s.lanes).map(|i| format!("{f}(x.s{i:x})")).collect();
            let value = if by_elements { format!("({t})({})", each.join(", ")) } else { format!("{f}(x)") };
            let result = s.pick(&inside, &value, outside);
            format!("{t} {name}({t} x) {{\n    return {result};\n}}\n")
        })
    }

    /// A power, of which NaN is asked for nowhere: 1 to any power and any number to the power of 0 are 1.
    pub fn pow(&mut self, s: Shape) -> String {
        let t = s.c();
        self.need(format!("pow_{}", s.tag()), |name| {
            let one = s.pick(&format!("((a == {}) | (b == {}))", s.one(), s.zero()), &s.one(), "(a + b)");
            let result = s.pick("((a == a) & (b == b))", "pow(a, b)", &one);
            format!("{t} {name}({t} a, {t} b) {{\n    return {result};\n}}\n")
        })
    }

    /// Zeros below the lowest one; the width for 0.
    pub fn trailing_zeros(&mut self, s: Shape) -> String {
        let t = s.c();
        self.need(format!("ctz_{}", s.tag()), |name| {
            let below = s.wrapping("-", "a", &s.one());
            let ones = s.narrow(format!("(~a & {below})"));
            format!("{t} {name}({t} a) {{\n    return popcount({ones});\n}}\n")
        })
    }

    /// Float to integer: towards zero, saturating, NaN gives 0. `u` is the unsigned type of `to`'s width.
    pub fn saturate(&mut self, from: Shape, to: Shape, u: Shape) -> String {
        let (f, t) = (from.c(), to.c());
        self.need(format!("{}_of_{}", to.tag(), from.tag()), |name| {
            let bits = to.bits() as i32;
            let (low, high, min, max) = if to.d.is_signed() {
                let top = 2f64.powi(bits - 1);
                (-top, top, 1u64 << (bits - 1), (u64::MAX >> (64 - bits)) >> 1)
            } else {
                (0.0, 2f64.powi(bits), 0, u64::MAX >> (64 - bits))
            };
            debug_assert_eq!(u.bits(), to.bits());
            if bits < if from.d == DType::F64 { 53 } else { 24 } {
                // Every number of the integer is one of the float: the float is cut to the range first.
                let largest = if to.d.is_signed() { 2f64.powi(bits - 1) } else { 2f64.powi(bits) } - 1.0;
                let number = from.pick("(x == x)", "x", &from.zero());
                let cut = format!("fmin(fmax({number}, {}), {})", from.number(low), from.number(largest));
                return format!("{t} {name}({f} x) {{\n    return {};\n}}\n", to.convert(&cut));
            }
            let (low, high) = (from.number(low), from.number(high));
            // Comparisons of `from` pick values of `to`: the masks are converted to its width.
            let mask = |m: String| {
                if to.lanes == 1 || from.d.size() == to.d.size() {
                    m
                } else if from.d.size() == 4 {
                    to.mask(&m)
                } else {
                    format!("convert_{}{}({m})", to.signed_name(), to.lanes)
                }
            };
            let inside = from.pick(&format!("((x >= {low}) & (x < {high}))"), "x", &from.zero());
            let above = to.pick(&mask(format!("(x >= {high})")), &to.literal(max), "r");
            let below = to.pick(&mask(format!("(x < {low})")), &to.literal(min), "r");
            format!(
                "{t} {name}({f} x) {{\n    {t} r = {};\n    r = {above};\n    return {below};\n}}\n",
                to.convert(&format!("({inside})"))
            )
        })
    }

    /// Rounds a float to the nearest number that a `small` float (`half`) can hold, by way of memory: the only path without
    /// arithmetic.
    pub fn round_small(&mut self, small: &str, from: Shape) -> String {
        let (f, private) = (from.c(), self.private);
        self.need(format!("{small}_of_{}", from.tag()), |name| {
            let n = width(from.lanes);
            let result = if from.lanes == 1 { "float".to_string() } else { format!("float{n}") };
            format!(
                "{result} {name}({f} x) {{\n    ushort bits[{0}];\n    vstore_{small}{n}_rte(x, 0, ({private}{small}*)bits);\n    return vload_{small}{n}(0, (const {private}{small}*)bits);\n}}\n",
                from.lanes
            )
        })
    }

    /// The number whose bits, as a `small` float, these are.
    pub fn small_of_bits(&mut self, small: &str, lanes: u8) -> String {
        let (n, private) = (width(lanes), self.private);
        self.need(format!("{small}_of_bits{n}"), |name| {
            let read = |to: &str| format!("vload_{small}{n}(0, (const {private}{small}*){to})");
            if lanes == 1 {
                format!("float {name}(ushort x) {{\n    return {};\n}}\n", read("&x"))
            } else {
                format!(
                    "float{n} {name}(ushort{n} x) {{\n    ushort bits[{n}];\n    vstore{n}(x, 0, bits);\n    return {};\n}}\n",
                    read("bits")
                )
            }
        })
    }

    /// The bits of a number as a `small` float.
    pub fn bits_of_small(&mut self, small: &str, lanes: u8) -> String {
        let (n, private) = (width(lanes), self.private);
        self.need(format!("bits_of_{small}{n}"), |name| {
            let load = if lanes == 1 { "bits[0]".to_string() } else { format!("vload{n}(0, bits)") };
            format!(
                "ushort{n} {name}(float{n} x) {{\n    ushort bits[{lanes}];\n    vstore_{small}{n}_rte(x, 0, ({private}{small}*)bits);\n    return {load};\n}}\n"
            )
        })
    }

    /// A float atomic by compare-exchange on its bits: `atomic_add` takes integers only.
    pub fn float_add(&mut self, s: Shape, space: &str) -> String {
        let (t, u) = (s.name, s.unsigned_name());
        let cmpxchg = if s.d == DType::F64 { "atom_cmpxchg" } else { "atomic_cmpxchg" };
        self.need(format!("atomic_add_{t}_{}", space.trim().trim_matches('_')), |name| {
            format!(
                "{t} {name}(volatile {space}{t}* p, {t} x) {{\n    volatile {space}{u}* bits = (volatile {space}{u}*)p;\n    {u} old = *bits;\n    for (;;) {{\n        {u} seen = {cmpxchg}(bits, old, as_{u}(as_{t}(old) + x));\n        if (seen == old) return as_{t}(old);\n        old = seen;\n    }}\n}}\n"
            )
        })
    }
}

/// The number in a function's name: nothing for scalars.
fn width(lanes: u8) -> String {
    if lanes == 1 { String::new() } else { lanes.to_string() }
}
