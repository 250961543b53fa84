//! Exact numerics: the CPU's bits on every device that offers them, and the reason where one does not.

use crate::common::{numbers, on_every_device};
use anychip::{DType, Device, Numerics, Program, Result, Tensor};

/// A block of a transformer in small: products, sums, functions, quotients and roots, in f32 and by way of f16.
fn network(d: &Device) -> Result<Vec<u8>> {
    let t = |n: usize, seed, shape: [usize; 2]| Tensor::from_vec(numbers(n, seed, -1.5, 1.5), shape, d);
    let (x, w, v) = (t(12 * 32, 1, [12, 32])?, t(32 * 32, 2, [32, 32])?, t(32 * 32, 3, [32, 32])?);
    let q = x.layer_norm(None, None, 1e-5)?.matmul(&w)?;
    let p = q.matmul(&x.t()?)?.mul(0.17)?.softmax(-1)?;
    let y = p.matmul(&q)?.matmul(&v)?.gelu()?.add(&x)?;
    let half = y.to_dtype(DType::F16)?.mul(&x.to_dtype(DType::F16)?)?.tanh()?;
    let z = y.sin()?.div(&y.abs()?.add(0.3)?.sqrt()?)?.add(&half.to_dtype(DType::F32)?)?;
    let mut bits = z.to_bytes()?;
    bits.extend(z.sum_all()?.to_bytes()?);
    Ok(bits)
}

#[test]
fn every_device_that_is_exact_has_the_bits_of_the_cpu() {
    let want = network(&Device::open_with("cpu", Numerics::Exact).unwrap()).unwrap();
    on_every_device(|d| match Device::open_with(d.id(), Numerics::Exact) {
        Ok(exact) => {
            assert_eq!(exact.info().numerics, Numerics::Exact);
            assert!(network(&exact).unwrap() == want, "{exact} has other bits than the CPU");
        }
        Err(e) => {
            assert!(e.is_unsupported() && e.to_string().contains("leaves results open"), "{d}: {e}");
            let facts = &d.info().arithmetic[&DType::F32];
            assert!(*facts != anychip::hal::info::Arithmetic::IEEE, "{d}: {e}");
        }
    });
}

#[test]
fn exact_devices_take_no_tuning_and_share_no_tensors_with_others() {
    let (exact, fast) = (Device::open("cpu/exact").unwrap(), Device::open("cpu").unwrap());
    assert_eq!((exact.id(), exact.info().backend.as_str()), ("cpu/exact", "cpu"));
    let [x, y] = [&exact, &fast].map(|d| Tensor::from_vec(vec![0.25f32, 3.0], [2], d).unwrap());
    let e = x.add(&y).unwrap_err().to_string();
    assert!(e.contains("cpu/exact"), "{e}");
    assert_eq!(x.add(y.to_device(&exact).unwrap()).unwrap().to_vec::<f32>().unwrap(), [0.5, 6.0]);
    // Every product is a kernel: the plan names none of the library's.
    let w = Tensor::ones((64, 64), DType::F32, &exact).unwrap();
    let program = Program::new(&exact, std::slice::from_ref(&w), |x| Ok(vec![x[0].matmul(&x[0])?])).unwrap();
    assert!(!program.explain().to_string().contains("library"), "{}", program.explain());
    let problem = anychip::schedule::Problem::Map(anychip::schedule::map::Problem {
        dtype: DType::F32,
        elements: 64,
        cols: 64,
        reads: 1,
    });
    let budget = std::time::Duration::from_secs(1);
    let e = anychip::tune::tune(&exact.chain()[0], &problem, budget, &mut |_, _, _| {}).err().unwrap();
    assert!(e.is_unsupported() && e.to_string().contains("same on every chip"), "{e}");
}
