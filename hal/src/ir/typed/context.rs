//! The kernel under construction on this thread, and how operations reach it.
//!
//! Expressions are ids; what they refer to is the innermost kernel that this thread is building. Every id carries
//! the serial number of its build, so that one that strayed into another kernel is an error and not a wrong
//! program. Nothing here panics: a call outside a kernel goes to a scratch kernel that is never finished.

use super::types::Value;
use super::{Expr, Workgroup};
use crate::ir::{self, Builder, Kernel, Op, Type};
use crate::{Error, Result};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering};

/// A kernel under construction.
pub struct Build {
    pub(super) builder: Builder,
    serial: u32,
    names: BTreeSet<String>,
    place: String,
}

/// Serial numbers are unique in the process: an id that crosses threads is recognised too.
static SERIAL: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static CURRENT: RefCell<Vec<Build>> = const { RefCell::new(Vec::new()) };
}

impl Build {
    fn new(name: &str, workgroup: [u32; 3]) -> Build {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Build { builder: Builder::new(name, workgroup), serial, names: BTreeSet::new(), place: String::new() }
    }

    /// The serial number that ids made now carry.
    pub(super) fn serial(&self) -> u32 {
        self.serial
    }

    /// Remembers a mistake, with its place.
    pub(super) fn fail(&mut self, why: &str) {
        let why = format!("{}: {why}", self.place);
        self.builder.fail(why);
    }

    /// True when an id belongs to this kernel; otherwise the mistake is remembered.
    pub(super) fn owns(&mut self, serial: u32, what: &str) -> bool {
        let ok = serial == self.serial;
        if !ok {
            self.fail(&format!("{what} belongs to another kernel; values cannot be kept from one kernel to the next"));
        }
        ok
    }

    /// The value behind an expression; a constant when the expression is not of this kernel.
    pub(super) fn value<T: Value>(&mut self, e: Expr<T>) -> ir::Value {
        if self.owns(e.build, "this value") { e.id } else { self.builder.bits(T::TYPE, 0) }
    }

    /// Wraps a value; the types agree by construction, a slip of this module becomes an error of the kernel.
    pub(super) fn expr<T: Value>(&mut self, id: ir::Value) -> Expr<T> {
        if self.builder.ty(id) != T::TYPE {
            let (got, want) = (self.builder.ty(id), T::TYPE);
            self.fail(&format!("a value of type {got:?} stands where {want:?} is expected"));
        }
        Expr::new(id, self.serial)
    }

    /// Defines a value of the type `T`.
    pub(super) fn define<T: Value>(&mut self, op: Op) -> Expr<T> {
        let id = self.builder.define(T::TYPE, op);
        Expr::new(id, self.serial)
    }

    /// A constant of a type from its bits.
    pub(super) fn constant(&mut self, ty: Type, bits: u64) -> ir::Value {
        self.builder.bits(ty, bits)
    }

    /// An identifier that this kernel does not have yet.
    pub(super) fn name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        let mut n = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}_{n}");
            n += 1;
        }
        name
    }
}

/// Runs `f` on the kernel of this thread, with the caller's line on every operation. `f` must not emit by itself.
#[track_caller]
pub(super) fn emit<R>(f: impl FnOnce(&mut Build) -> R) -> R {
    let caller = Location::caller();
    CURRENT.with(|current| {
        let mut stack = current.borrow_mut();
        if stack.is_empty() {
            stack.push(Build::new("outside_a_kernel", [1, 1, 1]));
        }
        let build = stack.last_mut().expect("one was pushed when there was none");
        // Only the file's name: kernels must not differ by where the source tree lies.
        let file = caller.file().rsplit(['/', '\\']).next().unwrap_or("?");
        build.builder.at(Some((file, caller.line())));
        build.place = format!("{file}:{}", caller.line());
        f(build)
    })
}

/// Takes the innermost build off the stack, also when the body of the kernel panics.
struct Open {
    depth: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        CURRENT.with(|current| current.borrow_mut().truncate(self.depth));
    }
}

/// Builds a kernel: what `body` calls on this thread is appended to it. Builds may nest.
///
/// `suffix` is appended to the name, an underscore before each part. The kernel is verified.
pub fn build(name: &str, suffix: &[&str], workgroup: impl Into<Workgroup>, body: impl FnOnce()) -> Result<Kernel> {
    let Workgroup(workgroup) = workgroup.into();
    let full = suffix.iter().fold(name.to_string(), |name, part| name + "_" + part);
    if workgroup.contains(&0) {
        return Err(Error::invalid(format!(
            "kernel {full}: workgroup {workgroup:?} has a dimension of 0; each must be at least 1"
        )));
    }
    let open = CURRENT.with(|current| {
        let mut stack = current.borrow_mut();
        let open = Open { depth: stack.len() };
        stack.push(Build::new(&full, workgroup));
        open
    });
    body();
    let build = CURRENT.with(|current| current.borrow_mut().drain(open.depth..).next());
    let Some(build) = build else {
        return Err(Error::invalid(format!("kernel {full}: its build was closed from within")));
    };
    let kernel = build.builder.finish()?;
    ir::verify::verify(&kernel)?;
    Ok(kernel)
}

/// Refuses the kernel under construction, with a sentence for whoever builds it: for `#[host]` preconditions.
#[track_caller]
pub fn refuse(why: &str) {
    emit(|b| b.fail(why));
}

/// Hint: so many workgroups should fit a compute unit at once.
pub fn hint_min_groups(n: u32) {
    emit(|b| b.builder.hints().min_groups_per_unit = Some(n));
}

/// Hint: the schedule was made for subgroups of this size.
pub fn hint_subgroup(lanes: u32) {
    emit(|b| b.builder.hints().subgroup = Some(lanes));
}
