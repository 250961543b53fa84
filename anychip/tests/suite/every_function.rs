//! Bad input for the functions whose own tests have none, and the proof that no public function was forgotten.

use crate::common::refused;
use anychip::{Conv1d, ConvTranspose1d, DType, Device, Pool1d, Program, SafeTensors, Tensor, npy_from_bytes};
use std::{collections::BTreeMap, fs, path::Path};

fn cpu() -> Device {
    Device::open("cpu").unwrap()
}

#[test]
fn activations_take_floats() {
    let i = Tensor::ones((2, 3), DType::I32, &cpu()).unwrap();
    refused(i.hard_sigmoid(), &["hard_sigmoid", "i32"]);
    refused(i.hard_swish(), &["hard_swish", "i32"]);
    refused(i.log_sigmoid(), &["log_sigmoid", "i32"]);
    refused(i.softplus(), &["softplus", "i32"]);
    refused(i.softsign(), &["softsign", "i32"]);
    refused(i.selu(), &["selu", "i32"]);
    refused(i.relu6(), &["relu6", "i32"]);
    refused(i.log10(), &["log10", "i32"]);
    refused(i.thresholded_relu(1.0), &["thresholded_relu", "i32"]);
    refused(i.affine(0.5, 0.0), &["0.5", "i32"]);
}

#[test]
fn elementwise_functions_take_what_fits() {
    let d = cpu();
    let x = Tensor::ones((2, 3), DType::F32, &d).unwrap();
    let y = Tensor::ones((2, 4), DType::F32, &d).unwrap();
    let b = x.gt(0.0).unwrap();
    let c = y.gt(0.0).unwrap();
    refused(x.clamp(&y, 1.0), &["[2, 3]", "[2, 4]"]);
    refused(b.clamp(0, 1), &["bool"]);
    refused(x.lerp(&y, 0.5), &["lerp", "[2, 3]", "[2, 4]"]);
    refused(b.logical_and(&c), &["[2, 3]", "[2, 4]"]);
    refused(b.logical_or(&c), &["[2, 3]", "[2, 4]"]);
    refused(b.logical_xor(&c), &["[2, 3]", "[2, 4]"]);
    refused(x.cummin(2), &["cummin", "axis 2", "[2, 3]"]);
    refused(x.cumprod(7), &["cumprod", "axis 7"]);
    refused(x.cumsum_with(-9, true, false), &["cumsum", "axis -9"]);
}

#[test]
fn making_and_reading() {
    let d = cpu();
    let x = Tensor::ones((2, 3), DType::F32, &d).unwrap();
    refused(Tensor::from_slice(&[1f32; 5], (2, 3), &d), &["[2, 3]", "6", "5"]);
    refused(Tensor::arange(0f64, f64::INFINITY, &d), &["arange", "finite"]);
    refused(Tensor::arange(0i64, i64::MAX, &d).and_then(|x| x.to_vec::<i64>()), &["9223372036854775807"]);
    refused(Tensor::eye(usize::MAX, DType::F32, &d), &["too many elements"]);
    refused(x.to_scalar::<f32>(), &["[2, 3]"]);
    refused(x.to_vec2::<i32>(), &["f32", "i32"]);
    refused(x.get(0).unwrap().to_vec2::<f32>(), &["to_vec2", "[3]"]);
    refused(x.to_ndarray::<f64>(), &["f32", "f64"]);
    refused(Tensor::from_ndarray(&ndarray::ArrayD::<f32>::zeros(vec![1; 9]), &d), &["rank 9"]);
    refused(SafeTensors::from_bytes("weights", vec![1, 2, 3]), &["weights", "3 bytes"]);
    let p = Program::new(&d, std::slice::from_ref(&x), |x| Ok(vec![x[0].add(1.0)?])).unwrap();
    refused(p.run_timed(&[]), &["1 inputs", "got 0"]);
    refused(anychip::open_raw("toaster:7").map(|_| ()), &["toaster:7", "cpu"]);
    refused(anychip::open_raw("cpu,cpu").map(|_| ()), &["cpu,cpu"]);
    let small = d.chain()[0].alloc(4).unwrap();
    refused(Tensor::from_buffer(&d, small, DType::F32, (2, 3)), &["[2, 3]", "24 bytes", "4"]);
}

