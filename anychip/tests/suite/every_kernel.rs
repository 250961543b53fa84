//! Every kernel of the library once, at sizes that an interpreter of OpenCL gets through: `scripts/test` runs this under
//! Oclgrind, which reports races, reads of memory that nobody wrote and indices out of bounds.

use crate::common::{Host, close, numbers, on_every_device, ulps};
use anychip::{Conv1d, Conv2d, ConvTranspose1d, DType, Device, Generator, Pool2d, Resize, Result, Tensor};
use std::{collections::BTreeSet, fs, path::Path};

pub type Case = fn(&Device) -> Result<Tensor>;

/// Small whole numbers, so that every order of a sum gives the same.
fn whole(shape: &[usize], seed: u64, d: &Device) -> Result<Tensor> {
    let count = shape.iter().product();
    Tensor::from_vec(numbers(count, seed, -4.0, 4.0).iter().map(|x| x.round()).collect::<Vec<f32>>(), shape, d)
}

fn ids(shape: &[usize], below: u32, d: &Device) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    Tensor::from_vec((0..count as u32).map(|i| i * 7 % below).collect::<Vec<u32>>(), shape, d)
}

/// Kernel, and work that runs it. Several of one name take its different paths.
pub const CASES: &[(&str, Case)] = &[
    ("map", |d| whole(&[3, 5], 1, d)?.add(whole(&[5], 2, d)?)?.relu()),
    ("map", |d| whole(&[5, 3], 1, d)?.t()?.mul(whole(&[3, 5], 2, d)?)),
    ("map", |d| whole(&[37], 1, d)?.to_dtype(DType::F16)?.exp()?.to_dtype(DType::F32)),
    ("map", |d| whole(&[37], 1, d)?.to_dtype(DType::BF16)?.add(1.0)?.to_dtype(DType::F32)),
    ("map", |d| whole(&[37], 1, d)?.to_dtype(DType::I8)?.abs()?.to_dtype(DType::F32)),
    ("map", |d| whole(&[37], 1, d)?.gelu()?.tanh()),
    // By aligned vectors where a device reads them at once.
    ("map", |d| whole(&[64], 1, d)?.mul(whole(&[64], 2, d)?)?.relu()),
    ("map", |d| whole(&[3, 64], 1, d)?.add(whole(&[64], 2, d)?)?.mul(whole(&[3, 1], 3, d)?)),
    ("map", |d| whole(&[37], 1, d)?.gt(0.0)?.to_dtype(DType::F32)),
    ("map", |d| whole(&[4, 6], 1, d)?.pad(&[[1, 2], [0, 3]], 0.5)),
    ("map", |d| whole(&[4, 6], 1, d)?.pad_reflect(&[[1, 2], [3, 3]])),
    ("map", |d| whole(&[1, 2, 4, 4], 1, d)?.interpolate((5, 7), Resize::Nearest)),
    ("map", |d| Tensor::rand(37, DType::F32, &Generator::new(7), d)),
    ("map", |d| Tensor::cat(&[&whole(&[2, 3], 1, d)?, &whole(&[4, 3], 2, d)?], 0)),
    ("gather", |d| whole(&[4, 6], 1, d)?.index_select(0, &ids(&[5], 4, d)?)),
    ("gather", |d| whole(&[4, 6], 1, d)?.gather(1, &ids(&[4, 3], 6, d)?)),
    ("softmax", |d| whole(&[5, 37], 1, d)?.softmax(-1)),
    ("softmax", |d| whole(&[3, 300], 1, d)?.softmax(-1)),
    ("softmax", |d| whole(&[5, 128], 1, d)?.softmax(-1)),
    ("layer_norm", |d| whole(&[5, 64], 1, d)?.layer_norm(&whole(&[64], 2, d)?, &whole(&[64], 3, d)?, 1e-5)),
    ("layer_norm", |d| whole(&[5, 37], 1, d)?.layer_norm(&whole(&[37], 2, d)?, &whole(&[37], 3, d)?, 1e-5)),
    ("rms_norm", |d| whole(&[5, 37], 1, d)?.rms_norm(&whole(&[37], 2, d)?, 1e-5)),
    ("reduce", |d| whole(&[5, 37], 1, d)?.sum(1)),
    ("reduce", |d| whole(&[5, 64], 1, d)?.sum(1)),
    ("reduce", |d| whole(&[37, 5], 1, d)?.max(0)),
    ("reduce", |d| whole(&[3, 5, 7], 1, d)?.prod_all()),
    ("reduce", |d| whole(&[2, 300], 1, d)?.sum_all()),
    ("reduce", |d| whole(&[5, 37], 1, d)?.argmax(1)?.to_dtype(DType::F32)),
    ("reduce", |d| whole(&[1, 2, 5, 5], 1, d)?.max_pool2d(Pool2d::new(3).stride(2).padding(1))),
    ("scan", |d| whole(&[3, 37], 1, d)?.cumsum(1)),
    ("scan", |d| whole(&[3, 5], 1, d)?.cumsum_with(0, true, true)),
    ("scan", |d| whole(&[1, 700], 1, d)?.cummax(1)),
    ("sort", |d| Ok(whole(&[3, 37], 1, d)?.sort(1, false)?.0)),
    ("sort", |d| Ok(whole(&[3, 37], 1, d)?.topk(4, 1, true)?.0)),
    ("merge", |d| Ok(whole(&[1, 3000], 1, d)?.sort(1, true)?.0)),
    ("scatter", |d| whole(&[4, 6], 1, d)?.scatter_add(1, &ids(&[4, 9], 6, d)?, &whole(&[4, 9], 2, d)?)),
    ("scatter", |d| whole(&[4, 6], 1, d)?.index_copy(0, &ids(&[3], 4, d)?, &whole(&[3, 6], 2, d)?)),
    ("matmul", |d| whole(&[5, 7], 1, d)?.matmul(&whole(&[7, 9], 2, d)?)),
    ("matmul", |d| whole(&[2, 33, 40], 1, d)?.matmul(&whole(&[35, 40], 2, d)?.t()?)?.add(whole(&[35], 3, d)?)?.relu()),
    ("matmul", |d| whole(&[32, 64], 1, d)?.matmul(&whole(&[64, 64], 2, d)?)?.add(whole(&[64], 3, d)?)?.relu()),
    ("matmul", |d| whole(&[33, 32], 1, d)?.matmul(&whole(&[32, 36], 2, d)?)),
    ("matmul", |d| whole(&[1, 40], 1, d)?.matmul(&whole(&[40, 9], 2, d)?)),
    ("matmul", |d| whole(&[9, 40], 1, d)?.matmul(&whole(&[40, 1], 2, d)?)),
    ("matmul", |d| {
        let (x, w) = (whole(&[5, 7], 1, d)?.to_dtype(DType::F16)?, whole(&[7, 9], 2, d)?.to_dtype(DType::F16)?);
        x.matmul(&w)?.to_dtype(DType::F32)
    }),
    ("pack", |d| whole(&[70, 64], 1, d)?.matmul(&whole(&[64, 66], 2, d)?)),
    ("reduce", |d| whole(&[1, 2, 9], 1, d)?.conv1d(&whole(&[3, 2, 3], 2, d)?, None, Conv1d::new().padding(1))),
    ("reduce", |d| {
        let bias = whole(&[4], 3, d)?;
        whole(&[2, 4, 5, 5], 1, d)?.conv2d(&whole(&[4, 2, 3, 3], 2, d)?, Some(&bias), Conv2d::new().groups(2).stride(2))
    }),
    ("reduce", |d| {
        whole(&[1, 2, 5], 1, d)?.conv_transpose1d(&whole(&[2, 3, 3], 2, d)?, None, ConvTranspose1d::new().stride(2))
    }),
    ("attention", |d| {
        let (q, k, v) = (whole(&[2, 18, 8], 1, d)?, whole(&[2, 21, 8], 2, d)?, whole(&[2, 21, 8], 3, d)?);
        q.attention(&k, &v, None, None, true)
    }),
];

