//! Waiting with a time limit, also where there is no clock that may be waited on.

use crate::{Error, Result};
use std::time::{Duration, Instant};

/// A beginning that time limits count from. A browser has no such clock, and nothing there may wait: any limit is up at once.
pub struct Since(Option<Instant>);

impl Since {
    /// From here on.
    pub fn now() -> Since {
        Since((!cfg!(target_arch = "wasm32")).then(Instant::now))
    }

    /// Time since; in a browser, more than any limit.
    pub fn elapsed(&self) -> Duration {
        self.0.map_or(Duration::MAX, |begin| begin.elapsed())
    }

    /// What is left of a limit.
    pub fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.elapsed())
    }
}

/// Whether work can be timed here by waiting for it; `what` is to be.
///
/// # Errors
/// `Unsupported` in a browser.
pub fn may_time(what: &str) -> Result<()> {
    if cfg!(target_arch = "wasm32") {
        return Err(Error::unsupported(what, "a browser lets nothing wait for work that it times"));
    }
    Ok(())
}

/// Asks until it is so or the time is up, for drivers whose own wait takes no time limit. Short work is answered at once; long work by
/// at most a sixteenth late, and its cores are left to it. `false`: the time is up.
///
/// # Errors
/// What `ended` says.
pub fn ask_until(timeout: Duration, mut ended: impl FnMut() -> Result<bool>) -> Result<bool> {
    let begin = Since::now();
    loop {
        if ended()? {
            return Ok(true);
        }
        let waited = begin.elapsed();
        if waited >= timeout {
            return Ok(false);
        }
        if waited < Duration::from_micros(30) {
            std::thread::yield_now();
        } else {
            let nap = (waited / 16).clamp(Duration::from_micros(10), Duration::from_millis(1));
            std::thread::sleep(nap.min(timeout - waited));
        }
    }
}
