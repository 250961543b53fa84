//! Convolutions, pooling and resizing over any number of spatial axes, behind batch and channels.
//!
//! Shapes as in PyTorch: input `[batch, channels, …]`. Padding is not an operand: an infinite weight times a padded zero is no NaN here.

use super::{
    array::{Array, indices},
    number::{Arithmetic, Number},
    wide::Wide,
};

/// How a window moves, per spatial axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moves {
    /// From a window to the next.
    pub stride: Vec<usize>,
    /// Zeros in front of and behind.
    pub padding: Vec<usize>,
    /// From an element of a window to its next.
    pub dilation: Vec<usize>,
}

impl Moves {
    /// One step at a time, no padding.
    pub fn plain(axes: usize) -> Moves {
        Moves { stride: vec![1; axes], padding: vec![0; axes], dilation: vec![1; axes] }
    }

    /// Where element `k` of window `w` lies along an axis; before the start it is negative.
    fn place(&self, axis: usize, w: usize, k: usize) -> i64 {
        (w * self.stride[axis] + k * self.dilation[axis]) as i64 - self.padding[axis] as i64
    }
}

/// The place of a window's element, when it is inside.
fn inside(moves: &Moves, window: &[usize], k: &[usize], extents: &[usize]) -> Option<Vec<usize>> {
    (0..extents.len())
        .map(|axis| usize::try_from(moves.place(axis, window[axis], k[axis])).ok().filter(|&p| p < extents[axis]))
        .collect()
}

fn join(parts: &[&[usize]]) -> Vec<usize> {
    parts.concat()
}

/// Cross-correlation: weight `[out, channels / groups, kernel…]`, bias `[out]`.
pub fn conv(
    a: &Arithmetic,
    x: &Array<Number>,
    weight: &Array<Number>,
    bias: Option<&Array<Number>>,
    moves: &Moves,
    groups: usize,
) -> Array<Number> {
    let (extents, kernel) = (&x.shape[2..], &weight.shape[2..]);
    let count: Vec<usize> = (0..extents.len())
        .map(|i| (extents[i] + 2 * moves.padding[i] - moves.dilation[i] * (kernel[i] - 1) - 1) / moves.stride[i] + 1)
        .collect();
    let (out, inner) = (weight.shape[0], weight.shape[1]);
    Array::build(&join(&[&[x.shape[0], out], &count]), |i| {
        let group = i[1] / (out / groups);
        let mut pairs = Vec::new();
        for k in indices(kernel) {
            let Some(at) = inside(moves, &i[2..], &k, extents) else { continue };
            for c in 0..inner {
                let from = join(&[&[i[0], group * inner + c], &at]);
                pairs.push((*x.at(&from), *weight.at(&join(&[&[i[1], c], &k]))));
            }
        }
        let sum = a.dot(pairs);
        bias.map_or(sum, |b| a.add(sum, b.data[i[1]]))
    })
}

/// The transposed convolution: weight `[channels, out / groups, kernel…]`, each input element spread over the result.
pub fn conv_transpose(
    a: &Arithmetic,
    x: &Array<Number>,
    weight: &Array<Number>,
    bias: Option<&Array<Number>>,
    moves: &Moves,
    output_padding: &[usize],
    groups: usize,
) -> Array<Number> {
    let (extents, kernel) = (&x.shape[2..], &weight.shape[2..]);
    let count: Vec<usize> = (0..extents.len())
        .map(|i| {
            (extents[i] - 1) * moves.stride[i] + moves.dilation[i] * (kernel[i] - 1) + output_padding[i] + 1
                - 2 * moves.padding[i]
        })
        .collect();
    let (inner, per) = (x.shape[1] / groups, weight.shape[1]);
    Array::build(&join(&[&[x.shape[0], per * groups], &count]), |i| {
        let group = i[1] / per;
        let mut pairs = Vec::new();
        for k in indices(kernel) {
            // Input element s reaches place s·stride + k·dilation − padding.
            let from: Option<Vec<usize>> = (0..extents.len())
                .map(|axis| {
                    let way = (i[2 + axis] + moves.padding[axis]).checked_sub(k[axis] * moves.dilation[axis])?;
                    let s = way / moves.stride[axis];
                    (way % moves.stride[axis] == 0 && s < extents[axis]).then_some(s)
                })
                .collect();
            let Some(from) = from else { continue };
            for c in group * inner..(group + 1) * inner {
                pairs.push((*x.at(&join(&[&[i[0], c], &from])), *weight.at(&join(&[&[c, i[1] % per], &k]))));
            }
        }
        let sum = a.dot(pairs);
        bias.map_or(sum, |b| a.add(sum, b.data[i[1]]))
    })
}

