//! Device functions, the functions of the language, fragments.

use super::{body, expect};
use anychip_hal::ir::Unroll;
use anychip_hal::ir::typed::*;
use anychip_macros::{device, kernel};

#[device]
fn gelu<T: Float>(x: T) -> T {
    let wide = x.to_f32();
    T::from_f32(0.5 * wide * (1.0 + erf(wide * 0.70710678)))
}

#[device]
fn row_sum<T: Float>(x: &Buf<T>, row: Idx, cols: u32) -> f32 {
    let mut sum: f32 = 0.0;
    for c in strided(local_id(0), cols, local_size(0)) {
        sum += x[row * cols + c].to_f32();
    }
    group_sum(sum)
}

#[device]
fn extent(a: f32, b: f32) -> (f32, f32) {
    (min(a, b), max(a, b))
}

#[device]
fn fill(out: &mut Buf<f32>, tile: Shared<f32>, #[host] n: u32, value: f32) {
    for i in 0..n {
        tile[i] = value;
        out[i] = tile[i];
    }
}

#[kernel]
fn calls<T: Float>(x: &Buf<T>, y: &mut Buf<T>, out: &mut Buf<f32>, cols: u32) {
    let tile = shared::<f32>(4);
    y[0] = gelu(x[0]);
    let sum = row_sum(x, 2, cols) + row_sum(y, group_id(0), cols);
    let (low, high) = extent(sum, 1.0);
    fill(out, tile, 4, 0.0);
    out[0] = high - low;
}

#[test]
fn device_functions_are_written_into_their_caller() {
    let k = calls::<f16>(64).unwrap();
    assert_eq!(k.files, ["functions.rs"]);
    let text = body(&k);
    assert_eq!(text.matches("erf %").count(), 1, "{text}");
    assert_eq!(text.matches("group_reduce sum").count(), 2, "{text}");
    let access: Vec<_> = k.to_string().lines().filter(|l| l.contains("buffer")).map(|l| l.trim().to_string()).collect();
    assert_eq!(
        access,
        [
            "param x: buffer f16 read align 1",
            "param y: buffer f16 read_write align 1",
            "param out: buffer f32 write align 1"
        ]
    );
}

#[kernel]
fn mathematics(x: &Buf<f32>, out: &mut Buf<f32>) {
    let v = x[0];
    out[0] = exp(v) + exp2(v) + log(v) + log2(v) + sin(v) + cos(v) + tan(v) + tanh(v) + erf(v);
    out[1] = sqrt(v) + rsqrt(v) + recip(v) + floor(v) + ceil(v) + trunc(v) + round(v) + abs(v) + sign(v);
    out[2] = select(is_nan(v) | is_inf(v), 0.0, pow(v, 2.0)) + min(v, 1) + max(0.0, v) % 3.0;
    out[3] = fma(v, 2.0, v) + mul_add(v, v, 1.0) - v.abs_or_zero();
}

/// Methods of an author's own on expressions.
trait AbsOrZero {
    fn abs_or_zero(self) -> Self;
}
impl AbsOrZero for Expr<f32> {
    fn abs_or_zero(self) -> Expr<f32> {
        max(self, 0.0)
    }
}

#[test]
fn every_function_has_its_operation() {
    let text = body(&mathematics(1).unwrap());
    for op in [
        "exp", "exp2", "log", "log2", "sin", "cos", "tan", "tanh", "erf", "sqrt", "rsqrt", "recip", "floor", "ceil",
        "trunc", "round", "abs", "sign", "is_nan", "is_inf", "select", "pow", "min", "fma", "mul_add",
    ] {
        assert_eq!(text.matches(&format!("= {op} %")).count(), 1, "{op} in\n{text}");
    }
    assert_eq!(text.matches("= max %").count(), 2, "{text}");
}

#[kernel]
fn lanes(x: &Buf<u32>, out: &mut Buf<i32>, words: &Buf<u32>) {
    let v = x[local_id(0)];
    let all = group_and(v) ^ group_or(v) ^ group_xor(v) ^ subgroup_and(v) ^ !subgroup_or(v) ^ subgroup_xor(v);
    let sum = subgroup_sum(v) + subgroup_prod(v) + subgroup_min(v) + subgroup_max(v) + subgroup_scan_add(v);
    let more = group_sum(v) + group_prod(v) + group_min(v) + group_max(v);
    let moved = shuffle(v, 3) + shuffle_xor(v, 1) + shuffle_up(v, 1) + shuffle_down(v, 1) + broadcast(v, 0);
    let place = subgroup_size() + subgroup_lane() * subgroup_id();
    let mut acc: i32 = dot4(words[0], words[1], 0);
    acc = dot4_mixed(words[0], words[1], acc);
    acc += dot4_unsigned(words[2], words[3], 1).to_i32() + unpack(words[4], 3, 4, true);
    acc += (count_ones(v) + leading_zeros(v) + trailing_zeros(v)).to_i32();
    subgroup_barrier();
    barrier();
    out[0] = acc + (all + sum + more + moved + place << 2 >> 1).bitcast::<i32>();
}

