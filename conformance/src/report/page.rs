//! The page: everything that a bundle says, arranged for a person. Data in, one file of HTML out, the same from the same data.

use super::{Report, plot, statement};
use crate::{
    case::LEVELS,
    levels,
    run::{Outcome, Verdict},
    verdict::{Counts, Judgement, Obstacle},
};
use minijinja::{AutoEscape, Environment, context, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// Columns of the matrix, in this order.
const TYPES: [&str; 13] = ["bool", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f16", "bf16", "f32", "f64"];
/// What is listed of one sort: the rest is in the results.
const SHOWN: usize = 300;

/// What made a page: the same revision makes the same page of the same data.
pub fn revision() -> String {
    let made_of = [TEMPLATE, STYLE, include_str!("page.rs"), include_str!("plot.rs"), include_str!("junit.rs")];
    levels::sha256(made_of.join("\n").as_bytes())
}

/// `core/unary` of an id.
pub fn area(id: &str) -> String {
    id.split('/').take(2).collect::<Vec<_>>().join("/")
}

/// `unary` of an id.
pub fn short(id: &str) -> &str {
    id.split('/').nth(1).unwrap_or_default()
}

#[derive(Serialize)]
struct Step {
    level: usize,
    name: &'static str,
    state: &'static str,
    pass: usize,
    all: usize,
    why: String,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    class: &'static str,
    width: String,
}

#[derive(Serialize)]
struct AreaRow {
    name: String,
    counts: BTreeMap<&'static str, usize>,
    all: usize,
    bars: Vec<Bar>,
    worst: String,
    seconds: String,
}

#[derive(Serialize)]
struct Group {
    name: String,
    rows: Vec<MatrixRow>,
}

#[derive(Serialize)]
struct MatrixRow {
    about: String,
    cells: Vec<Option<MatrixCell>>,
}

#[derive(Serialize, Clone)]
struct MatrixCell {
    about: String,
    class: &'static str,
    text: String,
    title: String,
    /// How near the largest error comes to its bound, in percent.
    near: u32,
}

#[derive(Serialize)]
struct Chips {
    name: String,
    chips: Vec<MatrixCell>,
}

#[derive(Serialize)]
struct Bad<'a> {
    outcome: &'a Outcome,
    verdict: &'static str,
    replay: String,
    waived: Option<&'a str>,
}

#[derive(Serialize)]
struct Lacking {
    why: String,
    cases: Vec<String>,
    mandatory: usize,
}

/// The page of a report.
pub fn render(report: &Report) -> Result<String, String> {
    let s = &report.statement;
    let judged = super::judged(&s.asked, &report.outcomes, &report.waivers)?;
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.map_err(|e| format!("page: {e}"))?);
    env.add_template("page", TEMPLATE).map_err(|e| format!("page: {e:#}"))?;
    let page = env.get_template("page").map_err(|e| format!("page: {e}"))?;
    let (groups, chips) = matrix(report);
    let elements: u64 = report.outcomes.iter().map(|o| o.seen.elements).sum();
    let launches: u64 = report.outcomes.iter().map(|o| o.launches).sum();
    let fraction = report.outcomes.iter().filter(|o| o.verdict == Verdict::Pass).filter_map(|o| o.seen.fraction);
    let slowest = {
        let mut all: Vec<&Outcome> = report.outcomes.iter().collect();
        all.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(a.id.cmp(&b.id)));
        all.iter().take(12).map(|o| (o.id.as_str(), plot::time(o.seconds * 1e9))).collect::<Vec<_>>()
    };
    page.render(context! {
        style => STYLE,
        s => Serde(s),
        device => Serde(&report.facts.device),
        arithmetic => Serde(arithmetic(report)),
        environment => Serde(&report.facts.environment),
        words => Serde(statement::words(&s.asked, &judged)),
        ladder => Serde(ladder(report, &judged)),
        areas => Serde(areas(report, &judged)),
        types => Serde(TYPES),
        groups => Serde(groups),
        chips => Serde(chips),
        errors => Serde(plot::errors(report)),
        roof => Serde(plot::roof(report)),
        no_peaks => Serde(&report.facts.no_peaks),
        bad => Serde(bad(report)),
        lacking => Serde(lacking(report)),
        unexpected => Serde(judged.short.iter().filter(|s| s.obstacle == Obstacle::Unexpected).map(|s| (&s.id, &s.why)).collect::<Vec<_>>()),
        waivers => Serde(&report.waivers.waiver),
        slowest => Serde(slowest),
        elements => Serde(plot::scaled(elements as f64)),
        launches => Serde(plot::scaled(launches as f64)),
        worst => Serde(fraction.reduce(f64::max).map(|f| format!("{f:.2}"))),
        seconds => Serde(plot::time(s.seconds as f64 * 1e9)),
        loading => Serde(plot::time(s.loading as f64 * 1e9)),
        levels => Serde(LEVELS),
    })
    .map_err(|e| format!("page: {e:#}"))
}

