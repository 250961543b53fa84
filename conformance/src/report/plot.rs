//! Places in plots: errors beside their bounds, operations under the roofline. The template draws them.

use super::Report;
use crate::run::{Peaks, Timed, Verdict, Work};
use serde::Serialize;
use std::collections::BTreeMap;

/// Errors of an area as fractions of their bounds.
#[derive(Serialize)]
pub struct Errors {
    pub area: String,
    pub height: u32,
    pub rows: Vec<ErrorRow>,
}

/// An operation.
#[derive(Serialize)]
pub struct ErrorRow {
    pub about: String,
    pub y: u32,
    pub worst: String,
    pub dots: Vec<Dot>,
}

/// A case, or a point under the roofline.
#[derive(Serialize)]
pub struct Dot {
    pub x: String,
    pub y: String,
    pub class: String,
    pub title: String,
}

/// Where the plot of errors begins, and how wide a whole bound is.
const LEFT: f64 = 168.0;
const BOUND: f64 = 330.0;
/// Height of a row.
const ROW: u32 = 17;

fn at(x: f64) -> String {
    format!("{x:.1}")
}

/// By area, operations with what was compared by a bound.
pub fn errors(report: &Report) -> Vec<Errors> {
    let mut areas: BTreeMap<String, BTreeMap<&str, Vec<Dot>>> = BTreeMap::new();
    let mut worst: BTreeMap<(String, &str), f64> = BTreeMap::new();
    for o in &report.outcomes {
        let (Some(fraction), true) = (o.seen.fraction, matches!(o.verdict, Verdict::Pass | Verdict::Fail)) else {
            continue;
        };
        let area = super::page::short(&o.id).to_string();
        let w = worst.entry((area.clone(), &o.about)).or_default();
        *w = w.max(fraction);
        let class = match o.verdict {
            Verdict::Fail => "bad".into(),
            _ => format!("t-{}", o.ty.as_deref().unwrap_or("none")),
        };
        let title = format!("{}: {fraction:.3} of its bound, {} elements", o.id, o.seen.elements);
        // What is beyond its bound stands at the edge.
        let x = at(LEFT + BOUND * fraction.min(1.12));
        areas.entry(area).or_default().entry(&o.about).or_default().push(Dot { x, y: String::new(), class, title });
    }
    let rows = |area: &str, rows: BTreeMap<&str, Vec<Dot>>| -> Vec<ErrorRow> {
        let row = |(n, (about, dots)): (usize, (&str, Vec<Dot>))| {
            let w = worst.get(&(area.to_string(), about)).copied().unwrap_or_default();
            let worst = if w > 99.0 { format!("{w:.0e}") } else { format!("{w:.2}") };
            let cut = if about.chars().count() > 22 {
                about.chars().take(21).chain(['…']).collect()
            } else {
                about.to_string()
            };
            ErrorRow { about: cut, y: 26 + ROW * n as u32, worst, dots }
        };
        rows.into_iter().enumerate().map(row).collect()
    };
    let all = areas.into_iter().map(|(area, of)| {
        let rows = rows(&area, of);
        Errors { height: 30 + ROW * rows.len() as u32, area, rows }
    });
    all.collect()
}

/// The plane of the roofline, and what lies under it.
#[derive(Serialize)]
pub struct Roof {
    pub flops: String,
    pub bandwidth: String,
    pub launch: String,
    pub roof: String,
    pub ridge: Dot,
    pub xs: Vec<Dot>,
    pub ys: Vec<Dot>,
    pub dots: Vec<Dot>,
    pub rows: Vec<Reached>,
}

/// How much of what is possible an operation reaches.
#[derive(Serialize)]
pub struct Reached {
    pub name: String,
    pub mark: usize,
    pub time: String,
    pub rate: String,
    pub traffic: String,
    pub percent: String,
    pub width: String,
    pub bound: &'static str,
}

/// The plot's rectangle.
const X: (f64, f64) = (64.0, 744.0);
const Y: (f64, f64) = (372.0, 16.0);

/// Powers of two of operations per byte, powers of ten of operations per second.
struct Plane {
    x: (f64, f64),
    y: (f64, f64),
}

impl Plane {
    fn place(&self, intensity: f64, rate: f64) -> (f64, f64) {
        let along = |v: f64, (low, high): (f64, f64), (a, b): (f64, f64)| {
            a + (b - a) * ((v - low) / (high - low)).clamp(0.0, 1.0)
        };
        (along(intensity.log2(), self.x, X), along(rate.log10(), self.y, Y))
    }

    fn dot(&self, intensity: f64, rate: f64, class: &str, title: String) -> Dot {
        let (x, y) = self.place(intensity, rate);
        Dot { x: at(x), y: at(y), class: class.into(), title }
    }
}

/// What a device could do at this intensity.
fn possible(p: &Peaks, w: &Work) -> f64 {
    (w.flops / w.bytes * p.bandwidth).min(p.flops)
}

