//! Control flow on the chip.

use super::expect;
use anychip_hal::ir::typed::*;
use anychip_macros::kernel;

#[kernel]
fn short_circuit(x: &Buf<f32>, out: &mut Buf<f32>, n: u32) {
    let i = local_id(0);
    if i < n && x[i] > 0.0 {
        out[i] = 1.0;
    }
    let edge = i == 0 || x[i] > 2.0;
    if edge {
        out[i] = 2.0;
    }
}

#[test]
fn the_right_side_is_computed_only_where_the_left_one_does_not_decide() {
    expect(
        &short_circuit(64).unwrap(),
        "
        %0: u32 = scalar p2
        %1: u32 = local_id 0
        %2: bool = lt %1, %0
        if %2 {
            %3: f32 = load p0[%1]
            %4: f32 = const 0
            %5: bool = gt %3, %4
            if %5 {
                %6: f32 = const 0x3f800000
                store p1[%1], %6
            }
        }
        %7: u32 = const 0
        %8: bool = eq %1, %7
        if %8 {
            %9: bool = const 1
            set v0, %9
        } else {
            %10: f32 = load p0[%1]
            %11: f32 = const 0x40000000
            %12: bool = gt %10, %11
            set v0, %12
        }
        %13: bool = get v0
        if %13 {
            %14: f32 = const 0x40000000
            store p1[%1], %14
        }
        ",
    );
}

#[kernel]
fn values(x: &Buf<f32>, out: &mut Buf<f32>) {
    let i = local_id(0);
    let v = x[i];
    let relu = if v > 0.0 { v } else { 0.0 };
    let stairs: f32 = if v < 1.0 {
        1.0
    } else if v < 2.0 {
        let half = v / 2.0;
        half
    } else {
        3.0
    };
    out[i] = relu + stairs;
}

#[test]
fn an_if_with_a_value_is_a_variable() {
    expect(
        &values(64).unwrap(),
        "
        %0: u32 = local_id 0
        %1: f32 = load p0[%0]
        %2: f32 = const 0
        %3: bool = gt %1, %2
        if %3 {
            set v0, %1
        } else {
            %4: f32 = const 0
            set v0, %4
        }
        %5: f32 = get v0
        %6: f32 = const 0x3f800000
        %7: bool = lt %1, %6
        if %7 {
            %8: f32 = const 0x3f800000
            set v1, %8
        } else {
            %9: f32 = const 0x40000000
            %10: bool = lt %1, %9
            if %10 {
                %11: f32 = const 0x40000000
                %12: f32 = div %1, %11
                set v2, %12
            } else {
                %13: f32 = const 0x40400000
                set v2, %13
            }
            %14: f32 = get v2
            set v1, %14
        }
        %15: f32 = get v1
        %16: f32 = add %5, %15
        store p1[%0], %16
        ",
    );
}

#[kernel]
fn loops(x: &Buf<u32>, out: &mut Buf<u32>, n: u32) {
    let mut total: u32 = 0;
    for i in 0..n {
        if x[i] == 0 {
            continue;
        }
        total += x[i];
    }
    while total > 100 {
        total -= 7;
    }
    loop {
        total *= 2;
        if total > 50 {
            break;
        }
    }
    if total == 51 {
        return;
    }
    out[0] = total;
}

#[test]
fn loops_end_as_written() {
    expect(
        &loops(1).unwrap(),
        "
        %0: u32 = scalar p2
        %1: u32 = const 0
        set v0, %1
        %2: u32 = const 0
        %3: u32 = const 1
        for %4: u32 in %2, %0, %3 auto {
            %5: u32 = load p0[%4]
            %6: u32 = const 0
            %7: bool = eq %5, %6
            if %7 {
                continue
            }
            %8: u32 = get v0
            %9: u32 = load p0[%4]
            %10: u32 = add %8, %9
            set v0, %10
        }
        while {
            %11: u32 = get v0
            %12: u32 = const 100
            %13: bool = gt %11, %12
        } cond %13 {
            %14: u32 = get v0
            %15: u32 = const 7
            %16: u32 = sub %14, %15
            set v0, %16
        }
        while {
            %17: bool = const 1
        } cond %17 {
            %18: u32 = get v0
            %19: u32 = const 2
            %20: u32 = mul %18, %19
            set v0, %20
            %21: u32 = get v0
            %22: u32 = const 50
            %23: bool = gt %21, %22
            if %23 {
                break
            }
        }
        %24: u32 = get v0
        %25: u32 = const 51
        %26: bool = eq %24, %25
        if %26 {
            return
        }
        %27: u32 = get v0
        %28: u32 = const 0
        store p1[%28], %27
        ",
    );
}

#[kernel]
fn hints(out: &mut Buf<f32>, n: u32) {
    for i in (0..n).step_by(2).unroll_by(4) {
        for j in (0..8).unroll() {
            out[i + j] = 0.0;
        }
    }
    for k in (group_id(0)..n).no_unroll() {
        out[k] = 1.0;
    }
}

#[test]
fn loops_carry_their_hints() {
    expect(
        &hints(1).unwrap(),
        "
        %0: u32 = scalar p1
        %1: u32 = const 0
        %2: u32 = const 1
        %3: u32 = const 2
        for %4: u32 in %1, %0, %3 by 4 {
            %5: u32 = const 0
            %6: u32 = const 8
            %7: u32 = const 1
            for %8: u32 in %5, %6, %7 full {
                %9: u32 = add %4, %8
                %10: f32 = const 0
                store p0[%9], %10
            }
        }
        %11: idx = group_id 0
        %12: idx = cast %0
        %13: idx = const 1
        for %14: idx in %11, %12, %13 never {
            %15: f32 = const 0x3f800000
            store p0[%14], %15
        }
        ",
    );
}
