//! The text form: what is printed reads back equal; what is damaged gives an error with its place.

use crate::kernels;
use anychip_hal::ir::{legal, verify::verify, *};

#[test]
fn every_operation_survives_a_round_trip() {
    let k = kernels::every_op();
    verify(&k).expect("well formed");
    let text = k.to_string();
    let back: Kernel = text.parse().expect("reads back");
    assert_eq!(back, k);
    assert_eq!(back.to_string(), text);
}

#[test]
fn values_that_nothing_defines_and_legalised_kernels_survive() {
    let mut k = kernels::every_op();
    k.values.insert(0, Type::vector(Elem::Idx, 8));
    visit_mut(&mut k.body, &mut |i| {
        if let Some(v) = &mut i.out {
            v.0 += 1;
        }
        i.op.operands_mut(&mut |v| v.0 += 1);
        match &mut i.op {
            Op::For { var, .. } => var.0 += 1,
            Op::FragEach { row, col, elem, .. } => [row, col, elem].into_iter().for_each(|v| v.0 += 1),
            Op::FragMap { row, col, elems, .. } => [row, col].into_iter().chain(elems).for_each(|v| v.0 += 1),
            _ => {}
        }
    });
    k.idx_bits = 32;
    k.params.push(Param {
        name: "x_offset".into(),
        kind: ParamKind::Scalar { elem: Elem::Idx, role: Role::Offset(ParamId(0)) },
    });
    k.params
        .push(Param { name: "x_len".into(), kind: ParamKind::Scalar { elem: Elem::Idx, role: Role::Len(ParamId(0)) } });
    k.params.push(Param { name: "groups".into(), kind: ParamKind::Scalar { elem: Elem::Idx, role: Role::Groups } });
    verify(&k).expect("well formed");
    assert_eq!(k.to_string().parse::<Kernel>().expect("reads back"), k);
    let _ = legal::features(&k);
}

#[test]
fn mistakes_are_named_with_line_column_and_expectation() {
    let base = "anychip kernel 1 k workgroup(1, 1, 1) {\n  body {\n    ";
    for (rest, place, expectation) in [
        ("%0: f32 = cosine %1\n}}", "line 3, column 15", "expected an operation"),
        ("%0: f33 = const 1\n}}", "line 3, column 9", "expected a type"),
        ("%0: f32 = const x\n}}", "line 3, column 21", "expected a constant's bits"),
        ("%0: f32 = add %1 %2\n}}", "line 3, column 22", "expected ','"),
        ("%1: f32 = const 0\n}}", "line 4", "expected a definition of %0"),
        ("%0: f32 = const 99999999999999999999\n}}", "line 3, column 21", "no number of 64 bits"),
        ("barrier galaxy\n}}", "line 3, column 13", "one of subgroup, workgroup, device"),
        ("return", "line 3, column 11", "found the end of the text"),
        ("}} more", "line 3, column 8", "expected the end of the text"),
        ("load q0[%0]\n}}", "line 3, column 10", "expected a buffer, shared or private array"),
        ("break @70000:1\n}}", "line 3, column 12", "of 16 bits"),
    ] {
        let e = format!("{base}{rest}").parse::<Kernel>().expect_err(rest).to_string();
        assert!(e.contains(place) && e.contains(expectation), "{rest:?}: {e}");
    }
    let deep = format!("{base}{}", "if %0 { ".repeat(100_000));
    let e = deep.parse::<Kernel>().expect_err("too deep").to_string();
    assert!(e.contains("at most 200 nested blocks"), "{e}");
}

/// Cuts, swaps and doubles pieces of a valid text: whatever comes out is read or refused, and if read it prints and
/// verifies without a panic.
#[test]
fn hostile_text_never_panics() {
    let text = kernels::every_op().to_string();
    let pieces: Vec<&str> = text.split_inclusive([' ', '\n', '%', '{', '"']).collect();
    let mut seed = 1u64;
    let mut next = |n: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % n
    };
    let mut read = 0;
    for round in 0..3000 {
        let mut parts = pieces.clone();
        for _ in 0..1 + round % 3 {
            let (i, j) = (next(parts.len()), next(parts.len()));
            match next(4) {
                0 => parts.swap(i, j),
                1 => {
                    parts.remove(i);
                }
                2 => parts[i] = ["4294967295", "%7", "\"", "€", "0x", "18446744073709551615 "][next(6)],
                _ => parts[i] = parts[j],
            }
        }
        let text: String = parts.concat();
        let text = if round % 5 == 0 { text.chars().take(next(text.len())).collect() } else { text };
        if let Ok(k) = text.parse::<Kernel>() {
            read += 1;
            assert_eq!(k.to_string().parse::<Kernel>().ok().as_ref(), Some(&k));
            let _ = verify(&k);
        }
    }
    assert!(read > 100, "only {read} of the damaged texts were readable: the test lost its point");
}
