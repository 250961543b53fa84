//! Every function against f64, over a sweep of all bit patterns and at the edges, on every level of this processor.

use super::*;

/// |got − want| in units of the last place of `want` rounded to f32.
fn ulps(got: f32, want: f64) -> f64 {
    let near = want as f32;
    if near.is_nan() || got.is_nan() {
        return if near.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if near.is_infinite() || got.is_infinite() {
        // One step short of overflow is one ULP away.
        let max = f64::from(f32::MAX);
        return if near == got {
            0.0
        } else if near.abs() == f32::MAX || got.abs() == f32::MAX {
            (f64::from(got).clamp(-max, max) - want.clamp(-max, max)).abs() / 2f64.powi(104) + 1.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = (near.abs().to_bits() >> 23).max(1) as i32 - 150;
    (f64::from(got) - want).abs() / 2f64.powi(exponent)
}

/// 2/√π·e^(−x²)·Σ 2ⁿx^(2n+1)/(2n+1)!!: all terms of one sign, so nothing cancels.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

fn truth(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Exp => x.exp(),
        Unary::Exp2 => x.exp2(),
        Unary::Log => x.ln(),
        Unary::Log2 => x.log2(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Tanh => x.tanh(),
        Unary::Erf => erf(x),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Abs => x.abs(),
        Unary::Neg => -x,
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Trunc => x.trunc(),
        Unary::Round => x.round_ties_even(),
        Unary::Recip => 1.0 / x,
    }
}

fn bound(op: Unary) -> f64 {
    match op {
        Unary::Exp | Unary::Exp2 | Unary::Log | Unary::Log2 | Unary::Rsqrt => 1.5,
        Unary::Sqrt | Unary::Recip => 0.5,
        Unary::Sin | Unary::Cos | Unary::Tan => 1.0,
        Unary::Tanh | Unary::Erf => 2.0,
        Unary::Sigmoid => 2.5,
        Unary::Abs | Unary::Neg | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round => 0.0,
    }
}

/// Zeros, smallest and largest numbers, infinities, NaN, halves, and the places where functions change their branch.
fn edges() -> Vec<f32> {
    let mut out = vec![f32::NAN, -f32::NAN];
    for x in [
        0.0f32,
        f32::from_bits(1),
        f32::from_bits(0x007f_ffff),
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::INFINITY,
        0.5,
        1.0,
        1.5,
        2.5,
        8_388_607.5,
        8_388_608.0,
        16_777_216.0,
        0.625,
        0.921_875,
        3.92,
        4.0,
        88.722_84,
        88.73,
        87.336_55,
        103.97,
        103.98,
        104.0,
        127.999_99,
        128.0,
        149.0,
        149.5,
        150.0,
        151.0,
        std::f32::consts::SQRT_2,
        std::f32::consts::FRAC_1_SQRT_2,
        std::f32::consts::PI,
        std::f32::consts::FRAC_PI_2,
        std::f32::consts::FRAC_PI_4,
        500_000.0,
        1e5,
        1e10,
    ] {
        for bits in [x.to_bits().saturating_sub(1), x.to_bits(), (x.to_bits() + 1).min(0x7f80_0000)] {
            out.extend([f32::from_bits(bits), -f32::from_bits(bits)]);
        }
    }
    out
}

#[test]
fn unary_functions_keep_their_bounds() {
    // 4099 is prime: the sweep meets every exponent and no pattern of mantissas.
    let mut x: Vec<f32> = (0..=u32::MAX).step_by(4099).map(f32::from_bits).collect();
    x.extend((0..400_000).map(|i| (i - 200_000) as f32 * 1.03e-3 / 2.0));
    x.extend((0..100_000).map(|i| 0.5 + i as f32 * 1.5e-5));
    x.extend(edges());
    let mut y = vec![0.0; x.len()];
    for &op in Unary::ALL {
        let want: Vec<f64> = x.iter().map(|&x| truth(op, f64::from(x))).collect();
        for level in Level::all() {
            unary(op, level)(&x, &mut y);
            let (mut worst, mut at) = (0.0, 0.0);
            for ((&x, &y), &want) in x.iter().zip(&y).zip(&want) {
                let e = ulps(y, want);
                if e > worst {
                    (worst, at) = (e, x);
                }
                if want == 0.0 && y == 0.0 {
                    assert_eq!(
                        want.is_sign_negative(),
                        y.is_sign_negative(),
                        "{op:?} {level:?}: sign of zero at {x:e}"
                    );
                }
            }
            println!("{op:?} {level:?}: {worst:.3} ULP at {at:e}");
            assert!(worst <= bound(op), "{op:?} {level:?}: {worst} ULP at {at:e}, bound {}", bound(op));
        }
    }
}

#[test]
fn a_place_in_the_slice_changes_no_bit() {
    let x: Vec<f32> = (0..300).map(|i| (i as f32 - 150.0) * 0.11).collect();
    for &op in Unary::ALL {
        for level in Level::all() {
            let f = unary(op, level);
            let mut all = vec![0.0; x.len()];
            f(&x, &mut all);
            for (start, len) in [(0, 0), (3, 1), (5, 63), (1, 64), (7, 65), (100, 200)] {
                let mut part = vec![7.0; len + 1];
                f(&x[start..start + len], &mut part[..len]);
                assert_eq!(part[len], 7.0);
                let mut in_place = x[start..start + len].to_vec();
                unary_in_place(op, level)(&mut in_place);
                for i in 0..len {
                    assert_eq!(part[i].to_bits(), all[start + i].to_bits(), "{op:?} {level:?}");
                    assert_eq!(in_place[i].to_bits(), all[start + i].to_bits(), "{op:?} {level:?} in place");
                }
            }
        }
    }
}

#[test]
fn pow_keeps_its_bound() {
    let mut pairs = Vec::new();
    for a in edges() {
        pairs.extend(edges().into_iter().map(|b| (a, b)));
        pairs.extend([-3.0, -2.0, 2.0, 3.0, 0.3, -0.7, 17.0].map(|b| (a, b)));
    }
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    for _ in 0..500_000 {
        let x = f32::from_bits((random() * 2_139_095_040.0) as u32);
        let y = (random() - 0.5) * 200.0 * random() * random();
        pairs.extend([(x, y), (-x, y.round()), (0.5 + random(), (random() - 0.5) * 400.0)]);
    }
    let (x, y): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
    let mut z = vec![0.0; x.len()];
    for level in Level::all() {
        binary(Binary::Pow, level)(&x, &y, &mut z);
        let (mut worst, mut at) = (0.0, (0.0, 0.0));
        for ((&x, &y), &z) in x.iter().zip(&y).zip(&z) {
            let want = f64::from(x).powf(f64::from(y));
            let e = ulps(z, want);
            if e > worst {
                (worst, at) = (e, (x, y));
            }
            if want as f32 == 0.0 && z == 0.0 {
                assert_eq!(want.is_sign_negative(), z.is_sign_negative(), "{level:?}: sign of zero at {x:e}^{y:e}");
            }
        }
        println!("Pow {level:?}: {worst:.3} ULP at {at:?}");
        assert!(worst <= 1.0, "{level:?}: {worst} ULP at {at:?}");
    }
}
