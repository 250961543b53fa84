//! Tensors from nothing: constants, ranges, and random numbers that are the same bits on every device.

use super::support::case;
use crate::{Case, subject::dtype};
use anychip::{Generator, Tensor};
use anychip_oracle::{Array, Type};

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [constants(), ranges(), uniform(), integers(), normal()].into_iter().flatten().collect()
}

fn one(ty: Type) -> u64 {
    if ty.is_float() { ty.bits_of_float(1.0) } else { 1 }
}

fn constants() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::I64, Type::U8, Type::Bool, Type::F16] {
        for (class, shape) in [("prime", &[1009][..]), ("empty", &[3, 0]), ("one", &[])] {
            all.push(case("create", "zeros", ty, class, "", move |t| {
                t.same(Tensor::zeros(shape, dtype(ty), &t.on.device), ty, &Array::full(shape, 0))
            }));
            all.push(case("create", "ones", ty, class, "", move |t| {
                t.same(Tensor::ones(shape, dtype(ty), &t.on.device), ty, &Array::full(shape, one(ty)))
            }));
        }
        if matches!(ty, Type::F32 | Type::I64) {
            all.push(case("create", "eye", ty, "unaligned", "", move |t| {
                let want = Array::build(&[37, 37], |i| if i[0] == i[1] { one(ty) } else { 0 });
                t.same(Tensor::eye(37, dtype(ty), &t.on.device), ty, &want)
            }));
        }
    }
    all.push(case("create", "full", Type::F32, "prime", "negative-zero", |t| {
        t.same(Tensor::full(-0.0f32, 1009, &t.on.device), Type::F32, &Array::full(&[1009], 1 << 31))
    }));
    all.push(case("create", "full", Type::I64, "prime", "smallest", |t| {
        t.same(Tensor::full(i64::MIN, 1009, &t.on.device), Type::I64, &Array::full(&[1009], 1 << 63))
    }));
    all
}

fn ranges() -> Vec<Case> {
    let up = case("create", "arange", Type::I64, "unaligned", "step", |t| {
        let want: Vec<u64> = (-500i64..40).step_by(3).map(|x| x as u64).collect();
        t.same(Tensor::arange_step(-500i64, 40, 3, &t.on.device), Type::I64, &Array::new(&[want.len()], want))
    });
    let down = case("create", "arange", Type::I32, "unaligned", "downwards", |t| {
        let want: Vec<u64> = (0..147).map(|i| u64::from((1000 - 7 * i) as u32)).collect();
        t.same(Tensor::arange_step(1000i32, -29, -7, &t.on.device), Type::I32, &Array::new(&[147], want))
    });
    // Quarters: every product and sum is exact.
    let floats = case("create", "arange", Type::F32, "prime", "quarters", |t| {
        let want = (0..1009).map(|i| Type::F32.bits_of_float(0.5 + f64::from(i) * 0.25)).collect();
        let end = 0.5 + 1009.0 * 0.25;
        t.same(Tensor::arange_step(0.5f32, end, 0.25, &t.on.device), Type::F32, &Array::new(&[1009], want))
    });
    let plain = case("create", "arange", Type::U32, "prime", "", |t| {
        t.same(Tensor::arange(0u32, 1009, &t.on.device), Type::U32, &Array::new(&[1009], (0..1009).collect()))
    });
    vec![up, down, floats, plain]
}

/// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011), from the paper.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let p = 0xD251_1F53u64 * u64::from(c[0]);
        let q = 0xCD9E_8D57u64 * u64::from(c[2]);
        c = [(q >> 32) as u32 ^ c[1] ^ k[0], q as u32, (p >> 32) as u32 ^ c[3] ^ k[1], p as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// The words of a position of a seed.
fn block(seed: u64, position: u64) -> [u32; 4] {
    philox([position as u32, (position >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32])
}

/// Seeds and positions; the second passes the end of the low word, the third that of all.
const STARTS: [(&str, u64, u64); 3] =
    [("", 7, 0), ("across-2-32", 0x1234_5678_9abc_def0, (1 << 32) - 100), ("across-2-64", 5, u64::MAX - 50)];

fn uniform() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        for (variant, seed, position) in STARTS {
            all.push(case("create", "rand", ty, "prime", variant, move |t| {
                let bits = ty.format().map_or(24, |f| f.fraction + 1);
                let want = Array::build(&[1009], |i| {
                    let word = block(seed, position.wrapping_add(i[0] as u64))[0];
                    ty.bits_of_float(f64::from(word >> (32 - bits)) * 2f64.powi(-bits))
                });
                t.same(Tensor::rand(1009, dtype(ty), &Generator::at(seed, position), &t.on.device), ty, &want)
            }));
        }
    }
    all.push(case("create", "uniform", Type::F32, "prime", "", |t| {
        let want = Array::build(&[1009], |i| {
            let u = (block(11, i[0] as u64)[0] >> 8) as f32 / 16_777_216.0;
            u64::from((u * 8.0 + -3.0).to_bits())
        });
        t.same(Tensor::uniform(-3.0, 5.0, 1009, dtype(Type::F32), &Generator::new(11), &t.on.device), Type::F32, &want)
    }));
    all.push(case("create", "bernoulli", Type::F32, "prime", "", |t| {
        let p = t.dense(Type::F32, &[1009], anychip_oracle::sample::Values::Range(-0.2, 1.2))?;
        let want = Array::build(&[1009], |i| {
            let u = (block(3, i[0] as u64)[0] >> 8) as f32 / 16_777_216.0;
            u64::from(u < f32::from_bits(p.bits.data[i[0]] as u32))
        });
        t.same_of(p.tensor.bernoulli(&Generator::new(3)), Type::Bool, &want, &[&p])
    }));
    all
}

fn integers() -> Vec<Case> {
    let mut all = Vec::new();
    for (ty, low, high) in [(Type::I32, -5i64, 6i64), (Type::U8, 0, 256), (Type::U32, 0, 1 << 32)] {
        for (variant, seed, position) in STARTS {
            all.push(case("create", "randint", ty, "prime", variant, move |t| {
                let want = Array::build(&[1009], |i| {
                    let word = u64::from(block(seed, position.wrapping_add(i[0] as u64))[0]);
                    let x = low + (word % (high - low) as u64) as i64;
                    x as u64 & (u64::MAX >> (64 - 8 * ty.bytes()))
                });
                let from = Generator::at(seed, position);
                t.same(Tensor::randint(low, high, 1009, dtype(ty), &from, &t.on.device), ty, &want)
            }));
        }
    }
    all.push(case("create", "randint", Type::I64, "prime", "all-numbers", |t| {
        let want = Array::build(&[1009], |i| {
            let word = block(9, i[0] as u64);
            let wide = (u64::from(word[1]) << 32 | u64::from(word[0])) % u64::MAX;
            (i64::MIN as u64).wrapping_add(wide)
        });
        let got = Tensor::randint(i64::MIN, i64::MAX, 1009, dtype(Type::I64), &Generator::new(9), &t.on.device);
        t.same(got, Type::I64, &want)
    }));
    all
}

/// The quantile of a uniform number of 32 bits, within 1e-6: judged by the distribution function, whose inverse it is.
fn normal() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        all.push(case("create", "randn", ty, "prime", "", move |t| {
            let format = ty.format();
            let want = Array::build(&[1009], |i| {
                // The first bit is the sign, the others are the place in the half below.
                let word = block(42, i[0] as u64)[0];
                let size = -quantile((f64::from(word & 0x7fff_ffff) + 0.5) / 4_294_967_296.0);
                let z = if word >> 31 == 1 { -size } else { size };
                let own = if ty == Type::F32 { format.map_or(0.0, |f| 0.5 * f.ulp(z)) } else { 0.0 };
                anychip_oracle::Number { value: anychip_oracle::wide::Wide::from(z), radius: 1e-6 + own }
            });
            let a = t.arithmetic(ty);
            t.judge(Tensor::randn(1009, dtype(ty), &Generator::new(42), &t.on.device), ty, want, &a)
        }));
    }
    all
}

/// z with Φ(z) = p below ½, by halving: Φ(z) = erfc(−z/√2)/2.
fn quantile(p: f64) -> f64 {
    let erfc = anychip_oracle::table::find("erfc").double;
    let (mut low, mut high) = (-8.0f64, 0.0f64);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if 0.5 * erfc(-middle * std::f64::consts::FRAC_1_SQRT_2) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}