/// Windows of a pooling over the last axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Elements of a window per axis.
    pub size: Vec<usize>,
    /// How it moves.
    pub moves: Moves,
    /// A last window may go beyond the end, when it begins inside the input or the padding in front.
    pub ceil_mode: bool,
    /// A mean counts padding.
    pub count_include_pad: bool,
}

impl Pool {
    fn windows(&self, extents: &[usize]) -> Vec<usize> {
        (0..extents.len())
            .map(|i| {
                let (n, p, s) = (extents[i], self.moves.padding[i], self.moves.stride[i]);
                let way = n + 2 * p - self.moves.dilation[i] * (self.size[i] - 1) - 1;
                let count = if self.ceil_mode { way.div_ceil(s) } else { way / s } + 1;
                if self.ceil_mode && (count - 1) * s >= n + p { count - 1 } else { count }
            })
            .collect()
    }

    fn over<T: Clone, U: Clone>(&self, x: &Array<T>, f: impl Fn(Vec<T>, usize) -> U) -> Array<U> {
        let lead = x.rank() - self.size.len();
        let extents = &x.shape[lead..];
        let shape = join(&[&x.shape[..lead], &self.windows(extents)]);
        Array::build(&shape, |i| {
            let (batch, window) = i.split_at(lead);
            let elements: Vec<T> = indices(&self.size)
                .filter_map(|k| inside(&self.moves, window, &k, extents))
                .map(|at| x.at(&join(&[batch, &at])).clone())
                .collect();
            // Elements of the window within the padded input: what a mean over padding divides by.
            let padded = (0..extents.len())
                .map(|axis| {
                    let end = (extents[axis] + self.moves.padding[axis]) as i64;
                    (0..self.size[axis]).filter(|&k| self.moves.place(axis, window[axis], k) < end).count()
                })
                .product();
            let count = if self.count_include_pad { padded } else { elements.len() };
            f(elements, count)
        })
    }
}

/// The largest of each window, NaN when one is; padding is never the largest.
pub fn max_pool(x: &Array<Number>, pool: &Pool) -> Array<Number> {
    pool.over(x, |e, _| e.into_iter().reduce(Number::max).unwrap_or(Number::from(f64::NEG_INFINITY)))
}

/// The mean of each window.
pub fn avg_pool(a: &Arithmetic, x: &Array<Number>, pool: &Pool) -> Array<Number> {
    pool.over(x, |e, count| a.div(a.sum(e), Number::from(count as f64)))
}

/// Stretches that cover the last axes evenly: of n elements, stretch i of s goes from ⌊i·n/s⌋ to before ⌈(i+1)·n/s⌉.
fn stretches<T: Clone, U: Clone>(x: &Array<T>, size: &[usize], f: impl Fn(Vec<T>) -> U) -> Array<U> {
    let lead = x.rank() - size.len();
    let shape = join(&[&x.shape[..lead], size]);
    Array::build(&shape, |i| {
        let start = |axis: usize| i[lead + axis] * x.shape[lead + axis] / size[axis];
        let lens: Vec<usize> = (0..size.len())
            .map(|axis| ((i[lead + axis] + 1) * x.shape[lead + axis]).div_ceil(size[axis]) - start(axis))
            .collect();
        f(indices(&lens)
            .map(|k| {
                let at: Vec<usize> = (0..size.len()).map(|axis| start(axis) + k[axis]).collect();
                x.at(&join(&[&i[..lead], &at])).clone()
            })
            .collect())
    })
}

