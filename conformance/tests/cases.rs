//! The cases themselves: their names, how many there are, and that the CPU passes some of every area.

use anychip_conformance::{Case, Failure, Seen, Subject, cases};
use anychip_oracle::{sample::Random, table};
use std::collections::{BTreeMap, BTreeSet};

/// Ids are for ever: parts of lower-case letters, digits, `_`, `-` and `.`, the level first, and no two the same.
#[test]
fn ids_are_well_formed_and_unique() {
    let all = cases::all();
    let mut seen = BTreeSet::new();
    for c in &all {
        assert!(seen.insert(c.id.clone()), "{} twice", c.id);
        let parts: Vec<&str> = c.id.split('/').collect();
        assert!((3..=6).contains(&parts.len()), "{}: level/area/operation/type/shape[/variant]", c.id);
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
        assert!(parts.iter().all(|p| !p.is_empty() && p.bytes().all(fits)), "{}", c.id);
    }
}

#[test]
fn every_row_of_the_table_has_cases() {
    let all = cases::all();
    let named = |area: &str, op: &str| all.iter().any(|c| c.id.starts_with(&format!("core/{area}/{op}/f32/")));
    for row in table::UNARY {
        assert!(named("unary", row.name), "no case of {}", row.name);
    }
}

/// A number that only the id decides.
fn seed(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

fn run(on: &Subject, case: &Case) -> (Result<(), Failure>, Seen) {
    let mut seen = Seen::default();
    let result = (case.run)(on, &mut Random::new(seed(&case.id)), &mut seen);
    (result, seen)
}

/// Every so-manyth case of each area on the CPU; `ANYCHIP_CASES` asks for all whose id contains it, `ANYCHIP_CASES_ON` for another
/// device.
#[test]
fn the_cpu_passes() {
    let id = std::env::var("ANYCHIP_CASES_ON").unwrap_or("cpu".into());
    let on = Subject::open(&id).expect("the device opens");
    let asked = std::env::var("ANYCHIP_CASES").ok();
    let mut areas: BTreeMap<(u8, String), Vec<Case>> = BTreeMap::new();
    for c in cases::all() {
        areas.entry((c.level, c.area().to_string())).or_default().push(c);
    }
    let (mut ran, mut wrong) = (0, vec![]);
    for ((level, area), list) in areas {
        // What belongs to the runtime and the system is tested beside it.
        let step = if asked.is_some() { 1 } else { list.len().div_ceil(20) };
        let start = std::time::Instant::now();
        let (mut worst, mut count) = (0f64, 0);
        for c in list.iter().step_by(step).filter(|c| asked.as_ref().is_none_or(|a| c.id.contains(a.as_str()))) {
            if !matches!(level, 1 | 2) {
                continue;
            }
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
