//! Shapes and strides: broadcasting, and which views of a strided value need no copy.

use anychip_hal::{Error, Result};

/// Highest rank of a tensor.
pub const MAX_RANK: usize = 8;

/// Elements of a shape, or an error when the product exceeds the address space.
pub fn elements(shape: &[usize]) -> Result<usize> {
    // Empty axes count as one here: strides of the others must be representable all the same.
    let mut extent = 1usize;
    for &d in shape {
        let next = extent.checked_mul(d.max(1)).filter(|&n| n <= isize::MAX as usize / 8);
        extent = next.ok_or_else(|| Error::ShapeMismatch(format!("shape {shape:?} has too many elements")))?;
    }
    Ok(shape.iter().product())
}

/// The common shape of two operands by NumPy's rule: aligned at the right, equal or 1.
pub fn broadcast(what: &str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Error::ShapeMismatch(format!(
                "{what}: shapes {a:?} and {b:?} do not broadcast: dimensions must be equal or 1, counted from the right"
            ))),
        })
        .collect()
}

/// Windows of `size` elements, `dilation` apart, of which one begins every `step` elements of an axis of extent `n`; `None` when
/// not even one fits, or a number is 0.
pub fn windows(n: usize, size: usize, step: usize, dilation: usize) -> Option<usize> {
    let span = size.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    if dilation == 0 {
        return None;
    }
    n.checked_sub(span)?.checked_div(step).map(|more| more + 1)
}

/// The shape of [`View::Window`](crate::View::Window) of a shape.
pub fn window_shape(from: &[usize], axis: usize, size: usize, step: usize, dilation: usize) -> Result<Vec<usize>> {
    let Some(&n) = from.get(axis) else {
        return Err(Error::ShapeMismatch(format!("unfold: axis {axis} of a tensor of shape {from:?}")));
    };
    let count = windows(n, size, step, dilation).ok_or_else(|| {
        Error::ShapeMismatch(format!(
            "unfold: windows of {size} elements, {dilation} apart, one every {step}, do not fit axis {axis} of {from:?} (extent \
             {n}): all three are at least 1, and (size - 1) · dilation is below the extent"
        ))
    })?;
    let mut to = from.to_vec();
    to[axis] = count;
    to.push(size);
    Ok(to)
}

/// The shape of a convolution of x [n, c, spatial…] with w [o, c/groups, kernel…].
pub fn conv_shape(
    x: &[usize],
    w: &[usize],
    stride: &[usize],
    padding: &[[usize; 2]],
    dilation: &[usize],
    groups: usize,
) -> Result<Vec<usize>> {
    let bad =
        |why: String| Err(Error::ShapeMismatch(format!("conv: input {x:?}, weight {w:?}, {groups} groups: {why}")));
    let axes = x.len().saturating_sub(2);
    if !(1..=2).contains(&axes) || w.len() != x.len() {
        return bad("must be [n, c, spatial…] and [o, c/groups, kernel…] with the same one or two spatial axes".into());
    }
    if [stride.len(), padding.len(), dilation.len()] != [axes; 3] {
        return bad(format!(
            "stride {stride:?}, padding {padding:?} and dilation {dilation:?} must each have a number for every one of the {axes} \
             spatial axes"
        ));
    }
    if groups == 0 || !w[0].is_multiple_of(groups) || w[1].checked_mul(groups) != Some(x[1]) {
        return bad(format!(
            "{} input channels must be groups times the weight's {}, and its {} output channels a multiple of the groups",
            x[1], w[1], w[0]
        ));
    }
    let mut shape = vec![x[0], w[0]];
    // Some devices lay out every window's elements.
    let mut windows_shape = vec![x[0], x[1]];
    for i in 0..axes {
        let (n, k, [before, after]) = (x[2 + i], w[2 + i], padding[i]);
        let padded = n.checked_add(before).and_then(|n| n.checked_add(after)).filter(|&n| n <= isize::MAX as usize / 8);
        let count = padded.and_then(|padded| windows(padded, k, stride[i], dilation[i]));
        let Some(count) = count else {
            return bad(format!(
                "on spatial axis {i} a kernel of {k}, dilation {}, stride {}, does not fit the extent {n} with a padding of {before} \
                 before and {after} behind: kernel, stride and dilation are at least 1, and (kernel - 1) · dilation is below the \
                 padded extent",
                dilation[i], stride[i]
            ));
        };
        shape.push(count);
        windows_shape.extend([count, k]);
    }
    elements(&shape)?;
    elements(&windows_shape)?;
    Ok(shape)
}

/// How a value lies in a buffer: elements between neighbours along each axis, and the first element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Strided {
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements between neighbours; 0 repeats.
    pub strides: Vec<isize>,
    /// First element.
    pub offset: isize,
}

impl Strided {
    /// Row-major and densely packed.
    pub fn dense(shape: &[usize]) -> Strided {
        Strided { shape: shape.to_vec(), strides: anychip_hal::op::dense_strides(shape), offset: 0 }
    }

    /// True when row-major and densely packed from the first element of the buffer.
    pub fn is_dense(&self) -> bool {
        let mut expect = 1isize;
        let packed = self.shape.iter().zip(&self.strides).rev().all(|(&n, &s)| {
            let ok = n == 1 || s == expect;
            expect *= n as isize;
            ok
        });
        self.offset == 0 && (packed || self.shape.contains(&0))
    }

