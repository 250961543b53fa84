//! Integers, bool, 16-bit and 64-bit floats: bit for bit where the result is exact. Conversions.

use crate::common::{on_every_device, refused};
use anychip::{DType, Device, Element, Result, Tensor, bf16, f16};

fn t<T: Element>(x: &[T], d: &Device) -> Tensor {
    Tensor::from_slice(x, x.len(), d).unwrap()
}

fn v<T: Element>(x: Result<Tensor>) -> Vec<T> {
    x.unwrap().to_vec::<T>().unwrap()
}

macro_rules! integers {
    ($($name:ident $t:ident;)*) => {$(
        #[test]
        fn $name() {
            let (min, max) = ($t::MIN, $t::MAX);
            let one: $t = 1;
            let x: Vec<$t> = vec![0, 1, 2, 3, 7, 100, max, max - 1, min, min + 1, max / 2, 5];
            // The pairs hold division by zero and the smallest by minus one (all bits set).
            let y: Vec<$t> = vec![0, 0, 3, 2, max, 9, one.wrapping_neg(), 1, one.wrapping_neg(), 2, 3, 0];
            let each = |f: fn($t, $t) -> $t| x.iter().zip(&y).map(|(&a, &b)| f(a, b)).collect::<Vec<$t>>();
            let test = |f: fn(&$t, &$t) -> bool| x.iter().zip(&y).map(|(a, b)| f(a, b)).collect::<Vec<bool>>();
            on_every_device(|d| {
                let (a, b) = (t(&x, d), t(&y, d));
                assert_eq!(v::<$t>(a.add(&b)), each($t::wrapping_add), "add on {d}");
                assert_eq!(v::<$t>(a.sub(&b)), each($t::wrapping_sub), "sub on {d}");
                assert_eq!(v::<$t>(a.mul(&b)), each($t::wrapping_mul), "mul on {d}");
                assert_eq!(v::<$t>(a.div(&b)), each(|a, b| if b == 0 { 0 } else { a.wrapping_div(b) }), "div on {d}");
                assert_eq!(v::<$t>(a.rem(&b)), each(|a, b| if b == 0 { 0 } else { a.wrapping_rem(b) }), "rem on {d}");
                assert_eq!(v::<$t>(a.maximum(&b)), each(|a, b| a.max(b)), "maximum on {d}");
                assert_eq!(v::<$t>(a.minimum(&b)), each(|a, b| a.min(b)), "minimum on {d}");
                assert_eq!(v::<$t>(a.and(&b)), each(|a, b| a & b), "and on {d}");
                assert_eq!(v::<$t>(a.or(&b)), each(|a, b| a | b), "or on {d}");
                assert_eq!(v::<$t>(a.xor(&b)), each(|a, b| a ^ b), "xor on {d}");
                assert_eq!(v::<$t>(a.not()), each(|a, _| !a), "not on {d}");
                assert_eq!(v::<$t>(a.neg()), each(|a, _| a.wrapping_neg()), "neg on {d}");
                assert_eq!(v::<bool>(a.eq(&b)), test($t::eq), "eq on {d}");
                assert_eq!(v::<bool>(a.ne(&b)), test($t::ne), "ne on {d}");
                assert_eq!(v::<bool>(a.lt(&b)), test($t::lt), "lt on {d}");
                assert_eq!(v::<bool>(a.le(&b)), test($t::le), "le on {d}");
                assert_eq!(v::<bool>(a.gt(&b)), test($t::gt), "gt on {d}");
                assert_eq!(v::<bool>(a.ge(&b)), test($t::ge), "ge on {d}");
                assert_eq!(v::<$t>(a.gt(&b).unwrap().where_cond(&a, &b)), each(|a, b| a.max(b)), "where on {d}");
                assert_eq!(v::<$t>(a.to_dtype(DType::Bool).unwrap().to_dtype($t::DTYPE)), each(|a, _| (a != 0) as $t));
                assert_eq!(v::<i64>(a.to_dtype(DType::I64)), x.iter().map(|&a| a as i64).collect::<Vec<_>>(), "{d}");
                assert_eq!(v::<u8>(a.to_dtype(DType::U8)), x.iter().map(|&a| a as u8).collect::<Vec<_>>(), "{d}");
                assert_eq!(v::<f32>(a.to_dtype(DType::F32)), x.iter().map(|&a| a as f32).collect::<Vec<_>>(), "{d}");
                if $t::MAX as u64 != u64::MAX {
                    let sum = x.iter().fold(0, |s: i64, &a| s.wrapping_add(a as i64));
                    assert_eq!(a.sum_all().unwrap().to_vec0::<i64>().unwrap(), sum, "sum on {d}");
                } else {
                    let sum = x.iter().fold(0, |s: u64, &a| s.wrapping_add(a as u64));
                    assert_eq!(a.sum_all().unwrap().to_vec0::<u64>().unwrap(), sum, "sum on {d}");
                }
                assert_eq!(a.max_all().unwrap().to_vec0::<$t>().unwrap(), max, "max on {d}");
                assert_eq!(a.min_all().unwrap().to_vec0::<$t>().unwrap(), min, "min on {d}");
            });
        }
    )*};
}