#[test]
fn lanes_act_together() {
    let text = body(&lanes(64).unwrap());
    for op in [
        "group_reduce and",
        "group_reduce or",
        "group_reduce xor",
        "group_reduce sum",
        "group_reduce prod",
        "group_reduce min",
        "group_reduce max",
        "subgroup reduce and",
        "subgroup reduce or",
        "subgroup reduce xor",
        "subgroup reduce sum",
        "subgroup reduce prod",
        "subgroup reduce min",
        "subgroup reduce max",
        "subgroup scan_add",
        "subgroup shuffle %",
        "subgroup shuffle_xor",
        "subgroup shuffle_up",
        "subgroup shuffle_down",
        "subgroup broadcast",
        "dot4 signed signed",
        "dot4 unsigned signed",
        "dot4 unsigned unsigned",
        "unpack 4 signed",
        "barrier subgroup",
        "barrier workgroup",
        "bitcast",
        "shl",
        "shr",
        "count_ones",
        "leading_zeros",
        "trailing_zeros",
    ] {
        assert_eq!(text.matches(op).count(), 1, "{op} in\n{text}");
    }
}

#[kernel]
fn matrix(a: &Buf<f16>, b: &Buf<f16>, out: &mut Buf<f32>, depth: u32, #[host] tile: Tile) {
    let acc = frag_var(frag_fill(FragRole::Acc, tile, 0.0));
    for k in (0..depth).step_by(16) {
        let left = frag_load(FragRole::A, tile, a, k, depth, Layout::RowMajor);
        let right = frag_load(FragRole::B, tile, b, k * 16, 16, Layout::RowMajor);
        acc.set(frag_mma(left, right, acc.get()));
    }
    for (row, col, value) in each(acc.get()) {
        out[row * 16 + col] = max(value, 0.0);
    }
    frag_store(acc.get(), out, 256, 16, Layout::ColMajor);
}

#[test]
fn fragments_are_carried_by_loops() {
    let text = body(&matrix(32, Tile::subgroup(16, 16, 16)).unwrap());
    for op in ["frag_fill", "frag_mma", "frag_each", "frag_store"] {
        assert_eq!(text.matches(op).count(), 1, "{op} in\n{text}");
    }
    assert_eq!(text.matches("frag_load").count(), 2, "{text}");
}

#[kernel]
fn staged(x: &Buf<f32>, out: &mut Buf<f32>) {
    let tile = shared::<f32>(256);
    let lane = local_id(0);
    copy_async(tile, lane * 4, x, global_id(0) * 4, 4);
    copy_commit();
    copy_wait(0);
    barrier();
    out[global_id(0)] = tile[255 - lane];
}

#[test]
fn copies_are_asynchronous() {
    let text = body(&staged(64).unwrap());
    let at = |op: &str| text.find(op).unwrap_or_else(|| panic!("{op} in\n{text}"));
    assert!(at("copy_async s0[") < at("copy_commit") && at("copy_commit") < at("copy_wait 0"), "{text}");
    assert!(at("copy_wait 0") < at("barrier workgroup"), "{text}");
}

#[test]
fn the_layer_is_callable_without_the_attribute() {
    use anychip_hal::ir::typed::__anychip as rt;
    let by_hand = rt::build("by_hand", &[], 32, || {
        let out = rt::buf_mut::<f32>("out");
        let steps = rt::range(0i128, rt::lit(4)).unroll();
        let i = rt::begin_loop(steps);
        rt::store(out, i, 1.0);
        rt::end_loop(steps);
    })
    .unwrap();
    assert!(matches!(
        by_hand.body.last().map(|inst| &inst.op),
        Some(anychip_hal::ir::Op::For { unroll: Unroll::Full, .. })
    ));
}

#[kernel]
fn both_ways<T: Int>(x: &mut Buf<T>, y: &Buf<T>) {
    let i = global_id(0);
    expect_nothing(y[i]);
    x[i] = y[i] % 3 + T::from_i32(1) * T::lowest() - T::highest();
}

#[device]
fn expect_nothing<T: Int>(x: T) {
    let _ = x & 1;
}

#[test]
fn generic_integers_have_literals() {
    expect(
        &both_ways::<i8>(1).unwrap(),
        "
        %0: idx = global_id 0
        %1: i8 = load p1[%0]
        %2: i8 = const 1
        %3: i8 = and %1, %2
        %4: i8 = load p1[%0]
        %5: i8 = const 3
        %6: i8 = rem %4, %5
        %7: i32 = const 1
        %8: i8 = cast %7
        %9: i8 = const 128
        %10: i8 = mul %8, %9
        %11: i8 = add %6, %10
        %12: i8 = const 127
        %13: i8 = sub %11, %12
        store p0[%0], %13
        ",
    );
}
