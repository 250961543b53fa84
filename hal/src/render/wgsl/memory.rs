//! Loads, stores and atomics.

use super::{Printer, Shape};
use crate::{DType, Result, ir::*};

impl Printer<'_> {
    fn place_type(&self, place: Place) -> DType {
        self.held(match place {
            Place::Buffer(p) => match self.k.params[p.at()].kind {
                ParamKind::Buffer { elem, .. } => Elem::D(elem),
                ParamKind::Scalar { elem, .. } => elem,
            },
            Place::Shared(s) => self.k.shared[s.at()].elem,
            Place::Private(a) => self.k.private[a.at()].elem,
        })
    }

    /// An index, `by` elements further. Bindings have less than 2³² elements.
    fn index(&mut self, index: Value, by: usize) -> String {
        let d = self.held(self.k.ty(index).elem().unwrap_or(Elem::Idx));
        if let Some(n) = self.known[index.at()] {
            return format!("{}u", (n as u32).wrapping_add(by as u32));
        }
        let text = self.t(index, 0).to_string();
        let suffix = match d {
            DType::I32 => "i",
            _ => "u",
        };
        let text = if matches!(d, DType::I32 | DType::U32) { text } else { format!("u32({text})") };
        if by == 0 { text } else { format!("{text} + {by}{suffix}") }
    }

    /// Bits that lie where atomics work, as a value of the type.
    fn from_bits(d: DType, bits: String) -> String {
        match d {
            DType::F32 => format!("bitcast<f32>({bits})"),
            DType::F64 => format!("bitcast<f64>({bits})"),
            _ => bits,
        }
    }

    fn to_bits(d: DType, x: &str) -> String {
        match d {
            DType::F32 => format!("bitcast<u32>({x})"),
            DType::F64 => format!("bitcast<u64>({x})"),
            _ => x.to_string(),
        }
    }

    /// Lanes of a buffer's elements, where these are vectors.
    fn view(&self, place: Place) -> Option<u8> {
        match place {
            Place::Buffer(p) => self.views.get(&p).copied(),
            Place::Shared(_) | Place::Private(_) => None,
        }
    }

    /// The index of the `n`-th vector of `lanes` from an element that is the first of one.
    fn vector_index(&mut self, index: Value, lanes: u8, n: u8) -> String {
        match self.known[index.at()] {
            Some(first) => format!("{}u", (first as u32) / u32::from(lanes) + u32::from(n)),
            None => {
                let first = self.index(index, 0);
                let first = format!("(u32({first}) >> {}u)", lanes.trailing_zeros());
                if n == 0 { first } else { format!("{first} + {n}u") }
            }
        }
    }

    /// Parts of so many lanes from a buffer of vectors.
    fn vectors(&mut self, name: &str, index: Value, view: u8, part: u8, lanes: u8) -> Vec<String> {
        let all: Vec<_> = (0..lanes / view).map(|n| format!("{name}[{}]", self.vector_index(index, view, n))).collect();
        match view == part {
            true => all,
            // Vectors of 2, two of them a part.
            false => all.chunks(2).map(|two| format!("vec4({})", two.join(", "))).collect(),
        }
    }

    /// The parts of what is loaded.
    pub(super) fn load(&mut self, place: Place, index: Value, ty: Type) -> Result<Vec<String>> {
        let (name, d, s) = (self.place_name(place), self.place_type(place), self.shape(ty)?);
        if let Some(view) = self.view(place) {
            return Ok(self.vectors(&name, index, view, s.lanes, ty.lanes()));
        }
        let atomic = self.atomic.contains(&place);
        let mut lanes = vec![];
        for lane in 0..usize::from(ty.lanes()) {
            let at = self.index(index, lane);
            lanes.push(match atomic {
                true => Self::from_bits(d, format!("atomicLoad(&{name}[{at}])")),
                false => format!("{name}[{at}]"),
            });
        }
        let t = self.type_name(s)?;
        Ok(lanes
            .chunks(usize::from(s.lanes))
            .map(|part| if part.len() == 1 { part[0].clone() } else { format!("{t}({})", part.join(", ")) })
            .collect())
    }

    pub(super) fn store(&mut self, place: Place, index: Value, value: Value) -> Result<()> {
        let (name, d) = (self.place_name(place), self.place_type(place));
        let atomic = self.atomic.contains(&place);
        let lanes = self.k.ty(value).lanes();
        if let Some(view) = self.view(place) {
            for n in 0..lanes / view {
                let first = n * view;
                let part = self.t(value, usize::from(first / 4)).to_string();
                let x = match view == lanes.min(4) {
                    true => part,
                    false => format!("{part}.{}", if first % 4 == 0 { "xy" } else { "zw" }),
                };
                let at = self.vector_index(index, view, n);
                self.line(&format!("{name}[{at}] = {x};"));
            }
            return Ok(());
        }
        for lane in 0..lanes {
            let at = self.index(index, usize::from(lane));
            let x = self.lane(value, lane);
            let line = match atomic {
                true => format!("atomicStore(&{name}[{at}], {});", Self::to_bits(d, &x)),
                false => format!("{name}[{at}] = {x};"),
            };
            self.line(&line);
        }
        Ok(())
    }

    /// One lane of a value.
    pub(super) fn lane(&self, v: Value, lane: u8) -> String {
        match self.k.ty(v).lanes() {
            1 => self.t(v, 0).to_string(),
            _ => format!("{}.{}", self.t(v, usize::from(lane / 4)), ["x", "y", "z", "w"][usize::from(lane % 4)]),
        }
    }

    /// Prints an atomic; gives the old value where it is asked for.
    pub(super) fn read_modify_write(
        &mut self,
        op: AtomicOp,
        place: Place,
        index: Value,
        value: Value,
        compare: Option<Value>,
        wanted: bool,
    ) -> Result<Option<String>> {
        let d = self.place_type(place);
        let p = format!("&{}[{}]", self.place_name(place), self.index(index, 0));
        let x = self.t(value, 0).to_string();
        let float = d.is_float();
        let bits = Self::to_bits(d, &x);
        let simple = match op {
            AtomicOp::Add if float => return self.float_add(&p, d, &x).map(Some),
            AtomicOp::CompareExchange => {
                let with = compare.map_or("0".to_string(), |c| Self::to_bits(d, self.t(c, 0)));
                return self.compare_exchange(&p, d, &with, &bits).map(Some);
            }
            AtomicOp::Store => {
                self.line(&format!("atomicStore({p}, {bits});"));
                return Ok(None);
            }
            AtomicOp::Load => format!("atomicLoad({p})"),
            AtomicOp::Add => format!("atomicAdd({p}, {x})"),
            AtomicOp::Min => format!("atomicMin({p}, {x})"),
            AtomicOp::Max => format!("atomicMax({p}, {x})"),
            AtomicOp::And => format!("atomicAnd({p}, {x})"),
            AtomicOp::Or => format!("atomicOr({p}, {x})"),
            AtomicOp::Xor => format!("atomicXor({p}, {x})"),
            AtomicOp::Exchange => format!("atomicExchange({p}, {bits})"),
        };
        Ok(match (wanted, op) {
            (true, _) => Some(Self::from_bits(d, simple)),
            (false, AtomicOp::Load) => None,
            (false, _) => {
                self.line(&format!("{simple};"));
                None
            }
        })
    }

    /// The name of a variable that holds the old bits.
    fn old(&mut self, d: DType, from: &str) -> Result<String> {
        let bits = match d {
            DType::F32 => DType::U32,
            DType::F64 => DType::U64,
            d => d,
        };
        let name = self.fresh();
        let t = self.type_name(Shape { d: bits, lanes: 1 })?;
        self.line(&format!("var {name}: {t} = {from};"));
        Ok(name)
    }

    /// By compare-exchange on the bits: WGSL's atomics are integers.
    fn float_add(&mut self, p: &str, d: DType, x: &str) -> Result<String> {
        let old = self.old(d, &format!("atomicLoad({p})"))?;
        let sum = Self::to_bits(d, &format!("{} + {x}", Self::from_bits(d, old.clone())));
        self.line("loop {");
        self.line(&format!("    let seen = atomicCompareExchangeWeak({p}, {old}, {sum});"));
        self.line("    if (seen.exchanged) { break; }");
        self.line(&format!("    {old} = seen.old_value;"));
        self.line("}");
        Ok(Self::from_bits(d, old))
    }

    /// WGSL's may fail for no reason: again, until another value was there.
    fn compare_exchange(&mut self, p: &str, d: DType, with: &str, x: &str) -> Result<String> {
        let old = self.old(d, with)?;
        self.line("loop {");
        self.line(&format!("    let seen = atomicCompareExchangeWeak({p}, {with}, {x});"));
        self.line(&format!("    {old} = seen.old_value;"));
        self.line(&format!("    if (seen.exchanged || {old} != {with}) {{ break; }}"));
        self.line("}");
        Ok(Self::from_bits(d, old))
    }
}