/// What `explain()` says of a kernel, by its name in the library.
const WORDS: [(&str, &str); 13] = [
    ("map", "map ["),
    ("gather", "fused: gather"),
    ("softmax", "Softmax"),
    ("layer_norm", "LayerNorm"),
    ("rms_norm", "RmsNorm"),
    ("reduce", " over ["),
    ("scan", "running "),
    ("sort", "sort ["),
    ("merge", "merge runs"),
    ("scatter", "scatter "),
    ("matmul", "matmul ["),
    ("pack", "pack "),
    ("attention", "attention ["),
];

#[test]
fn every_kernel_at_small_sizes() {
    let cpu = Device::open("cpu").unwrap();
    on_every_device(|d| {
        let mut explained = String::new();
        for (n, (name, case)) in CASES.iter().enumerate() {
            let want = case(&cpu).unwrap().to_vec::<f32>().unwrap();
            let got = case(d).unwrap_or_else(|e| panic!("{name}, case {n}, on {d}: {e}"));
            explained += &got.explain().unwrap();
            let want = Host::new(got.dims(), want.iter().map(|&x| f64::from(x)).collect());
            // Either is within 32 ULPs of the largest value where it is rounded at all.
            let largest = want.data.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            close(&format!("{name}, case {n}, on {d}"), &got, &want, |_, _| ulps(64.0)(0, largest));
        }
        for (name, words) in WORDS {
            // What the device's own library takes runs no kernel; right operands of products are packed for long vectors.
            let here = match name {
                "softmax" | "layer_norm" | "rms_norm" | "reduce" | "matmul" | "attention" => d.info().backend != "cpu",
                "pack" => d.info().vector >= 8 && d.info().backend != "cpu",
                _ => true,
            };
            assert!(!here || explained.contains(words), "{name} did not run on {d}:\n{explained}");
        }
    });
}

#[test]
fn no_kernel_is_forgotten() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/src/library");
    let mut names = BTreeSet::from(["softmax", "layer_norm", "rms_norm"].map(String::from));
    for folder in [library.clone(), library.join("walk")] {
        for file in fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).filter(|f| f.is_file()) {
            let text = fs::read_to_string(file).unwrap();
            for made in ["Maker::new(\"", "Maker::owning(\""] {
                names.extend(text.split(made).skip(1).filter_map(|t| Some(t.split_once('"')?.0.to_string())));
            }
        }
    }
    // Few devices multiply fragments by themselves: `fragments` runs those kernels on all of them.
    for name in ["matmul_fragments", "matmul_pipeline", "matmul_wide"] {
        assert!(names.remove(name), "{name} is none any more");
    }
    for name in names {
        assert!(CASES.iter().any(|c| c.0 == name) && WORDS.iter().any(|w| w.0 == name), "no case runs {name}");
    }
}