/// The mean of each stretch. Taken axis by axis it has more roundings, which the bound counts: one division for each axis.
pub fn adaptive_avg_pool(a: &Arithmetic, x: &Array<Number>, size: &[usize]) -> Array<Number> {
    stretches(x, size, |e| {
        let count = Number::from(e.len() as f64);
        let mean = a.div(a.sum(e.iter().copied()), count);
        let sizes = e.iter().map(|x| x.size()).sum::<f64>() / e.len() as f64;
        let more = 2.0 * a.facts.div_ulp * a.format().unit() * sizes * size.len() as f64;
        if mean.value.is_finite() { Number { value: mean.value, radius: mean.radius + more } } else { mean }
    })
}

/// The largest of each stretch.
pub fn adaptive_max_pool(x: &Array<Number>, size: &[usize]) -> Array<Number> {
    stretches(x, size, |e| e.into_iter().reduce(Number::max).unwrap_or(Number::from(f64::NEG_INFINITY)))
}

/// Another extent of an axis: element i is old element ⌊i·n/m⌋.
pub fn resize_nearest<T: Clone>(x: &Array<T>, axis: usize, to: usize) -> Array<T> {
    let mut shape = x.shape.clone();
    let n = std::mem::replace(&mut shape[axis], to);
    x.picked(&shape, |i| i[axis] = i[axis] * n / to)
}

