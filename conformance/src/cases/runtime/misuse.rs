//! Misuse: what a caller gets wrong comes back as the right error, and the device works on.

use crate::{
    Case, Subject,
    cases::launch::{bump, code, ensure, refused, step, still_works, triple_add},
};
use anychip::{
    DType, Result,
    hal::{
        device::{Checks, Grid, ScalarArg, Slice, Step},
        ir::{Access, Builder, Builtin, Op, Place},
    },
};

/// A name, the codes that are right, and the deed.
type Row = (&'static str, &'static [u32], fn(&Subject) -> Result<()>);

/// Steps that must not be queued.
fn steps(s: &Subject, steps: &[Step]) -> Result<()> {
    s.chip().submit(steps)?.wait()
}

/// `x[i] += by` with these bindings and scalars.
fn launch(s: &Subject, bindings: Vec<Slice>, scalars: &[ScalarArg], grid: Grid) -> Result<()> {
    let p = s.chip().kernel(&bump()?, Checks::On)?;
    steps(s, &[step(&p, grid, bindings, scalars)])
}

const BY: [ScalarArg; 1] = [ScalarArg::U32(1)];

const ROWS: &[Row] = &[
    ("slice-past-end", &[code::INVALID], |s| {
        let b = s.chip().alloc(100)?;
        steps(s, &[Step::Fill { dst: b.slice(60, 41), word: 1 }])
    }),
    ("slice-begins-past-end", &[code::INVALID], |s| {
        let b = s.chip().alloc(100)?;
        steps(s, &[Step::Fill { dst: b.slice(101, 0), word: 1 }])
    }),
    ("slice-overflows", &[code::INVALID], |s| {
        let b = s.chip().alloc(100)?;
        steps(s, &[Step::Fill { dst: b.slice(u64::MAX - 3, 8), word: 1 }])
    }),
    ("copy-lengths-differ", &[code::INVALID], |s| {
        let (a, b) = (s.chip().alloc(64)?, s.chip().alloc(64)?);
        steps(s, &[Step::Copy { src: a.slice(0, 16), dst: b.slice(0, 17) }])
    }),
    ("copy-overlaps", &[code::INVALID], |s| {
        let a = s.chip().alloc(64)?;
        steps(s, &[Step::Copy { src: a.slice(0, 16), dst: a.slice(15, 16) }])
    }),
    ("copy-onto-itself", &[code::INVALID], |s| {
        let a = s.chip().alloc(64)?;
        steps(s, &[Step::Copy { src: a.all(), dst: a.all() }])
    }),
    ("copy-source-past-end", &[code::INVALID], |s| {
        let (a, b) = (s.chip().alloc(64)?, s.chip().alloc(128)?);
        steps(s, &[Step::Copy { src: a.slice(1, 64), dst: b.slice(0, 64) }])
    }),
    ("upload-past-end", &[code::INVALID], |s| {
        let a = s.chip().alloc(64)?;
        s.chip().upload(&a, 60, &[1; 5])
    }),
    ("download-past-end", &[code::INVALID], |s| {
        let a = s.chip().alloc(64)?;
        s.chip().download(&a, 64, &mut [0; 1])
    }),
    ("too-few-buffers", &[code::INVALID], |s| launch(s, vec![], &BY, Grid::Linear(1))),
    ("too-many-buffers", &[code::INVALID], |s| {
        let (a, b) = (s.chip().alloc(256)?, s.chip().alloc(256)?);
        launch(s, vec![a.all(), b.all()], &BY, Grid::Linear(1))
    }),
    ("too-few-scalars", &[code::INVALID], |s| launch(s, vec![s.chip().alloc(256)?.all()], &[], Grid::Linear(1))),
    ("too-many-scalars", &[code::INVALID], |s| {
        launch(s, vec![s.chip().alloc(256)?.all()], &[BY[0], BY[0]], Grid::Linear(1))
    }),
    ("scalar-of-another-type", &[code::DTYPE], |s| {
        launch(s, vec![s.chip().alloc(256)?.all()], &[ScalarArg::F32(1.0)], Grid::Linear(1))
    }),
    ("scalar-of-another-sign", &[code::DTYPE], |s| {
        launch(s, vec![s.chip().alloc(256)?.all()], &[ScalarArg::I32(1)], Grid::Linear(1))
    }),
    ("offset-within-an-element", &[code::INVALID], |s| {
        launch(s, vec![s.chip().alloc(256)?.slice(2, 128)], &BY, Grid::Linear(1))
    }),
    ("part-of-an-element", &[code::INVALID], |s| {
        launch(s, vec![s.chip().alloc(256)?.slice(0, 127)], &BY, Grid::Linear(1))
    }),
    ("binding-past-end", &[code::INVALID], |s| {
        launch(s, vec![s.chip().alloc(256)?.slice(4, 256)], &BY, Grid::Linear(1))
    }),
    ("written-buffer-bound-twice", &[code::INVALID], |s| {
        let p = s.chip().kernel(&triple_add()?, Checks::On)?;
        let (a, b) = (s.chip().alloc(512)?, s.chip().alloc(256)?);
        steps(s, &[step(&p, Grid::Linear(1), vec![a.slice(0, 256), b.all(), a.slice(256, 256)], &[])])
    }),
    ("buffer-of-another-handle", &[code::INVALID], |s| {
        let other = s.again()?;
        launch(s, vec![other.chip().alloc(256)?.all()], &BY, Grid::Linear(1))
    }),
    ("program-of-another-handle", &[code::INVALID], |s| {
        let other = s.again()?;
        let p = other.chip().kernel(&bump()?, Checks::On)?;
        steps(s, &[step(&p, Grid::Linear(1), vec![s.chip().alloc(256)?.all()], &BY)])
    }),
    ("grid-of-three-dimensions", &[code::INVALID], |s| {
        launch(s, vec![s.chip().alloc(256)?.all()], &BY, Grid::Xyz([1, 2, 1]))
    }),
    ("grid-too-large", &[code::UNSUPPORTED], |s| {
        launch(s, vec![s.chip().alloc(256)?.all()], &BY, Grid::Linear(u64::MAX / 64))
    }),
    ("workgroup-of-a-million", &[code::UNSUPPORTED], |s| {
        let mut b = Builder::new("million", [1 << 20, 1, 1]);
        let out = b.buffer("out", DType::U32, Access::Write);
        let (i, x) = (b.builtin(Builtin::GlobalId(0)), b.u32(1));
        b.store(Place::Buffer(out), i, x);
        s.chip().kernel(&b.finish()?, Checks::On).map(|_| ())
    }),
    ("workgroup-of-none", &[code::INVALID, code::UNSUPPORTED], |s| {
        let mut b = Builder::new("none", [0, 1, 1]);
        let out = b.buffer("out", DType::U32, Access::Write);
        let (i, x) = (b.builtin(Builtin::GlobalId(0)), b.u32(1));
        b.store(Place::Buffer(out), i, x);
        s.chip().kernel(&b.finish()?, Checks::On).map(|_| ())
    }),
    ("kernel-with-an-unknown-value", &[code::INVALID], |s| {
        let mut k = bump()?;
        k.body.truncate(k.body.len() / 2);
        let last = anychip::hal::ir::Value(9999);
        k.body.push(anychip::hal::ir::Inst { out: None, op: Op::AssumeMultiple(last, 4), loc: Default::default() });
        s.chip().kernel(&k, Checks::On).map(|_| ())
    }),
    ("kernel-with-a-break-outside", &[code::INVALID], |s| {
        let mut k = bump()?;
        k.body.push(anychip::hal::ir::Inst { out: None, op: Op::Break, loc: Default::default() });
        s.chip().kernel(&k, Checks::On).map(|_| ())
    }),
    ("more-memory-than-there-can-be", &[code::MEMORY], |s| s.chip().alloc(u64::MAX).map(|_| ())),
    ("more-memory-than-the-limit", &[code::MEMORY], |s| s.chip().alloc(s.info().memory.max_alloc + 1).map(|_| ())),
];

