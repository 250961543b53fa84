//! Known defects of drivers: data, a row each, with the defect that it works around.

use anychip_hal::{
    info::Identity,
    quirk::{self, Quirk},
};

/// What a row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Event times mean nothing: the device has no clock.
    NoClock,
    /// What the driver says of a kernel's largest workgroup means nothing: launching decides.
    NoKernelLimit,
    /// The compiler's optimiser is switched off.
    NoOptimiser,
    /// A program's binary is whole only after its first launch.
    LateBinary,
    /// `tanh` is replaced where it must be ±1.
    TanhBelowOne,
    /// Functions are kept from what no integer holds.
    Unranged,
    /// `sin`, `cos` and `tan` of vectors are computed element by element.
    SineByElements,
    /// One more barrier stands before every loop with a barrier.
    BarrierBeforeLoops,
    /// Its compiler takes liberties that the language does not give it.
    Reassociates,
    /// Two threads must not call it at once.
    Serialised,
}

/// Every row.
pub const QUIRKS: &[Quirk<Effect>] = &[
    Quirk {
        driver: "rusticl",
        versions: &["22.", "23."],
        effect: Effect::NoClock,
        why: "CL_PROFILING_COMMAND_START and _END of a kernel are always 1 ns apart (seen with Mesa 22.3.6 on llvmpipe)",
    },
    Quirk {
        driver: "rusticl",
        versions: &["22."],
        effect: Effect::NoKernelLimit,
        why: "CL_KERNEL_WORK_GROUP_SIZE is 32 for kernels that run with 1024 (seen with Mesa 22.3.6 on llvmpipe)",
    },
    Quirk {
        driver: "rusticl",
        versions: &["22.", "23."],
        effect: Effect::Reassociates,
        why: "x * 0.0f is 0 for NaN and infinity too, without any option that permits it (seen with Mesa 22.3.6 on llvmpipe, \
              conformance/findings/rusticl-zero-times-nan)",
    },
    Quirk {
        driver: "Oclgrind",
        versions: &[],
        effect: Effect::NoOptimiser,
        why: "its interpreter does not know what the optimiser makes of saturating sums (llvm.uadd.sat, 21.10)",
    },
    Quirk {
        driver: "Portable Computing Language",
        versions: &[],
        effect: Effect::LateBinary,
        why: "it compiles for a workgroup size at the first launch; a binary fetched before lacks that code, takes as long \
              to fetch as that compilation, and is what every later fetch gives (3.1)",
    },
    Quirk {
        driver: "Portable Computing Language",
        versions: &[],
        effect: Effect::TanhBelowOne,
        why: "tanh(±inf) is ±0.99999994, and so is that of every large number (3.1)",
    },
    Quirk {
        driver: "Portable Computing Language",
        versions: &[],
        effect: Effect::Unranged,
        why: "exp, tanh, rint and others convert their argument to int; of a NaN, for rint of a large number, that is \
              undefined, and where the compiler knows the argument it drops the store of the result (3.1)",
    },
    Quirk {
        driver: "Portable Computing Language",
        versions: &[],
        effect: Effect::SineByElements,
        why: "sin, cos and tan of vectors are wrong in some elements of vectors that hold very different numbers: \
              sin(1.18e-38) was 1.6e-2 beside 3.4e38 (3.1)",
    },
    Quirk {
        driver: "Portable Computing Language",
        versions: &[],
        effect: Effect::BarrierBeforeLoops,
        why: "where a loop that begins with a barrier follows a branch with the same condition as the loop's, what the branch \
              wrote to local memory in a branch of its own is lost (3.1; not without the optimiser)",
    },
    Quirk {
        driver: "Oclgrind",
        versions: &[],
        effect: Effect::Serialised,
        why: "it is not made for several threads: its shadow memory is per thread (21.10)",
    },
];

// Not curable here: llvmpipe (seen in Mesa 22.3.6) ends all loops of a lane after 65,535 rounds in sum and reports nothing.

/// True when a row with this effect names the driver.
pub fn applies(effect: Effect, of: &Identity) -> bool {
    quirk::applies(QUIRKS, effect, of)
}
