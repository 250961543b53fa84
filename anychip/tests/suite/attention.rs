//! Attention: masks, ranks, views, grouped heads. Bounds follow from the operation's error analysis, u = 2⁻²⁴.

use crate::common::{Host, close, indices, on_every_device, softmax, takes};
use anychip::{DType, Device, Program, Tensor};

const U: f64 = f32::EPSILON as f64 / 2.0;

struct Attention {
    q: Host,
    k: Host,
    v: Host,
}

impl Attention {
    fn random(lead: &[usize], s: usize, t: usize, width: usize, out: usize) -> Attention {
        let shape = |a: usize, b: usize| lead.iter().copied().chain([a, b]).collect::<Vec<_>>();
        Attention {
            q: Host::random(&shape(s, width), 1, -1., 1.),
            k: Host::random(&shape(t, width), 2, -1., 1.),
            v: Host::random(&shape(t, out), 3, -1., 1.),
        }
    }

    /// `seen` says what is added to the score of (query index, key).
    fn by_hand(&self, scale: f64, seen: impl Fn(&[usize], usize) -> f64) -> Host {
        let r = self.q.shape.len();
        let (t, width, out) = (self.k.shape[r - 2], self.q.shape[r - 1], self.v.shape[r - 1]);
        let mut shape = self.q.shape.clone();
        shape[r - 1] = out;
        let mut data = Vec::with_capacity(shape.iter().product());
        for i in indices(&shape[..r - 1]) {
            let lead = &i[..r - 2];
            // The head of keys and values that this query head uses.
            let group: Vec<usize> = match lead.split_last() {
                Some((&head, outer)) => {
                    let shared = self.q.shape[r - 3] / self.k.shape[r - 3];
                    outer.iter().copied().chain([head / shared]).collect()
                }
                None => vec![],
            };
            let at = |lead: &[usize], row: usize, col: usize| [lead, &[row, col]].concat();
            let score = |j: usize| {
                (0..width).map(|c| self.q.at(&at(lead, i[r - 2], c)) * self.k.at(&at(&group, j, c))).sum::<f64>()
                    * scale
                    + seen(&i, j)
            };
            let p = softmax(&(0..t).map(score).collect::<Vec<_>>());
            data.extend(
                (0..out).map(|c| p.iter().enumerate().map(|(j, p)| p * self.v.at(&at(&group, j, c))).sum::<f64>()),
            );
        }
        Host::new(&shape, data)
    }

    fn run(&self, d: &Device, mask: Option<&Tensor>, scale: Option<f32>, causal: bool) -> Tensor {
        self.q.on(d).attention(&self.k.on(d), &self.v.on(d), mask, scale, causal).unwrap()
    }
}

/// Scores are at most width in size and carry 2·width·u·width; the mixture adds t·u. |v| ≤ 1.
fn attention_bound(width: usize, t: usize) -> impl Fn(usize, f64) -> f64 {
    move |_, _| (2.0 * width as f64 + t as f64 + 80.0) * 2.0 * U
}

#[test]
fn attention_with_and_without_masks() {
    let none = f64::NEG_INFINITY;
    on_every_device(|d| {
        let sizes = [(5, 7, 8, 4), (1, 1, 1, 1), (33, 33, 32, 32), (64, 130, 64, 64), (1, 300, 32, 32)];
        for (_, (s, t, width, out)) in sizes.into_iter().enumerate().filter(|(n, _)| takes(d, *n, 3)) {
            let a = Attention::random(&[2, 3], s, t, width, out);
            let what = |m: &str| format!("attention s {s} t {t} d {width}, {m}, on {d}");
            let scale = 1.0 / (width as f64).sqrt();
            let bound = attention_bound(width, t);
            close(&what("plain"), &a.run(d, None, None, false), &a.by_hand(scale, |_, _| 0.0), &bound);
            close(&what("scaled"), &a.run(d, None, Some(0.3), false), &a.by_hand(0.3f32 as f64, |_, _| 0.0), &bound);
            let want = a.by_hand(scale, |i, j| if j <= i[2] { 0.0 } else { none });
            close(&what("causal"), &a.run(d, None, None, true), &want, &bound);
            // Every row sees key 0; sequence 1 sees only the first half.
            let padding = Host::build(&[2, 1, 1, t], |i| (i[0] == 0 || i[3] <= t / 2) as u8 as f64);
            let want = a.by_hand(scale, |i, j| if i[0] == 0 || j <= t / 2 { 0.0 } else { none });
            let mask = padding.on(d).gt(0.5).unwrap();
            close(&what("padded"), &a.run(d, Some(&mask), None, false), &want, &bound);
            let added = Host::random(&[s, t], 7, -2., 2.);
            let want = a.by_hand(scale, |i, j| added.at(&[i[2], j]));
            close(&what("added"), &a.run(d, Some(&added.on(d)), None, false), &want, &bound);
        }
    });
}

