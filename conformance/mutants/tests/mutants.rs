//! Every mutant is failed by the suite, by cases whose names say why, and the good device passes the same cases.
//!
//! `ANYCHIP_WRITE_DOCS=1` writes the table in `README.md`, which is compared otherwise.

use anychip_conformance::{
    Case, Subject, cases,
    run::{Outcome, Verdict, one},
};
use anychip_mutants::{Mutant, all};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
    sync::mpsc,
    time::Duration,
};

/// The device that is broken.
const GOOD: &str = "cpu";
/// How long a case may take on a mutant; then it hangs, which is a way to be failed.
const LIMIT: Duration = Duration::from_secs(40);

/// The cases of an area.
fn area(m: &Mutant) -> Vec<Case> {
    let fits = |c: &Case| m.area.iter().any(|a| c.id.starts_with(a));
    cases::all().into_iter().filter(fits).collect()
}

/// Runs cases on a subject in a thread of its own, which is left alone where it hangs.
fn run(open: impl FnOnce() -> anychip::Result<Subject> + Send + 'static, cases: Vec<Case>) -> Vec<Outcome> {
    let (send, receive) = mpsc::channel();
    let all = cases.clone();
    std::thread::spawn(move || {
        let subject = open();
        for c in &cases {
            let outcome = match &subject {
                Ok(s) => one(s, c, 0),
                Err(e) => Outcome::ended(c, Verdict::Fail, Some(format!("it does not open: {e}")), 0.0),
            };
            if send.send(outcome).is_err() {
                return;
            }
        }
    });
    let mut done = vec![];
    for c in all {
        match receive.recv_timeout(LIMIT) {
            Ok(o) => done.push(o),
            Err(_) => {
                done.push(Outcome::ended(
                    &c,
                    Verdict::Hang,
                    Some(format!("not done after {LIMIT:?}")),
                    LIMIT.as_secs_f64(),
                ));
                break;
            }
        }
    }
    done
}

/// The mutants that `ANYCHIP_MUTANT` names a part of, or all of them.
fn chosen() -> Vec<Mutant> {
    let part = std::env::var("ANYCHIP_MUTANT").unwrap_or_default();
    all().into_iter().filter(|m| m.name.contains(&part)).collect()
}

#[test]
fn every_mutant_is_killed_by_a_case_that_names_the_cause() {
    let mutants = chosen();
    let mut wrong = vec![];
    let mut pass: BTreeSet<String> = BTreeSet::new();
    // The good device first: what fails on it says nothing about a mutant.
    let wanted: BTreeMap<String, Case> = mutants.iter().flat_map(area).map(|c| (c.id.clone(), c)).collect();
    for o in run(|| Subject::open(GOOD), wanted.into_values().collect()) {
        if o.verdict.is_failure() {
            wrong.push(format!("the good device fails {}: {}", o.id, o.why.unwrap_or_default()));
        } else if o.verdict == Verdict::Pass {
            pass.insert(o.id);
        }
    }
    for m in &mutants {
        let killing = m.killers.iter().filter(|k| !pass.contains(**k));
        wrong.extend(killing.map(|k| format!("{}: the good device does not pass {k}", m.name)));
        let outcomes = run(
            {
                let m = *m;
                move || m.subject(GOOD)
            },
            area(m),
        );
        let failed: Vec<&Outcome> = outcomes.iter().filter(|o| o.verdict.is_failure()).collect();
        println!("{}: {} of {} cases fail", m.name, failed.len(), outcomes.len());
        for o in failed.iter().take(3) {
            println!("    {}: {}", o.id, o.why.as_deref().unwrap_or_default().chars().take(200).collect::<String>());
        }
        for k in m.killers {
            if !failed.iter().any(|o| o.id == *k) {
                let others: Vec<&str> = failed.iter().map(|o| o.id.as_str()).take(8).collect();
                wrong.push(format!("{}: {k} does not fail; these do: {others:?}", m.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_are_forty_and_each_has_a_name_of_its_own() {
    let all = all();
    let names: BTreeSet<&str> = all.iter().map(|m| m.name).collect();
    assert!(names.len() == all.len() && all.len() >= 40, "{} mutants, {} names", all.len(), names.len());
    let ids: BTreeSet<String> = cases::all().into_iter().map(|c| c.id).collect();
    for m in &all {
        assert!(!m.killers.is_empty() && m.fault.ends_with('.'), "{}", m.name);
        for k in m.killers {
            assert!(ids.contains(*k), "{}: there is no case {k}", m.name);
            assert!(m.area.iter().any(|a| k.starts_with(a)), "{}: {k} lies outside of its area", m.name);
        }
    }
}

#[test]
fn the_table_is_up_to_date() {
    let mut text = String::from(
        "# Mutants\n\n\
         Devices that are broken on purpose, each in one way that drivers and backends have been broken, as layers over the CPU. The\n\
         conformance suite must fail every one of them, by cases whose names say the cause; a mutant that no case kills is a hole in the\n\
         suite. `cargo test -p anychip-mutants` runs each on the cases of its area and writes this table with `ANYCHIP_WRITE_DOCS=1`.\n\n\
         | mutant | what is wrong with it | cases that kill it |\n|---|---|---|\n",
    );
    for m in all() {
        let killers: Vec<String> = m.killers.iter().map(|k| format!("`{k}`")).collect();
        writeln!(text, "| {} | {} | {} |", m.name, m.fault, killers.join(", ")).expect("a string takes text");
    }
    writeln!(text, "\n{} mutants.", all().len()).expect("a string takes text");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    if std::env::var_os("ANYCHIP_WRITE_DOCS").is_some() {
        std::fs::write(&path, text).expect("the table is written");
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "README.md is not what the mutants say: run this test with ANYCHIP_WRITE_DOCS=1");
}
