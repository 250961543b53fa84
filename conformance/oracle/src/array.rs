//! Dense arrays of any rank, row-major, of any elements, and the views of the tensor library as plain copies.

/// A dense array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<T>,
}

/// Every index of a shape, row-major. A shape with an extent of 0 has none.
pub fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product::<usize>()).map(move |flat| index_of(flat, &shape))
}

/// The index of an element's place.
pub fn index_of(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        *i = flat % n;
        flat /= n;
    }
    index
}

/// The shape to which shapes broadcast together: aligned at the right, extents equal or 1. `None`: they do not.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (extent(a, i), extent(b, i)) {
            (1, n) | (n, 1) => Some(n),
            (m, n) => (m == n).then_some(n),
        })
        .collect()
}

impl<T: Clone> Array<T> {
    /// From elements in row-major order.
    ///
    /// # Panics
    /// When they do not fill the shape.
    pub fn new(shape: &[usize], data: Vec<T>) -> Array<T> {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "elements of shape {shape:?}");
        Array { shape: shape.to_vec(), data }
    }

    /// From a function of the index.
    pub fn build(shape: &[usize], f: impl FnMut(&[usize]) -> T) -> Array<T> {
        let mut f = f;
        Array { shape: shape.to_vec(), data: indices(shape).map(|i| f(&i)).collect() }
    }

    /// Every element the same.
    pub fn full(shape: &[usize], x: T) -> Array<T> {
        Array { shape: shape.to_vec(), data: vec![x; shape.iter().product()] }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The element at an index of this array's rank.
    pub fn at(&self, index: &[usize]) -> &T {
        debug_assert_eq!(index.len(), self.shape.len());
        &self.data[index.iter().zip(&self.shape).fold(0, |flat, (&i, &n)| flat * n + i)]
    }

    /// The element at an index of a shape to which this broadcasts.
    pub fn broadcast_at(&self, index: &[usize]) -> &T {
        let own = &index[index.len() - self.shape.len()..];
        &self.data[own.iter().zip(&self.shape).fold(0, |flat, (&i, &n)| flat * n + if n == 1 { 0 } else { i })]
    }

    /// A function of each element.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Array<U> {
        Array { shape: self.shape.clone(), data: self.data.iter().map(f).collect() }
    }

    /// A function of pairs of elements; the shapes broadcast.
    ///
    /// # Panics
    /// When they do not.
    pub fn zip<U: Clone, V: Clone>(&self, other: &Array<U>, mut f: impl FnMut(&T, &U) -> V) -> Array<V> {
        let shape = broadcast(&self.shape, &other.shape).expect("shapes that broadcast");
        Array::build(&shape, |i| f(self.broadcast_at(i), other.broadcast_at(i)))
    }

    /// Another shape of as many elements.
    pub fn reshape(&self, shape: &[usize]) -> Array<T> {
        Array::new(shape, self.data.clone())
    }

    /// New axis i is old axis `order[i]`.
    pub fn permute(&self, order: &[usize]) -> Array<T> {
        let shape: Vec<usize> = order.iter().map(|&a| self.shape[a]).collect();
        Array::build(&shape, |i| {
            let mut from = vec![0; order.len()];
            order.iter().zip(i).for_each(|(&a, &i)| from[a] = i);
            self.at(&from).clone()
        })
    }

    /// Two axes change places.
    pub fn swap(&self, a: usize, b: usize) -> Array<T> {
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.swap(a, b);
        self.permute(&order)
    }

    /// Broadcast to a shape.
    pub fn expand(&self, shape: &[usize]) -> Array<T> {
        Array::build(shape, |i| self.broadcast_at(i).clone())
    }

    /// `len` elements along an axis, from `start`, every `step`-th.
    pub fn slice(&self, axis: usize, start: usize, step: usize, len: usize) -> Array<T> {
        let mut shape = self.shape.clone();
        shape[axis] = len;
        self.picked(&shape, |i| {
            i[axis] = start + i[axis] * step;
        })
    }

    /// The elements of an axis in reverse order.
    pub fn flip(&self, axis: usize) -> Array<T> {
        let n = self.shape[axis];
        self.picked(&self.shape, |i| i[axis] = n - 1 - i[axis])
    }

    /// Element i of the axis is old element i − `by`, around the end.
    pub fn roll(&self, axis: usize, by: i64) -> Array<T> {
        let n = self.shape[axis] as i64;
        self.picked(&self.shape, |i| i[axis] = (i[axis] as i64 - by).rem_euclid(n) as usize)
    }

    /// A result of a shape whose element comes from where `from` moves its index.
    pub fn picked(&self, shape: &[usize], from: impl Fn(&mut [usize])) -> Array<T> {
        Array::build(shape, |i| {
            let mut at = i.to_vec();
            from(&mut at);
            self.at(&at).clone()
        })
    }

    /// Arrays joined along an axis.
    ///
    /// # Panics
    /// When there are none or their other extents differ.
    pub fn concat(parts: &[Array<T>], axis: usize) -> Array<T> {
        let mut shape = parts[0].shape.clone();
        shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
        Array::build(&shape, |i| {
            let mut at = i.to_vec();
            for p in parts {
                if at[axis] < p.shape[axis] {
                    return p.at(&at).clone();
                }
                at[axis] -= p.shape[axis];
            }
            unreachable!("the extents add up to the axis")
        })
    }

    /// The lines along an axis: for each index of the other axes (in the shape where the axis has extent 1) its elements.
    pub fn lines(&self, axis: usize) -> Array<Vec<T>> {
        let mut shape = self.shape.clone();
        let n = std::mem::replace(&mut shape[axis], 1);
        Array::build(&shape, |i| {
            let mut at = i.to_vec();
            (0..n)
                .map(|k| {
                    at[axis] = k;
                    self.at(&at).clone()
                })
                .collect()
        })
    }

    /// What is reduced together: for each index of the kept axes (reduced ones with extent 1) its elements, row-major.
    pub fn groups(&self, axes: &[usize]) -> Array<Vec<T>> {
        let kept: Vec<usize> = (0..self.rank()).map(|a| if axes.contains(&a) { 1 } else { self.shape[a] }).collect();
        let inner: Vec<usize> = (0..self.rank()).map(|a| if axes.contains(&a) { self.shape[a] } else { 1 }).collect();
        Array::build(&kept, |i| {
            indices(&inner)
                .map(|j| {
                    let at: Vec<usize> = i.iter().zip(&j).map(|(a, b)| a + b).collect();
                    self.at(&at).clone()
                })
                .collect()
        })
    }

    /// The inverse of [`Array::lines`]: each line becomes elements along the axis.
    ///
    /// # Panics
    /// When lines differ in length.
    pub fn from_lines(lines: &Array<Vec<T>>, axis: usize, len: usize) -> Array<T> {
        let mut shape = lines.shape.clone();
        shape[axis] = len;
        Array::build(&shape, |i| {
            let mut at = i.to_vec();
            let k = std::mem::replace(&mut at[axis], 0);
            lines.at(&at)[k].clone()
        })
    }

    /// Without axes of extent 1 at these places.
    pub fn without(&self, axes: &[usize]) -> Array<T> {
        let shape: Vec<usize> =
            self.shape.iter().enumerate().filter(|(a, _)| !axes.contains(a)).map(|(_, &n)| n).collect();
        Array::new(&shape, self.data.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(shape: &[usize]) -> Array<usize> {
        Array::new(shape, (0..shape.iter().product()).collect())
    }

    #[test]
    fn views_by_hand() {
        let x = count(&[2, 3]);
        assert_eq!(x.permute(&[1, 0]).data, [0, 3, 1, 4, 2, 5]);
        assert_eq!(x.flip(1).data, [2, 1, 0, 5, 4, 3]);
        assert_eq!(x.roll(1, 1).data, [2, 0, 1, 5, 3, 4]);
        assert_eq!(x.roll(1, -4).data, [1, 2, 0, 4, 5, 3]);
        assert_eq!(x.slice(1, 0, 2, 2).data, [0, 2, 3, 5]);
        assert_eq!(x.slice(0, 1, 1, 1).expand(&[2, 3]).data, [3, 4, 5, 3, 4, 5]);
        assert_eq!(Array::concat(&[x.clone(), x.flip(0)], 1).data, [0, 1, 2, 3, 4, 5, 3, 4, 5, 0, 1, 2]);
        assert_eq!(x.groups(&[0]).data, [vec![0, 3], vec![1, 4], vec![2, 5]]);
        assert_eq!(x.groups(&[0, 1]).data, [vec![0, 1, 2, 3, 4, 5]]);
        assert_eq!(x.zip(&count(&[2, 1]), |a, b| a * 10 + b).data, [0, 10, 20, 31, 41, 51]);
        let y = count(&[2, 3, 4]);
        for axis in 0..3 {
            assert_eq!(Array::from_lines(&y.lines(axis), axis, y.shape[axis]), y);
        }
        assert_eq!(y.groups(&[0, 2]).shape, [1, 3, 1]);
        assert_eq!(*y.groups(&[0, 2]).at(&[0, 1, 0]), [4, 5, 6, 7, 16, 17, 18, 19]);
    }

    #[test]
    fn nothing_and_one() {
        assert_eq!(indices(&[]).count(), 1);
        assert_eq!(indices(&[2, 0, 3]).count(), 0);
        assert_eq!(count(&[2, 0]).groups(&[1]).data, [vec![], vec![]]);
        assert_eq!(broadcast(&[3, 1], &[4]), Some(vec![3, 4]));
        assert_eq!(broadcast(&[3], &[4]), None);
        assert_eq!(broadcast(&[1], &[0]), Some(vec![0]));
    }
}