pub(super) fn cases(all: &mut Vec<Case>) {
    for &(name, codes, deed) in ROWS {
        all.push(Case::new(
            format!("runtime/misuse/refused/any/{name}"),
            "misuse",
            None,
            "misuse",
            move |s, r, seen| {
                let e = refused(name, deed(s), codes)?;
                // A sentence, not a word.
                let text = e.to_string();
                ensure(text.split_whitespace().count() >= 4, || {
                    format!("{name}: the error says no more than {text:?}")
                })?;
                still_works(s, name, r, seen)
            },
        ));
    }
    all.push(Case::new(
        "runtime/misuse/nothing-queued/any/second-step-wrong",
        "misuse",
        None,
        "misuse",
        |s, r, seen| {
            // Of steps one of which is wrong, none is done.
            let d = s.chip();
            let a = d.alloc_from(&[7; 64])?;
            let wrong = [Step::Fill { dst: a.all(), word: 0 }, Step::Fill { dst: a.slice(63, 2), word: 0 }];
            refused("two steps, the second past the end", d.submit(&wrong), &[code::INVALID])?;
            let got = crate::cases::launch::read_all(d, &a)?;
            crate::cases::launch::same("a buffer after a refused submission", &got, &[7; 64], seen)?;
            still_works(s, "a refused submission", r, seen)
        },
    ));
}
