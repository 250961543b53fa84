//! Whole graphs: what an application asks for at once, fused and planned as a device likes, against the oracle's operations one after
//! the other, each radius carried into the next. Weights and inputs come from the case's numbers, so that nothing is fetched.

use super::support::{Operand, Outcome, Trial, broken, case, case_of};
use crate::Case;
use anychip::{Conv2d, Pool2d, Program, Result, Tensor};
use anychip_oracle::{
    Arithmetic, Array, Number, Type, linear, reduce,
    sample::Values,
    spatial::{self, Moves, Pool},
    table,
};

type Numbers = Array<Number>;

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [fused(), programs(), transformers(), networks()].into_iter().flatten().collect()
}

/// The arithmetic of a graph in one type: between two operations a device may round to the type, or hold the wider number.
struct Means {
    a: Arithmetic,
    ty: Type,
}

impl Means {
    fn between(&self, x: Numbers) -> Numbers {
        x.map(|&x| self.a.perhaps_narrowed(x, self.ty))
    }

    fn add(&self, x: &Numbers, y: &Numbers) -> Numbers {
        self.between(x.zip(y, |&x, &y| self.a.add(x, y)))
    }

    fn mul(&self, x: &Numbers, y: &Numbers) -> Numbers {
        self.between(x.zip(y, |&x, &y| self.a.mul(x, y)))
    }

    fn linear(&self, x: &Numbers, (weight, bias): &(Operand, Operand)) -> Numbers {
        let product = self.between(linear::matmul(&self.a, x, &weight.real().swap(0, 1)));
        self.add(&product, &bias.real())
    }

    fn norm(&self, x: &Numbers, (weight, bias): &(Operand, Operand)) -> Numbers {
        self.between(reduce::layer_norm(&self.a, x, Some(&weight.real()), Some(&bias.real()), f64::from(EPS)))
    }

    /// |gelu′| < 1.13.
    fn gelu(&self, x: &Numbers) -> Numbers {
        let row = table::find("gelu");
        self.between(x.map(|x| {
            let y = table::apply(row, &self.a, x.value.hi);
            Number { value: y.value, radius: y.radius + 1.13 * (x.radius + x.value.lo.abs()) }
        }))
    }
}

const EPS: f32 = 1e-5;

fn relu(x: &Numbers) -> Numbers {
    x.map(|x| x.max(Number::ZERO))
}

/// A bound as wide as the values themselves says nothing: the record says so. On arithmetic as IEEE 754 has it that must not happen.
fn tight(t: &mut Trial<'_>, want: &Numbers, most: f64) {
    let size = want.data.iter().map(|x| x.value.hi.abs()).fold(0.0, f64::max);
    let wide = want.data.iter().map(|x| x.radius).fold(0.0, f64::max);
    if wide > most * size {
        t.seen.notes.push(format!(
            "the bound is {wide:e} for numbers up to {size:e}: the device's arithmetic is declared coarsely"
        ));
    }
}

