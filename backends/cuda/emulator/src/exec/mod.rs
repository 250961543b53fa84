//! Running kernels on the host: compiled libraries (`library`), faults of fibers (`trap`), their stacks (`stacks`), the threads of a
//! block (`block`), and here the blocks of a grid.

mod block;
mod library;
mod stacks;
mod trap;

pub use library::{Binding, Library, RunKernel, own_symbol};
pub use stacks::FRAME;
pub use trap::{Fault, guarded, prepare, prepare_thread};

use crate::{calls::lock, code::Code, launch::Launch, settings::settings, stream::Failure};

/// Drawn numbers, the same for the same seed.
pub struct Draw(u64);

impl Draw {
    pub fn new(of: u64) -> Draw {
        Draw(settings().seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ of.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A number without a common divisor with `n`, so that its multiples visit everything below `n`.
fn stride(draw: &mut Draw, n: u64) -> u64 {
    let divisor = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut step = 1 + draw.next() % n;
    while divisor(step, n) != 1 {
        step = 1 + step % n;
    }
    step
}

/// Runs every block of a launch, in a drawn order.
pub fn run(launch: &Launch) -> Result<(), Failure> {
    let module = &launch.function.module;
    let _alone = lock(&module.busy);
    let mut draw = Draw::new(u64::from(launch.grid[0]));
    let [x, y, z] = launch.grid.map(u64::from);
    let n = x * y * z;
    let (step, first) = (stride(&mut draw, n), draw.next() % n);
    let mut runner =
        block::Runner::new(launch, &mut draw).map_err(|code| Failure { code, why: "no memory for threads".into() })?;
    for i in 0..n {
        // Products of large grids need more than 64 bits.
        let at = ((u128::from(i) * u128::from(step) + u128::from(first)) % u128::from(n)) as u64;
        let index = [at % x, at / x % y, at / (x * y)].map(|part| part as u32);
        if let Err((code, thread, why)) = runner.block(index) {
            let why = format!(
                "kernel {} ({:?} blocks of {:?} threads), block {index:?}, thread {thread:?}: {why}",
                launch.function.name, launch.grid, launch.block
            );
            return Err(Failure { code, why });
        }
    }
    Ok(())
}

/// A code with its words.
pub type Stop = (Code, [u32; 3], String);