/// Each of the methods, called on a value, refuses it and says its own name and the value's type or shape.
macro_rules! each {
    ($make:expr, $says:expr, $args:tt; $($name:ident)*) => {
        $(refused($make.$name $args, &[stringify!($name).split("_keepdim").next().unwrap(), $says]);)*
    };
}

#[test]
fn functions_of_one_refuse_types() {
    let d = cpu();
    let x = Tensor::ones((2, 3), DType::F32, &d).unwrap();
    let (b, i) = (x.gt(0.0).unwrap(), x.to_dtype(DType::I32).unwrap());
    each!(b, "bool", (); neg abs sign floor ceil trunc round sqrt rsqrt recip exp exp2 log log2 sin cos tan asin acos atan sinh cosh
        tanh asinh acosh atanh expm1 log1p erf erfc sigmoid silu relu gelu gelu_tanh is_nan is_inf leading_zeros);
    each!(i, "i32", (); floor sqrt exp is_nan);
    each!(x, "f32", (); not leading_zeros);
    refused(x.bitwise_not(), &["not", "f32"]);
    refused(i.reciprocal(), &["recip", "i32"]);
}

#[test]
fn functions_of_two_refuse_shapes_and_types() {
    let d = cpu();
    let x = Tensor::ones((2, 3), DType::I32, &d).unwrap();
    let y = Tensor::ones((2, 4), DType::I32, &d).unwrap();
    let z = Tensor::ones((2, 3), DType::I64, &d).unwrap();
    each!(x, "[2, 4]", (&y); add sub mul div rem pow maximum minimum and or xor eq ne lt le gt ge);
    each!(x, "i64", (&z); add sub mul div rem pow maximum minimum and or xor eq ne lt le gt ge);
    refused(x.bitwise_and(&y), &["and", "[2, 4]"]);
    refused(x.bitwise_or(&y), &["or", "[2, 4]"]);
    refused(x.bitwise_xor(&y), &["xor", "[2, 4]"]);
    refused(x.bitwise_left_shift(&y), &["shl", "[2, 4]"]);
    refused(x.bitwise_right_shift(&y), &["shr", "[2, 4]"]);
}

#[test]
fn reductions_refuse_axes() {
    let d = cpu();
    let x = Tensor::ones((2, 3), DType::F32, &d).unwrap();
    let b = x.gt(0.0).unwrap();
    each!(x, "axis 2", (2); sum sum_keepdim prod prod_keepdim max max_keepdim min min_keepdim mean mean_keepdim var var_keepdim std
        std_keepdim logsumexp logsumexp_keepdim);
    each!(b, "axis -3", (-3); any any_keepdim all all_keepdim);
    refused(b.sum_all(), &["sum", "bool"]);
    refused(b.prod_all(), &["prod", "bool"]);
    refused(b.mean_all(), &["mean", "bool"]);
    refused(b.var_all(), &["var", "bool"]);
    refused(b.std_all(), &["std", "bool"]);
    refused(b.logsumexp_all(), &["logsumexp", "bool"]);
    refused(x.any_all(), &["any", "f32"]);
    refused(x.all_all(), &["all", "f32"]);
    let none = Tensor::ones((2, 0), DType::F32, &d).unwrap();
    refused(none.max_all(), &["max", "[2, 0]"]);
    refused(none.min_all(), &["min", "[2, 0]"]);
    refused(none.argmax_all(), &["argmax"]);
    refused(none.argmin_all(), &["argmin"]);
    refused(x.argmax_keepdim(2), &["argmax", "axis 2"]);
    refused(x.argmin_keepdim(2), &["argmin", "axis 2"]);
    refused(x.std_correction(7, 1.0), &["std", "axis 7"]);
    refused(x.norm_keepdim(2.0, 7), &["norm", "axis 7"]);
    refused(x.log_softmax(7), &["log_softmax", "axis 7"]);
}