/// Short expressions that a planner fuses in different ways.
fn fused() -> Vec<Case> {
    type Graph = fn(&Tensor, &Tensor) -> Result<Tensor>;
    type Meaning = fn(&Means, &Numbers, &Numbers) -> Numbers;
    let rows: [(&str, Graph, Meaning); 7] = [
        (
            "chain",
            |x, y| x.mul(y)?.add(x)?.sub(y)?.mul(x)?.abs()?.neg(),
            |m, x, y| {
                let z = m.mul(x, y);
                let z = m.add(&z, x);
                let z = m.add(&z, &y.map(|y| y.negated()));
                m.mul(&z, x).map(|z| z.abs().negated())
            },
        ),
        (
            "one-value-twice",
            |x, y| {
                let sum = x.add(y)?;
                sum.mul(&sum)?.add(&sum)
            },
            |m, x, y| {
                let sum = m.add(x, y);
                m.add(&m.mul(&sum, &sum), &sum)
            },
        ),
        ("before-a-sum", |x, y| x.mul(y)?.sum(1), |m, x, y| reduce::sum(&m.a, &m.mul(x, y), &[1]).without(&[1])),
        (
            "behind-a-sum",
            |x, y| x.sum_keepdim(1)?.mul(y)?.add(x),
            |m, x, y| {
                let sum = m.between(reduce::sum(&m.a, x, &[1]));
                m.add(&m.mul(&sum, y), x)
            },
        ),
        (
            "sum-of-sums",
            |x, y| x.sum(1)?.add(y.sum(1)?)?.sum(0),
            |m, x, y| {
                let part = |x: &Numbers| m.between(reduce::sum(&m.a, x, &[1])).without(&[1]);
                reduce::sum(&m.a, &m.add(&part(x), &part(y)), &[0]).without(&[0])
            },
        ),
        (
            "product-of-a-product",
            |x, y| x.matmul(&y.t()?)?.matmul(y),
            |m, x, y| {
                let first = m.between(linear::matmul(&m.a, x, &y.swap(0, 1)));
                linear::matmul(&m.a, &first, y)
            },
        ),
        (
            "views-between",
            |x, y| x.add(y)?.t()?.flip(0)?.narrow(1, 2, 9)?.mul(0.5),
            |m, x, y| {
                let sum = m.add(x, y).swap(0, 1).flip(0).slice(1, 2, 1, 9);
                m.mul(&sum, &Array::full(&[], Number::from(0.5)))
            },
        ),
    ];
    let mut all = Vec::new();
    for (op, f, meaning) in rows {
        for ty in [Type::F32, Type::F16] {
            if ty == Type::F16 && !["chain", "behind-a-sum"].contains(&op) {
                continue;
            }
            all.push(case("graphs", op, ty, "unaligned", "", move |t| {
                let (x, y) = (
                    t.dense(ty, &[13, 37], Values::Range(-2.0, 2.0))?,
                    t.dense(ty, &[13, 37], Values::Range(-2.0, 2.0))?,
                );
                let m = Means { a: t.arithmetic(ty), ty };
                let want = meaning(&m, &x.real(), &y.real());
                t.judge(f(&x.tensor, &y.tensor), ty, want, &m.a)
            }));
        }
    }
    all
}

/// A captured graph: results are those of the inputs of each run, however often it runs, and earlier results stay what they are.
fn programs() -> Vec<Case> {
    let mut all = Vec::new();
    for runs in [1usize, 5] {
        all.push(case("graphs", "program", Type::F32, "unaligned", &format!("{runs}-runs"), move |t| {
            let w = t.dense(Type::F32, &[37, 19], Values::Exact)?;
            let example = t.dense(Type::F32, &[13, 37], Values::Exact)?;
            let weight = w.tensor.clone();
            let program = Program::new(&t.on.device, std::slice::from_ref(&example.tensor), |x| {
                Ok(vec![x[0].matmul(&weight)?.add(1)?])
            })?;
            let m = Means { a: t.arithmetic(Type::F32).without_rounding(), ty: Type::F32 };
            let mut results: Vec<(Tensor, Numbers)> = vec![];
            for _ in 0..runs {
                let x = t.dense(Type::F32, &[13, 37], Values::Exact)?;
                let got = program.run(std::slice::from_ref(&x.tensor))?;
                let Some(got) = got.into_iter().next() else {
                    return Err(broken("a program of one result gave none"));
                };
                let product = linear::matmul(&m.a, &x.real(), &w.real());
                results.push((got, m.add(&product, &Array::full(&[], Number::from(1.0)))));
            }
            // All are looked at when all have run.
            results.into_iter().try_for_each(|(got, want)| t.judge(Ok(got), Type::F32, want, &m.a))
        }));
    }
    all
}

/// A linear layer: weight `[out, in]` of this size, bias.
fn layer(t: &mut Trial<'_>, ty: Type, out: usize, from: usize, size: f64) -> Result<(Operand, Operand)> {
    Ok((t.dense(ty, &[out, from], Values::Range(-size, size))?, t.dense(ty, &[out], Values::Range(-size, size))?))
}

/// Weights near 1 and biases near 0.
fn norm(t: &mut Trial<'_>, ty: Type, width: usize) -> Result<(Operand, Operand)> {
    Ok((t.dense(ty, &[width], Values::Range(0.8, 1.2))?, t.dense(ty, &[width], Values::Range(-0.1, 0.1))?))
}

