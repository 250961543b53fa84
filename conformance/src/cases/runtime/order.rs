//! Order: steps of a submission, submissions of a handle, tickets, threads, recorded lists.

use crate::{
    Case, Failure,
    cases::launch::{End, bump, bytes, code, ensure, of_u32, read_all, refused, same, step, to_u32, triple_add},
};
use anychip::hal::device::{Buffer, Checks, Device, Grid, Pending, Program, ScalarArg, Slice, Step};
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

/// How long a case waits for work that should be done at once.
const LONG: Duration = Duration::from_secs(60);

/// `x[i] += by` on a slice of words.
fn add(p: &Program, x: Slice, by: u32) -> Step {
    let words = x.bytes / 4;
    step(p, Grid::covering(words, 64), vec![x], &[ScalarArg::U32(by)])
}

fn words(d: &Device, b: &Buffer) -> Result<Vec<u32>, Failure> {
    Ok(to_u32(&read_all(d, b)?))
}

/// Ends within a minute, or the case fails instead of hanging.
fn wait(p: &Pending, what: &str) -> End {
    match p.wait_timeout(LONG) {
        Ok(()) => Ok(()),
        Err(e) => Err(Failure::Broken(format!("waiting for {what}: {e}"))),
    }
}

pub(super) fn cases(all: &mut Vec<Case>) {
    let mut case = |id: String, about: &str, run: Arc<crate::case::Run>| {
        all.push(Case { run, ..Case::new(id, about, None, "order", |_, _, _| Ok(())) });
    };
    for n in [2u32, 10, 100, 500] {
        case(
            format!("runtime/order/steps/u32/dependent/{n}"),
            "steps in order",
            Arc::new(move |s, r, seen| {
                // Fill, add, copy on, add: each step needs the one before it.
                let d = s.chip();
                let p = d.kernel(&bump()?, Checks::On)?;
                let start = r.bits() as u32;
                let (x, y) = (d.alloc(4 * 130)?, d.alloc(4 * 130)?);
                let mut steps = vec![Step::Fill { dst: x.all(), word: start }];
                for i in 0..n {
                    let (a, b) = if i % 2 == 0 { (&x, &y) } else { (&y, &x) };
                    steps.push(add(&p, a.all(), i + 1));
                    steps.push(Step::Copy { src: a.all(), dst: b.all() });
                }
                wait(&d.submit(&steps)?, "dependent steps")?;
                let want = start.wrapping_add(n * (n + 1) / 2);
                let last = if n % 2 == 0 { &x } else { &y };
                same(format!("{n} steps of add and copy"), &words(d, last)?, &[want; 130], seen)
            }),
        );
        case(
            format!("runtime/order/submissions/u32/dependent/{n}"),
            "submissions in order",
            Arc::new(move |s, r, seen| {
                let d = s.chip();
                let p = d.kernel(&bump()?, Checks::On)?;
                let start = to_u32(&bytes(r, 4 * 70));
                let x = d.alloc_from(&of_u32(start.iter().copied()))?;
                let pending = (0..n).map(|i| d.submit(&[add(&p, x.all(), i)])).collect::<anychip::Result<Vec<_>>>()?;
                let tickets: Vec<_> = pending.iter().filter_map(Pending::ticket).collect();
                ensure(tickets.len() == n as usize, || format!("{} of {n} submissions have a ticket", tickets.len()))?;
                ensure(tickets.windows(2).all(|t| t[0].value < t[1].value), || {
                    format!("tickets do not rise: {tickets:?}")
                })?;
                // The last one first: then all before it are complete.
                wait(&pending[n as usize - 1], "the last submission")?;
                for (i, p) in pending.iter().enumerate() {
                    ensure(p.poll() == Some(Ok(())), || {
                        format!("the last of {n} submissions is complete, number {i} is {:?}", p.poll())
                    })?;
                }
                let total = n * (n - 1) / 2;
                let want: Vec<u32> = start.iter().map(|x| x.wrapping_add(total)).collect();
                same(format!("{n} submissions that add"), &words(d, &x)?, &want, seen)
            }),
        );
    }
    for n in [64usize, 1000] {
        case(
            format!("runtime/order/tickets/u32/many/{n}"),
            "many tickets",
            Arc::new(move |s, _, seen| {
                let d = s.chip();
                let x = d.alloc(4 * n as u64)?;
                let fill = |i: usize| Step::Fill { dst: x.slice(4 * i as u64, 4), word: i as u32 * 3 + 1 };
                let pending = (0..n).map(|i| d.submit(&[fill(i)])).collect::<anychip::Result<Vec<_>>>()?;
                // Backwards, and each twice.
                for p in pending.iter().rev().chain(&pending) {
                    wait(p, "one of many tickets")?;
                }
                let want: Vec<u32> = (0..n as u32).map(|i| i * 3 + 1).collect();
                same(format!("{n} fills of one word"), &words(d, &x)?, &want, seen)
            }),
        );
    }
    case(
        "runtime/order/wait/u32/twice".into(),
        "wait",
        Arc::new(|s, _, seen| {
            let d = s.chip();
            let x = d.alloc(4 * 64)?;
            let p = d.submit(&[Step::Fill { dst: x.all(), word: 9 }])?;
            for round in 0..3 {
                wait(&p, &format!("a ticket, round {round}"))?;
                ensure(p.poll() == Some(Ok(())), || format!("polled after waiting: {:?}", p.poll()))?;
            }
            same("a fill waited for three times", &words(d, &x)?, &[9; 64], seen)
        }),
    );
    case(
        "runtime/order/wait/u32/zero-timeout".into(),
        "wait",
        Arc::new(|s, _, seen| {
            let d = s.chip();
            let p = d.kernel(&bump()?, Checks::On)?;
            let x = d.alloc(4 << 16)?;
            let mut steps = vec![Step::Fill { dst: x.all(), word: 1 }];
            steps.extend((0..20).map(|_| add(&p, x.all(), 1)));
            let work = d.submit(&steps)?;
            let begin = Instant::now();
            loop {
                let asked = Instant::now();
                let end = work.wait_timeout(Duration::ZERO);
                ensure(asked.elapsed() < LONG / 2, || format!("a wait of no time took {:?}", asked.elapsed()))?;
                match end {
                    Ok(()) => break,
                    Err(e) if e.code() == code::TIMEOUT => {}
                    Err(e) => return Err(Failure::Broken(format!("a wait of no time: {e}"))),
                }
                ensure(begin.elapsed() < LONG, || {
                    "twenty small launches are not done after a minute of polling".into()
                })?;
                std::thread::sleep(Duration::from_millis(1));
            }
            same("what was polled for", &words(d, &x)?, &vec![21; 1 << 16], seen)
        }),
    );
    case(
        "runtime/order/wait/u32/from-threads".into(),
        "wait",
        Arc::new(|s, _, seen| {
            let d = s.chip();
            let p = d.kernel(&bump()?, Checks::On)?;
            let x = d.alloc(4 << 14)?;
            let mut steps = vec![Step::Fill { dst: x.all(), word: 5 }];
            steps.extend((0..10).map(|_| add(&p, x.all(), 2)));
            let work = d.submit(&steps)?;
            let ends: Vec<End> = std::thread::scope(|t| {
                let waiting: Vec<_> = (0..6).map(|_| t.spawn(|| wait(&work, "one ticket from six threads"))).collect();
                waiting.into_iter().map(joined).collect()
            });
            ends.into_iter().collect::<End>()?;
            same("what six threads waited for", &words(d, &x)?, &vec![25; 1 << 14], seen)
        }),
    );
    case(
        "runtime/order/wait/u32/await".into(),
        "wait",
        Arc::new(|s, _, seen| {
            let d = s.chip();
            let p = d.kernel(&bump()?, Checks::On)?;
            let x = d.alloc(4 << 12)?;
            let work = d.submit(&[Step::Fill { dst: x.all(), word: 5 }, add(&p, x.all(), 1)])?;
            awaited(work)?;
            same("what was awaited", &words(d, &x)?, &vec![6; 1 << 12], seen)
        }),
    );
    case(
        "runtime/order/drop/u32/pending".into(),
        "drop",
        Arc::new(|s, _, seen| {
            // Nobody waits, handles go at once: the work is done all the same.
            let d = s.chip();
            let p = d.kernel(&bump()?, Checks::On)?;
            let out = d.alloc(4 * 256)?;
            for i in 0..50u32 {
                let x = d.alloc(4 * 256)?;
                let steps = [
                    Step::Fill { dst: x.all(), word: i },
                    add(&p, x.all(), 1),
                    Step::Copy { src: x.all(), dst: out.all() },
                ];
                drop(d.submit(&steps)?);
            }
            same("the last of 50 dropped submissions", &words(d, &out)?, &[50; 256], seen)
        }),
    );
    for threads in [2usize, 4, 8] {
        case(
            format!("runtime/order/threads/u32/own-buffers/{threads}"),
            "threads",
            Arc::new(move |s, r, seen| {
                let d = s.chip();
                let seeds: Vec<u32> = (0..threads).map(|_| r.bits() as u32).collect();
                let got: Vec<Result<Vec<u32>, Failure>> = std::thread::scope(|t| {
                    let each: Vec<_> = seeds.iter().map(|seed| t.spawn(move || own_work(d, *seed))).collect();
                    each.into_iter().map(joined).collect()
                });
                for (seed, got) in seeds.iter().zip(got) {
                    let want: Vec<u32> =
                        (0..300).map(|i| seed.wrapping_add(i).wrapping_mul(3).wrapping_add(i)).collect();
                    same(format!("one of {threads} threads"), &got?, &want, seen)?;
                }
                Ok(())
            }),
        );
        case(
            format!("runtime/order/threads/u32/one-buffer/{threads}"),
            "threads",
            Arc::new(move |s, _, seen| {
                // Each thread adds to a part of its own; the parts lie side by side.
                let d = s.chip();
                let p = d.kernel(&bump()?, Checks::On)?;
                let (part, rounds) = (192u64, 25u32);
                let x = d.alloc(4 * part * threads as u64)?;
                d.submit(&[Step::Fill { dst: x.all(), word: 0 }])?.wait()?;
                let ends: Vec<End> = std::thread::scope(|t| {
                    let each: Vec<_> = (0..threads as u64)
                        .map(|n| {
                            let (slice, p) = (x.slice(4 * part * n, 4 * part), &p);
                            t.spawn(move || {
                                for _ in 0..rounds {
                                    wait(&d.submit(&[add(p, slice.clone(), n as u32 + 1)])?, "a thread's part")?;
                                }
                                Ok(())
                            })
                        })
                        .collect();
                    each.into_iter().map(joined).collect()
                });
                ends.into_iter().collect::<End>()?;
                let want: Vec<u32> = (0..threads as u32).flat_map(|n| vec![rounds * (n + 1); part as usize]).collect();
                same(format!("{threads} threads on parts of one buffer"), &words(d, &x)?, &want, seen)
            }),
        );
    }
    case(
        "runtime/order/handles/u32/two-open".into(),
        "two handles",
        Arc::new(|s, r, seen| {
            let (one, two) = (s.again()?, s.again()?);
            let seeds = [r.bits() as u32, r.bits() as u32];
            for round in 0..3 {
                for (handle, seed) in [&one, &two].into_iter().zip(seeds) {
                    let seed = seed.wrapping_add(round);
                    let want: Vec<u32> =
                        (0..300).map(|i| seed.wrapping_add(i).wrapping_mul(3).wrapping_add(i)).collect();
                    same("one of two opened handles", &own_work(handle.chip(), seed)?, &want, seen)?;
                }
            }
            Ok(())
        }),
    );
    lists(&mut case);
}

