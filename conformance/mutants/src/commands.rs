//! Copies, fills and launches that do less, more, or something else.

use crate::{
    Mutant,
    layer::{Broken, Fault, commands, each, says, submit_as},
};
use anychip::{
    Result,
    hal::{
        Command, Loaded, Module, Range, RawDevice, RawList, RawProgram, Submission, Ticket,
        ir::{Kernel, ParamKind, Role},
    },
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// Launches, with the kernel that each runs.
struct Launches {
    good: Arc<dyn RawDevice>,
    kernels: Mutex<HashMap<RawProgram, Kernel>>,
    change: fn(&Kernel, &mut Vec<u8>),
}

impl Launches {
    fn changed(&self, of: &[Command]) -> Vec<Command> {
        let kernels = crate::layer::lock(&self.kernels);
        let mut all = of.to_vec();
        for c in &mut all {
            if let Command::Launch { program, scalars, .. } = c
                && let Some(k) = kernels.get(program)
            {
                (self.change)(k, scalars);
            }
        }
        all
    }
}

impl Fault for Launches {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let loaded = self.good.load(module, cached)?;
        if let Module::Kernel(k) = module {
            crate::layer::lock(&self.kernels).insert(loaded.program, (*k).clone());
        }
        Ok(loaded)
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        self.good.record(&self.changed(commands))
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        submit_as(&*self.good, work, |c| self.changed(c))
    }
}

