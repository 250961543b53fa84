//! What a run says on the terminal: counts of cases, the table by area, the verdict, every failure.

use anychip::hal::DeviceInfo;
use anychip_conformance::{
    Case,
    case::LEVELS,
    report::{Asked, words},
    run::{Outcome, Verdict, kernels},
    verdict::{Counts, Judgement, Obstacle},
};
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use std::{collections::BTreeMap, fmt::Write};

/// Shortfalls that are printed; a bundle has all of them.
const SHOWN: usize = 25;

fn table(header: &[&str]) -> Table {
    let mut t = Table::new();
    t.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header.to_vec());
    t
}

fn number(n: usize) -> Cell {
    let cell = Cell::new(if n == 0 { String::new() } else { n.to_string() });
    cell.set_alignment(CellAlignment::Right)
}

/// How many cases there are, by operation, type, shape and level.
pub fn list(cases: &[Case], ids: bool) -> String {
    let mut out = String::new();
    if ids {
        out.extend(cases.iter().flat_map(|c| [c.id.as_str(), "\n"]));
    }
    type Key = fn(&Case) -> String;
    let by: [(&str, Key); 4] = [
        ("operation", |c| c.about.clone()),
        ("type", |c| c.ty.map_or("none".into(), |t| format!("{t:?}").to_lowercase())),
        ("shape", |c| c.shape.to_string()),
        ("area", |c| c.area().to_string()),
    ];
    for (what, key) in by {
        let mut rows: BTreeMap<String, [usize; 5]> = BTreeMap::new();
        for c in cases {
            let row = rows.entry(key(c)).or_default();
            row[c.level as usize] += 1;
            row[4] += 1;
        }
        let mut t = table(&[what, LEVELS[0], LEVELS[1], LEVELS[2], LEVELS[3], "all"]);
        for (name, counts) in rows {
            t.add_row(std::iter::once(Cell::new(name)).chain(counts.map(number)));
        }
        let _ = writeln!(out, "{t}");
    }
    let mut levels = [0; 4];
    cases.iter().for_each(|c| levels[c.level as usize] += 1);
    let by_level: Vec<_> = LEVELS.iter().zip(levels).map(|(name, n)| format!("{n} {name}")).collect();
    let optional = cases.iter().filter(|c| !c.mandatory).count();
    let _ = writeln!(out, "{} cases: {}; {optional} of them optional", cases.len(), by_level.join(", "));
    out
}

/// What came of a run.
pub fn verdict(info: &DeviceInfo, asked: &Asked, outcomes: &[Outcome], judged: &Judgement) -> String {
    let mut out = String::new();
    let mut t = table(&[
        "level",
        "area",
        "pass",
        "fail",
        "crash",
        "hang",
        "unsupported",
        "kernels",
        "seconds",
        "largest error",
    ]);
    for ((level, area), counts) in &judged.areas {
        let prefix = format!("{}/{area}/", LEVELS[*level as usize]);
        let of: Vec<_> = outcomes.iter().filter(|o| o.id.starts_with(&prefix)).collect();
        t.add_row(row(&format!("{level} {}", LEVELS[*level as usize]), area, *counts, &of));
    }
    let all: Vec<_> = outcomes.iter().collect();
    t.add_row(row("", "all", judged.counts, &all));
    let _ = writeln!(out, "{t}");
    let failed: Vec<_> = outcomes.iter().filter(|o| o.verdict.is_failure()).collect();
    for o in failed.iter().take(SHOWN) {
        let why = o.why.as_deref().unwrap_or_default();
        let _ = writeln!(out, "\n{}: {}\n  {why}\n  {}", o.verdict.name(), o.id, asked.replay(&o.id));
    }
    if failed.len() > SHOWN {
        let _ = writeln!(out, "\n… and {} more; --report DIR writes all of them", failed.len() - SHOWN);
    }
    for s in judged.short.iter().filter(|s| matches!(s.obstacle, Obstacle::Unexpected | Obstacle::Waived)).take(SHOWN) {
        let _ = writeln!(out, "\n{}: {}", s.id, s.why);
    }
    let lacking: Vec<_> = judged.short.iter().filter(|s| s.obstacle == Obstacle::Unsupported).collect();
    if !lacking.is_empty() {
        let _ = writeln!(out, "\nmandatory and not there:");
        for s in lacking.iter().take(SHOWN) {
            let _ = writeln!(out, "  {}: {}", s.id, s.why);
        }
        if lacking.len() > SHOWN {
            let _ = writeln!(out, "  … and {} more", lacking.len() - SHOWN);
        }
    }
    let i = &info.identity;
    let _ = writeln!(out, "\n{} {} ({} {})", info.id, i.name, i.driver, i.version);
    let _ = writeln!(out, "{}", words(asked, judged));
    let sum = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>();
    let (seconds, loading) = (sum(|o| o.seconds), sum(|o| o.loading));
    let _ = writeln!(out, "{seconds:.0} s, {loading:.0} s of them to load {} kernels", kernels(outcomes));
    out
}

fn row(level: &str, area: &str, c: Counts, outcomes: &[&Outcome]) -> Vec<Cell> {
    let of = |v: Verdict| {
        let cell = number(c.get(v));
        if v.is_failure() && c.get(v) > 0 { cell.fg(Color::Red) } else { cell }
    };
    let counts = [Verdict::Pass, Verdict::Fail, Verdict::Crash, Verdict::Hang, Verdict::Unsupported].map(of);
    let seconds: f64 = outcomes.iter().map(|o| o.seconds).sum();
    let seconds = Cell::new(format!("{seconds:.1}")).set_alignment(CellAlignment::Right);
    let worst = outcomes.iter().filter_map(|o| o.seen.fraction).reduce(f64::max);
    let worst = worst.map_or(String::new(), |w| format!("{w:.2} of its bound"));
    let kernels = number(kernels(outcomes.iter().copied()));
    [Cell::new(level), Cell::new(area)].into_iter().chain(counts).chain([kernels, seconds, Cell::new(worst)]).collect()
}
