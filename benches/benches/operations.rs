//! Medians with their spread, per device: `cargo bench -p anychip-benches`.

use anychip::Device;
use anychip_benches::{small::SmallAdd, work};
use criterion::{Criterion, Throughput};
use std::time::Duration;

fn main() {
    let mut c = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for info in Device::list().devices {
        let device = Device::open(&info.id).expect("a listed device opens");
        let mut group = c.benchmark_group(&info.id);
        for w in work(&device).expect("the work is planned") {
            if w.flops > 0.0 {
                group.throughput(Throughput::Elements(w.flops as u64));
            } else {
                group.throughput(Throughput::Bytes(w.bytes as u64));
            }
            group.bench_function(w.name, |b| b.iter(|| w.run(&device).expect("it runs")));
        }
        group.throughput(Throughput::Elements(1));
        let small = SmallAdd::new(&device).expect("the operands are made");
        group.bench_function("eager add of 1000", |b| b.iter(|| small.finish().expect("it runs")));
        group.finish();
    }
    c.final_summary();
}
