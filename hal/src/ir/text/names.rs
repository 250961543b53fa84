//! The words of the text form for the enums of the language: one table each, for printing and for reading.

use crate::ir::*;

/// A word and what it stands for.
pub(super) type Table<T> = &'static [(&'static str, T)];

pub(super) const UNARY: Table<UnaryOp> = &[
    ("neg", UnaryOp::Neg),
    ("abs", UnaryOp::Abs),
    ("sign", UnaryOp::Sign),
    ("not", UnaryOp::Not),
    ("floor", UnaryOp::Floor),
    ("ceil", UnaryOp::Ceil),
    ("trunc", UnaryOp::Trunc),
    ("round", UnaryOp::Round),
    ("sqrt", UnaryOp::Sqrt),
    ("rsqrt", UnaryOp::Rsqrt),
    ("recip", UnaryOp::Recip),
    ("exp", UnaryOp::Exp),
    ("exp2", UnaryOp::Exp2),
    ("log", UnaryOp::Log),
    ("log2", UnaryOp::Log2),
    ("sin", UnaryOp::Sin),
    ("cos", UnaryOp::Cos),
    ("tan", UnaryOp::Tan),
    ("tanh", UnaryOp::Tanh),
    ("erf", UnaryOp::Erf),
    ("count_ones", UnaryOp::CountOnes),
    ("leading_zeros", UnaryOp::LeadingZeros),
    ("trailing_zeros", UnaryOp::TrailingZeros),
    ("is_nan", UnaryOp::IsNan),
    ("is_inf", UnaryOp::IsInf),
];

pub(super) const BINARY: Table<BinaryOp> = &[
    ("add", BinaryOp::Add),
    ("sub", BinaryOp::Sub),
    ("mul", BinaryOp::Mul),
    ("div", BinaryOp::Div),
    ("rem", BinaryOp::Rem),
    ("min", BinaryOp::Min),
    ("max", BinaryOp::Max),
    ("pow", BinaryOp::Pow),
    ("and", BinaryOp::And),
    ("or", BinaryOp::Or),
    ("xor", BinaryOp::Xor),
    ("shl", BinaryOp::Shl),
    ("shr", BinaryOp::Shr),
];

pub(super) const CMP: Table<CmpOp> =
    &[("eq", CmpOp::Eq), ("ne", CmpOp::Ne), ("lt", CmpOp::Lt), ("le", CmpOp::Le), ("gt", CmpOp::Gt), ("ge", CmpOp::Ge)];

pub(super) const REDUCE: Table<ReduceOp> = &[
    ("sum", ReduceOp::Sum),
    ("prod", ReduceOp::Prod),
    ("min", ReduceOp::Min),
    ("max", ReduceOp::Max),
    ("and", ReduceOp::And),
    ("or", ReduceOp::Or),
    ("xor", ReduceOp::Xor),
];

pub(super) const ATOMIC: Table<AtomicOp> = &[
    ("add", AtomicOp::Add),
    ("min", AtomicOp::Min),
    ("max", AtomicOp::Max),
    ("and", AtomicOp::And),
    ("or", AtomicOp::Or),
    ("xor", AtomicOp::Xor),
    ("exchange", AtomicOp::Exchange),
    ("compare_exchange", AtomicOp::CompareExchange),
    ("load", AtomicOp::Load),
    ("store", AtomicOp::Store),
];

/// All but `Reduce`.
pub(super) const SUBGROUP: Table<SubgroupOp> = &[
    ("shuffle", SubgroupOp::Shuffle),
    ("shuffle_xor", SubgroupOp::ShuffleXor),
    ("shuffle_down", SubgroupOp::ShuffleDown),
    ("shuffle_up", SubgroupOp::ShuffleUp),
    ("broadcast", SubgroupOp::Broadcast),
    ("scan_add", SubgroupOp::ScanAdd),
];

pub(super) const SCOPE: Table<Scope> =
    &[("subgroup", Scope::Subgroup), ("workgroup", Scope::Workgroup), ("device", Scope::Device)];

pub(super) const LAYOUT: Table<Layout> = &[("row", Layout::RowMajor), ("col", Layout::ColMajor)];

pub(super) const ROLE: Table<FragRole> =
    &[("a", FragRole::A), ("b", FragRole::B), ("acc", FragRole::Acc), ("rows", FragRole::Rows)];

pub(super) const ACCESS: Table<Access> =
    &[("read", Access::Read), ("write", Access::Write), ("read_write", Access::ReadWrite)];

pub(super) const SIGN: Table<bool> = &[("signed", true), ("unsigned", false)];

/// The word of a variant.
pub(super) fn word<T: PartialEq>(table: Table<T>, of: T) -> &'static str {
    table.iter().find(|(_, t)| *t == of).map_or("?", |(w, _)| w)
}

/// The variant of a word.
pub(super) fn find<T: Copy>(table: Table<T>, word: &str) -> Option<T> {
    table.iter().find(|(w, _)| *w == word).map(|(_, t)| *t)
}

/// The words of a table, for messages.
pub(super) fn words<T>(table: Table<T>) -> String {
    table.iter().map(|(w, _)| *w).collect::<Vec<_>>().join(", ")
}
