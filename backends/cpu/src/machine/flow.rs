//! Control flow under masks: branches, loops, and how lanes leave them. Branches that all lanes take alike jump; others
//! run both sides, each for its lanes.

use super::{
    affine::{Affine, Rep, is_wide, number},
    exec::{Fault, Machine, read_bits, write_bits},
    mask::Mask,
    ops::Arg,
    program::{Node, Reg},
};
use anychip_hal::DType;

/// All lanes act.
static ALL: [u8; super::MAX_BLOCK] = [1; super::MAX_BLOCK];

impl<'a> Machine<'a> {
    /// The acting lanes where a bool is true, and where it is not.
    fn split(&mut self, cond: Reg, mask: &Mask) -> (Mask, Mask) {
        if let Rep::Uniform(b) = self.reps[cond as usize] {
            return if b != 0 { (mask.clone(), Mask::Empty) } else { (Mask::Empty, mask.clone()) };
        }
        let (n, c) = (self.n, self.lanes(cond));
        let acting = match mask {
            Mask::Empty => return (Mask::Empty, Mask::Empty),
            Mask::Part(p) => p.lanes.as_ptr(),
            Mask::Full => ALL.as_ptr(),
        };
        let total = match mask {
            Mask::Part(p) => p.count,
            _ => n,
        };
        let mut yes = vec![0u8; n];
        let count = unsafe { (self.p.table.mask)(n, yes.as_mut_ptr(), acting, c, false) };
        if count == 0 {
            return (Mask::Empty, mask.clone());
        }
        if count == total {
            return (mask.clone(), Mask::Empty);
        }
        let mut no = vec![0u8; n];
        unsafe { (self.p.table.mask)(n, no.as_mut_ptr(), acting, c, true) };
        (Mask::from_lanes(yes, count), Mask::from_lanes(no, total - count))
    }

    pub(super) fn block(&mut self, nodes: &'a [Node], mask: &mut Mask) -> Result<(), Fault> {
        for node in nodes {
            match node {
                Node::Do(inst) => self.step(inst, mask)?,
                Node::If { cond, then, otherwise, exits } => {
                    let (mut yes, mut no) = self.split(*cond, mask);
                    if !yes.is_empty() {
                        self.block(then, &mut yes)?;
                    }
                    if !no.is_empty() && !otherwise.is_empty() {
                        self.block(otherwise, &mut no)?;
                    }
                    if *exits {
                        *mask = yes.or(no);
                    }
                }
                Node::For { var, ty, start, end, step, body } => {
                    self.count(*var, *ty, [*start, *end, *step], body, mask)?;
                }
                Node::While { head, cond, body } => {
                    let mut live = mask.clone();
                    while !live.is_empty() {
                        self.continued.push(Mask::Empty);
                        self.block(head, &mut live)?;
                        let again = self.continued.pop().unwrap_or(Mask::Empty);
                        let (mut acting, _) = self.split(*cond, &live);
                        if !acting.is_empty() {
                            acting = self.round(body, acting)?;
                        }
                        live = acting.or(again);
                    }
                    self.leave(mask);
                }
                Node::Break => *mask = Mask::Empty,
                Node::Continue => {
                    let acting = std::mem::replace(mask, Mask::Empty);
                    if let Some(c) = self.continued.last_mut() {
                        *c = std::mem::replace(c, Mask::Empty).or(acting);
                    }
                }
                Node::Return => {
                    let acting = std::mem::replace(mask, Mask::Empty);
                    self.returned = std::mem::replace(&mut self.returned, Mask::Empty).or(acting);
                }
            }
            if mask.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// One round of a loop: the lanes that go on to the next.
    fn round(&mut self, body: &'a [Node], mut acting: Mask) -> Result<Mask, Fault> {
        self.continued.push(Mask::Empty);
        self.block(body, &mut acting)?;
        let continued = self.continued.pop().unwrap_or(Mask::Empty);
        Ok(acting.or(continued))
    }

    /// After a loop all lanes that entered it act again, but for those that returned.
    fn leave(&mut self, mask: &mut Mask) {
        if !self.returned.is_empty() {
            *mask = std::mem::replace(mask, Mask::Empty).without(&self.returned, self.n);
        }
    }

    fn count(
        &mut self,
        var: Reg,
        ty: DType,
        [start, end, step]: [Reg; 3],
        body: &'a [Node],
        mask: &mut Mask,
    ) -> Result<(), Fault> {
        let n = self.n;
        let mut live = mask.clone();
        let uniform = |m: &Self, r: Reg| match m.reps[r as usize] {
            Rep::Uniform(b) => Some(number(ty, b)),
            _ => None,
        };
        let from = self.affine(start).filter(|a| is_wide(ty) || a.c == [0; 4]);
        let range = from.and_then(|a| a.range(ty, &self.shape));
        if let (Some(from), Some((lo, hi)), Some(end), Some(step)) =
            (from, range, uniform(self, end), uniform(self, step))
        {
            // Numbers without width: the loop ends before its variable would overflow.
            let step = step.max(1);
            let mut ahead = 0i128;
            while !live.is_empty() && lo + ahead < end {
                let here = Affine::new(ty, from.base.wrapping_add(ahead as u64), from.c);
                if hi + ahead >= end {
                    live = live.and(&self.below(from, ty, end - ahead), n);
                    if live.is_empty() {
                        break;
                    }
                }
                self.set(var, here.rep());
                live = self.round(body, live)?;
                ahead += step;
            }
        } else {
            let trips: Vec<u64> = (0..n)
                .map(|l| {
                    let (a, b, s) = (self.lane(start, l), self.lane(end, l), self.lane(step, l));
                    let (a, b, s) = (number(ty, a), number(ty, b), number(ty, s).max(1));
                    if a < b { ((b - a + s - 1) / s) as u64 } else { 0 }
                })
                .collect();
            let bytes = ty.size();
            let mut round = 0;
            loop {
                live = live.and(&Mask::from_fn(n, |l| trips[l] > round), n);
                if live.is_empty() {
                    break;
                }
                let (a, s) = (self.arg(start), self.arg(step));
                let d = self.out(var);
                for l in 0..n {
                    let bits = |x: Arg| match x {
                        Arg::One(b) => b,
                        Arg::Vec(p) => unsafe { read_bits(p, l, bytes) },
                    };
                    let by = (number(ty, bits(s)).max(1) as u64).wrapping_mul(round);
                    unsafe { write_bits(d, l, bytes, bits(a).wrapping_add(by)) };
                }
                live = self.round(body, live)?;
                round += 1;
            }
        }
        self.leave(mask);
        Ok(())
    }

    /// Lanes whose value is below a limit.
    fn below(&self, a: Affine, ty: DType, limit: i128) -> Mask {
        let bytes = ty.size();
        self.spread(self.scratch, a, bytes);
        let at = self.scratch;
        Mask::from_fn(self.n, |l| number(ty, unsafe { read_bits(at, l, bytes) }) < limit)
    }
}
