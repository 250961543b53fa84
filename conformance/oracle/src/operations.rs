//! Every operation of the tensor library in one table: meaning, types, bound, edges. `docs/operations.md` is printed from it.
//!
//! Functions of one or two floats are rows of [`super::table`] and are not repeated here, except for what integers make of them.

use super::table::{BINARY, Bound, UNARY};

/// One operation, or several that differ in little.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Names of the methods.
    pub names: &'static [&'static str],
    /// What the result is.
    pub meaning: &'static str,
    /// Element types.
    pub types: &'static str,
    /// How far off a result may be. u is the unit roundoff of the type in which it is computed, γₙ = n·u/(1−n·u).
    pub bound: &'static str,
    /// What happens at the edges.
    pub edges: &'static str,
}

/// A heading and its operations.
pub struct Family {
    /// The heading.
    pub title: &'static str,
    /// What is common to them.
    pub about: &'static str,
    /// In order.
    pub operations: &'static [Operation],
}

const FLOATS: &str = "f16 bf16 f32 f64";
const NUMBERS: &str = "floats, integers";
const ANY: &str = "all";
const COPY: &str = "bit for bit";

const fn op(
    names: &'static [&'static str],
    meaning: &'static str,
    types: &'static str,
    bound: &'static str,
    edges: &'static str,
) -> Operation {
    Operation { names, meaning, types, bound, edges }
}