fn apply(x: &Tensor, (weight, bias): &(Operand, Operand)) -> Result<Tensor> {
    x.matmul(&weight.tensor.t()?)?.add(&bias.tensor)
}

fn apply_norm(x: &Tensor, (weight, bias): &(Operand, Operand)) -> Result<Tensor> {
    x.layer_norm(&weight.tensor, &bias.tensor, EPS)
}

/// A block of a transformer encoder, norms behind.
struct Block {
    qkv: (Operand, Operand),
    out: (Operand, Operand),
    first: (Operand, Operand),
    up: (Operand, Operand),
    down: (Operand, Operand),
    second: (Operand, Operand),
}

/// Sizes of a transformer: rows of the batch, length, heads, width of a head, width of the feed-forward part.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    length: usize,
    heads: usize,
    head: usize,
    wide: usize,
}

impl Block {
    fn new(t: &mut Trial<'_>, ty: Type, s: Sizes, size: f64) -> Result<Block> {
        let width = s.heads * s.head;
        Ok(Block {
            qkv: layer(t, ty, 3 * width, width, size)?,
            out: layer(t, ty, width, width, size)?,
            first: norm(t, ty, width)?,
            up: layer(t, ty, s.wide, width, size)?,
            down: layer(t, ty, width, s.wide, size)?,
            second: norm(t, ty, width)?,
        })
    }

    /// `[batch · length, width]` to the same.
    fn of(&self, x: &Tensor, s: Sizes, seen: Option<&Tensor>, causal: bool) -> Result<Tensor> {
        let width = s.heads * s.head;
        let qkv = apply(x, &self.qkv)?.reshape((s.batch, s.length, 3, s.heads, s.head))?.permute((2, 0, 3, 1, 4))?;
        let mixed = qkv.get(0)?.attention(&qkv.get(1)?, &qkv.get(2)?, seen, None, causal)?;
        let mixed = mixed.permute((0, 2, 1, 3))?.reshape((s.batch * s.length, width))?;
        let x = apply_norm(&apply(&mixed, &self.out)?.add(x)?, &self.first)?;
        let up = apply(&x, &self.up)?.gelu()?;
        apply_norm(&apply(&up, &self.down)?.add(&x)?, &self.second)
    }

    fn meaning(&self, m: &Means, x: &Numbers, s: Sizes, seen: Option<&Numbers>, causal: bool) -> Numbers {
        let width = s.heads * s.head;
        let qkv = m.linear(x, &self.qkv).reshape(&[s.batch, s.length, 3, s.heads, s.head]).permute(&[2, 0, 3, 1, 4]);
        let part = |i| qkv.slice(0, i, 1, 1).without(&[0]);
        let scale = f64::from(1.0 / (s.head as f32).sqrt());
        let mixed = linear::attention(&m.a, [&part(0), &part(1), &part(2)], seen, scale, causal);
        let mixed = m.between(mixed).permute(&[0, 2, 1, 3]).reshape(&[s.batch * s.length, width]);
        let x = m.norm(&m.add(&m.linear(&mixed, &self.out), x), &self.first);
        let up = m.gelu(&m.linear(&x, &self.up));
        m.norm(&m.add(&m.linear(&up, &self.down), &x), &self.second)
    }
}

fn transformers() -> Vec<Case> {
    let mut all = Vec::new();
    let sizes = [
        ("unaligned", Sizes { batch: 2, length: 7, heads: 3, head: 5, wide: 31 }),
        ("aligned", Sizes { batch: 1, length: 16, heads: 4, head: 8, wide: 64 }),
        ("one", Sizes { batch: 1, length: 1, heads: 1, head: 8, wide: 16 }),
    ];
    for ty in [Type::F32, Type::F16, Type::BF16] {
        for (class, s) in sizes {
            for causal in [false, true] {
                let few = match ty {
                    Type::F32 => class != "one" || !causal,
                    Type::F16 => class == "unaligned" && !causal,
                    _ => class == "aligned" && !causal,
                };
                if !few {
                    continue;
                }
                let variant = if causal { "causal" } else { "" };
                all.push(case_of("inference", "graphs", "transformer-block", ty, class, variant, move |t| {
                    let block = Block::new(t, ty, s, 0.25)?;
                    let x = t.dense(ty, &[s.batch * s.length, s.heads * s.head], Values::Range(-2.0, 2.0))?;
                    let m = Means { a: t.arithmetic(ty), ty };
                    let want = block.meaning(&m, &x.real(), s, None, causal);
                    tight(t, &want, if ty == Type::F32 { 1e-3 } else { 1.0 });
                    t.judge(block.of(&x.tensor, s, None, causal), ty, want, &m.a)
                }));
            }
        }
    }
    all
}

