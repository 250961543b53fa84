//! Every operation in every element type and vector length is valid WGSL: naga, which wgpu translates it with, says so. For
//! targets that have everything, and for those that have numbers of 32 bits only.

use crate::{
    legal::plain,
    spirv::{atomics, dots, every_op_of, jumps, of_subgroups},
};
use anychip_hal::{
    DType, DeviceInfo,
    info::{Feature, Subgroups, TypeSupport},
    ir::{build::Builder, *},
    render::wgsl::{Target, render},
};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// A device that has what WGSL can say with naga's extensions.
fn full() -> (DeviceInfo, Target, Capabilities) {
    let mut info = bare().0;
    for d in [DType::I16, DType::U16, DType::F16, DType::F64] {
        info.types.insert(d, TypeSupport::FULL);
    }
    for d in [DType::I64, DType::U64] {
        info.types.insert(d, TypeSupport::ATOMIC);
    }
    info.features.extend([
        Feature::Subgroup,
        Feature::SubgroupReduce,
        Feature::SubgroupShuffle,
        Feature::Dot4,
        Feature::Atomic64,
        Feature::Idx64,
    ]);
    info.subgroups = Some(Subgroups { min: 8, max: 8 });
    let target = Target {
        f16: true,
        i16: true,
        i64: true,
        f64: true,
        atomic64: true,
        subgroups: true,
        enable_subgroups: false,
        immediates: true,
    };
    (info, target, Capabilities::all())
}

/// A device of 32-bit numbers only, as a browser may be one.
fn bare() -> (DeviceInfo, Target, Capabilities) {
    let mut info = plain();
    for d in DType::ALL.into_iter().filter(|d| d.size() != 4) {
        info.types.insert(d, TypeSupport::default());
    }
    (info, Target::default(), Capabilities::empty())
}

fn valid(k: &Kernel, (info, target, capabilities): &(DeviceInfo, Target, Capabilities)) {
    for (idx_bits, checked) in [(32, true), (32, false), (64, true)] {
        if idx_bits == 64 && !target.i64 {
            continue;
        }
        let legal =
            legal::legalize(k, &legal::Target { info, idx_bits, checked }).unwrap_or_else(|e| panic!("{e}\n{k}"));
        let r = render(&legal, target).unwrap_or_else(|e| panic!("{e}\n{legal}"));
        let mut options = naga::front::wgsl::Options::new();
        options.capabilities = *capabilities;
        let module = naga::front::wgsl::Frontend::new_with_options(options)
            .parse(&r.source)
            .unwrap_or_else(|e| panic!("{}\n{}", e.emit_to_string(&r.source), r.source));
        let mut validator = Validator::new(ValidationFlags::all(), *capabilities);
        validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
        validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
        if let Err(e) = validator.validate(&module) {
            panic!("{}\n{}", e.emit_to_string(&r.source), r.source);
        }
    }
}

#[test]
fn every_operation_of_every_type_is_valid() {
    let computed = DType::ALL.into_iter().filter(|d| !matches!(d, DType::F8E4M3 | DType::F8E5M2));
    for d in computed {
        for lanes in [1, 2, 4, 8, 16] {
            valid(&every_op_of(d, lanes), &full());
        }
    }
}

#[test]
fn loops_jumps_subgroups_atomics_and_packed_products_are_valid() {
    valid(&jumps(), &full());
    of_subgroups().iter().for_each(|k| valid(k, &full()));
    atomics().iter().for_each(|k| valid(k, &full()));
    valid(&dots(), &full());
    // Without the features: by way of arrays of the workgroup.
    valid(&jumps(), &bare());
    of_subgroups().iter().for_each(|k| valid(k, &bare()));
    valid(&dots(), &bare());
}

/// What 32-bit numbers can say of every type that is narrower.
#[test]
fn narrow_types_need_only_words() {
    for d in DType::ALL.into_iter().filter(|d| d.size() < 4) {
        for lanes in [1, 2, 4, 8] {
            let mut b = Builder::new(&format!("narrow_{}_{lanes}", d.name()), [64, 1, 1]);
            let x = b.buffer("x", d, Access::Read);
            let out = b.buffer("out", d, Access::ReadWrite);
            let given = b.scalar("given", d);
            let at = b.builtin(Builtin::GlobalId(0));
            let v = b.load_vec(Place::Buffer(x), at, lanes);
            let w = if lanes == 1 { given } else { b.splat(given, lanes) };
            let r = match d {
                DType::Bool => b.binary(BinaryOp::Xor, v, w),
                DType::F8E4M3 | DType::F8E5M2 => v,
                _ => b.add(v, w),
            };
            b.store(Place::Buffer(out), at, r);
            valid(&b.finish().expect("well built"), &bare());
        }
    }
}

#[test]
fn numbers_that_wgsl_cannot_say_are_said() {
    for (d, numbers) in [
        (DType::F32, vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-40, 3.4e38, 0.1, -1e-30]),
        (DType::F16, vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-7, 65504.0, 0.1]),
        (DType::F64, vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-310, 1e308, 0.1]),
    ] {
        let mut b = Builder::new(&format!("numbers_{}", d.name()), [1, 1, 1]);
        let out = b.buffer("out", d, Access::Write);
        for (i, &x) in numbers.iter().enumerate() {
            let (i, x, y) = (b.idx(i as u64), b.number(d, x), b.number(d, numbers[0]));
            // Of constants alone: what the compiler would compute, and refuse.
            let r = b.binary(BinaryOp::Div, x, y);
            b.store(Place::Buffer(out), i, r);
        }
        valid(&b.finish().expect("well built"), &full());
    }
    for d in [DType::I32, DType::U32, DType::I64, DType::U64, DType::I16] {
        let mut b = Builder::new(&format!("integers_{}", d.name()), [1, 1, 1]);
        let out = b.buffer("out", d, Access::Write);
        for (i, x) in
            [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX, i32::MIN as i64, i16::MIN as i64].into_iter().enumerate()
        {
            let (i, x) = (b.idx(i as u64), b.integer(d, x));
            b.store(Place::Buffer(out), i, x);
        }
        valid(&b.finish().expect("well built"), &full());
    }
}