fn rate(w: &Work) -> f64 {
    w.flops / (w.nanoseconds * 1e-9)
}

fn traffic(w: &Work) -> f64 {
    w.bytes / (w.nanoseconds * 1e-9)
}

/// The most that was reached, and by what.
fn best<'a>(timed: &[&'a Timed], of: fn(&Work) -> f64, kernel: f64, name: &'a str) -> (f64, &'a str) {
    let all = timed.iter().map(|t| (of(&t.work), t.name.as_str()));
    all.fold((kernel, name), |a, b| if b.0 > a.0 { b } else { a })
}

/// The roofline, where peaks were measured.
pub fn roof(report: &Report) -> Option<Roof> {
    let p = report.facts.peaks.as_ref()?;
    let usable = |w: &Work| w.flops > 0.0 && w.bytes > 0.0 && w.nanoseconds > 0.0;
    if !(p.flops > 0.0 && p.bandwidth > 0.0) {
        return None;
    }
    let timed: Vec<_> = p.timed.iter().filter(|t| usable(&t.work)).collect();
    // An operation may reach more than the kernels of the peaks: a library's, or where another program was in the way of those.
    let (flops, by_flops) = best(&timed, rate, p.flops, "multiply-adds in registers");
    let (bandwidth, by_bandwidth) = best(&timed, traffic, p.bandwidth, "a large copy");
    let p = &Peaks { flops, bandwidth, ..p.clone() };
    let rates = timed.iter().map(|t| rate(&t.work)).chain([p.flops / 100.0]);
    let low = rates.fold(f64::INFINITY, f64::min).log10().floor();
    let plane = Plane { x: (-5.0, 9.0), y: (low, (p.flops * 1.5).log10().ceil()) };
    let ridge = p.flops / p.bandwidth;
    let corners = [(plane.x.0.exp2(), plane.x.0.exp2() * p.bandwidth), (ridge, p.flops), (plane.x.1.exp2(), p.flops)];
    let roof = corners.map(|(i, r)| plane.place(i, r)).map(|(x, y)| format!("{x:.1},{y:.1}")).join(" ");
    let power = |n: i32| match n {
        n if n < 0 => format!("1/{}", 1 << -n),
        n => (1u64 << n).to_string(),
    };
    let steps = |from: f64, to: f64, by: usize| (from as i32..=to as i32).step_by(by);
    let mut rows = Vec::new();
    let mut dots = Vec::new();
    for (n, t) in timed.iter().enumerate() {
        let (r, could) = (rate(&t.work), possible(p, &t.work));
        let percent = 100.0 * r / could;
        let bytes = traffic(&t.work);
        dots.push(plane.dot(
            t.work.flops / t.work.bytes,
            r,
            "op",
            format!("{}: {percent:.0} % of what is possible", t.name),
        ));
        rows.push(Reached {
            name: t.name.clone(),
            mark: n + 1,
            time: time(t.work.nanoseconds),
            rate: format!("{}FLOP/s", scaled(r)),
            traffic: format!("{}B/s", scaled(bytes)),
            percent: format!("{percent:.0} %"),
            width: format!("{:.1}", percent.min(100.0)),
            bound: if t.work.flops / t.work.bytes < ridge { "memory" } else { "arithmetic" },
        });
    }
    Some(Roof {
        flops: format!("{}FLOP/s ({by_flops})", scaled(p.flops)),
        bandwidth: format!("{}B/s ({by_bandwidth})", scaled(p.bandwidth)),
        launch: time(p.launch * 1e9),
        roof,
        ridge: plane.dot(ridge, p.flops, "ridge", format!("{ridge:.1} operations per byte")),
        xs: steps(plane.x.0 + 1.0, plane.x.1, 2).map(|n| plane.dot(f64::from(n).exp2(), 1.0, "", power(n))).collect(),
        ys: steps(plane.y.0, plane.y.1, 1)
            .map(|n| plane.dot(1.0, 10f64.powi(n), "", format!("{}FLOP/s", scaled(10f64.powi(n)))))
            .collect(),
        dots,
        rows,
    })
}

/// `12.3 G`, with the space that a unit follows.
pub fn scaled(x: f64) -> String {
    let (by, prefix) = match x {
        x if x >= 1e12 => (1e12, "T"),
        x if x >= 1e9 => (1e9, "G"),
        x if x >= 1e6 => (1e6, "M"),
        x if x >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let v = x / by;
    let digits = if v >= 100.0 || v.fract() < 1e-6 {
        0
    } else if v >= 10.0 {
        1
    } else {
        2
    };
    format!("{v:.digits$} {prefix}")
}

/// A time that a person reads.
pub fn time(ns: f64) -> String {
    match ns {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n if n < 120e9 => format!("{:.1} s", n / 1e9),
        n => format!("{:.0} min", n / 60e9),
    }
}
