//! Which name means what at a point of the body: the attribute knows no types, but it knows what is of the chip.

use proc_macro2::Ident;
use std::collections::HashMap;

/// What a name is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// An expression, a buffer, an array: of the chip, never reassigned.
    Chip,
    /// `let mut`: a variable of the chip, read with `.get()`.
    Variable,
    /// A value of the host.
    Host,
}

/// What encloses a statement, innermost last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A loop on the chip.
    ChipLoop,
    /// An `if` on the chip.
    ChipIf,
    /// A loop of the host.
    HostLoop,
}

/// Names and frames at a point of the body.
#[derive(Default)]
pub struct Scope {
    names: Vec<HashMap<String, Name>>,
    frames: Vec<Frame>,
    /// True in `#[device]`, whose `return` would leave the kernel.
    pub device: bool,
}

impl Scope {
    pub fn new(device: bool) -> Scope {
        Scope { names: vec![HashMap::new()], frames: vec![], device }
    }

    pub fn bind(&mut self, name: &Ident, what: Name) {
        if let Some(names) = self.names.last_mut() {
            names.insert(name.to_string(), what);
        }
    }

    /// What a name is bound to; `None` for constants, functions and everything else from outside.
    pub fn lookup(&self, name: &Ident) -> Option<Name> {
        let name = name.to_string();
        self.names.iter().rev().find_map(|names| names.get(&name).copied())
    }

    /// Runs `f` with names of its own.
    pub fn nested<R>(&mut self, f: impl FnOnce(&mut Scope) -> R) -> R {
        self.names.push(HashMap::new());
        let result = f(self);
        self.names.pop();
        result
    }

    /// Runs `f` inside a frame.
    pub fn within<R>(&mut self, frame: Frame, f: impl FnOnce(&mut Scope) -> R) -> R {
        self.frames.push(frame);
        let result = f(self);
        self.frames.pop();
        result
    }

    /// The innermost loop, if there is one.
    pub fn innermost_loop(&self) -> Option<Frame> {
        self.frames.iter().rev().copied().find(|f| *f != Frame::ChipIf)
    }

    /// The innermost frame of any kind.
    pub fn innermost(&self) -> Option<Frame> {
        self.frames.last().copied()
    }
}