fn networks() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        for (class, batch, side) in [("unaligned", 2, 11), ("aligned", 1, 16)] {
            if ty == Type::F16 && class == "aligned" {
                continue;
            }
            all.push(case_of("inference", "graphs", "small-cnn", ty, class, "", move |t| cnn(t, ty, batch, side)));
        }
    }
    for (variant, lengths) in [("", [9, 9, 9]), ("padded-batch", [9, 6, 2])] {
        all.push(case_of("inference", "graphs", "minilm", Type::F32, "unaligned", variant, move |t| {
            minilm(t, lengths)
        }));
    }
    all
}

/// Two convolutions with a norm, pooling, a linear layer, softmax.
fn cnn(t: &mut Trial<'_>, ty: Type, batch: usize, side: usize) -> Outcome {
    let x = t.dense(ty, &[batch, 3, side, side], Values::Range(-1.0, 1.0))?;
    let each = |t: &mut Trial<'_>, shape: &[usize], low: f64, high: f64| t.dense(ty, shape, Values::Range(low, high));
    let (k1, b1) = (each(t, &[8, 3, 3, 3], -0.3, 0.3)?, each(t, &[8], -0.3, 0.3)?);
    let (mean, var) = (each(t, &[8], -0.2, 0.2)?, each(t, &[8], 0.5, 1.5)?);
    let (gain, shift) = (each(t, &[8], 0.8, 1.2)?, each(t, &[8], -0.1, 0.1)?);
    let (k2, b2) = (each(t, &[12, 8, 3, 3], -0.2, 0.2)?, each(t, &[12], -0.2, 0.2)?);
    let last = layer(t, ty, 10, 12, 0.5)?;

    let y = x.tensor.conv2d(&k1.tensor, Some(&b1.tensor), Conv2d::new().padding(1))?;
    let y = y.batch_norm(&mean.tensor, &var.tensor, &gain.tensor, &shift.tensor, EPS)?.relu()?;
    let y = y.max_pool2d(Pool2d::new(2))?;
    let y = y.conv2d(&k2.tensor, Some(&b2.tensor), Conv2d::new().stride(2))?.relu()?;
    let y = y.mean([2, 3])?;
    let got = apply(&y, &last)?.softmax(1);

    let m = Means { a: t.arithmetic(ty), ty };
    let padded = Moves { padding: vec![1, 1], ..Moves::plain(2) };
    let y = m.between(spatial::conv(&m.a, &x.real(), &k1.real(), Some(&b1.real()), &padded, 1));
    let (gain, shift) = (gain.real(), shift.real());
    let y = reduce::batch_norm(&m.a, &y, &mean.real(), &var.real(), Some(&gain), Some(&shift), f64::from(EPS));
    let y = relu(&m.between(y));
    let two = Pool {
        size: vec![2, 2],
        moves: Moves { stride: vec![2, 2], ..Moves::plain(2) },
        ceil_mode: false,
        count_include_pad: true,
    };
    let y = spatial::max_pool(&y, &two);
    let moves = Moves { stride: vec![2, 2], ..Moves::plain(2) };
    let y = relu(&m.between(spatial::conv(&m.a, &y, &k2.real(), Some(&b2.real()), &moves, 1)));
    let y = m.between(reduce::mean(&m.a, &y, &[2, 3])).without(&[2, 3]);
    let want = reduce::softmax(&m.a, &m.linear(&y, &last), 1);
    tight(t, &want, if ty == Type::F32 { 1e-3 } else { 0.5 });
    t.judge(got, ty, want, &m.a)
}

