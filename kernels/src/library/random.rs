//! Random words by counting: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
//! (SC 2011). A word depends on nothing but counter and key, so that every device gives the same.
//!
//! Only 32-bit operations: products of 32 by 32 bits are put together from 16-bit halves, because not every device has u64.

use anychip_hal::ir::{BinaryOp, Builder, Value};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: u32 = 10;

/// Word `word` of the block of a counter, whose two high words are 0.
pub(super) fn philox(b: &mut Builder, counter: [Value; 2], key: [Value; 2], word: u8) -> Value {
    let zero = b.u32(0);
    let mut c = [counter[0], counter[1], zero, zero];
    for round in 0..ROUNDS {
        let mut k = key;
        for i in 0..2 {
            let step = b.u32(WEYL[i].wrapping_mul(round));
            k[i] = b.add(key[i], step);
        }
        let (high0, low0) = product(b, c[0], MULTIPLIERS[0]);
        let (high1, low1) = product(b, c[2], MULTIPLIERS[1]);
        let x = b.binary(BinaryOp::Xor, high1, c[1]);
        let y = b.binary(BinaryOp::Xor, high0, c[3]);
        c = [b.binary(BinaryOp::Xor, x, k[0]), low1, b.binary(BinaryOp::Xor, y, k[1]), low0];
    }
    c[word as usize & 3]
}

/// High and low word of a 64-bit product.
fn product(b: &mut Builder, x: Value, m: u32) -> (Value, Value) {
    let (sixteen, mask) = (b.u32(16), b.u32(0xffff));
    let [m_low, m_high, m_all] = [m & 0xffff, m >> 16, m].map(|c| b.u32(c));
    let x_low = b.binary(BinaryOp::And, x, mask);
    let x_high = b.binary(BinaryOp::Shr, x, sixteen);
    let ll = b.mul(x_low, m_low);
    let lh = b.mul(x_low, m_high);
    let hl = b.mul(x_high, m_low);
    let hh = b.mul(x_high, m_high);
    // What the low word carries: three numbers below 2^16.
    let a = b.binary(BinaryOp::Shr, ll, sixteen);
    let p = b.binary(BinaryOp::And, lh, mask);
    let q = b.binary(BinaryOp::And, hl, mask);
    let carry = b.add(a, p);
    let carry = b.add(carry, q);
    let carry = b.binary(BinaryOp::Shr, carry, sixteen);
    let p = b.binary(BinaryOp::Shr, lh, sixteen);
    let q = b.binary(BinaryOp::Shr, hl, sixteen);
    let high = b.add(hh, p);
    let high = b.add(high, q);
    (b.add(high, carry), b.mul(x, m_all))
}
