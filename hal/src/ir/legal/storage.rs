//! Elements of 8 and 16 bits in buffers of 32-bit words, for devices that read and write whole words only.
//!
//! A load shifts and masks, and reads no word that has none of its elements. A store alters only its own bits, by an atomic
//! And and an atomic Or of the word, so that lanes which write its other elements lose nothing, and neither does what lies
//! beside the binding; a vector that fills whole words, as is seen at run time where nobody promised it, is stored plainly.
//! Indices, offsets and lengths count elements of the original type throughout.

use super::emit::Emit;
use crate::ir::*;

/// The type that holds values of a narrow one: sign-extended, or with zeros.
pub(super) fn holds(d: DType) -> DType {
    if d.is_signed() { DType::I32 } else { DType::U32 }
}

/// Bits of an element.
pub(super) fn width(d: DType) -> u64 {
    8 * d.size() as u64
}

/// All bits of a narrow type.
pub(super) fn mask(d: DType) -> u64 {
    (1 << width(d)) - 1
}

/// Elements of a narrow type in a word.
fn per_word(d: DType) -> u64 {
    4 / d.size() as u64
}

/// Where an element lies: its word, and how far its bits are shifted there (u32).
fn locate(e: &mut Emit, d: DType, index: Value) -> (Value, Value) {
    let word = e.bin_c(BinaryOp::Shr, index, u64::from(per_word(d).trailing_zeros()));
    let at = e.bin_c(BinaryOp::And, index, per_word(d) - 1);
    let at = e.cast(DType::U32, at);
    (word, e.bin_c(BinaryOp::Mul, at, width(d)))
}

/// The element in the low bits of a word, held in 32 bits.
fn low(e: &mut Emit, d: DType, word: Value) -> Value {
    if !d.is_signed() {
        return e.bin_c(BinaryOp::And, word, mask(d));
    }
    let spare = 32 - width(d);
    let top = e.bin_c(BinaryOp::Shl, word, spare);
    let top = e.bitcast(DType::I32, top);
    e.bin_c(BinaryOp::Shr, top, spare)
}

/// The element that lies `by` bits up in a word.
fn shifted(e: &mut Emit, d: DType, word: Value, by: u64) -> Value {
    let moved = if by == 0 { word } else { e.bin_c(BinaryOp::Shr, word, by) };
    low(e, d, moved)
}

/// How a value of so many lanes lies.
enum Span {
    /// It fills this many words.
    Words(u8),
    /// It lies within one word.
    Part,
    /// It has the length of this many words and begins anywhere.
    Across(u8),
    /// Each lane may lie in a word of its own.
    Lanes,
}

fn span(d: DType, lanes: u8, aligned: bool) -> Span {
    match usize::from(lanes) * d.size() {
        _ if lanes == 1 => Span::Part,
        bytes if !aligned && bytes.is_multiple_of(4) => Span::Across((bytes / 4) as u8),
        _ if !aligned => Span::Lanes,
        bytes if bytes.is_multiple_of(4) => Span::Words((bytes / 4) as u8),
        _ => Span::Part,
    }
}

/// True when a store of this form writes whole words only.
pub(super) fn whole(d: DType, lanes: u8, aligned: bool) -> bool {
    matches!(span(d, lanes, aligned), Span::Words(_))
}

/// Lanes of a narrow type from a buffer of words, held in 32 bits; bool as it is.
pub(super) fn load(e: &mut Emit, place: Place, d: DType, index: Value, lanes: u8, aligned: bool) -> Value {
    let mut parts = vec![];
    match span(d, lanes, aligned) {
        Span::Words(n) => {
            let (at, _) = locate(e, d, index);
            let words = e.op(Type::vector(DType::U32, n), Op::Load { place, index: at, aligned: true });
            for i in 0..n {
                let word = if n == 1 { words } else { e.op(Type::U32, Op::Extract(words, i)) };
                parts.extend((0..per_word(d)).map(|k| shifted(e, d, word, k * width(d))));
            }
        }
        Span::Across(n) => {
            let (first, shift) = locate(e, d, index);
            let end = e.bin_c(BinaryOp::Add, index, u64::from(lanes) - 1);
            let (last, _) = locate(e, d, end);
            let all = e.bits(Type::U32, 31);
            let rest = e.sub(all, shift);
            let mut word = e.load(place, first, Type::U32);
            for i in 1..=n {
                let at = if i == n { last } else { e.bin_c(BinaryOp::Add, first, u64::from(i)) };
                let next = e.load(place, at, Type::U32);
                // Up by 32 - shift in two steps: nothing is left where shift is 0, and `next` may be any word.
                let high = e.bin_c(BinaryOp::Shl, next, 1);
                let high = e.bin(BinaryOp::Shl, high, rest);
                let low = e.bin(BinaryOp::Shr, word, shift);
                let own = e.bin(BinaryOp::Or, low, high);
                parts.extend((0..per_word(d)).map(|k| shifted(e, d, own, k * width(d))));
                word = next;
            }
        }
        Span::Part => {
            let (at, shift) = locate(e, d, index);
            let word = e.load(place, at, Type::U32);
            let word = e.bin(BinaryOp::Shr, word, shift);
            for k in 0..u64::from(lanes) {
                parts.push(shifted(e, d, word, k * width(d)));
            }
        }
        Span::Lanes => {
            for k in 0..u64::from(lanes) {
                let index = e.bin_c(BinaryOp::Add, index, k);
                parts.push(load(e, place, d, index, 1, false));
            }
            return e.op(Type::vector(e.elem(parts[0]), lanes), Op::Vector(parts));
        }
    }
    let all = match lanes {
        1 => parts[0],
        _ => e.op(Type::vector(holds(d), lanes), Op::Vector(parts)),
    };
    if d == DType::Bool { e.cmp_c(CmpOp::Ne, all, 0) } else { all }
}

