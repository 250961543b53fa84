//! The planner: from a snapshot of the graph to launches.
//!
//! canonicalise → group (fusion) → per group: a graph candidate that the device takes, or kernels with a schedule → assign
//! memory by lifetime. In a chain of devices a group goes to the first that can run it; values are carried over where needed.
//! Plans hold no leaves: the same plan runs on any leaves of the same structure.

pub mod about;
pub mod cache;
pub mod canonical;
mod canonical_conv;
mod canonical_narrow;
mod explain;
pub mod group;
pub mod lower;
pub mod memory;
pub mod offer;
mod share;
pub mod snapshot;
mod work;
mod work_attention;
mod work_conv;
mod work_pad;

use crate::{schedule::Schedule, shape::Strided};
use about::About;
use anychip_hal::{
    DType, Error, Result,
    device::{Device, Grid, Program, ScalarArg},
};
use group::{Demands, Grouping, group};
use lower::Materialise;
use rustc_hash::FxHashMap;
use snapshot::{Kind, Snapshot};

/// A value of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueRef {
    /// The n-th leaf of the snapshot.
    Leaf(usize),
    /// The n-th value that the plan computes.
    Temp(usize),
}

/// One launch.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Index of the device in the chain.
    pub device: usize,
    /// The loaded kernel or graph.
    pub program: Program,
    /// Workgroups.
    pub grid: Grid,
    /// Buffers in order; the last is written.
    pub bindings: Vec<ValueRef>,
    /// Scalars in order.
    pub scalars: Vec<ScalarArg>,
    /// What it does, with which schedule and why.
    pub about: About,
}

/// A value that the plan computes.
#[derive(Debug, Clone, Copy)]
pub struct Temp {
    /// Bytes.
    pub bytes: u64,
    /// Index of the device that computes it.
    pub device: usize,
}

/// A plan for a chain of devices.
pub struct Plan {
    /// In order.
    pub launches: Vec<Launch>,
    /// Values computed.
    pub temps: Vec<Temp>,
    /// Memory of values in between.
    pub memory: memory::Layout,
    /// Per output of the snapshot: its value.
    pub outputs: Vec<ValueRef>,
    /// Work that the first device of the chain could not take, and why.
    pub fallbacks: Vec<String>,
}

/// NaN as a bit pattern of a float type.
pub(crate) fn nan_bits(dtype: DType) -> u64 {
    anychip_hal::ir::build::encode_f64(dtype.into(), f64::NAN)
}

/// A group cannot be lowered or placed yet, or at all.
enum Stop {
    /// Group again with this demand.
    Again(Again),
    /// Give up.
    Fail(Error),
}

enum Again {
    Root(usize),
    Dense(usize),
    Bare(usize),
    /// Products of 8 bits do not stand for those of widened ones after all.
    Wide,
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Fail(e)
    }
}

/// Plans a snapshot for a chain of devices, none empty. `asked`: the schedule that the first kernel of its family gets, whatever
/// was measured or modelled; for the tuner.
pub fn plan(snapshot: &Snapshot, chain: &[Device], asked: Option<&Schedule>) -> Result<Plan> {
    let first = chain.first().ok_or_else(|| Error::invalid("no device given to plan for"))?;
    let mut s = canonical::canonical(snapshot, first, true);
    let (mut demands, mut narrows) = (Demands::default(), true);
    // Anchors bind up to three buffers of their own; and beyond some 24 a kernel gains nothing by reading more.
    let bindings = chain.iter().map(|d| d.info().limits.max_bindings as usize).min().unwrap_or(8);
    let most_reads = bindings.saturating_sub(4).clamp(2, 24);
    // Every round adds a demand that was not there before, so that it ends; all of them once more where products are widened again.
    for _ in 0..6 * s.items.len() + 2 {
        let grouping = group(&s, &demands, most_reads);
        match build(&s, &grouping, chain, asked) {
            Ok(plan) => return Ok(plan),
            Err(Stop::Fail(e)) => return Err(e),
            Err(Stop::Again(again)) => {
                let new = match again {
                    Again::Root(n) => demands.roots.insert(n),
                    Again::Dense(n) => demands.dense.insert(n),
                    Again::Bare(n) => demands.bare.insert(n),
                    Again::Wide => {
                        demands = Demands::default();
                        std::mem::take(&mut narrows)
                    }
                };
                if !new {
                    break;
                }
                if matches!(again, Again::Wide) {
                    s = canonical::canonical(snapshot, first, narrows);
                }
            }
        }
    }
    Err(Error::unsupported("this combination of views", "the planner found no order of copies that expresses it"))
}

