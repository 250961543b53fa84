//! The cases themselves: their names, how many there are, and that the CPU passes some of every area.

use anychip_conformance::{Case, Failure, Seen, Subject, cases, run::random};
use anychip_oracle::table;
use std::collections::{BTreeMap, BTreeSet};

/// Areas of the kernel language, which have tests of their own.
const LANGUAGE: [&str; 2] = ["ir", "facts"];

/// As many as the suite promises, spread over operations, types and shapes.
#[test]
fn there_are_enough() {
    let all = cases::all();
    let of_tensors = all.iter().filter(|c| matches!(c.level, 1 | 2) && !LANGUAGE.contains(&c.area()));
    let (mut operations, mut types, mut shapes, mut count) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
    for c in of_tensors {
        operations.insert(c.about.as_str());
        types.insert(c.ty);
        shapes.insert(c.shape);
        count += 1;
    }
    assert!(all.len() >= 3000 && count >= 2400, "{} cases, {count} of them of tensors", all.len());
    assert!(operations.len() >= 180 && types.len() >= 10 && shapes.len() >= 8, "{operations:?} {types:?} {shapes:?}");
}

#[test]
fn every_row_of_the_table_has_cases() {
    let all = cases::all();
    let named = |area: &str, op: &str| all.iter().any(|c| c.id.starts_with(&format!("core/{area}/{op}/f32/")));
    for row in table::UNARY {
        assert!(named("unary", row.name), "no case of {}", row.name);
    }
    for row in table::BINARY {
        assert!(named("binary", row.name), "no case of {}", row.name);
    }
}

fn run(on: &Subject, case: &Case) -> (Result<(), Failure>, Seen) {
    let mut seen = Seen::default();
    let result = (case.run)(on, &mut random(&case.id, 0), &mut seen);
    (result.and_then(|()| on.check()), seen)
}

/// Every so-manyth case of each area on the CPU; `ANYCHIP_CASES` asks for all whose id contains it, `ANYCHIP_CASES_ON` for another
/// device.
#[test]
fn the_cpu_passes() {
    passes(&std::env::var("ANYCHIP_CASES_ON").unwrap_or("cpu".into()));
}

/// What exact devices compute is inside the bounds of the oracle too: other devices are compared with their bits.
#[test]
fn the_exact_cpu_passes() {
    passes("cpu/exact");
}

fn passes(id: &str) {
    let on = Subject::open(id).expect("the device opens");
    let asked = std::env::var("ANYCHIP_CASES").ok();
    let mut areas: BTreeMap<(u8, String), Vec<Case>> = BTreeMap::new();
    for c in cases::all() {
        areas.entry((c.level, c.area().to_string())).or_default().push(c);
    }
    let (mut ran, mut wrong) = (0, vec![]);
    for ((level, area), list) in areas {
        // What belongs to the runtime, the system and the language is tested beside it.
        if !matches!(level, 1 | 2) || LANGUAGE.contains(&area.as_str()) {
            continue;
        }
        let step = if asked.is_some() { 1 } else { list.len().div_ceil(20) };
        let start = std::time::Instant::now();
        let (mut worst, mut count) = (0f64, 0);
        for c in list.iter().step_by(step).filter(|c| asked.as_ref().is_none_or(|a| c.id.contains(a.as_str()))) {
            let began = std::time::Instant::now();
            let (result, seen) = run(&on, c);
            if let Err(e) = result {
                let lacks = !c.mandatory && matches!(e, Failure::Unsupported(_));
                if !lacks {
                    wrong.push(format!("{}: {e}", c.id));
                }
            }
            if asked.is_some() && began.elapsed().as_millis() > 300 {
                println!("{}: {:.2?}", c.id, began.elapsed());
            }
            worst = worst.max(seen.fraction.unwrap_or(0.0));
            count += 1;
        }
        if count > 0 {
            println!(
                "{level} {area}: {count} of {} cases, {:.1?}, {worst:.2} of the bound",
                list.len(),
                start.elapsed()
            );
        }
        ran += count;
    }
    assert!(ran > 0, "nothing ran");
    assert!(wrong.is_empty(), "{} of {ran}:\n{}", wrong.len(), wrong.join("\n"));
}