/// Parts of a bar, as percentages.
fn bars(c: Counts, missing: usize) -> Vec<Bar> {
    let all = (c.all() + missing).max(1) as f64;
    let parts = Verdict::ALL.map(|v| (v.name(), c.get(v))).into_iter().chain([("missing", missing)]);
    let shown = parts.filter(|(_, n)| *n > 0);
    shown.map(|(class, n)| Bar { class, width: format!("{:.2}", 100.0 * n as f64 / all) }).collect()
}

fn ladder(report: &Report, judged: &Judgement) -> Vec<Step> {
    let step = |level: usize| {
        let mut counts = Counts::default();
        let of = judged.areas.iter().filter(|((l, _), _)| *l as usize == level);
        of.for_each(|(_, c)| Verdict::ALL.iter().for_each(|v| (0..c.get(*v)).for_each(|_| counts.add(*v))));
        let short = judged.short.iter().filter(|s| s.level as usize == level);
        let missing = short.clone().filter(|s| s.obstacle == Obstacle::Missing).count();
        let asked = level <= report.statement.asked.level as usize;
        let why = statement::obstacles(judged, level as u8);
        let state = match judged.level {
            _ if !asked => "unasked",
            _ if report.statement.asked.filter.is_some() => "part",
            Some(reached) if level <= reached as usize => "reached",
            _ if !why.is_empty() => "blocked",
            _ if counts.all() == 0 => "unasked",
            _ => "above",
        };
        Step {
            level,
            name: LEVELS[level],
            state,
            pass: counts.pass,
            all: counts.all() + missing,
            why,
            bars: bars(counts, missing),
        }
    };
    (0..LEVELS.len()).map(step).collect()
}

fn areas(report: &Report, judged: &Judgement) -> Vec<AreaRow> {
    let row = |((level, name), c): &((u8, String), Counts)| {
        let name = format!("{}/{name}", LEVELS[*level as usize]);
        let of = || report.outcomes.iter().filter(|o| area(&o.id) == name);
        let worst = of().filter_map(|o| o.seen.fraction).reduce(f64::max).map_or(String::new(), |f| format!("{f:.2}"));
        let seconds = plot::time(of().map(|o| o.seconds).sum::<f64>() * 1e9);
        let counts = Verdict::ALL.iter().map(|v| (v.name(), c.get(*v))).collect();
        AreaRow { counts, all: c.all(), bars: bars(*c, 0), worst, seconds, name }
    };
    judged.areas.iter().map(row).collect()
}

/// A cell of the matrix from the cases in it: the worst of their verdicts.
fn cell(about: &str, ty: &str, of: &[&Outcome]) -> MatrixCell {
    let mut c = Counts::default();
    of.iter().for_each(|o| c.add(o.verdict));
    let (class, text) = match c {
        c if c.hang > 0 => ("hang", format!("{}!", c.failures())),
        c if c.crash > 0 => ("crash", format!("{}!", c.failures())),
        c if c.fail > 0 => ("fail", format!("{}✗", c.fail)),
        c if c.pass == 0 => ("unsupported", "–".to_string()),
        c if c.unsupported > 0 => ("partial", c.pass.to_string()),
        c => ("pass", c.pass.to_string()),
    };
    let parts: Vec<_> =
        Verdict::ALL.iter().filter(|v| c.get(**v) > 0).map(|v| format!("{} {}", c.get(*v), v.name())).collect();
    let worst = of.iter().filter_map(|o| o.seen.fraction).reduce(f64::max);
    let worst = worst.map_or(String::new(), |f| format!("; largest error {f:.2} of its bound"));
    let title = format!("{about} {ty}: {}{worst}", parts.join(", "));
    let near = (of.iter().filter_map(|o| o.seen.fraction).fold(0.0, f64::max).min(1.0) * 100.0) as u32;
    MatrixCell { about: about.to_string(), class, text, title, near }
}