fn build(s: &Snapshot, grouping: &Grouping, chain: &[Device], asked: Option<&Schedule>) -> Result<Plan, Stop> {
    let mut planner = Planner {
        s,
        grouping,
        chain,
        asked,
        launches: vec![],
        temps: vec![],
        values: vec![None; s.items.len()],
        fallbacks: vec![],
        packs: FxHashMap::default(),
    };
    for (i, item) in s.items.iter().enumerate() {
        if let Kind::Leaf { leaf, .. } = item.kind {
            planner.values[i] = Some(ValueRef::Leaf(leaf));
        }
    }
    for g in &grouping.groups {
        planner.place(g)?;
    }
    let outputs: Vec<ValueRef> = grouping
        .outputs
        .iter()
        .map(|&o| planner.values[o].ok_or_else(|| Error::invalid("an output was not planned")))
        .collect::<Result<_>>()?;
    let Planner { launches, temps, fallbacks, .. } = planner;
    let memory = memory::assign(&launches, &temps, &outputs, &[]);
    Ok(Plan { launches, temps, memory, outputs, fallbacks })
}

struct Planner<'a> {
    s: &'a Snapshot,
    grouping: &'a Grouping,
    chain: &'a [Device],
    /// The schedule that is asked for.
    asked: Option<&'a Schedule>,
    launches: Vec<Launch>,
    temps: Vec<Temp>,
    /// Per item: where it is.
    values: Vec<Option<ValueRef>>,
    fallbacks: Vec<String>,
    /// Right operands packed so far, by item, device, layout and columns: several products with one weight share them.
    packs: FxHashMap<(usize, usize, Strided, u32, u8), ValueRef>,
}

impl Planner<'_> {
    /// Gives a group to the first device of the chain that takes it.
    fn place(&mut self, g: &group::Group) -> Result<(), Stop> {
        let mut refused: Option<Error> = None;
        for d in 0..self.chain.len() {
            let (launches, temps) = (self.launches.len(), self.temps.len());
            match self.work(g, d) {
                Ok(value) => {
                    self.values[g.root] = Some(value);
                    if let Some(e) = refused {
                        let id = &self.chain[d].info().id;
                        self.fallbacks.push(format!("{} went to {id}: {e}", self.name(g)));
                    }
                    return Ok(());
                }
                Err(Stop::Fail(e)) if e.is_unsupported() => {
                    self.launches.truncate(launches);
                    self.temps.truncate(temps);
                    self.packs.retain(|_, v| !matches!(v, ValueRef::Temp(t) if *t >= temps));
                    refused.get_or_insert(e);
                }
                Err(stop) => return Err(stop),
            }
        }
        Err(Stop::Fail(refused.unwrap_or_else(|| Error::invalid("no device given to plan for"))))
    }

    fn name(&self, g: &group::Group) -> &'static str {
        match &self.s.items[g.anchor.unwrap_or(g.root)].kind {
            Kind::Op(op, _) => crate::graph::op_name(op),
            Kind::View(..) => "copy",
            Kind::Leaf { .. } => "leaf",
        }
    }

    fn temp(&mut self, elements: usize, dtype: DType, device: usize) -> ValueRef {
        let bytes = (elements * dtype.size()) as u64;
        self.temps.push(Temp { bytes, device });
        ValueRef::Temp(self.temps.len() - 1)
    }

    /// The buffer of an item that has one.
    fn value(&self, item: usize) -> Result<ValueRef> {
        self.values[item].ok_or_else(|| Error::invalid(format!("item {item} is used before it is computed")))
    }

    fn layout(&self, item: usize) -> Strided {
        self.grouping.layouts[item].clone().unwrap_or_else(|| self.s.items[item].dense())
    }

    /// Translates what lowering asks for; the group's own root asks for a bare anchor.
    fn again(&self, g: &group::Group, m: Materialise) -> Stop {
        let n = m.0;
        match g.anchor {
            Some(a) if n == g.root => Stop::Again(Again::Bare(a)),
            _ if self.grouping.layouts[n].is_some() => Stop::Again(Again::Dense(n)),
            _ => Stop::Again(Again::Root(n)),
        }
    }
}