/// Everything that is no function of one or two floats.
pub static FAMILIES: &[Family] = &[
    Family {
        title: "Elementwise, besides",
        about: "Integers have no error. What is said of integers here holds for the methods of the same names above.",
        operations: &[
            op(&["neg", "abs", "sign"], "as above, of integers", "integers", COPY, "wraps: −MIN and |MIN| are MIN"),
            op(&["add", "sub", "mul"], "as above, of integers", "integers", COPY, "wraps"),
            op(
                &["div", "rem"],
                "towards zero; the rest has the sign of x",
                "integers",
                COPY,
                "x/0 = 0, x%0 = 0, MIN/−1 = MIN, MIN%−1 = 0",
            ),
            op(&["modulo"], "the rest has the sign of y", "integers", COPY, "0 for y = 0"),
            op(&["pow"], "x^y of integers", "integers", COPY, "wraps; y < 0: 1/x^|y| towards zero, 0 for x = 0"),
            op(&["maximum", "minimum"], "of integers and bool", "integers, bool", COPY, ""),
            op(
                &["not", "bitwise_not", "and", "bitwise_and", "or", "bitwise_or", "xor", "bitwise_xor"],
                "of bits, or of truth",
                "integers, bool",
                COPY,
                "",
            ),
            op(
                &["bitwise_left_shift", "bitwise_right_shift"],
                "bits moved by y; the sign comes in from above",
                "integers",
                COPY,
                "y modulo the width",
            ),
            op(&["leading_zeros"], "zero bits above the highest one", "integers", COPY, "the width for 0"),
            op(&["logical_and", "logical_or", "logical_xor", "logical_not"], "of x ≠ 0", ANY, COPY, "NaN is true"),
            op(
                &["eq", "ne", "lt", "le", "gt", "ge"],
                "comparison; bool",
                ANY,
                COPY,
                "NaN is equal to nothing and not ordered; −0 = 0",
            ),
            op(&["is_nan", "is_inf", "is_finite"], "bool", FLOATS, COPY, ""),
            op(
                &["where_cond", "masked_fill"],
                "the one where the condition is true, else the other",
                ANY,
                COPY,
                "NaN and signs of zeros are copied",
            ),
            op(&["clamp"], "min(max(x, low), high)", NUMBERS, COPY, "NaN stays; `high` wins when they cross"),
            op(&["affine"], "x·mul + add", FLOATS, "a multiplication and an addition, once or twice rounded", ""),
            op(
                &["lerp"],
                "x + w·(end − x), from the nearer end",
                FLOATS,
                "three roundings of the larger of x and end",
                "",
            ),
            op(&["prelu"], "x above 0, else weight·x, a weight per channel", FLOATS, "one multiplication", "NaN stays"),
            op(&["reciprocal"], "`recip` by PyTorch's name", FLOATS, "as `recip`", ""),
            op(
                &["to_dtype"],
                "conversion",
                ANY,
                "exact, or to nearest, ties to even",
                "float to integer: towards zero, saturating, NaN gives 0; integers wrap; to bool: ≠ 0; beyond the largest float: ∞",
            ),
        ],
    },
    Family {
        title: "Reductions",
        about: "Over any axes; `_keepdim` leaves them with extent 1, `_all` takes all. 16-bit floats are computed in f32 and rounded once.",
        operations: &[
            op(
                &["sum", "sum_keepdim", "sum_all"],
                "Σx",
                NUMBERS,
                "γₙ₋₁·Σ|x|, in any order; integers bit for bit",
                "of nothing 0; integers are summed in i64 (u64 in u64) and wrap there; ∞−∞ is NaN; where Σ|x| overflows, any result",
            ),
            op(
                &["mean", "mean_keepdim", "mean_all"],
                "Σx/n",
                FLOATS,
                "the sum's, and a division",
                "of nothing NaN; the sum of 16-bit floats does not overflow",
            ),
            op(
                &["prod", "prod_keepdim", "prod_all"],
                "Πx",
                NUMBERS,
                "γₙ₋₁·|Πx|",
                "of nothing 1; integers are multiplied in i64 (u64 in u64) and wrap there; 0·∞ is NaN; where partial products overflow or underflow, any result",
            ),
            op(
                &["max", "max_keepdim", "max_all", "min", "min_keepdim", "min_all"],
                "the largest, the smallest",
                NUMBERS,
                COPY,
                "NaN when one is NaN; of nothing an error",
            ),
            op(
                &["argmax", "argmax_keepdim", "argmax_all", "argmin", "argmin_keepdim", "argmin_all"],
                "index of the largest, the smallest, row-major among the axes",
                NUMBERS,
                COPY,
                "the first of equals; the first NaN before all; of nothing an error",
            ),
            op(
                &["any", "any_keepdim", "any_all", "all", "all_keepdim", "all_all"],
                "is one true, are all",
                "bool",
                COPY,
                "of nothing false, true",
            ),
            op(
                &["var", "var_keepdim", "var_all", "var_correction", "std", "std_keepdim", "std_all", "std_correction"],
                "Σ(x−mean)²/(n−correction), its root",
                FLOATS,
                "mean, differences, squares, sum and division, each carried on; Σx² − n·mean² is outside",
                "n ≤ correction: NaN, or ∞ where the squares are not 0",
            ),
            op(
                &["logsumexp", "logsumexp_keepdim", "logsumexp_all"],
                "ln Σ e^x",
                FLOATS,
                "differences to the largest, exponentials, sum, logarithm, addition, each carried on",
                "of nothing −∞; ∞ where one is ∞",
            ),
            op(
                &["norm", "norm_keepdim"],
                "(Σ|x|^p)^(1/p); p = ∞ the largest, −∞ the smallest magnitude, 0 how many are not 0",
                FLOATS,
                "powers, sum and root, each carried on",
                "of nothing 0 for finite p, an error for infinite p",
            ),
        ],
    },
    Family {
        title: "Along an axis",
        about: "",
        operations: &[
            op(
                &["cumsum", "cumsum_with"],
                "sums of the elements up to each",
                NUMBERS,
                "element i: γᵢ·Σ|x| of what it sums",
                "integers wrap; exclusive: the first is 0",
            ),
            op(
                &["cumprod", "cumprod_with"],
                "products of the elements up to each",
                NUMBERS,
                "element i: γᵢ·|Πx|",
                "integers wrap; exclusive: the first is 1",
            ),
            op(
                &["cummax", "cummin"],
                "the largest, the smallest up to each",
                NUMBERS,
                COPY,
                "NaN from the first NaN on",
            ),
            op(
                &["softmax"],
                "e^(x−largest)/Σ",
                FLOATS,
                "differences, exponentials, sum, division, each carried on, and one rounding more",
                "NaN for a line of −∞ alone or with ∞ or NaN",
            ),
            op(
                &["log_softmax"],
                "x − largest − ln Σ e^(x−largest)",
                FLOATS,
                "as softmax and the logarithm",
                "as softmax",
            ),
            op(
                &["sort", "argsort", "topk"],
                "elements in order, and where each was (u32)",
                NUMBERS,
                COPY,
                "stable; NaN is greater than all numbers; k beyond the axis is an error",
            ),
        ],
    },
    Family {
        title: "Norms",
        about: "Computed in f32 for 16-bit types. Errors of mean, differences, squares, sum, root and factors are carried on.",
        operations: &[
            op(
                &["layer_norm", "layer_norm_over"],
                "(x−mean)/√(var+eps)·weight + bias along the last axis",
                FLOATS,
                "carried on",
                "var = 0 and eps = 0: NaN",
            ),
            op(
                &["rms_norm"],
                "x/√(mean x²+eps)·weight along the last axis",
                FLOATS,
                "carried on",
                "x = 0 and eps = 0: NaN",
            ),
            op(
                &["group_norm", "instance_norm"],
                "as layer_norm, over groups of channels and all axes behind; over each channel",
                FLOATS,
                "carried on",
                "channels not divisible by groups: an error",
            ),
            op(
                &["batch_norm"],
                "(x−mean)/√(var+eps)·weight + bias, mean and variance given per channel",
                FLOATS,
                "carried on",
                "",
            ),
        ],
    },
    Family {
        title: "Products",
        about: "16-bit types accumulate in f32 and are rounded once.",
        operations: &[
            op(
                &["matmul"],
                "Σₖ x·y; batches broadcast, rank 1 is a row or a column",
                NUMBERS,
                "γₖ·Σ|x·y|, in any order, products rounded or fused; underflow of each product",
                "k = 0: zeros; 0·∞ and ∞−∞ are NaN; integers wrap",
            ),
            op(
                &["attention"],
                "softmax(q·kᵀ·scale + mask)·v; heads of keys may be shared by equal groups of query heads",
                FLOATS,
                "product, scale, mask, softmax, product, each carried on; the last sum's roundings twice, for an online softmax",
                "a row masked everywhere: NaN; causal: position i sees positions ≤ i",
            ),
            op(
                &["conv1d", "conv2d"],
                "cross-correlation over groups, with stride, padding, dilation",
                FLOATS,
                "γₖ·Σ|x·w|, then the bias",
                "padding is 0; a window beyond the padded input: an error",
            ),
            op(
                &["conv_transpose1d", "conv_transpose2d"],
                "each element spread over the result by the weight",
                FLOATS,
                "γₖ·Σ|x·w|, then the bias",
                "places that nothing reaches: the bias",
            ),
        ],
    },
    Family {
        title: "Windows",
        about: "",
        operations: &[
            op(
                &["max_pool1d", "max_pool2d"],
                "the largest of each window",
                NUMBERS,
                COPY,
                "NaN when one is NaN; padding is never the largest",
            ),
            op(
                &["avg_pool1d", "avg_pool2d"],
                "the mean of each window",
                FLOATS,
                "the sum's, and a division",
                "padding counts as 0 unless told otherwise; never what is beyond it",
            ),
            op(
                &["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d"],
                "over stretches ⌊i·n/s⌋ to ⌈(i+1)·n/s⌉",
                FLOATS,
                "as the pools; a division for each axis",
                "",
            ),
            op(
                &["global_avg_pool", "global_max_pool"],
                "over all axes behind the channels",
                FLOATS,
                "as mean and max",
                "",
            ),
            op(
                &["interpolate", "interpolate_by"],
                "the last axes resized: the nearest element below, or between two neighbours",
                "nearest: all; linear: floats",
                "nearest bit for bit; linear: the rounding of the place moves along the slope, and three roundings for each axis",
                "places outside are the first or last element",
            ),
            op(
                &["unfold"],
                "overlapping slices of an axis; a view",
                ANY,
                COPY,
                "what is left behind the last whole slice is not seen",
            ),
        ],
    },
    Family {
        title: "Places",
        about: "Ids count from 0; negative ids are outside. Ids known on the host are checked by the call.",
        operations: &[
            op(
                &["embedding"],
                "rows of a table",
                ANY,
                COPY,
                "id outside: an error where known on the host, else NaN, 0, false",
            ),
            op(
                &["gather", "index_select", "take"],
                "elements along an axis by ids of the result's shape; slices; elements of the flat tensor",
                ANY,
                COPY,
                "id outside: an error where known on the host, else NaN, 0, false",
            ),
            op(
                &["scatter", "index_copy"],
                "elements, slices written to places",
                ANY,
                COPY,
                "of several for one place the last along the axis stays; an id outside goes nowhere",
            ),
            op(
                &["scatter_add", "index_add"],
                "elements, slices added to places",
                NUMBERS,
                "γₙ·Σ|x| over what meets at a place",
                "integers wrap; an id outside goes nowhere",
            ),
            op(
                &["one_hot"],
                "1 where the last axis' index is the id, else 0",
                "integers",
                COPY,
                "an id outside: zeros",
            ),
            op(
                &["bucketize"],
                "how many of the sorted boundaries lie before each element",
                NUMBERS,
                COPY,
                "NaN is greater than all numbers",
            ),
            op(
                &["diagonal", "diag_embed"],
                "the diagonal of the last two axes, and back",
                ANY,
                COPY,
                "an offset beyond: nothing",
            ),
            op(
                &["tril", "triu"],
                "the lower, the upper triangle; else 0",
                ANY,
                COPY,
                "NaN outside the triangle becomes 0",
            ),
        ],
    },
    Family {
        title: "Views and copies",
        about: "Views cost nothing and move no bytes; `cat`, `stack` and the paddings move them once.",
        operations: &[
            op(
                &["reshape", "flatten", "flatten_all", "squeeze", "unsqueeze"],
                "another shape, the same order",
                ANY,
                COPY,
                "other numbers of elements: an error",
            ),
            op(
                &["permute", "transpose", "t", "movedim"],
                "axes in another order",
                ANY,
                COPY,
                "an axis twice: an error",
            ),
            op(&["broadcast_as", "expand"], "axes of extent 1 repeated", ANY, COPY, "other extents: an error"),
            op(
                &[
                    "narrow",
                    "slice",
                    "step_by",
                    "get",
                    "chunk",
                    "split",
                    "unbind",
                    "flip",
                    "roll",
                    "repeat",
                    "repeat_interleave",
                    "tile",
                ],
                "parts, steps, reversals, repetitions",
                ANY,
                COPY,
                "beyond the axis: an error",
            ),
            op(
                &["cat", "stack"],
                "joined along an axis; a new one",
                ANY,
                COPY,
                "no tensors, or extents that differ: an error",
            ),
            op(
                &["pad", "pad_reflect", "pad_replicate"],
                "beyond the edge a number, the reflection, the edge",
                ANY,
                COPY,
                "negative widths take away; a reflection not shorter than the axis: an error",
            ),
            op(&["meshgrid"], "each tensor along its axis of a common shape", ANY, COPY, ""),
        ],
    },
    Family {
        title: "Creation",
        about: "",
        operations: &[
            op(
                &["from_vec", "from_slice", "from_scalar", "from_ndarray", "from_buffer"],
                "from values",
                ANY,
                COPY,
                "a number of values that does not fit: an error",
            ),
            op(&["zeros", "ones", "full", "zeros_like", "ones_like", "eye"], "constants", ANY, COPY, ""),
            op(
                &["arange", "arange_step"],
                "start + i·step before end",
                NUMBERS,
                "a multiplication and an addition",
                "a step of 0, or no finite number: an error",
            ),
            op(
                &["rand", "uniform"],
                "low + (high − low)·u of Philox4x32-10, counted; the same bits on every device",
                FLOATS,
                COPY,
                "low ≤ x < high",
            ),
            op(
                &["randn", "normal"],
                "mean + std·z, where z is the normal quantile of a word of the same counters; the same bits on every device",
                FLOATS,
                "z within 1e-6 of the quantile",
                "|z| < 6.34",
            ),
            op(&["randint"], "low ≤ x < high", "integers", COPY, ""),
            op(
                &["bernoulli"],
                "true with the element's probability",
                FLOATS,
                COPY,
                "p ≤ 0 never, p ≥ 1 always; NaN never",
            ),
        ],
    },
];

