//! Softmax and norms: how wide the workgroup of a row is, and whether it keeps the row.

use crate::library::{Lanes, rows::Row};
use anychip_hal::{DType, DeviceInfo};
use serde::{Deserialize, Serialize};

/// What is done with each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// e^(x−max) / Σ.
    Softmax,
    /// (x−mean)/√(var+eps)·weight+bias.
    LayerNorm,
    /// x/√(mean(x²)+eps)·weight.
    RmsNorm,
}

impl Kind {
    /// Operations per element.
    pub fn operations(self) -> f64 {
        match self {
            Kind::Softmax => 5.0,
            Kind::LayerNorm => 8.0,
            Kind::RmsNorm => 4.0,
        }
    }
}

impl From<Row> for Kind {
    fn from(row: Row) -> Kind {
        match row {
            Row::Softmax => Kind::Softmax,
            Row::LayerNorm { .. } => Kind::LayerNorm,
            Row::RmsNorm { .. } => Kind::RmsNorm,
        }
    }
}

/// `rows` rows of `cols` elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// What.
    pub row: Kind,
    /// Type of the operand.
    pub dtype: DType,
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
}

/// How it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Lanes of the workgroup of a row.
    pub lanes: Lanes,
    /// The row is kept in shared memory where it fits; else it is read and computed again in each pass.
    pub keep: bool,
}

/// What the device's class asks for.
pub fn pick(info: &DeviceInfo) -> Choice {
    Choice { lanes: Lanes::of(info), keep: true }
}

/// Nothing kept, the narrowest workgroup.
pub fn plain(info: &DeviceInfo) -> Choice {
    Choice {
        lanes: Lanes { max: info.limits.max_workgroup.clamp(1, 32), close: false, vector: 1, own: 1 },
        keep: false,
    }
}

/// Widths of a workgroup, with the row kept and not.
pub fn candidates(info: &DeviceInfo, _: &Problem) -> Vec<Choice> {
    let with = |keep: bool| Lanes::all(info).into_iter().map(move |lanes| Choice { lanes, keep });
    with(true).chain(with(false)).collect()
}
