//! Programs and lists that are stale, foreign, or never let go.

use crate::{
    Mutant,
    layer::{Broken, Fault, lock},
};
use anychip::{
    Result,
    hal::{Command, Loaded, Module, RawDevice, RawList, RawProgram, Submission, Ticket, Work},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

struct StaleByName {
    good: Arc<dyn RawDevice>,
    names: Mutex<HashMap<String, Loaded>>,
}

impl Fault for StaleByName {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let name = module.name().to_string();
        if let Some(found) = lock(&self.names).get(&name) {
            return Ok(found.clone());
        }
        let loaded = self.good.load(module, cached)?;
        lock(&self.names).insert(name, loaded.clone());
        Ok(loaded)
    }
    fn unload(&self, _: RawProgram) {}
}

/// Takes a binary without looking whose it is.
struct ForeignBinary {
    good: Arc<dyn RawDevice>,
    made: Mutex<Vec<Vec<u8>>>,
    kernels: Mutex<Vec<anychip::hal::ir::Kernel>>,
}

impl Fault for ForeignBinary {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let Module::Kernel(k) = module else { return self.good.load(module, cached) };
        let (mut made, mut kernels) = (lock(&self.made), lock(&self.kernels));
        if let Some(n) = cached.and_then(|c| made.iter().position(|b| b == c)) {
            let loaded = self.good.load(&Module::Kernel(&kernels[n]), None)?;
            return Ok(Loaded { binary: made[n].clone(), ..loaded });
        }
        let loaded = self.good.load(module, None)?;
        let binary = format!("a binary, number {} of this device", made.len()).into_bytes();
        made.push(binary.clone());
        kernels.push((*k).clone());
        Ok(Loaded { binary, ..loaded })
    }
}

/// What a program costs that is never unloaded: its code.
struct NeverUnloads {
    good: Arc<dyn RawDevice>,
    code: Mutex<Vec<Vec<u8>>>,
}

impl Fault for NeverUnloads {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let loaded = self.good.load(module, cached)?;
        lock(&self.code).push(vec![0x90; 96 << 10]);
        Ok(loaded)
    }
    fn unload(&self, _: RawProgram) {}
}

struct OldBindings {
    good: Arc<dyn RawDevice>,
    before: Mutex<Option<Vec<Command>>>,
}

impl Fault for OldBindings {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let before = lock(&self.before).replace(commands.to_vec());
        self.good.record(match &before {
            Some(old) if old.len() == commands.len() => old,
            _ => commands,
        })
    }
}

struct RunsOnce {
    good: Arc<dyn RawDevice>,
    run: Mutex<HashSet<RawList>>,
    last: Mutex<Option<Ticket>>,
}

impl Fault for RunsOnce {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        if let Work::List(list) = work.work
            && !lock(&self.run).insert(list)
            && let Some(t) = *lock(&self.last)
        {
            return Ok(t);
        }
        let t = self.good.submit(work)?;
        *lock(&self.last) = Some(t);
        Ok(t)
    }
}

struct RunsWhenRecorded(Arc<dyn RawDevice>);

impl Fault for RunsWhenRecorded {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        self.0.submit(&Submission { queue: 0, after: &[], work: Work::Commands(commands), profile: false })?;
        self.0.record(commands)
    }
}

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "program-cache-by-name",
        fault: "A kernel of a name that was loaded before is taken for the same.",
        area: &["runtime/contract/program"],
        killers: &["runtime/contract/program/any/same-name"],
        make: |good| Arc::new(Broken(StaleByName { good, names: Mutex::default() })),
    },
    Mutant {
        name: "stale-binary-taken",
        fault: "A binary that is offered is loaded without looking whose it is.",
        area: &["runtime/contract/program"],
        killers: &["runtime/contract/program/any/foreign-binary"],
        make: |good| Arc::new(Broken(ForeignBinary { good, made: Mutex::default(), kernels: Mutex::default() })),
    },
    Mutant {
        name: "programs-never-unloaded",
        fault: "Programs stay in memory when they are unloaded.",
        area: &["runtime/memory/leak/programs"],
        killers: &["runtime/memory/leak/programs/any/loaded"],
        make: |good| Arc::new(Broken(NeverUnloads { good, code: Mutex::default() })),
    },
    Mutant {
        name: "list-replays-old-bindings",
        fault: "A recorded list binds what the list of its length bound that was recorded before it.",
        area: &["runtime/order/list", "runtime/contract/list"],
        killers: &["runtime/order/list/u32/two-lists"],
        make: |good| Arc::new(Broken(OldBindings { good, before: Mutex::default() })),
    },
    Mutant {
        name: "list-runs-once",
        fault: "A recorded list that is submitted again does nothing.",
        area: &["runtime/order/list"],
        killers: &["runtime/order/list/u32/runs/2", "runtime/order/list/u32/runs/5"],
        make: |good| Arc::new(Broken(RunsOnce { good, run: Mutex::default(), last: Mutex::default() })),
    },
    Mutant {
        name: "list-runs-when-recorded",
        fault: "Recording a list runs it.",
        area: &["runtime/order/list"],
        killers: &["runtime/order/list/u32/runs/1"],
        make: |good| Arc::new(Broken(RunsWhenRecorded(good))),
    },
];