/// Is a method in one of the tables?
pub fn named(name: &str) -> bool {
    UNARY.iter().any(|r| r.name == name)
        || BINARY.iter().any(|r| r.name == name)
        || FAMILIES.iter().any(|f| f.operations.iter().any(|o| o.names.contains(&name)))
}

/// Words in a table's cell must not end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The page `docs/operations.md`.
pub fn page() -> String {
    let mut out = String::from(
        "# Operations\n\n\
         What each operation gives, for which element types, how far a device may be off, and what happens at the edges. Printed from\n\
         `conformance/oracle/src` by the test `the_page_is_up_to_date`; the property tests in `anychip/tests/oracle` hold every device to it.\n\n\
         ULP is a unit in the last place of the exact result in the type in which is computed: f32 for f16, bf16 and f32, f64 for f64; 16-bit\n\
         types are then rounded once, to nearest even. u is half a ULP of 1, γₙ = n·u/(1−n·u). *Carried on* means that the error of each step\n\
         enters the next by running error analysis. What a device does not declare (correct rounding, subnormals, NaN and infinity) is not\n\
         asked of it. Results of which the tables say \"bit for bit\" are equal in every bit, NaN being equal to NaN.\n",
    );
    let bound = |b: Bound| cell(&b.text());
    out += "\n## Functions of one element\n\nf16, bf16, f32, f64. NaN gives NaN. Overflow gives ±∞.\n\n| method | meaning | bound |\n|---|---|---|\n";
    for r in UNARY {
        out += &format!("| `{}` | {} | {} |\n", r.name, cell(r.meaning), bound(r.bound));
    }
    out += "\n## Functions of two elements\n\nf16, bf16, f32, f64; shapes broadcast. NaN gives NaN, except pow(1, NaN) = pow(NaN, 0) = 1.\n\n| method | meaning | bound |\n|---|---|---|\n";
    for r in BINARY {
        out += &format!("| `{}` | {} | {} |\n", r.name, cell(r.meaning), bound(r.bound));
    }
    for f in FAMILIES {
        out += &format!("\n## {}\n\n", f.title);
        if !f.about.is_empty() {
            out += &format!("{}\n\n", f.about);
        }
        out += "| method | meaning | types | bound | edges |\n|---|---|---|---|---|\n";
        for o in f.operations {
            let names: Vec<String> = o.names.iter().map(|n| format!("`{n}`")).collect();
            out += &format!(
                "| {} | {} | {} | {} | {} |\n",
                names.join(" "),
                cell(o.meaning),
                o.types,
                cell(o.bound),
                cell(o.edges)
            );
        }
    }
    out
}