integers! {
    i8_is_i8 i8;
    i16_is_i16 i16;
    i32_is_i32 i32;
    i64_is_i64 i64;
    u8_is_u8 u8;
    u16_is_u16 u16;
    u32_is_u32 u32;
    u64_is_u64 u64;
}

#[test]
fn signed_integers_have_a_sign() {
    on_every_device(|d| {
        let x = t(&[0i32, 5, -5, i32::MIN, i32::MAX], d);
        assert_eq!(v::<i32>(x.abs()), [0, 5, 5, i32::MIN, i32::MAX], "{d}");
        assert_eq!(v::<i32>(x.sign()), [0, 1, -1, -1, 1], "{d}");
        assert_eq!(v::<i32>(x.relu()), [0, 5, 0, 0, i32::MAX], "{d}");
    });
}

#[test]
fn truth() {
    on_every_device(|d| {
        let (a, b) = (t(&[true, true, false, false], d), t(&[true, false, true, false], d));
        assert_eq!(v::<bool>(a.and(&b)), [true, false, false, false], "{d}");
        assert_eq!(v::<bool>(a.or(&b)), [true, true, true, false], "{d}");
        assert_eq!(v::<bool>(a.xor(&b)), [false, true, true, false], "{d}");
        assert_eq!(v::<bool>(a.not()), [false, false, true, true], "{d}");
        assert_eq!(v::<bool>(a.eq(&b)), [true, false, false, true], "{d}");
        assert_eq!(v::<bool>(a.eq(true)), [true, true, false, false], "{d}");
        assert_eq!(v::<i64>(a.to_dtype(DType::I64)), [1, 1, 0, 0], "{d}");
        assert_eq!(v::<bool>(t(&[0f32, -0.0, 1e-40, f32::NAN], d).to_dtype(DType::Bool))[..2], [false, false], "{d}");
        let c = b.where_cond(&t(&[1f32, 2., 3., 4.], d), 9.0);
        assert_eq!(v::<f32>(c), [1., 9., 3., 9.], "{d}");
    });
}

