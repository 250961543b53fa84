//! Random tensors: known answers of the generator, the same bits as a computation of the host on every device, moments and tails.

use crate::common::{on_every_device, refused};
use anychip::{DType, Device, Generator, Tensor, bf16, f16};

/// Philox4x32-10, from the paper.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let p0 = 0xD251_1F53u64 * c[0] as u64;
        let p1 = 0xCD9E_8D57u64 * c[2] as u64;
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

fn block(seed: u64, position: u64) -> [u32; 4] {
    philox([position as u32, (position >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32])
}

/// The answers that the authors publish with their generator.
#[test]
fn the_hosts_philox_gives_the_published_words() {
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    let (counter, key) = ([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
    assert_eq!(philox(counter, key), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

/// Positions around the end of the low word, where the high one must follow.
#[test]
fn uniform_numbers_are_the_words_bits() {
    for (seed, position) in [(0, 0), (0x1234_5678_9abc_def0, 77), (5, (1 << 32) - 100), (u64::MAX, u64::MAX - 50)] {
        let words: Vec<[u32; 4]> = (0..300).map(|i| block(seed, position.wrapping_add(i))).collect();
        on_every_device(|d| {
            let from = || Generator::at(seed, position);
            let x = Tensor::rand((3, 100), DType::F32, &from(), d).unwrap();
            let want: Vec<f32> = words.iter().map(|w| (w[0] >> 8) as f32 / 16_777_216.0).collect();
            assert_eq!(x.to_vec::<f32>().unwrap(), want, "{d}");
            let x = Tensor::rand(300, DType::F16, &from(), d).unwrap().to_vec::<f16>().unwrap();
            assert!(x.iter().zip(&words).all(|(x, w)| x.to_f32() == (w[0] >> 21) as f32 / 2048.0), "f16 on {d}");
            let x = Tensor::rand(300, DType::BF16, &from(), d).unwrap().to_vec::<bf16>().unwrap();
            assert!(x.iter().zip(&words).all(|(x, w)| x.to_f32() == (w[0] >> 24) as f32 / 256.0), "bf16 on {d}");
            if d.info().support(DType::F64).arithmetic {
                let x = Tensor::rand(300, DType::F64, &from(), d).unwrap().to_vec::<f64>().unwrap();
                let want = |w: &[u32; 4]| ((w[1] as u64 >> 5 << 26) + (w[0] as u64 >> 6)) as f64 / 2f64.powi(53);
                assert!(x.iter().zip(&words).all(|(x, w)| *x == want(w)), "f64 on {d}");
            }
        });
    }
}

#[test]
fn ranges_and_integers() {
    on_every_device(|d| {
        let from = Generator::new(11);
        let x = Tensor::uniform(-3.0, 5.0, 1000, DType::F32, &from, d).unwrap().to_vec::<f32>().unwrap();
        for (i, x) in x.iter().enumerate() {
            let u = (block(11, i as u64)[0] >> 8) as f32 / 16_777_216.0;
            assert_eq!(*x, u * 8.0 + -3.0, "{d}");
        }
        // Two neighbours of f32: the upper one is not taken.
        let x = Tensor::uniform(1.0, 1.0 + f32::EPSILON as f64, 100, DType::F32, &from, d)
            .unwrap()
            .to_vec::<f32>()
            .unwrap();
        assert!(x.iter().all(|&x| x == 1.0), "{d}");
        assert_eq!(from.position(), 1100);
        let at = || Generator::at(3, 9);
        let words: Vec<[u32; 4]> = (0..200).map(|i| block(3, 9 + i)).collect();
        let x = Tensor::randint(-5, 6, 200, DType::I8, &at(), d).unwrap().to_vec::<i8>().unwrap();
        assert!(x.iter().zip(&words).all(|(&x, w)| x as i64 == (w[0] % 11) as i64 - 5), "{d}: {x:?}");
        let x = Tensor::randint(-128, 128, 200, DType::I8, &at(), d).unwrap().to_vec::<i8>().unwrap();
        assert!(x.iter().zip(&words).all(|(&x, w)| x as i64 == (w[0] % 256) as i64 - 128), "{d}: {x:?}");
        let x = Tensor::randint(i64::MIN, i64::MAX, 200, DType::I64, &at(), d).unwrap().to_vec::<i64>().unwrap();
        let wide = |w: &[u32; 4]| ((w[1] as u64) << 32 | w[0] as u64) % u64::MAX;
        assert!(x.iter().zip(&words).all(|(&x, w)| x == i64::MIN.wrapping_add(wide(w) as i64)), "{d}");
        let p = Tensor::from_vec(vec![0.0f32, 1.0, 0.25, f32::NAN, 2.0, -1.0], (6, 1), d).unwrap();
        let hits = p.broadcast_as((6, 400)).unwrap().bernoulli(&at()).unwrap().to_vec2::<bool>().unwrap();
        let count = |r: usize| hits[r].iter().filter(|&&b| b).count();
        assert_eq!([count(0), count(1), count(3), count(4), count(5)], [0, 400, 0, 400, 0], "{d}");
        assert!((60..=140).contains(&count(2)), "{d}: {}", count(2));
        assert_eq!(Tensor::randn((0, 3), DType::F32, &at(), d).unwrap().to_vec::<f32>().unwrap().len(), 0);
    });
}

/// The same bits on every device, and no contraction of separate products and sums: the first device of the list is the reference.
#[test]
fn normal_numbers_agree_bit_for_bit() {
    let first = std::sync::Mutex::new(None::<Vec<u32>>);
    on_every_device(|d| {
        let x = Tensor::randn(50_000, DType::F32, &Generator::new(42), d).unwrap().to_vec::<f32>().unwrap();
        let bits: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
        let mut first = first.lock().unwrap();
        match &*first {
            None => *first = Some(bits),
            Some(want) => {
                let differ = want.iter().zip(&bits).filter(|(a, b)| a != b).count();
                assert_eq!(differ, 0, "{d} differs in {differ} of 50000 numbers");
            }
        }
        let y = Tensor::normal(10.0, 0.5, 50_000, DType::F32, &Generator::new(42), d).unwrap().to_vec::<f32>().unwrap();
        assert!(x.iter().zip(&y).all(|(x, y)| *y == x * 0.5 + 10.0), "{d}");
    });
}

/// 2^20 numbers; bounds of five standard errors each.
#[test]
fn moments_and_tails() {
    let d = Device::open("cpu").unwrap();
    let n = 1 << 20;
    let root = (n as f64).sqrt();
    let x = Tensor::randn(n, DType::F32, &Generator::new(1), &d).unwrap().to_vec::<f32>().unwrap();
    let moment = |k: i32| x.iter().map(|&x| (x as f64).powi(k)).sum::<f64>() / n as f64;
    // Variances of the k-th powers: 1, 2, 15, 96.
    for (k, want, variance) in [(1, 0.0, 1.0f64), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let got = moment(k);
        assert!((got - want).abs() < 5.0 * variance.sqrt() / root, "moment {k} is {got}, must be near {want}");
    }
    for (z, p) in [(1.0, 0.158_655_25), (2.0, 0.022_750_13), (3.0, 0.001_349_9), (4.0, 3.167e-5)] {
        for sign in [1.0, -1.0] {
            let share = x.iter().filter(|&&x| x * sign > z).count() as f64 / n as f64;
            assert!((share - p).abs() < 5.0 * p.sqrt() / root, "beyond {z}·{sign}: {share}, must be near {p}");
        }
    }
    let u = Tensor::rand(n, DType::F32, &Generator::new(2), &d).unwrap().to_vec::<f32>().unwrap();
    let mean = u.iter().map(|&u| u as f64).sum::<f64>() / n as f64;
    assert!((mean - 0.5).abs() < 5.0 * (1.0f64 / 12.0).sqrt() / root, "mean {mean}");
    let mut cells = [0usize; 64];
    u.iter().for_each(|u| cells[(u * 64.0) as usize] += 1);
    let chi: f64 = cells.iter().map(|&c| (c as f64 - n as f64 / 64.0).powi(2) / (n as f64 / 64.0)).sum();
    // 63 degrees of freedom: mean 63, standard deviation 11.2.
    assert!((25.0..=119.0).contains(&chi), "chi² {chi}");
    let neighbours: f64 = u.windows(2).map(|w| (w[0] as f64 - 0.5) * (w[1] as f64 - 0.5)).sum::<f64>() / n as f64;
    assert!(neighbours.abs() < 5.0 / 12.0 / root, "neighbours {neighbours}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let d = Device::open("cpu").unwrap();
    let g = Generator::new(0);
    refused(Tensor::rand(3, DType::I32, &g, &d), &["rand", "i32", "f32"]);
    refused(Tensor::randn(3, DType::Bool, &g, &d), &["randn", "bool"]);
    refused(Tensor::uniform(1.0, 1.0, 3, DType::F32, &g, &d), &["uniform", "1", "below"]);
    refused(Tensor::uniform(f64::NAN, 1.0, 3, DType::F32, &g, &d), &["uniform", "NaN"]);
    refused(Tensor::uniform(-3e38, 3e38, 3, DType::F32, &g, &d), &["uniform", "difference"]);
    refused(Tensor::normal(0.0, -1.0, 3, DType::F32, &g, &d), &["normal", "-1", "at least 0"]);
    refused(Tensor::randint(0, 300, 3, DType::U8, &g, &d), &["randint", "299", "u8"]);
    refused(Tensor::randint(5, 5, 3, DType::I32, &g, &d), &["randint", "5", "below"]);
    refused(Tensor::randint(0, 5, 3, DType::F32, &g, &d), &["randint", "integer", "f32"]);
    refused(Tensor::rand((1usize << 33, 1usize), DType::F32, &g, &d), &["rand", "8589934592", "4294967296"]);
    refused(Tensor::ones(3, DType::I32, &d).unwrap().bernoulli(&g), &["bernoulli", "float", "i32"]);
}

/// A product and a sum that stand apart are rounded apart: fused they would give 2^−24.
#[test]
fn products_and_sums_are_not_contracted() {
    on_every_device(|d| {
        let x = Tensor::full(1.0f32 + 1.0 / 4096.0, 100, d).unwrap().realize().unwrap().clone();
        let left = x.mul(&x).unwrap().sub(1.0 + 1.0 / 2048.0).unwrap();
        assert_eq!(left.to_vec::<f32>().unwrap(), [0.0; 100], "{d}");
    });
}
