//! `anychip devices`: what every device is and can do, as a table or as JSON.

use crate::Format;
use anychip::{
    Device, Result,
    hal::{
        DeviceInfo,
        info::{Arithmetic, TypeSupport},
        telemetry::Telemetry,
    },
};
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};
use std::fmt::Write;

/// What stands below the options in `--help`.
pub const HELP: &str = concat!(
    "Drivers are code of others, and some hang or die when they are touched. A driver that this command does not know yet is\n",
    "touched by a process of its own first: it lists its devices, then each runs a small kernel in every type that it computes\n",
    "with. What came of it is kept in the cache folder (ANYCHIP_CACHE_DIR) until the driver, its settings or anychip change.\n",
    "What hung, died or computed wrong numbers is a line with the reason, and nothing of this library uses it.\n\n",
    "  ANYCHIP_PROBE=off        use drivers without that, whatever is recorded\n",
    "  ANYCHIP_PROBE=PROGRAM    run `PROGRAM probe DRIVER[:ORDINAL]` in place of this command\n",
    "  ANYCHIP_PROBE_SECONDS=N  how long one probing may take, 10 otherwise\n\n",
    "A chip that several drivers show has one physical name there; `auto` takes the way that is nearest to it.",
);

pub fn run(format: Format, probe: bool) -> Result<String> {
    if probe {
        anychip::probe_again();
    }
    let listing = Device::list();
    if format == Format::Json {
        let object = |d| object(d, &listing.ties(d), telemetry(d, &listing.ties(d)));
        let devices = listing.devices.iter().map(object).collect::<Vec<_>>();
        let unavailable: Vec<_> =
            listing.unavailable.iter().map(|u| json!({ "backend": u.backend, "why": u.why })).collect();
        return Ok(format!("{}\n", json!({ "devices": devices, "unavailable": unavailable })));
    }
    let mut out = String::new();
    for info in &listing.devices {
        let ties = listing.ties(info);
        let _ = writeln!(out, "{}", table(info, &ties, telemetry(info, &ties)));
    }
    for u in &listing.unavailable {
        let _ = writeln!(out, "{}: not here: {}", u.backend, u.why);
    }
    Ok(out)
}

/// What a chip says of itself, by whichever of the ways to it tells.
fn telemetry(info: &DeviceInfo, ties: &[&str]) -> Option<Telemetry> {
    std::iter::once(info.id.as_str()).chain(ties.iter().copied()).find_map(|id| Device::telemetry(id).ok())
}

/// All of a device's data, its name where a reader looks first, the ids of other ways to its chip, and what that says of itself now.
fn object(info: &DeviceInfo, ties: &[&str], telemetry: Option<Telemetry>) -> Value {
    let mut value = serde_json::to_value(info).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.insert("name".into(), info.identity.name.clone().into());
        map.insert("same_chip_as".into(), json!(ties));
        map.insert("telemetry".into(), json!(telemetry));
    }
    value
}

fn table(info: &DeviceInfo, ties: &[&str], telemetry: Option<Telemetry>) -> Table {
    let mut t = Table::new();
    t.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    let i = &info.identity;
    t.set_header([info.id.as_str(), i.name.as_str()]);
    let mut row = |what: &str, text: String| {
        t.add_row([what, &text]);
    };
    row("backend", info.backend.clone());
    row("made by", i.vendor.clone());
    row("driver", format!("{} {}", i.driver, i.version));
    row("physical", i.physical.clone());
    if !ties.is_empty() {
        row("", format!("the same chip as {}", ties.join(", ")));
    }
    if let Some(text) = telemetry.map(|t| t.to_string()).filter(|t| !t.is_empty()) {
        row("now", text);
    }
    row("class", format!("{:?}, {} units", info.class, info.units));
    row("vector", format!("{} lanes of f32 in the code of one lane", info.vector));
    let m = &info.memory;
    let shared = if m.unified { ", shared with the host" } else { "" };
    row("memory", format!("{}, largest buffer {}{shared}", size(m.total), size(m.max_alloc)));
    let list = |of: &dyn Fn(TypeSupport) -> bool| {
        let names: Vec<_> = info.types.iter().filter(|(_, s)| of(**s)).map(|(d, _)| d.name()).collect();
        if names.is_empty() { "none".to_string() } else { names.join(" ") }
    };
    row("stores", list(&|s| s.storage));
    row("computes", list(&|s| s.arithmetic));
    row("atomics", list(&|s| s.atomics));
    row("packed dots", list(&|s| s.dot));
    let features: Vec<_> = info.features.iter().map(serde_name).collect();
    row("features", if features.is_empty() { "none".into() } else { features.join(" ") });
    if let Some(s) = &info.subgroups {
        row("subgroups", format!("{} to {} lanes", s.min, s.max));
    }
    for f in &info.fragments {
        let cut = if f.cuts() { format!(", operands cut to {} bits", f.operand_bits) } else { String::new() };
        row("fragment", format!("{}×{}×{} {}·{} + {}{cut}", f.m, f.n, f.k, f.a, f.b, f.acc));
    }
    let l = &info.limits;
    row(
        "workgroup",
        format!(
            "{} lanes, {:?} per dimension, {} shared",
            l.max_workgroup,
            l.max_workgroup_dim,
            size(l.max_shared.into())
        ),
    );
    row("grid", format!("{:?} workgroups per dimension", l.max_groups));
    row("bindings", format!("{} of {}, aligned to {}", l.max_bindings, size(l.max_binding_bytes), l.binding_align));
    row("scalars", format!("{} bytes", l.max_scalars));
    row("queues", l.queues.to_string());
    let clock = info.clock.as_ref().map_or("none".into(), |c| format!("{} ns a tick", c.resolution_ns));
    row("clock", clock);
    for (dtype, a) in &info.arithmetic {
        row(&format!("arithmetic {dtype}"), arithmetic(a));
    }
    t
}

fn arithmetic(a: &Arithmetic) -> String {
    let mut parts =
        vec![if a.correctly_rounded { "+ − × correctly rounded" } else { "+ − × not correctly rounded" }.into()];
    if a.may_contract {
        parts.push("may contract a·b+c".into());
    }
    if a.may_reassociate {
        parts.push("may re-associate".into());
    }
    parts.push(if a.fma_fused { "fma rounds once" } else { "fma rounds twice" }.into());
    parts.push(format!("division {} ULP, square root {} ULP", a.div_ulp, a.sqrt_ulp));
    parts.push(format!("subnormals {}", serde_name(&a.subnormals)));
    if !a.nan_inf {
        parts.push("NaN and infinity not honoured".into());
    }
    parts.join(", ")
}

/// The name under which a value appears in JSON.
fn serde_name(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default()
}

fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut n = bytes as f64;
    let mut unit = 0;
    while n >= 1024.0 && unit + 1 < units.len() {
        n /= 1024.0;
        unit += 1;
    }
    if n.fract() == 0.0 { format!("{n} {}", units[unit]) } else { format!("{n:.1} {}", units[unit]) }
}