#[test]
fn shapes_of_the_rest() {
    let d = cpu();
    let x = Tensor::ones((2, 3), DType::F32, &d).unwrap();
    refused(x.tile([1; 9]), &["rank 9"]);
    refused(x.get(0).unwrap().triu(0), &["triu", "[3]"]);
    let w = Tensor::ones((1, 1, 4), DType::F32, &d).unwrap();
    refused(x.unsqueeze(0).unwrap().conv1d(&w, None, Conv1d::new()), &["conv", "[1, 2, 3]"]);
    refused(
        x.unsqueeze(0).unwrap().conv_transpose1d(&w, None, ConvTranspose1d::new()),
        &["conv_transpose", "[1, 2, 3]"],
    );
    refused(npy_from_bytes("x", vec![], &d), &["magic"]);
}

#[test]
fn windows_over_what_has_no_room() {
    let d = cpu();
    let x = Tensor::ones((2, 3), DType::F32, &d).unwrap();
    refused(x.avg_pool1d(Pool1d::new(4)), &["avg_pool1d", "windows of 4", "extent 3"]);
    refused(x.adaptive_avg_pool1d(0), &["adaptive_avg_pool1d", "[0]"]);
    refused(x.global_max_pool(), &["global_max_pool", "[2, 3]"]);
}

/// Functions that no argument can make fail, or that only pass on what computing a value gives (which the tests of lost devices
/// and of memory that runs out look at).
const CANNOT: &[&str] = &[
    "best",
    "bits",
    "buffer_on",
    "checkpoint",
    "constant",
    "contiguous",
    "explain",
    "load",
    "from_scalar",
    "logical_not",
    "ones_like",
    "realize",
    "synchronize",
    "to_bytes",
    "to_device",
    "zeros_like",
];

/// Every `.rs` file below a folder.
fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// The name at the front of a text.
fn name(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// Methods that the tables of `unary!`, `binary!` and `reductions!` name: the words in front of the first comma of a row.
fn made_by_macros(text: &str) -> Vec<String> {
    let (mut names, mut within) = (vec![], false);
    for line in text.lines() {
        match line {
            "unary! {" | "binary! {" | "reductions! {" => within = true,
            "}" => within = false,
            _ => {}
        }
        let row = line.trim();
        if within && !row.starts_with('/') && row.ends_with(';') {
            let row = row.split(',').next().unwrap_or_default();
            names.extend(row.split_whitespace().map(str::to_string));
        }
    }
    names
}

#[test]
fn no_public_function_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut library, mut tests) = (vec![], vec![]);
    sources(&root.join("src"), &mut library);
    sources(&root.join("tests/suite"), &mut tests);

    // What is called where a refusal is expected.
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for text in &tests {
        for call in ["refused(", "shape_error(", "type_error(", "each!("] {
            for (at, _) in text.match_indices(call) {
                let statement = &text[at + call.len()..];
                let statement = &statement[..statement.find(");\n").unwrap_or(statement.len())];
                for part in statement.split(['.', ':', '(', ' ', '\n']) {
                    *refused.entry(name(part).to_string()).or_default() += 1;
                }
            }
        }
    }
    let mut forgotten = vec![];
    let mut fallible = 0;
    for text in &library {
        for (at, _) in text.match_indices("pub fn ") {
            let head = &text[at + "pub fn ".len()..];
            let head = &head[..head.find('{').unwrap_or(head.len())];
            let name = name(head);
            if name.is_empty() || !head.contains("-> Result<") {
                continue;
            }
            fallible += 1;
            if !refused.contains_key(name) && !CANNOT.contains(&name) {
                forgotten.push(name.to_string());
            }
        }
    }
    for name in library.iter().flat_map(|text| made_by_macros(text)) {
        fallible += 1;
        if !refused.contains_key(&name) {
            forgotten.push(name);
        }
    }
    assert!(fallible > 200, "only {fallible} public functions found: the search is broken");
    assert!(forgotten.is_empty(), "no test gives these bad input: {forgotten:?}");
}
