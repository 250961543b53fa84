//! The support matrix, `docs/devices.md`: made of the statements of bundles, never by hand.

use super::{Statement, verify};
use crate::{
    case::{LEVELS, SUITE},
    levels,
    verdict::Counts,
};
use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

/// The statement of a bundle, which is verified, or a statement's file by itself, which must be of the lists of this suite.
///
/// # Errors
/// A sentence with the path.
pub fn statement(path: &Path) -> Result<Statement, String> {
    if path.is_dir() {
        let verified = verify::verify(path, None).map_err(|e| format!("{} is refused: {e}", path.display()))?;
        return Ok(verified.report.statement);
    }
    let wrong = |e: String| format!("{}: {e}", path.display());
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let s: Statement = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    if s.suite != SUITE || s.lists != levels::hash() {
        return Err(wrong(format!(
            "it was judged by other lists than those of suite {SUITE} here; run the device again"
        )));
    }
    let sum = |of: fn(&Counts) -> usize| s.areas.iter().map(|a| of(&a.counts)).sum::<usize>();
    if sum(|c| c.pass) != s.counts.pass || sum(|c| c.all()) != s.counts.all() {
        return Err(wrong("the counts of its areas do not add up to those of all".into()));
    }
    Ok(s)
}

/// The page of some statements.
pub fn page(statements: &[Statement]) -> String {
    let mut all: Vec<&Statement> = statements.iter().collect();
    all.sort_by_key(|s| {
        (std::cmp::Reverse(s.level), s.chip.name.clone(), s.chip.backend.clone(), s.chip.driver.clone())
    });
    let mut out = String::from(
        "# Devices\n\nWhat the conformance suite said of each device. Made by `anychip conform matrix` from the statements of bundles, \
         which lie in\n`conformance/statements`; not written by hand. A level asks for those below it too: 0 runtime, 1 core, 2 inference, \
         3 system.\n\n",
    );
    out +=
        "| | device | through | driver | host | level | passed | failed | not there | kernels | time | suite | day |\n";
    out += "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for (n, s) in all.iter().enumerate() {
        let (c, k) = (&s.chip, s.counts);
        let mut level = s.level.map_or("none".into(), |l| format!("**{l}** {}", LEVELS[l as usize % LEVELS.len()]));
        if s.asked.filter.is_some() {
            level = "a part".into();
        } else if s.level == Some(s.asked.level) && s.asked.level < 3 {
            level += ", more was not asked for";
        }
        if s.level == Some(3) && s.asked.soak < 3600 {
            let _ = write!(level, ", soak of {} s", s.asked.soak);
        }
        if s.exact {
            level += ", exact";
        }
        if s.asked.seed != 0 {
            let _ = write!(level, ", seed {}", s.asked.seed);
        }
        let day = s.made.split('T').next().unwrap_or_default();
        let cells =
            [&c.name, &c.backend, &format!("{} {}", c.driver, c.version), &c.host].map(|t| t.replace('|', "\\|"));
        let counts = [k.pass, k.failures(), k.unsupported].map(|n| n.to_string()).join(" | ");
        let time = format!("{} | {} s, {} s of it to load them", s.kernels, s.seconds, s.loading);
        let _ =
            writeln!(out, "| {} | {} | {level} | {counts} | {time} | {} | {day} |", n + 1, cells.join(" | "), s.suite);
    }
    out += "\nBy area: how many cases passed; ✗ before the number of those that failed, – where the device lacks all of it.\n\n| area |";
    out.extend((1..=all.len()).map(|n| format!(" {n} |")));
    out += "\n|---|";
    out += &"---|".repeat(all.len());
    out.push('\n');
    let areas: BTreeSet<(u8, &str)> =
        all.iter().flat_map(|s| s.areas.iter().map(|a| (a.level, a.area.as_str()))).collect();
    for (level, area) in areas {
        let _ = write!(out, "| {}/{area} |", LEVELS[level as usize % LEVELS.len()]);
        for s in &all {
            let of = s.areas.iter().find(|a| a.level == level && a.area == area);
            let _ = write!(out, " {} |", of.map_or(String::new(), |a| cell(a.counts)));
        }
        out.push('\n');
    }
    out
}

fn cell(c: Counts) -> String {
    match (c.pass, c.failures()) {
        (0, 0) => "–".into(),
        (pass, 0) if c.unsupported > 0 => format!("{pass} of {}", c.all()),
        (pass, 0) => pass.to_string(),
        (pass, bad) => format!("{pass} ✗ {bad}"),
    }
}
