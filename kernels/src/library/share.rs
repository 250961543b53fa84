//! Reading rows of a left operand once per subgroup: each lane reads another row, or another part of one, as one aligned vector,
//! and every lane gets the elements of all rows by broadcasts.

use anychip_hal::ir::{BinaryOp, Builder, Op, SubgroupOp, Value};

/// How the lanes of a subgroup share the elements of `rows` rows. One of the two divides the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Lanes of a subgroup.
    pub lanes: u32,
    /// Rows that they share.
    pub rows: u32,
    /// Neighbours along a row that a lane reads at once.
    pub deep: u8,
}

impl Share {
    /// Sharing for sums of `terms`, with the deepest reads up to `deep` whose rounds divide it.
    pub fn of(lanes: u32, rows: u32, deep: u8, terms: usize) -> Option<Share> {
        let shares = [4, 2, 1].into_iter().filter(|&d| d <= deep).map(|deep| Share { lanes, rows, deep });
        let whole = lanes.is_multiple_of(rows) || rows.is_multiple_of(lanes);
        shares.into_iter().find(|s| whole && terms.is_multiple_of(s.terms() as usize))
    }

    /// Terms of a round.
    pub fn terms(&self) -> u32 {
        u32::from(self.deep) * self.parts()
    }

    /// Parts of a row that lanes read side by side: 1 where there are no more lanes than rows.
    fn parts(&self) -> u32 {
        (self.lanes / self.rows).max(1)
    }

    /// Rows that a lane reads.
    pub fn reads(&self) -> u32 {
        (self.rows / self.lanes).max(1)
    }

    /// The row of a lane's `n`-th read.
    pub fn row(&self, b: &mut Builder, lane: Value, n: u32) -> Value {
        if self.parts() > 1 {
            let rows = b.idx(u64::from(self.rows));
            return b.binary(BinaryOp::Rem, lane, rows);
        }
        match n {
            0 => lane,
            n => {
                let by = b.idx(u64::from(n * self.lanes));
                b.add(lane, by)
            }
        }
    }

    /// How far into a round a lane reads; `None`: from its beginning.
    pub fn part(&self, b: &mut Builder, lane: Value) -> Option<Value> {
        (self.parts() > 1).then(|| {
            let (rows, deep) = (b.idx(u64::from(self.rows)), b.idx(u64::from(self.deep)));
            let part = b.binary(BinaryOp::Div, lane, rows);
            b.mul(part, deep)
        })
    }

    /// Gives `each` the terms of a round one after another: the term's number in the round and that term of every row. `read`:
    /// this lane's reads.
    pub fn each_term(&self, b: &mut Builder, read: &[Value], mut each: impl FnMut(&mut Builder, u32, Vec<Value>)) {
        for part in 0..self.parts() {
            let rows = self.part_of_rows(b, read, part);
            for n in 0..u32::from(self.deep) {
                let of_rows = match self.deep {
                    1 => rows.clone(),
                    _ => rows.iter().map(|&x| b.extract(x, n as u8)).collect(),
                };
                each(b, part * u32::from(self.deep) + n, of_rows);
            }
        }
    }

    /// Part `part` of a round, of every row, for every lane: as many neighbours as are read at once.
    fn part_of_rows(&self, b: &mut Builder, read: &[Value], part: u32) -> Vec<Value> {
        (0..self.rows)
            .map(|r| {
                let (from, lane) = match self.parts() {
                    1 => ((r / self.lanes) as usize, r % self.lanes),
                    _ => (0, part * self.rows + r),
                };
                let value = read[from];
                let (ty, lane) = (b.ty(value), Some(b.u32(lane)));
                b.define(ty, Op::Subgroup { op: SubgroupOp::Broadcast, value, lane })
            })
            .collect()
    }
}
