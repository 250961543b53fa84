//! Times of the device's own clock: in order, of this work, and growing with it. A device that claims no clock gives none.

use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, ensure, step},
    oracle::sample::Random,
};
use anychip::{
    DType,
    hal::{
        contract::Span,
        device::{Checks, Grid, ScalarArg, Step},
        ir::{Access, Builder, Builtin, Kernel, Place},
    },
};
use std::time::{Duration, Instant};

pub(super) fn cases(all: &mut Vec<Case>) {
    let mut case = |name: &str, run: fn(&Subject, &mut Random, &mut Seen) -> End| {
        let case = Case::new(format!("runtime/clock/{name}"), "clock", None, "clock", run);
        // Of these nothing is left where no clock is claimed; the others then see to it that there are no times.
        let times = name.starts_with("growth") || name == "spans/any/rising";
        all.push(if times { case.optional() } else { case });
    };
    case("spans/any/one-per-step", |s, _, seen| {
        let s = s.plain()?;
        let d = s.chip();
        let p = d.kernel(&work()?, Checks::On)?;
        let x = d.alloc(4 * 256)?;
        let mut steps = vec![Step::Fill { dst: x.all(), word: 1 }];
        steps.extend((0..5).map(|n| launch(&p, &x, 10 * n + 10)));
        steps.push(Step::Fill { dst: x.slice(0, 0), word: 1 });
        let begin = Instant::now();
        let spans = d.submit_profiled(&steps)?.spans()?;
        let host = begin.elapsed();
        seen.elements += spans.len() as u64;
        if s.info().clock.is_none() {
            return ensure(spans.iter().all(Option::is_none), || {
                format!("no clock is claimed, and there are times: {spans:?}")
            });
        }
        ensure(spans.len() == 7 && spans[..6].iter().all(Option::is_some), || {
            format!("{} spans of 7 steps: {spans:?}", spans.len())
        })?;
        ensure(spans[6].is_none(), || "a fill of no bytes has a time".into())?;
        let spans: Vec<Span> = spans.into_iter().flatten().collect();
        ordered(&spans)?;
        let whole = Duration::from_nanos(spans[5].end.saturating_sub(spans[0].begin));
        // The two clocks may run a little apart.
        ensure(whole <= host + host / 10 + Duration::from_millis(2), || {
            format!("the device says {whole:?} for what took {host:?} with everything around it")
        })
    });
    case("spans/any/rising", |s, _, seen| {
        let s = s.plain()?;
        clock(&s)?;
        let d = s.chip();
        let p = d.kernel(&work()?, Checks::On)?;
        let x = d.alloc(4 * 256)?;
        let mut all: Vec<Span> = vec![];
        for _ in 0..20 {
            all.extend(d.submit_profiled(&[launch(&p, &x, 50), launch(&p, &x, 5)])?.spans()?.into_iter().flatten());
        }
        seen.elements += all.len() as u64;
        ensure(all.len() == 40, || format!("{} times of 40 launches", all.len()))?;
        ordered(&all)
    });
    case("spans/any/none-unasked", |s, _, seen| {
        let s = s.plain()?;
        let x = s.chip().alloc(64)?;
        let spans = s.chip().submit(&[Step::Fill { dst: x.all(), word: 1 }])?.spans()?;
        seen.elements += 1;
        ensure(spans.iter().all(Option::is_none), || format!("nobody asked for times, and there are: {spans:?}"))
    });
    case("growth/any/64-times-the-work", |s, _, seen| grows(s, seen));
    case("growth/any/follows-the-host", |s, _, seen| follows(s, seen));
    case("list/any/one-per-step", |s, _, seen| {
        let s = s.plain()?;
        let d = s.chip();
        let x = d.alloc(1 << 16)?;
        let list = d.record((0..3).map(|n| Step::Fill { dst: x.all(), word: n }).collect())?;
        for _ in 0..3 {
            let spans: Vec<Span> = d.run_profiled(&list)?.spans()?.into_iter().flatten().collect();
            let want = if s.info().clock.is_some() { 3 } else { 0 };
            ensure(spans.len() == want, || format!("{} times of a list of 3 steps, {want} expected", spans.len()))?;
            ordered(&spans)?;
            seen.elements += 3;
        }
        Ok(())
    });
}

fn clock(s: &Subject) -> End {
    match s.info().clock {
        Some(_) => Ok(()),
        None => Err(Failure::Unsupported(format!("{} claims no clock", s.device))),
    }
}

