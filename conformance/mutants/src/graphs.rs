//! Operations that a device's own library computes as something else: what the planner gives it as a whole graph.

use crate::{Mutant, layer::graphs};
use anychip::hal::op::{Graph, Node, Op, Ref, UnaryOp};

/// Operations of a graph, changed.
fn each(g: &mut Graph, mut change: impl FnMut(&mut Op)) {
    g.nodes.iter_mut().for_each(|n| change(&mut n.op));
}

/// The inputs of the graph that are the operands of the first node that `is` one.
fn operands(g: &Graph, is: fn(&Node) -> bool) -> Vec<usize> {
    let node = g.nodes.iter().find(|n| is(n));
    let input = |r: &Ref| if let Ref::Input(i) = r { Some(*i) } else { None };
    node.map(|n| n.inputs.iter().filter_map(input).collect()).unwrap_or_default()
}

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "library-drops-the-odd-tail-of-k",
        fault: "The library's products leave out the last term where the terms are of an odd number.",
        area: &["core/matmul/matmul/f32/unaligned", "core/matmul/matmul/f32/prime"],
        killers: &["core/matmul/matmul/f32/unaligned/tail-of-k", "core/matmul/matmul/f32/prime/exact"],
        make: |good| {
            graphs(good, |g| {
                let of = operands(g, |n| n.op == Op::MatMul);
                let [a, b] = of[..] else { return };
                let k = g.inputs[a].shape.last().copied().unwrap_or_default();
                if k > 1 && k % 2 == 1 && a != b {
                    let (last, rows) = (g.inputs[a].shape.len() - 1, g.inputs[b].shape.len() - 2);
                    g.inputs[a].shape[last] -= 1;
                    g.inputs[b].shape[rows] -= 1;
                }
            })
        },
    },
    Mutant {
        name: "library-sums-one-less",
        fault: "The library's sums over rows leave out the last element.",
        area: &["core/reduce/sum/f32/unaligned", "core/reduce/sum/f32/prime"],
        killers: &["core/reduce/sum/f32/unaligned/last-element-rows", "core/reduce/sum/f32/prime/exact"],
        make: |good| {
            graphs(good, |g| {
                let of = operands(g, |n| matches!(n.op, Op::Reduce { .. }));
                if let Some(n) = of.first().and_then(|i| g.inputs[*i].shape.last_mut()) {
                    *n -= usize::from(*n > 1);
                }
            })
        },
    },
    Mutant {
        name: "library-norm-adds-more",
        fault: "The library's layer norm adds a hundred times the epsilon that it is given.",
        area: &["core/rows/layer_norm/f32/"],
        killers: &["core/rows/layer_norm/f32/unaligned/small-numbers"],
        make: |good| {
            graphs(good, |g| {
                each(g, |op| {
                    if let Op::LayerNorm { eps } = op {
                        *eps *= 100.0;
                    }
                })
            })
        },
    },
    Mutant {
        name: "library-attention-sees-the-future",
        fault: "The library's attention looks at positions behind its own.",
        area: &["inference/attention/attention/f32/"],
        killers: &["inference/attention/attention/f32/unaligned/causal"],
        make: |good| {
            graphs(good, |g| {
                each(g, |op| {
                    if let Op::Attention { causal, .. } = op {
                        *causal = false;
                    }
                })
            })
        },
    },
    Mutant {
        name: "library-epilogue-mistaken",
        fault: "The library takes another function for the one that follows a product.",
        area: &["inference/graphs/"],
        killers: &["inference/graphs/transformer-block/f32/aligned", "inference/graphs/small-cnn/f32/aligned"],
        make: |good| {
            graphs(good, |g| {
                let anchored = g.nodes.len() > 1;
                each(g, |op| {
                    if let (true, Op::Unary(f)) = (anchored, op) {
                        *f = if *f == UnaryOp::Neg { UnaryOp::Abs } else { UnaryOp::Neg };
                    }
                })
            })
        },
    },
    Mutant {
        name: "library-window-slides",
        fault: "The library's windows begin one element later where the input is padded.",
        area: &["inference/conv/conv2d/f32/"],
        killers: &["inference/conv/conv2d/f32/unaligned/padding"],
        make: |good| {
            graphs(good, |g| {
                each(g, |op| {
                    if let Op::Conv { padding, .. } = op {
                        for p in padding.iter_mut().filter(|p| p[0] > 0) {
                            *p = [p[0] - 1, p[1] + 1];
                        }
                    }
                })
            })
        },
    },
];
