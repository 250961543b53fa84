//! What the author of a backend writes: every case is a test. Here the CPU backend stands for theirs, and a filter for the rest of the suite.

use std::sync::Arc;

anychip_conformance::tests!(Arc::new(anychip_cpu::CpuDriver::new()), "runtime/misuse/,core/logic/");