#[test]
fn attention_of_other_ranks_and_of_views() {
    on_every_device(|d| {
        for (lead, s) in [(&[][..], 21), (&[3], 6)] {
            let a = Attention::random(lead, s, 9, 16, 8);
            let got = a.run(d, None, None, false);
            close(&format!("attention {lead:?} on {d}"), &got, &a.by_hand(0.25, |_, _| 0.0), attention_bound(16, 9));
        }
        // As models cut queries, keys and values from one product.
        let qkv = Host::random(&[2, 18, 3, 4, 16], 8, -1., 1.);
        let cut = qkv.on(d).permute([2, 0, 3, 1, 4]).unwrap();
        let got = cut.get(0).unwrap().attention(&cut.get(1).unwrap(), &cut.get(2).unwrap(), None, None, false).unwrap();
        let got = got.permute([0, 2, 1, 3]).unwrap().reshape((36, 64)).unwrap();
        let part = |p: usize| Host::build(&[2, 4, 18, 16], |i| qkv.at(&[i[0], i[2], p, i[1], i[3]]));
        let a = Attention { q: part(0), k: part(1), v: part(2) };
        let heads = a.by_hand(0.25, |_, _| 0.0);
        let want = Host::build(&[36, 64], |i| heads.at(&[i[0] / 18, i[1] / 16, i[0] % 18, i[1] % 16]));
        close(&format!("attention of views on {d}"), &got, &want, attention_bound(16, 18));
    });
}

/// From 16 rows on one kernel does it all: edges of its tiles, and operands that do not lie side by side.
#[test]
fn edges_of_the_tiles_of_attention() {
    let none = f64::NEG_INFINITY;
    // Rows, keys, widths, causal, what adds to the scores: nothing, per key, per row, per both.
    let cases = [
        (16, 17, 31, 31, false, 0),
        (17, 37, 1, 1, true, 1),
        (33, 130, 64, 5, false, 2),
        (20, 64, 6, 33, true, 3),
        (40, 7, 8, 64, false, 3),
        (18, 66, 64, 40, false, 1),
    ];
    on_every_device(|d| {
        for (_, (s, t, width, out, causal, added)) in cases.into_iter().enumerate().filter(|(n, _)| takes(d, *n, 1)) {
            let a = Attention::random(&[1, 2], s, t, width, out);
            let shape = [1, 1, if added & 2 > 0 { s } else { 1 }, if added & 1 > 0 { t } else { 1 }];
            let mask = Host::random(&shape, 9, -2., 2.);
            let scale = 1.0 / (width as f64).sqrt();
            let want = a.by_hand(scale, |i, j| match causal && j > i[2] {
                true => none,
                false if added == 0 => 0.0,
                false => mask.at(&[0, 0, i[2].min(shape[2] - 1), j.min(shape[3] - 1)]),
            });
            let mask = (added > 0).then(|| mask.on(d));
            let what = |m: &str| format!("attention s {s} t {t} d {width} e {out}, causal {causal}, {m}, on {d}");
            close(&what("dense"), &a.run(d, mask.as_ref(), None, causal), &want, attention_bound(width, t));
            // Columns of keys and values lie apart, rows of queries too.
            let apart = |x: &Host| x.on(d).transpose(2, 3).unwrap().contiguous().unwrap().transpose(2, 3).unwrap();
            let got = apart(&a.q).attention(&apart(&a.k), &apart(&a.v), mask.as_ref(), None, causal).unwrap();
            close(&what("apart"), &got, &want, attention_bound(width, t));
            if added == 0 || added == 3 {
                let half = |x: &Host| x.on(d).to_dtype(DType::F16).unwrap();
                let mask = mask.as_ref().map(|m| m.to_dtype(DType::F16).unwrap());
                let got = half(&a.q).attention(&half(&a.k), &half(&a.v), mask.as_ref(), None, causal).unwrap();
                // Of 2⁻¹¹: operands shift a score by 2 √width and the mask's rounding by 2, weights by twice that; then values and result.
                let bound = (4.0 * (width as f64).sqrt() + 8.0) * 2f64.powi(-11);
                close(&what("f16"), &got.to_dtype(DType::F32).unwrap(), &want, move |_, _| bound);
            }
        }
    });
}

