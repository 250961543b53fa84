//! Which lanes of a block act. Most code runs with all of them; a partial mask knows its first, last and number of
//! lanes, so that the tail of a row is still one contiguous store.

/// Lanes that act.
#[derive(Debug, Clone)]
pub(crate) enum Mask {
    /// All.
    Full,
    /// None.
    Empty,
    /// Some, but not all.
    Part(Box<Part>),
}

/// A proper, non-empty part of the lanes.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// 0 or 1 per lane.
    pub lanes: Vec<u8>,
    /// First acting lane.
    pub first: usize,
    /// Past the last.
    pub end: usize,
    /// How many.
    pub count: usize,
}

impl Mask {
    /// From bytes of 0 and 1 of which `count` are set.
    pub fn from_lanes(lanes: Vec<u8>, count: usize) -> Mask {
        if count == 0 {
            return Mask::Empty;
        }
        if count == lanes.len() {
            return Mask::Full;
        }
        let first = lanes.iter().position(|&m| m != 0).unwrap_or(0);
        let end = lanes.iter().rposition(|&m| m != 0).map_or(0, |i| i + 1);
        Mask::Part(Box::new(Part { lanes, first, end, count }))
    }

    /// From a choice per lane.
    pub fn from_fn(n: usize, f: impl Fn(usize) -> bool) -> Mask {
        let lanes: Vec<u8> = (0..n).map(|i| f(i) as u8).collect();
        let count = lanes.iter().map(|&m| m as usize).sum();
        Mask::from_lanes(lanes, count)
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Mask::Empty)
    }

    pub fn is_full(&self) -> bool {
        matches!(self, Mask::Full)
    }

    /// Whether a lane acts.
    pub fn has(&self, lane: usize) -> bool {
        match self {
            Mask::Full => true,
            Mask::Empty => false,
            Mask::Part(p) => p.lanes[lane] != 0,
        }
    }

    /// The last acting lane among `n`.
    pub fn last(&self, n: usize) -> Option<usize> {
        match self {
            Mask::Full => n.checked_sub(1),
            Mask::Empty => None,
            Mask::Part(p) => Some(p.end - 1),
        }
    }

    /// First and past-the-last lane when the acting lanes are neighbours.
    pub fn run(&self, n: usize) -> Option<(usize, usize)> {
        match self {
            Mask::Full => Some((0, n)),
            Mask::Empty => Some((0, 0)),
            Mask::Part(p) => (p.end - p.first == p.count).then_some((p.first, p.end)),
        }
    }

    /// Lanes of either.
    pub fn or(self, other: Mask) -> Mask {
        match (self, other) {
            (Mask::Empty, m) | (m, Mask::Empty) => m,
            (Mask::Full, _) | (_, Mask::Full) => Mask::Full,
            (Mask::Part(mut a), Mask::Part(b)) => {
                for (a, b) in a.lanes.iter_mut().zip(&b.lanes) {
                    *a |= b;
                }
                let count = a.lanes.iter().map(|&m| m as usize).sum();
                Mask::from_lanes(a.lanes, count)
            }
        }
    }

    /// Lanes of this that are not in the other.
    pub fn without(self, other: &Mask, n: usize) -> Mask {
        match (self, other) {
            (m, Mask::Empty) => m,
            (_, Mask::Full) | (Mask::Empty, _) => Mask::Empty,
            (m, Mask::Part(o)) => Mask::from_fn(n, |i| m.has(i) && o.lanes[i] == 0),
        }
    }

    /// Lanes of both.
    pub fn and(&self, other: &Mask, n: usize) -> Mask {
        match (self, other) {
            (Mask::Empty, _) | (_, Mask::Empty) => Mask::Empty,
            (Mask::Full, m) | (m, Mask::Full) => m.clone(),
            (Mask::Part(a), Mask::Part(b)) => Mask::from_fn(n, |i| a.lanes[i] & b.lanes[i] != 0),
        }
    }
}