/// The network of all-MiniLM-L6-v2 (embeddings, blocks with a mask over padding, the mean over tokens, length 1) in small, its weights
/// made up, so that it can be run where nothing can be fetched. (Of its six layers of 384 numbers the bound by which errors may grow is
/// no longer one.) `lengths`: the tokens of each row; the rest is filled up with token 0.
fn minilm(t: &mut Trial<'_>, lengths: [usize; 3]) -> Outcome {
    const LAYERS: usize = 2;
    const WORDS: usize = 101;
    let ty = Type::F32;
    let s = Sizes { batch: 3, length: 9, heads: 4, head: 6, wide: 52 };
    let padded = lengths.iter().any(|&n| n < s.length);
    let width = s.heads * s.head;
    let size = Values::Range(-1.5, 1.5);
    let (words, positions) = (t.dense(ty, &[WORDS, width], size)?, t.dense(ty, &[16, width], size)?);
    let segment = t.dense(ty, &[width], size)?;
    let first = norm(t, ty, width)?;
    let blocks: Vec<Block> = (0..LAYERS).map(|_| Block::new(t, ty, s, 0.06)).collect::<Result<_>>()?;
    let tokens =
        Array::build(&[s.batch, s.length], |i| if i[1] < lengths[i[0]] { 1 + t.r.below(WORDS - 1) as u64 } else { 0 });
    let ids = t.operand(Type::U32, tokens)?;
    let there = Array::build(&[s.batch, s.length], |i| (i[1] < lengths[i[0]]) as u64);
    let mask = t.floats(ty, &[s.batch, s.length], there.data.iter().map(|&x| x as f64))?;

    let run = || -> Result<Tensor> {
        let places = positions.tensor.narrow(0, 0, s.length)?.add(&segment.tensor)?;
        let x = words.tensor.embedding(&ids.tensor)?.add(&places)?.reshape((s.batch * s.length, width))?;
        let mut x = apply_norm(&x, &first)?;
        let seen = if padded { Some(mask.tensor.gt(0.5)?.reshape((s.batch, 1, 1, s.length))?) } else { None };
        for b in &blocks {
            x = b.of(&x, s, seen.as_ref(), false)?;
        }
        let x = x.reshape((s.batch, s.length, width))?;
        let mean = x.mul(mask.tensor.unsqueeze(-1)?)?.sum(1)?.div(mask.tensor.sum_keepdim(1)?)?;
        let length = mean.sqr()?.sum_keepdim(-1)?.sqrt()?.maximum(1e-12)?;
        mean.div(length)
    };

    let m = Means { a: t.arithmetic(ty), ty };
    let places = m.add(&positions.real().slice(0, 0, 1, s.length), &segment.real());
    let table = words.real();
    let taken = Array::build(&[s.batch, s.length, width], |i| {
        *table.at(&[ids.bits.data[i[0] * s.length + i[1]] as usize, i[2]])
    });
    let x = m.add(&taken, &places).reshape(&[s.batch * s.length, width]);
    let mut x = m.norm(&x, &first);
    let seen =
        there.map(|&x| Number::from(if x == 1 { 0.0 } else { f64::NEG_INFINITY })).reshape(&[s.batch, 1, 1, s.length]);
    for b in &blocks {
        x = b.meaning(&m, &x, s, padded.then_some(&seen), false);
    }
    let x = x.reshape(&[s.batch, s.length, width]);
    let kept = m.mul(&x, &mask.real().reshape(&[s.batch, s.length, 1]));
    let sum = reduce::sum(&m.a, &kept, &[1]).without(&[1]);
    let mean = Array::build(&[s.batch, width], |i| m.a.div(*sum.at(i), Number::from(lengths[i[0]] as f64)));
    let squares = m.mul(&mean, &mean);
    let length = reduce::sum(&m.a, &squares, &[1]).map(|&x| m.a.sqrt(x));
    let want = mean.zip(&length, |&x, &n| m.a.div(x, n));
    tight(t, &want, 1e-2);
    t.judge(run(), ty, want, &m.a)
}