#[test]
fn attention_of_grouped_heads() {
    let none = f64::NEG_INFINITY;
    on_every_device(|d| {
        for (lead, groups) in [(vec![2, 6], 3), (vec![4], 2)] {
            let outer = &lead[..lead.len() - 1];
            let keys = [outer, &[groups]].concat();
            let s = if groups == 3 { 19 } else { 5 };
            let fewer = Attention::random(&keys, s, 7, 16, 8);
            let a = Attention { q: Host::random(&[&lead[..], &[s, 16]].concat(), 4, -1., 1.), ..fewer };
            let what = |m: &str| format!("attention of {lead:?} heads with {groups} of keys, {m}, on {d}");
            let bound = attention_bound(16, 7);
            close(&what("plain"), &a.run(d, None, None, false), &a.by_hand(0.25, |_, _| 0.0), &bound);
            let per_head = Host::random(&[&lead[..], &[s, 7]].concat(), 5, -2., 2.);
            let want = a.by_hand(0.25, |i, j| match j <= i[i.len() - 1] {
                true => per_head.at(&[i, &[j]].concat()),
                false => none,
            });
            close(&what("masked and causal"), &a.run(d, Some(&per_head.on(d)), None, true), &want, &bound);
        }
    });
}

/// Few rows and many: two ways on a device whose library does not take attention.
#[test]
fn rows_that_see_nothing_or_have_nothing_to_see() {
    on_every_device(|d| {
        for s in [2, 70] {
            let ones = |n: usize| Tensor::ones((1, 1, n, 4), DType::F32, d).unwrap();
            let t = 67;
            // The first row sees nothing, the others the last key only: a whole block lies before it.
            let seen = Host::build(&[s, t], |i| (i[0] > 0 && i[1] == t - 1) as u8 as f64);
            let seen = seen.on(d).gt(0.5).unwrap();
            let out = ones(s).attention(&ones(t), &ones(t), Some(&seen), None, false).unwrap();
            let out = out.to_vec::<f32>().unwrap();
            assert!(out[..4].iter().all(|x| x.is_nan()), "{d}: a row that sees nothing gives NaN, got {out:?}");
            assert!(out[4..].iter().all(|&x| x == 1.0), "{d}: rows that see one key give its value, got {out:?}");
            let out = ones(s).attention(&ones(0), &ones(0), None, None, false).unwrap();
            assert!(out.to_vec::<f32>().unwrap().iter().all(|&x| x == 0.0), "{d}: no keys, {s} rows");
        }
    });
}

/// Scores of 2048 queries with 2048 keys would be 16 MiB a head: whatever runs it, they are not there.
#[test]
fn memory_of_attention_grows_with_the_lengths_not_with_their_product() {
    on_every_device(|d| {
        let plan = |n: usize, causal: bool, groups: usize| {
            let zeros = |lead: &[usize]| Tensor::zeros([lead, &[n, 32]].concat(), DType::F32, d).unwrap();
            let (q, k, v) = (zeros(&[1, 2]), zeros(&[1, groups]), zeros(&[1, groups]));
            Tensor::realize_all(&[&q, &k, &v]).unwrap();
            let run = |x: &[Tensor]| Ok(vec![x[0].attention(&x[1], &x[2], None, None, causal)?]);
            Program::new(d, &[q, k, v], run).unwrap()
        };
        for (causal, groups) in [(false, 2), (true, 1)] {
            let [half, whole] = [1024, 2048].map(|n| plan(n, causal, groups));
            let peaks = [&half, &whole].map(|p| p.memory().peak + p.memory().workspace);
            assert!(peaks[1] <= 2 * peaks[0], "{d}: {peaks:?}");
            // Keys and values once more, nothing else.
            assert!(peaks[1] <= 2 * 2 * 2048 * 32 * 4, "{d}: {peaks:?}");
            let launches = whole.explain().to_string();
            assert!(launches.contains("attention"), "{d}: {launches}");
        }
    });
}
