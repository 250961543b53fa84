//! Indices whose values are on the host already are checked where they are used, by value and position.

use super::Tensor;
use anychip_hal::{Error, Result, op::Op};
use anychip_kernels::{View, graph::Source, shape::Strided};

impl Tensor {
    /// Refuses ids outside `0..limit`, as far as they are known on the host: a leaf's under any views, and constants. `place` names
    /// what they index.
    pub(super) fn check_ids(&self, what: &str, limit: usize, place: &str) -> Result<()> {
        let Some(bad) = self.known_outside(limit) else { return Ok(()) };
        let (position, id) = bad;
        let at = match self.rank() {
            0 | 1 => position.to_string(),
            _ => format!("{:?}", unravel(position, self.dims())),
        };
        Err(Error::invalid(format!("{what}: id {id} at position {at} is outside {place}")))
    }

    /// The first known id outside `0..limit`, with its row-major position.
    fn known_outside(&self, limit: usize) -> Option<(usize, i128)> {
        let mut views = vec![];
        let mut node = self.node.clone();
        while let Some(Source::View(view, inner)) = node.source() {
            views.push(view);
            node = inner;
        }
        let size = self.dtype().size();
        let value = |bytes: &[u8]| {
            let mut wide = [0u8; 16];
            wide[..size].copy_from_slice(&bytes[..size]);
            let id = i128::from_le_bytes(wide);
            let unused = 128 - 8 * size as u32;
            if self.dtype().is_signed() { (id << unused) >> unused } else { id }
        };
        let outside = |id: i128| !(0..limit as i128).contains(&id);
        if let Some(Source::Op(Op::Full(bits), _)) = node.source() {
            let id = value(&bits.to_le_bytes());
            return (self.elem_count() > 0 && outside(id)).then_some((0, id));
        }
        let host = node.host()?;
        let bytes = host.bytes();
        if views.iter().all(|v| matches!(v, View::Reshape(_))) {
            return bytes.chunks_exact(size).map(value).enumerate().find(|&(_, id)| outside(id));
        }
        // From a position here to one in the leaf, through a step for every view that strides cannot join to the one before.
        let mut steps = vec![];
        let mut now = Strided::dense(node.shape());
        for view in views.iter().rev() {
            now = match view.of(&now) {
                Some(seen) => seen,
                None => {
                    let dense = Strided::dense(&now.shape);
                    steps.push(std::mem::replace(&mut now, dense.clone()));
                    view.of(&dense)?
                }
            };
        }
        steps.push(now);
        (0..self.elem_count()).find_map(|position| {
            let at = steps.iter().rev().fold(position, |flat, s| {
                let index = unravel(flat, &s.shape);
                let along = index.iter().zip(&s.strides).map(|(&i, &stride)| i as isize * stride).sum::<isize>();
                (s.offset + along) as usize
            });
            let id = value(&bytes[at * size..]);
            outside(id).then_some((position, id))
        })
    }
}

/// The index of a row-major position.
fn unravel(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        *i = position % n.max(1);
        position /= n.max(1);
    }
    index
}
