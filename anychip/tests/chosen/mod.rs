//! The devices that tests run on: all that are here, or those of the backends that ANYCHIP_TEST_BACKENDS names. ANYCHIP_REQUIRE names
//! those that must be here.

use anychip::Device;
use std::sync::LazyLock;

const BACKENDS: [&str; 6] = ["cpu", "cuda", "cuda-emulated", "opencl", "vulkan", "wgpu"];
/// What else other tests may require.
const OTHERS: [&str; 3] = ["model", "nvrtc", "cublaslt"];

/// Every device that the tests run on, opened once for all of them.
pub static DEVICES: LazyLock<Vec<Device>> = LazyLock::new(|| {
    let listing = Device::list();
    let required = std::env::var("ANYCHIP_REQUIRE").unwrap_or_default();
    for name in required.split(',').map(str::trim).filter(|n| !n.is_empty() && !OTHERS.contains(n)) {
        assert!(BACKENDS.contains(&name), "ANYCHIP_REQUIRE names {name}; {BACKENDS:?} and {OTHERS:?} are accepted");
        let here = listing.devices.iter().any(|d| d.backend == name);
        assert!(here, "ANYCHIP_REQUIRE names {name}, which is not here: {:?}", listing.unavailable);
    }
    // ANYCHIP_TEST_BACKENDS=cpu,vulkan: the tests run on those only.
    let only = std::env::var("ANYCHIP_TEST_BACKENDS").unwrap_or_default();
    let wanted = |b: &str| only.is_empty() || only.split(',').any(|o| o.trim() == b);
    assert!(!listing.devices.is_empty(), "there is no device at all");
    for name in only.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        assert!(BACKENDS.contains(&name), "ANYCHIP_TEST_BACKENDS names {name}; {BACKENDS:?} are accepted");
    }
    for gone in listing.unavailable.iter().filter(|g| wanted(&g.backend)) {
        println!("SKIPPED: anychip on {}: {}", gone.backend, gone.why);
    }
    let chosen = listing.devices.iter().filter(|d| wanted(&d.backend));
    let chosen: Vec<_> = chosen.map(|d| Device::open(&d.id).unwrap_or_else(|e| panic!("{}: {e}", d.id))).collect();
    if chosen.is_empty() {
        println!("SKIPPED: every test: none of {only} is here");
    }
    chosen
});