/// Operations × types by area; and what has no type.
fn matrix(report: &Report) -> (Vec<Group>, Vec<Chips>) {
    type Cells<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Outcome>>;
    // An area's cases in 16 bits are of another level than those in 32: here they stand side by side.
    let mut areas: Vec<(String, Cells<'_>)> = Vec::new();
    let order = |id: &str| LEVELS.iter().position(|l| id.split('/').next() == Some(l));
    let mut all: Vec<&Outcome> = report.outcomes.iter().collect();
    all.sort_by_key(|o| (order(&o.id), area(&o.id)));
    for o in all {
        let name = short(&o.id);
        let at = areas.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
            areas.push((name.to_string(), Cells::new()));
            areas.len() - 1
        });
        areas[at].1.entry((&o.about, o.ty.as_deref().unwrap_or_default())).or_default().push(o);
    }
    let (mut groups, mut chips) = (vec![], vec![]);
    for (name, cells) in &areas {
        let typed: BTreeSet<&str> = cells.keys().filter(|(_, ty)| !ty.is_empty()).map(|(about, _)| *about).collect();
        let rows: Vec<_> = typed
            .into_iter()
            .map(|about| MatrixRow {
                about: about.to_string(),
                cells: TYPES.iter().map(|ty| cells.get(&(about, *ty)).map(|of| cell(about, ty, of))).collect(),
            })
            .collect();
        if !rows.is_empty() {
            groups.push(Group { name: name.clone(), rows });
        }
        let plain: Vec<_> =
            cells.iter().filter(|((_, ty), _)| ty.is_empty()).map(|((about, _), of)| cell(about, "", of)).collect();
        if !plain.is_empty() {
            chips.push(Chips { name: name.clone(), chips: plain });
        }
    }
    (groups, chips)
}

fn bad(report: &Report) -> Vec<Bad<'_>> {
    let asked = &report.statement.asked;
    let failed = report.outcomes.iter().filter(|o| o.verdict.is_failure());
    failed
        .take(SHOWN)
        .map(|outcome| Bad {
            outcome,
            verdict: outcome.verdict.name(),
            replay: asked.replay(&outcome.id),
            waived: report.waivers.waiver.iter().find(|w| w.id == outcome.id).map(|w| w.reason.as_str()),
        })
        .collect()
}

/// What the device lacks, by its own reasons.
fn lacking(report: &Report) -> Vec<Lacking> {
    let mandatory: BTreeSet<&str> = levels::listed().iter().filter(|l| l.mandatory).map(|l| l.id.as_str()).collect();
    let mut by: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for o in report.outcomes.iter().filter(|o| o.verdict == Verdict::Unsupported) {
        by.entry(o.why.as_deref().unwrap_or_default()).or_default().push(o);
    }
    let mut all: Vec<_> = by
        .into_iter()
        .map(|(why, of)| Lacking {
            why: why.to_string(),
            mandatory: of.iter().filter(|o| mandatory.contains(o.id.as_str())).count(),
            cases: of.iter().map(|o| o.id.clone()).collect(),
        })
        .collect();
    all.sort_by_key(|l| std::cmp::Reverse((l.mandatory, l.cases.len())));
    all.truncate(SHOWN);
    all
}

/// What is promised of each float type, in words.
fn arithmetic(report: &Report) -> Vec<(String, Vec<String>)> {
    let words = |(ty, a): (&anychip::DType, &anychip::hal::info::Arithmetic)| {
        let yes = |b: bool, yes: &str, no: &str| if b { yes.to_string() } else { no.to_string() };
        let parts = vec![
            yes(a.correctly_rounded, "+ − × correctly rounded", "+ − × not correctly rounded"),
            yes(a.may_contract, "may contract a·b+c", "no contraction"),
            yes(a.fma_fused, "fma rounds once", "fma rounds twice"),
            format!("division {} ULP, square root {} ULP", a.div_ulp, a.sqrt_ulp),
            format!("subnormals {}", format!("{:?}", a.subnormals).to_lowercase()),
            yes(a.nan_inf, "NaN and ∞ as IEEE 754", "NaN and ∞ not promised"),
        ];
        (ty.to_string(), parts)
    };
    report.facts.device.arithmetic.iter().map(words).collect()
}