/// Each ends after it begins, and begins no earlier than the one before it ended.
fn ordered(spans: &[Span]) -> End {
    for (n, s) in spans.iter().enumerate() {
        ensure(s.begin <= s.end, || format!("time {n} ends before it begins: {s:?}"))?;
    }
    for (n, s) in spans.windows(2).enumerate() {
        ensure(s[0].end <= s[1].begin, || format!("step {} began before the one before it ended: {s:?}", n + 1))?;
    }
    Ok(())
}

/// `rounds` dependent steps of integer arithmetic a lane.
fn work() -> anychip::Result<Kernel> {
    let mut b = Builder::new("timed_work", [64, 1, 1]);
    let (out, rounds) = (b.buffer("out", DType::U32, Access::Write), b.scalar("rounds", DType::U32));
    let i = b.builtin(Builtin::GlobalId(0));
    let x = b.cast(DType::U32, i);
    let v = b.var("v", x);
    let (zero, one) = (b.u32(0), b.u32(1));
    b.count(zero, rounds, one, |b, j| {
        let (old, m) = (b.get(v), b.u32(1_664_525));
        let new = b.mul(old, m);
        let new = b.add(new, j);
        b.set(v, new);
    });
    let y = b.get(v);
    b.store(Place::Buffer(out), i, y);
    b.finish()
}

fn launch(p: &anychip::hal::device::Program, x: &anychip::hal::device::Buffer, rounds: u32) -> Step {
    step(p, Grid::Linear(x.bytes() / 256), vec![x.all()], &[ScalarArg::U32(rounds)])
}

/// Median time of a launch of so many rounds, by the device and by the host.
fn median(s: &Subject, rounds: u32, groups: u64) -> Result<(f64, f64), Failure> {
    let d = s.chip();
    let p = d.kernel(&work()?, Checks::On)?;
    let x = d.alloc(256 * groups)?;
    // The first launch may compile.
    d.submit(&[launch(&p, &x, 1)])?.wait()?;
    let mut own = vec![];
    let mut host = vec![];
    for _ in 0..5 {
        let begin = Instant::now();
        let spans = d.submit_profiled(&[launch(&p, &x, rounds)])?.spans()?;
        host.push(begin.elapsed().as_nanos() as f64);
        let Some(Some(span)) = spans.first() else {
            return Err(Failure::Broken("a launch has no time, on a device that claims a clock".into()));
        };
        own.push(span.end.saturating_sub(span.begin) as f64);
    }
    own.sort_by(f64::total_cmp);
    host.sort_by(f64::total_cmp);
    Ok((own[2], host[2]))
}

/// Rounds and workgroups that take at least a few milliseconds: found by growing the grid.
fn enough(s: &Subject) -> Result<(u32, u64), Failure> {
    let mut groups = 64;
    loop {
        let (_, host) = median(s, 60_000, groups)?;
        if host > 4e6 || groups >= 1 << 16 {
            return Ok((60_000, groups));
        }
        groups *= 4;
    }
}

fn grows(s: &Subject, seen: &mut Seen) -> End {
    let s = s.plain()?;
    clock(&s)?;
    let (rounds, groups) = enough(&s)?;
    // Machines are shared: of three tries one must show it.
    let mut last = String::new();
    for _ in 0..3 {
        let (little, much) = (median(&s, rounds / 64, groups)?, median(&s, rounds, groups)?);
        seen.elements += 10;
        seen.notes.push(format!("{:.0} ns and {:.0} ns for 64 times the rounds", little.0, much.0));
        // Starting a launch costs too: a factor of 64 may look like one of 4, not like none.
        if much.0 >= 4.0 * little.0.max(1.0) && much.0 > 0.0 {
            return Ok(());
        }
        last = format!("64 times the work took {:.0} ns instead of {:.0} by the device's clock", much.0, little.0);
    }
    Err(Failure::Broken(format!("{last}; it should take several times as long")))
}

/// What the device says is near what the host sees, for work that takes long enough.
fn follows(s: &Subject, seen: &mut Seen) -> End {
    let s = s.plain()?;
    clock(&s)?;
    let (rounds, groups) = enough(&s)?;
    let mut last = String::new();
    for _ in 0..3 {
        let (own, host) = median(&s, rounds, groups)?;
        seen.elements += 5;
        seen.notes.push(format!("{own:.0} ns by the device, {host:.0} ns by the host"));
        if own <= 1.1 * host && own >= 0.2 * host {
            return Ok(());
        }
        last = format!("a launch takes {own:.0} ns by the device's clock and {host:.0} by the host's");
    }
    Err(Failure::Broken(format!("{last}; at least a fifth of the host's time is the device's")))
}