/// The bits of a held value, nothing above them set, u32.
fn code(e: &mut Emit, d: DType, value: Value) -> Value {
    let word = match d {
        DType::Bool => e.cast(DType::U32, value),
        _ => e.bitcast(DType::U32, value),
    };
    if d.is_signed() { e.bin_c(BinaryOp::And, word, mask(d)) } else { word }
}

/// Writes lanes of a narrow type, held in 32 bits, into a buffer of words.
pub(super) fn store(e: &mut Emit, place: Place, d: DType, index: Value, value: Value, aligned: bool) {
    let lanes = e.ty(value).lanes();
    let codes = code(e, d, value);
    let codes: Vec<Value> = match lanes {
        1 => vec![codes],
        _ => (0..lanes).map(|i| e.op(Type::U32, Op::Extract(codes, i))).collect(),
    };
    match span(d, lanes, aligned) {
        Span::Words(_) => whole_words(e, place, d, index, &codes),
        Span::Part => {
            let own = (1u64 << (width(d) * u64::from(lanes))) - 1;
            let part = joined(e, d, &codes);
            merge(e, place, d, index, part, own);
        }
        Span::Across(_) => {
            let at = e.bin_c(BinaryOp::And, index, per_word(d) - 1);
            let cond = e.cmp_c(CmpOp::Eq, at, 0);
            e.begin();
            whole_words(e, place, d, index, &codes);
            let then = e.end();
            e.begin();
            one_by_one(e, place, d, index, &codes);
            let otherwise = e.end();
            e.effect(Op::If { cond, then, otherwise });
        }
        Span::Lanes => one_by_one(e, place, d, index, &codes),
    }
}

/// Elements that fill words, from the first of one.
fn whole_words(e: &mut Emit, place: Place, d: DType, index: Value, codes: &[Value]) {
    let words: Vec<Value> = codes.chunks(per_word(d) as usize).map(|part| joined(e, d, part)).collect();
    let words = match words.len() {
        1 => words[0],
        n => e.op(Type::vector(DType::U32, n as u8), Op::Vector(words)),
    };
    let (at, _) = locate(e, d, index);
    e.effect(Op::Store { place, index: at, value: words, aligned: false });
}

fn one_by_one(e: &mut Emit, place: Place, d: DType, index: Value, codes: &[Value]) {
    for (k, part) in codes.iter().enumerate() {
        let index = e.bin_c(BinaryOp::Add, index, k as u64);
        merge(e, place, d, index, *part, mask(d));
    }
}

/// Codes side by side in a word, the first lowest.
fn joined(e: &mut Emit, d: DType, codes: &[Value]) -> Value {
    let mut word = codes[0];
    for (k, code) in codes.iter().enumerate().skip(1) {
        let moved = e.bin_c(BinaryOp::Shl, *code, k as u64 * width(d));
        word = e.bin(BinaryOp::Or, word, moved);
    }
    word
}

/// Puts `part`, which has bits within `own` only, where element `index` lies.
fn merge(e: &mut Emit, place: Place, d: DType, index: Value, part: Value, own: u64) {
    let (at, shift) = locate(e, d, index);
    let own = e.bits(Type::U32, own);
    let own = e.bin(BinaryOp::Shl, own, shift);
    let others = e.un(UnaryOp::Not, own);
    let part = e.bin(BinaryOp::Shl, part, shift);
    for (op, value) in [(AtomicOp::And, others), (AtomicOp::Or, part)] {
        e.effect(Op::Atomic { op, place, index: at, value, compare: None, scope: Scope::Device });
    }
}