/// Another extent of an axis by interpolation between neighbours. Element i lies at (i+½)·n/m − ½, with `corners` at i·(n−1)/(m−1), not
/// outside the first and last element. The place is computed with an error of a few units in the last place, which moves the result
/// along the slope.
pub fn resize_linear(a: &Arithmetic, x: &Array<Number>, axis: usize, to: usize, corners: bool) -> Array<Number> {
    let n = x.shape[axis];
    let lines = x.lines(axis).map(|line| {
        (0..to)
            .map(|i| {
                let place = match corners {
                    true if to == 1 => 0.0,
                    true => (i * (n - 1)) as f64 / (to - 1) as f64,
                    false => ((i as f64 + 0.5) * n as f64 / to as f64 - 0.5).clamp(0.0, (n - 1) as f64),
                };
                let low = (place.floor() as usize).min(n - 1);
                let high = (low + 1).min(n - 1);
                let t = Wide::from(place - low as f64);
                let value = line[low].value * (Wide::ONE - t) + line[high].value * t;
                // Neighbours on both sides: rounding may put a place near an element on its other side.
                let near = [low.saturating_sub(1), low, high, (high + 1).min(n - 1)];
                let slope = near.windows(2).map(|w| (line[w[1]].value - line[w[0]].value).hi.abs()).fold(0.0, f64::max);
                let size = near.iter().map(|&j| line[j].size()).fold(0.0, f64::max);
                let own = near.iter().map(|&j| line[j].radius).fold(0.0, f64::max);
                let u = a.unit();
                Number { value, radius: own + 6.0 * u * size + 4.0 * u * (place + 1.0) * slope }
            })
            .collect::<Vec<_>>()
    });
    Array::from_lines(&lines, axis, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{format::Type, number::Facts};

    fn ramp(shape: &[usize]) -> Array<Number> {
        Array::new(shape, (0..shape.iter().product::<usize>()).map(|i| Number::from(i as f64)).collect())
    }

    fn ones(shape: &[usize]) -> Array<Number> {
        Array::full(shape, Number::from(1.0))
    }

    fn values(x: &Array<Number>) -> Vec<f64> {
        x.data.iter().map(|x| x.value.hi).collect()
    }

    fn exact() -> Arithmetic {
        Arithmetic::new(Type::F32, Facts::IEEE).without_rounding()
    }

    #[test]
    fn convolutions_by_hand() {
        let a = exact();
        let padded = Moves { padding: vec![1, 1], ..Moves::plain(2) };
        let y = conv(&a, &ones(&[1, 2, 3, 3]), &ones(&[1, 2, 3, 3]), None, &padded, 1);
        assert_eq!(values(&y), [8.0, 12.0, 8.0, 12.0, 18.0, 12.0, 8.0, 12.0, 8.0]);
        let moves = Moves { stride: vec![2], padding: vec![0], dilation: vec![2] };
        let y = conv(&a, &ramp(&[1, 1, 7]), &ramp(&[1, 1, 2]), Some(&ones(&[1])), &moves, 1);
        assert_eq!(values(&y), [3.0, 5.0, 7.0]);
        let y = conv(&a, &ramp(&[1, 2, 2]), &ramp(&[2, 1, 1]), None, &Moves::plain(1), 2);
        assert_eq!(values(&y), [0.0, 0.0, 2.0, 3.0]);
        let moves = Moves { stride: vec![2, 2], ..Moves::plain(2) };
        let y = conv_transpose(&a, &ones(&[1, 1, 2, 2]), &ramp(&[1, 1, 2, 2]), None, &moves, &[0, 0], 1);
        assert_eq!(values(&y)[12..], [2.0, 3.0, 2.0, 3.0]);
    }

    /// ⟨conv(x), y⟩ = ⟨x, conv_transpose(y)⟩: what "transposed" means.
    #[test]
    fn the_transposed_is_the_adjoint() {
        let a = exact();
        for (stride, padding, dilation, groups) in [(1, 0, 1, 1), (2, 1, 1, 1), (3, 2, 2, 1), (2, 1, 1, 2)] {
            let moves = Moves { stride: vec![stride], padding: vec![padding], dilation: vec![dilation] };
            let x = ramp(&[1, 2, 13]);
            let w = ramp(&[4, 2 / groups, 3]);
            let forward = conv(&a, &x, &w, None, &moves, groups);
            let y = forward.map(|_| ()).map({
                let mut n = 0.0;
                move |_| {
                    n += 1.0;
                    Number::from(n % 5.0 - 2.0)
                }
            });
            let rest = (13 + 2 * padding - dilation * 2 - 1) % stride;
            let back = conv_transpose(&a, &y, &w, None, &moves, &[rest], groups);
            assert_eq!(back.shape, x.shape);
            let inner = |p: &Array<Number>, q: &Array<Number>| -> f64 {
                p.data.iter().zip(&q.data).map(|(p, q)| p.value.hi * q.value.hi).sum()
            };
            assert_eq!(inner(&forward, &y), inner(&x, &back), "stride {stride} groups {groups}");
        }
    }

    #[test]
    fn pools_by_hand() {
        let a = exact();
        let x = ramp(&[1, 1, 4, 4]);
        let two = Pool {
            size: vec![2, 2],
            moves: Moves { stride: vec![2, 2], ..Moves::plain(2) },
            ceil_mode: false,
            count_include_pad: true,
        };
        assert_eq!(values(&max_pool(&x, &two)), [5.0, 7.0, 13.0, 15.0]);
        assert_eq!(values(&avg_pool(&a, &x, &two)), [2.5, 4.5, 10.5, 12.5]);
        let line = ramp(&[5]);
        let moves = Moves { stride: vec![2], padding: vec![1], dilation: vec![1] };
        let pool =
            |ceil_mode, count_include_pad| Pool { size: vec![3], moves: moves.clone(), ceil_mode, count_include_pad };
        assert_eq!(values(&avg_pool(&a, &line, &pool(false, true)))[..2], [1.0 / 3.0, 2.0]);
        assert_eq!(values(&avg_pool(&a, &line, &pool(false, false))), [0.5, 2.0, 3.5]);
        let moves = Moves { stride: vec![2], ..Moves::plain(1) };
        let ceil = Pool { size: vec![2], moves, ceil_mode: true, count_include_pad: true };
        assert_eq!(values(&max_pool(&line, &ceil)), [1.0, 3.0, 4.0]);
        assert_eq!(values(&avg_pool(&a, &line, &ceil)), [0.5, 2.5, 4.0]);
        assert_eq!(values(&adaptive_avg_pool(&a, &line, &[2])), [1.0, 3.0]);
        assert_eq!(values(&adaptive_max_pool(&line, &[3])), [1.0, 3.0, 4.0]);
    }

    #[test]
    fn resizing_by_hand() {
        let a = Arithmetic::new(Type::F32, Facts::IEEE);
        let x = ramp(&[2]);
        assert_eq!(values(&resize_nearest(&x, 0, 4)), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(values(&resize_linear(&a, &x, 0, 4, false)), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(values(&resize_linear(&a, &ramp(&[3]), 0, 5, true)), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(values(&resize_linear(&a, &ramp(&[4]), 0, 2, false)), [0.5, 2.5]);
    }
}