/// Adds to a hidden scalar of every launch.
fn hidden(k: &Kernel, scalars: &mut [u8], of: fn(Role) -> bool, by: u64) {
    for slot in k.scalar_layout().0 {
        if let ParamKind::Scalar { role, .. } = k.params[slot.param.at()].kind
            && of(role)
        {
            let at = slot.offset as usize..(slot.offset + slot.bytes) as usize;
            let mut word = [0; 8];
            word[..at.len()].copy_from_slice(&scalars[at.clone()]);
            let more = u64::from_le_bytes(word) + by;
            scalars[at.clone()].copy_from_slice(&more.to_le_bytes()[..at.len()]);
        }
    }
}

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "copy-one-byte-short",
        fault: "Copies leave out their last byte.",
        area: &["runtime/bytes/copy"],
        killers: &["runtime/bytes/copy/u8/unaligned/7-13-31"],
        make: |good| {
            each(good, |c| {
                if let Command::Copy { src, dst } = c
                    && src.bytes > 1
                {
                    src.bytes -= 1;
                    dst.bytes -= 1;
                }
            })
        },
    },
    Mutant {
        name: "copy-in-whole-words",
        fault: "Copies move whole words only: an odd tail is rounded up, and bytes behind the end are overwritten.",
        area: &["runtime/bytes/"],
        killers: &["runtime/bytes/copy/u8/one/0-3-1", "runtime/bytes/copy/u8/unaligned/13-7-31"],
        make: |good| {
            commands(good, |_, all| {
                let up = |r: &Range| Range { bytes: r.bytes.next_multiple_of(4), ..*r };
                // Where both buffers have room; a device that ran past an end would be a crash and no wrong byte.
                all.into_iter()
                    .map(|c| match c {
                        Command::Copy { src, dst } if src.bytes < 64 && src.buffer != dst.buffer => {
                            Command::Copy { src: up(&src), dst: up(&dst) }
                        }
                        c => c,
                    })
                    .collect()
            })
        },
    },
    Mutant {
        name: "source-offset-ignored",
        fault: "Copies read from the beginning of their source.",
        area: &["runtime/bytes/copy", "runtime/bytes/read"],
        killers: &["runtime/bytes/copy/u8/unaligned/7-13-31", "runtime/bytes/copy/u8/same-phase/5-5-16"],
        make: |good| {
            each(good, |c| {
                if let Command::Copy { src, .. } = c {
                    src.offset = 0;
                }
            })
        },
    },
    Mutant {
        name: "offset-overflows",
        fault: "Offsets of copies are kept in 24 bits, as others overflow in 32.",
        area: &["runtime/bytes/transfer", "runtime/bytes/copy/u8/large"],
        killers: &["runtime/bytes/transfer/u8/large/35-mib"],
        make: |good| {
            each(good, |c| {
                if let Command::Copy { src, dst } = c {
                    src.offset &= 0xff_ffff;
                    dst.offset &= 0xff_ffff;
                }
            })
        },
    },
    Mutant {
        name: "fill-wrong-word",
        fault: "Fills write the bytes of their word in the wrong order.",
        area: &["runtime/bytes/fill"],
        killers: &["runtime/bytes/fill/u8/aligned/2-64"],
        make: |good| {
            each(good, |c| {
                if let Command::Fill { word, .. } = c {
                    *word = word.swap_bytes();
                }
            })
        },
    },
    Mutant {
        name: "fill-one-word-short",
        fault: "Fills leave out their last word.",
        area: &["runtime/bytes/fill"],
        killers: &["runtime/bytes/fill/u8/aligned/256-256"],
        make: |good| {
            each(good, |c| {
                if let Command::Fill { dst, .. } = c
                    && dst.bytes > 4
                {
                    dst.bytes -= 4;
                }
            })
        },
    },
    Mutant {
        name: "binding-offset-ignored",
        fault: "A binding begins where its buffer does.",
        area: &["runtime/contract/binding", "runtime/order/threads/u32/one-buffer"],
        killers: &["runtime/contract/binding/any/finest"],
        make: |good| {
            each(good, |c| {
                if let Command::Launch { bindings, .. } = c {
                    for b in bindings {
                        b.bytes += b.offset;
                        b.offset = 0;
                    }
                }
            })
        },
    },
    Mutant {
        name: "bindings-swapped",
        fault: "Of three and more bindings the last two are swapped.",
        area: &["runtime/limits/bindings"],
        killers: &["runtime/limits/bindings/any/at"],
        make: |good| {
            each(good, |c| {
                if let Command::Launch { bindings, .. } = c
                    && bindings.len() > 2
                {
                    let n = bindings.len();
                    bindings.swap(n - 1, n - 2);
                }
            })
        },
    },
    Mutant {
        name: "last-group-missing",
        fault: "The last workgroup of a grid does not run.",
        area: &["core/ir/grid/u32/linear"],
        killers: &["core/ir/grid/u32/linear/64-3", "core/ir/grid/u32/linear/1-255"],
        make: |good| {
            each(good, |c| {
                if let Command::Launch { groups, .. } = c
                    && groups[0] > 1
                {
                    groups[0] -= 1;
                }
            })
        },
    },
    Mutant {
        name: "grid-folded-wrongly",
        fault: "Where grids are limited to 65,535 workgroups a dimension, the rows of a folded one are too short by one.",
        area: &["core/ir/grid/u32/linear"],
        killers: &["core/ir/grid/u32/linear/1-65536", "core/ir/grid/u32/linear/1-200003"],
        make: |good| {
            let limited = says(good, |i| i.limits.max_groups = [65_535; 3]);
            each(limited, |c| {
                if let Command::Launch { groups, .. } = c
                    && groups[1] > 1
                {
                    groups[0] -= 1;
                }
            })
        },
    },
    Mutant {
        name: "scalars-of-another-launch",
        fault: "Launches of one submission share the scalars of the first.",
        area: &["core/ir/scalar/u32"],
        killers: &["core/ir/scalar/u32/two-launches"],
        make: |good| {
            commands(good, |_, mut all| {
                let mut first: HashMap<RawProgram, Vec<u8>> = HashMap::new();
                for c in &mut all {
                    if let Command::Launch { program, scalars, .. } = c {
                        *scalars = first.entry(*program).or_insert_with(|| scalars.clone()).clone();
                    }
                }
                all
            })
        },
    },
    Mutant {
        name: "equal-launches-merged",
        fault: "A launch that is like the one before it is taken for a repetition and left out.",
        area: &["runtime/contract/tickets"],
        killers: &["runtime/contract/tickets/any/complete-means-done"],
        make: |good| {
            commands(good, |_, mut all| {
                all.dedup();
                all
            })
        },
    },
    Mutant {
        name: "steps-out-of-order",
        fault: "The last two commands of a submission run in the other order.",
        area: &["runtime/order/steps", "runtime/order/list"],
        killers: &["runtime/order/steps/u32/dependent/2"],
        make: |good| {
            commands(good, |_, mut all| {
                let n = all.len();
                if n > 1 {
                    all.swap(n - 1, n - 2);
                }
                all
            })
        },
    },
    Mutant {
        name: "writes-beyond",
        fault: "Every launch writes a word behind its last binding.",
        area: &["core/ir/guard-write/u32", "core/ir/guard-read/u32"],
        killers: &["core/ir/guard-write/u32/scalar"],
        make: |good| {
            commands(good, |_, all| {
                let mut more = vec![];
                for c in all {
                    let behind = match &c {
                        Command::Launch { bindings, .. } => bindings.last().copied(),
                        _ => None,
                    };
                    more.push(c);
                    if let Some(b) = behind {
                        let at = (b.offset + b.bytes).next_multiple_of(4);
                        more.push(Command::Fill { dst: Range { offset: at, bytes: 4, ..b }, word: 0x6b6b_6b6b });
                    }
                }
                more
            })
        },
    },
    Mutant {
        name: "reads-beyond",
        fault: "Buffers count as four elements longer than their bindings: checked reads behind the end give what lies there.",
        area: &["core/ir/guard-read/", "core/ir/buf-len"],
        killers: &["core/ir/guard-read/u32/scalar", "core/ir/buf-len/u32/slices"],
        make: |good| {
            let change = |k: &Kernel, s: &mut Vec<u8>| hidden(k, s, |r| matches!(r, Role::Len(_)), 4);
            Arc::new(Broken(Launches { good, kernels: Mutex::default(), change }))
        },
    },
    Mutant {
        name: "elements-offset-lost",
        fault: "The elements between a binding's aligned offset and its first one are forgotten.",
        area: &["core/ir/guard-write/", "core/ir/guard-read/"],
        killers: &["core/ir/guard-write/u32/scalar", "core/ir/guard-read/f16/scalar"],
        make: |good| {
            let change = |k: &Kernel, s: &mut Vec<u8>| {
                for slot in k.scalar_layout().0 {
                    if matches!(k.params[slot.param.at()].kind, ParamKind::Scalar { role: Role::Offset(_), .. }) {
                        s[slot.offset as usize..(slot.offset + slot.bytes) as usize].fill(0);
                    }
                }
            };
            Arc::new(Broken(Launches { good, kernels: Mutex::default(), change }))
        },
    },
];