/// `3 x + y` of x = seed + i, y = i.
fn own_work(d: &Device, seed: u32) -> Result<Vec<u32>, Failure> {
    let p = d.kernel(&triple_add()?, Checks::On)?;
    let mut got: Vec<u32> = vec![];
    for round in 0..8 {
        let x = d.alloc_from(&of_u32((0..300).map(|i| seed.wrapping_add(i))))?;
        let y = d.alloc_from(&of_u32(0..300))?;
        let out = d.alloc(1200)?;
        d.submit(&[step(&p, Grid::covering(300, 64), vec![x.all(), y.all(), out.all()], &[])])?.wait()?;
        let now = words(d, &out)?;
        ensure(round == 0 || now == got, || format!("the same work gives something else, round {round}"))?;
        got = now;
    }
    Ok(got)
}

fn lists(case: &mut impl FnMut(String, &str, Arc<crate::case::Run>)) {
    for runs in [1u32, 2, 5, 40] {
        case(
            format!("runtime/order/list/u32/runs/{runs}"),
            "recorded list",
            Arc::new(move |s, r, seen| {
                let d = s.chip();
                let p = d.kernel(&bump()?, Checks::On)?;
                let start = to_u32(&bytes(r, 4 * 99));
                let x = d.alloc_from(&of_u32(start.iter().copied()))?;
                let y = d.alloc(4 * 99)?;
                let list = d.record(vec![
                    Step::Copy { src: x.all(), dst: y.all() },
                    add(&p, y.all(), 1),
                    add(&p, y.all(), 2),
                    Step::Copy { src: y.all(), dst: x.all() },
                ])?;
                same("the buffer before a recorded list has run", &words(d, &x)?, &start, seen)?;
                // All submitted before any is waited for.
                let pending = (0..runs).map(|_| d.run(&list)).collect::<anychip::Result<Vec<_>>>()?;
                for p in &pending {
                    wait(p, "a recorded list")?;
                }
                let want: Vec<u32> = start.iter().map(|x| x.wrapping_add(3 * runs)).collect();
                same(format!("a list that was run {runs} times"), &words(d, &x)?, &want, seen)
            }),
        );
    }
    case(
        "runtime/order/list/u32/new-contents".into(),
        "recorded list",
        Arc::new(|s, r, seen| {
            // A list reads what its buffers hold when it runs, not when it was recorded.
            let d = s.chip();
            let p = d.kernel(&triple_add()?, Checks::On)?;
            let (x, y, out) = (d.alloc(4 * 65)?, d.alloc(4 * 65)?, d.alloc(4 * 65)?);
            let launch = step(&p, Grid::covering(65, 64), vec![x.all(), y.all(), out.all()], &[]);
            let list = d.record(vec![launch])?;
            for round in 0..4 {
                let (a, b) = (to_u32(&bytes(r, 4 * 65)), to_u32(&bytes(r, 4 * 65)));
                d.upload(&x, 0, &of_u32(a.iter().copied()))?;
                d.upload(&y, 0, &of_u32(b.iter().copied()))?;
                wait(&d.run(&list)?, "a recorded list")?;
                let want: Vec<u32> = a.iter().zip(&b).map(|(a, b)| a.wrapping_mul(3).wrapping_add(*b)).collect();
                same(format!("round {round} of a list on new contents"), &words(d, &out)?, &want, seen)?;
            }
            Ok(())
        }),
    );
    case(
        "runtime/order/list/u32/two-lists".into(),
        "recorded list",
        Arc::new(|s, _, seen| {
            // Two lists of the same kernel bind other buffers and other scalars.
            let d = s.chip();
            let p = d.kernel(&bump()?, Checks::On)?;
            let (x, y) = (d.alloc(4 * 64)?, d.alloc(4 * 64)?);
            d.submit(&[Step::Fill { dst: x.all(), word: 0 }, Step::Fill { dst: y.all(), word: 1000 }])?.wait()?;
            let lists = [d.record(vec![add(&p, x.all(), 1)])?, d.record(vec![add(&p, y.all(), 10)])?];
            for n in [0usize, 1, 1, 0, 1, 0, 0] {
                wait(&d.run(&lists[n])?, "one of two lists")?;
            }
            same("the first of two lists", &words(d, &x)?, &[4; 64], seen)?;
            same("the second of two lists", &words(d, &y)?, &[1030; 64], seen)
        }),
    );
    case(
        "runtime/order/list/u32/handles-dropped".into(),
        "recorded list",
        Arc::new(|s, _, seen| {
            let d = s.chip();
            let out = d.alloc(4 * 64)?;
            let list = {
                let p = d.kernel(&bump()?, Checks::On)?;
                let x = d.alloc(4 * 64)?;
                let copy = Step::Copy { src: x.all(), dst: out.all() };
                d.record(vec![Step::Fill { dst: x.all(), word: 70 }, add(&p, x.all(), 7), copy])?
            };
            // What would take the place of a buffer that was let go.
            let other = d.alloc_from(&[0xee; 256])?;
            wait(&d.run(&list)?, "a list whose handles are gone")?;
            same("a list whose handles are gone", &words(d, &out)?, &[77; 64], seen)?;
            same("a buffer beside it", &read_all(d, &other)?, &[0xee; 256], seen)
        }),
    );
    case(
        "runtime/order/list/u32/empty".into(),
        "recorded list",
        Arc::new(|s, _, seen| {
            let d = s.chip();
            let list = d.record(vec![])?;
            let work = d.run(&list)?;
            wait(&work, "a list of nothing")?;
            seen.elements += 1;
            ensure(work.ticket().is_none(), || "a list of nothing has a ticket".into())
        }),
    );
    case(
        "runtime/order/list/u32/other-handle".into(),
        "recorded list",
        Arc::new(|s, _, seen| {
            let other = s.again()?;
            let x = s.chip().alloc(64)?;
            let list = s.chip().record(vec![Step::Fill { dst: x.all(), word: 1 }])?;
            seen.elements += 1;
            refused("a list of another opened handle", other.chip().run(&list), &[code::INVALID]).map(|_| ())
        }),
    );
}

/// What a thread gave; one that panicked is a failure.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().unwrap_or_else(|_| Err(Failure::Broken("a thread that uses the device panicked".into())))
}

/// Wakes the thread that awaits.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

/// Awaits work as an executor does: polls it, sleeps until it is woken.
fn awaited(work: Pending) -> End {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut work = pin!(work);
    let begin = Instant::now();
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(end) => return Ok(end?),
            Poll::Pending => std::thread::park_timeout(LONG),
        }
        ensure(begin.elapsed() < LONG, || "work that was awaited did not wake its waker within a minute".into())?;
    }
}
