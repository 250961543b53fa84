//! Padding: the whole result is filled with the value, then the operand, with what is fused in front of it, is written into its
//! part. Two plain maps; the rim alone would be up to two launches per axis.

use super::{
    Planner, Stop, ValueRef,
    about::{About, reads},
    group::Group,
    lower::Lower,
    work::{bytes, dense_map, operations},
};
use crate::library::{Body, Expr, Map, map::map};

impl Planner<'_> {
    pub(super) fn pad(
        &mut self,
        g: &Group,
        before: &[usize],
        value: u64,
        x: usize,
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let (item, inner) = (&self.s.items[g.root], &self.s.items[x]);
        let (shape, dtype) = (item.shape.clone(), item.dtype);
        // Nothing else knows the order of a padded value's axes: it is stored densely.
        let layout = item.dense();
        if inner.shape != shape {
            let mut body = Body::default();
            let id = body.push(Expr::Const(value), dtype);
            let made = map(body, id, &shape, dense_map(&shape), dtype, self.map_lanes(d))?;
            self.launch(made, d, &[], &[out], format!("pad {:?} to {shape:?} {dtype}, the value", inner.shape))?;
        }
        if inner.elements() == 0 {
            return Ok(());
        }
        let mut l = Lower::new(self.s, &self.grouping.layouts, g.root, None);
        let id = l.lower(x, &[]).map_err(|m| self.again(g, m))?;
        let (body, slots) = (l.body, l.slots);
        let offset = before.iter().zip(&layout.strides).map(|(&n, s)| n as isize * s).sum();
        let about = About::from(format!("pad {:?} to {shape:?} {dtype}", inner.shape)).fused(&body).work(
            (operations(&body) * inner.elements()) as f64,
            reads(&body, &inner.shape) + bytes(inner.elements(), dtype),
        );
        let made = map(body, id, &inner.shape, Map { strides: layout.strides, offset }, dtype, self.map_lanes(d))?;
        self.launch(made, d, &slots, &[out], about)
    }
}
