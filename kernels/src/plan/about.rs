//! What a launch does, with which schedule and why, for a reader and for the roofline.

use crate::library::{Body, Expr};
use anychip_hal::DType;

/// Where a schedule came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The device's own library takes the work as a whole.
    Library,
    /// Measured before on this chip: the fastest of those inside the bound.
    Tuned,
    /// The cost model's answer.
    CostModel,
    /// There is one schedule only.
    Only,
    /// Asked for, by the tuner.
    Asked,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Origin::Library => "library",
            Origin::Tuned => "tuned",
            Origin::CostModel => "cost model",
            Origin::Only => "the only one",
            Origin::Asked => "asked for",
        })
    }
}

/// What a launch does.
#[derive(Debug, Clone)]
pub struct About {
    /// The operation, its extents, its type.
    pub what: String,
    /// Operations computed in the same launch, in order.
    pub fused: Vec<&'static str>,
    /// The schedule's parameters.
    pub schedule: String,
    /// Where the schedule came from.
    pub origin: Origin,
    /// Why this one.
    pub why: String,
    /// Operations, a multiply-add as two and a function as one; `None` where nobody counted.
    pub flops: Option<f64>,
    /// Bytes that have to move at least; `None`: all bytes of all bindings.
    pub bytes: Option<u64>,
    /// The type computed in.
    pub dtype: DType,
}

impl From<String> for About {
    fn from(what: String) -> About {
        About {
            what,
            fused: vec![],
            schedule: "fixed".into(),
            origin: Origin::Only,
            why: String::new(),
            flops: None,
            bytes: None,
            dtype: DType::F32,
        }
    }
}

impl About {
    /// With what is computed beside the operation.
    pub fn fused(mut self, body: &Body) -> About {
        self.fused = names(body);
        self
    }
    /// With the schedule, where it came from, and why.
    pub fn schedule(mut self, schedule: impl Into<String>, origin: Origin, why: impl Into<String>) -> About {
        (self.schedule, self.origin, self.why) = (schedule.into(), origin, why.into());
        self
    }
    /// With operations and bytes.
    pub fn work(mut self, flops: f64, bytes: u64) -> About {
        (self.flops, self.bytes) = (Some(flops), Some(bytes));
        self
    }
    /// With the type computed in.
    pub fn dtype(mut self, dtype: DType) -> About {
        self.dtype = dtype;
        self
    }
}

/// Operations of a body, in order; views, constants and reads are none.
fn names(body: &Body) -> Vec<&'static str> {
    use crate::graph::op_name;
    use anychip_hal::op::Op;
    body.exprs
        .iter()
        .filter_map(|(e, dtype)| match e {
            Expr::Unary(u, _) => Some(op_name(&Op::Unary(*u))),
            Expr::Binary(b, ..) => Some(op_name(&Op::Binary(*b))),
            Expr::Compare(c, ..) => Some(op_name(&Op::Compare(*c))),
            Expr::Where(..) => Some(op_name(&Op::Where)),
            Expr::Cast(_) => Some(op_name(&Op::Cast(*dtype))),
            Expr::Gather { .. } => Some("gather"),
            Expr::Philox(word, _) => Some(op_name(&Op::Philox { word: *word })),
            Expr::Index(_) => Some("index"),
            _ => None,
        })
        .collect()
}

/// Bytes that a body reads over a space: each read as often as its map has different places.
pub fn reads(body: &Body, dims: &[usize]) -> u64 {
    let mut seen: Vec<(usize, usize)> = vec![];
    let mut bytes = 0;
    for (e, dtype) in &body.exprs {
        let (slot, map, size) = match e {
            Expr::Read { slot, map } => (*slot, *map, body.slots[*slot].size()),
            Expr::Gather { slot, map, .. } => (*slot, *map, dtype.size()),
            _ => continue,
        };
        if seen.contains(&(slot, map)) {
            continue;
        }
        seen.push((slot, map));
        let gathered = matches!(e, Expr::Gather { .. });
        let places: usize = dims
            .iter()
            .enumerate()
            .filter(|(i, _)| gathered || body.maps[map].strides.get(*i).is_some_and(|s| *s != 0))
            .map(|(_, n)| n)
            .product();
        bytes += (places * size) as u64;
    }
    bytes
}