#[test]
fn floats_to_integers_saturate() {
    let x = [0.0, -0.9, 0.9, 1.5, -1.5, 255.9, 256.0, -1e9, 1e20, -1e20, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    on_every_device(|d| {
        let a = t(&x, d);
        assert_eq!(v::<i32>(a.to_dtype(DType::I32)), x.map(|x| x as i32), "{d}");
        assert_eq!(v::<u32>(a.to_dtype(DType::U32)), x.map(|x| x as u32), "{d}");
        assert_eq!(v::<i8>(a.to_dtype(DType::I8)), x.map(|x| x as i8), "{d}");
        assert_eq!(v::<u8>(a.to_dtype(DType::U8)), x.map(|x| x as u8), "{d}");
        assert_eq!(v::<i64>(a.to_dtype(DType::I64)), x.map(|x| x as i64), "{d}");
        assert_eq!(v::<u64>(a.to_dtype(DType::U64)), x.map(|x| x as u64), "{d}");
        let back = [i32::MAX, i32::MIN, 16_777_217, -16_777_219];
        assert_eq!(v::<f32>(t(&back, d).to_dtype(DType::F32)), back.map(|x| x as f32), "{d}");
        assert_eq!(v::<f32>(t(&[u64::MAX, 1 << 63], d).to_dtype(DType::F32)), [u64::MAX as f32, 2f32.powi(63)], "{d}");
    });
}

/// All values of the 16-bit types survive the way through f32, and rounding back is to nearest even.
#[test]
fn sixteen_bit_floats() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    on_every_device(|d| {
        let h: Vec<f16> = all.iter().map(|&b| f16::from_bits(b)).collect();
        let wide = v::<f32>(t(&h, d).to_dtype(DType::F32));
        for (&h, w) in h.iter().zip(&wide) {
            assert!(h.to_f32() == *w || h.is_nan() && w.is_nan(), "{d}: f16 {:#x} became {w:e}", h.to_bits());
        }
        let b: Vec<bf16> = all.iter().map(|&b| bf16::from_bits(b)).collect();
        let wide = v::<f32>(t(&b, d).to_dtype(DType::F32));
        for (&b, w) in b.iter().zip(&wide) {
            assert!(b.to_f32() == *w || b.is_nan() && w.is_nan(), "{d}: bf16 {:#x} became {w:e}", b.to_bits());
        }
        let x: Vec<f32> = (0..4000).map(|i| (i as f32 - 2000.0) * 1.000_37 + 1.0 / (i as f32 + 3.0)).collect();
        let narrow = v::<f16>(t(&x, d).to_dtype(DType::F16));
        assert_eq!(narrow, x.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>(), "{d}");
        let narrow = v::<bf16>(t(&x, d).to_dtype(DType::BF16));
        assert_eq!(narrow, x.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>(), "{d}");
        // A sum of two is exact in f32, so that rounding once to 16 bits is the only right result.
        let (p, q) = (&h[0x3000..0x5000], &h[0x4000..0x6000]);
        let got = v::<f16>(t(p, d).add(t(q, d)));
        let want: Vec<f16> = p.iter().zip(q).map(|(a, b)| f16::from_f32(a.to_f32() + b.to_f32())).collect();
        assert_eq!(got, want, "f16 add on {d}");
        let (p, q) = (&b[0x3f00..0x4100], &b[0x3e80..0x4080]);
        let got = v::<bf16>(t(p, d).mul(t(q, d)));
        let want: Vec<bf16> = p.iter().zip(q).map(|(a, b)| bf16::from_f32(a.to_f32() * b.to_f32())).collect();
        assert_eq!(got, want, "bf16 mul on {d}");
    });
}

#[test]
fn sixty_four_bit_floats() {
    on_every_device(|d| {
        let x = Tensor::arange_step(0.1f64, 10.0, 0.7, d).unwrap();
        if !d.info().support(DType::F64).arithmetic {
            refused(x.to_vec::<f64>(), &["f64"]);
            println!("SKIPPED: f64 on {d}: no f64 arithmetic");
            return;
        }
        let host: Vec<f64> = (0..15).map(|i| i as f64 * 0.7 + 0.1).take_while(|&x| x < 10.0).collect();
        assert_eq!(v::<f64>(Ok(x.clone())), host, "{d}");
        let close = |what: &str, got: Vec<f64>, f: fn(f64) -> f64, ulps: f64| {
            for (g, &x) in got.iter().zip(&host) {
                let want = f(x);
                assert!((g - want).abs() <= ulps * f64::EPSILON * want.abs(), "{what} of {x} on {d}: {g}, not {want}");
            }
        };
        close("sqrt", v(x.sqrt()), f64::sqrt, 1.0);
        close("exp", v(x.exp()), f64::exp, 4.0);
        close("log", v(x.log()), f64::ln, 4.0);
        close("tanh", v(x.tanh()), f64::tanh, 6.0);
        close("div", v(x.recip()), |x| 1.0 / x, 1.0);
        let sum: f64 = host.iter().sum();
        assert!((x.sum_all().unwrap().to_vec0::<f64>().unwrap() - sum).abs() < 1e-12, "{d}");
        let m = x.slice((0..12,)).unwrap().reshape((3, 4)).unwrap();
        let p = m.matmul(&m.t().unwrap()).unwrap().to_vec2::<f64>().unwrap();
        let want: f64 = (0..4).map(|j| host[j] * host[4 + j]).sum();
        assert!((p[0][1] - want).abs() < 1e-12, "{d}: {} {want}", p[0][1]);
    });
}

#[test]
fn numbers_beside_tensors_keep_their_value() {
    on_every_device(|d| {
        let big = (1i64 << 60) + 1;
        assert_eq!(v::<i64>(t(&[1i64], d).add(big)), [big + 1], "{d}");
        assert_eq!(v::<u64>(t(&[0u64], d).maximum(u64::MAX)), [u64::MAX], "{d}");
        assert_eq!(v::<u8>(t(&[250u8], d).add(255.0)), [249], "{d}");
        assert_eq!(v::<f16>(t(&[f16::ONE], d).mul(0.1)), [f16::from_f64(0.1)], "{d}");
    });
}