    /// Axes reordered: new axis i is old axis `order[i]`.
    pub fn permute(&self, order: &[usize]) -> Strided {
        Strided {
            shape: order.iter().map(|&o| self.shape[o]).collect(),
            strides: order.iter().map(|&o| self.strides[o]).collect(),
            offset: self.offset,
        }
    }

    /// Repeated along axes of extent 1; new axes in front.
    pub fn expand(&self, to: &[usize]) -> Strided {
        let lead = to.len() - self.shape.len();
        let strides = (0..to.len())
            .map(|i| if i < lead || (self.shape[i - lead] == 1 && to[i] != 1) { 0 } else { self.strides[i - lead] })
            .collect();
        Strided { shape: to.to_vec(), strides, offset: self.offset }
    }

    /// Elements `start, start+step, …` along each axis.
    pub fn slice(&self, start: &[usize], step: &[isize], shape: &[usize]) -> Strided {
        Strided {
            shape: shape.to_vec(),
            // Along an axis of at most one element no stride is ever walked, and a step may be any number.
            strides: (0..shape.len()).map(|i| if shape[i] > 1 { self.strides[i] * step[i] } else { 0 }).collect(),
            offset: self.offset + start.iter().zip(&self.strides).map(|(&a, s)| a as isize * s).sum::<isize>(),
        }
    }

    /// Stretches of an axis, see [`View::Window`](crate::View::Window); `None` when they do not fit it.
    pub fn window(&self, axis: usize, size: usize, step: usize, dilation: usize) -> Option<Strided> {
        let count = windows(self.shape[axis], size, step, dilation)?;
        let (mut shape, mut strides) = (self.shape.clone(), self.strides.clone());
        shape.push(size);
        // As in `slice`: a single element has no next one, and its distance may be any number.
        strides.push(if size > 1 { self.strides[axis] * dilation as isize } else { 0 });
        shape[axis] = count;
        strides[axis] = if count > 1 { self.strides[axis] * step as isize } else { 0 };
        Some(Strided { shape, strides, offset: self.offset })
    }

    /// The same elements in the same order under another shape; `None` when that needs a copy.
    pub fn reshape(&self, to: &[usize]) -> Option<Strided> {
        if self.shape.contains(&0) {
            return Some(Strided { shape: to.to_vec(), ..Strided::dense(to) });
        }
        // Runs of axes that lie densely within each other are merged, then split again.
        let mut runs: Vec<(usize, isize)> = Vec::new();
        for (&n, &s) in self.shape.iter().zip(&self.strides).filter(|(n, _)| **n != 1) {
            match runs.last_mut() {
                Some((m, t)) if *t == s * n as isize => (*m, *t) = (*m * n, s),
                _ => runs.push((n, s)),
            }
        }
        let mut strides = vec![0isize; to.len()];
        let mut runs = runs.into_iter().rev();
        let (mut left, mut stride) = runs.next().unwrap_or((1, 1));
        for i in (0..to.len()).rev() {
            if to[i] == 1 {
                continue;
            }
            if left == 1 {
                (left, stride) = runs.next()?;
            }
            if left % to[i] != 0 {
                return None;
            }
            strides[i] = stride;
            stride *= to[i] as isize;
            left /= to[i];
        }
        if left != 1 {
            return None;
        }
        Some(Strided { shape: to.to_vec(), strides, offset: self.offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast("add", &[4, 1, 3], &[5, 1]).unwrap(), [4, 5, 3]);
        let e = broadcast("add", &[2, 3], &[4]).unwrap_err().to_string();
        assert!(e.contains("[2, 3]") && e.contains("[4]"), "{e}");
    }

    #[test]
    fn reshape_is_free_exactly_when_strides_say_so() {
        let x = Strided::dense(&[2, 3, 4]);
        assert_eq!(x.reshape(&[6, 4]).unwrap().strides, [4, 1]);
        let t = x.permute(&[1, 0, 2]);
        assert!(t.reshape(&[6, 4]).is_none());
        assert_eq!(t.reshape(&[3, 2, 2, 2]).unwrap().strides, [4, 12, 2, 1]);
        let e = Strided::dense(&[1, 4]).expand(&[3, 4]);
        assert_eq!(e.strides, [0, 1]);
        assert!(e.reshape(&[12]).is_none());
        assert_eq!(e.reshape(&[3, 2, 2]).unwrap().strides, [0, 2, 1]);
        let s = x.slice(&[1, 0, 1], &[1, 2, 1], &[1, 2, 3]);
        assert_eq!((s.offset, s.strides), (13, vec![0, 8, 1]));
    }

    #[test]
    fn windows_overlap_by_their_strides() {
        let x = Strided::dense(&[2, 10]);
        let w = x.window(1, 3, 2, 1).unwrap();
        assert_eq!((w.shape, w.strides), (vec![2, 4, 3], vec![10, 2, 1]));
        let w = x.window(0, 2, 5, 1).unwrap();
        assert_eq!((w.shape, w.strides), (vec![1, 10, 2], vec![0, 1, 10]));
        assert_eq!(windows(10, 4, 1, 3), Some(1));
        assert_eq!([windows(10, 4, 1, 4), windows(10, 0, 1, 1), windows(10, 2, 0, 1), windows(0, 1, 1, 1)], [None; 4]);
        assert_eq!([windows(10, 2, 1, 0), windows(10, 3, 1, usize::MAX), windows(10, usize::MAX, 1, 1)], [None; 3]);
        let e = window_shape(&[2, 10], 1, 4, 1, 4).unwrap_err().to_string();
        assert!(e.contains("4 elements, 4 apart") && e.contains("[2, 10]"), "{e}");
    }
}
