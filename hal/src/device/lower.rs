//! The launch rules, solved once: steps are checked against programs, buffers and limits and become commands.
//!
//! Binding offsets are aligned down and the rest passed as a hidden scalar; a buffer that is written appears in no other
//! binding of its launch; linear grids are folded; 64-bit indices are chosen when 32 bits are too few; empty work is
//! left out; odd edges go to [`super::edges`].

use super::{
    Device, Grid, Program, ScalarArg, Slice, Step,
    flight::Keep,
    program::{Body, GraphBody, KernelBody, Source, Variant},
    step::kind_name,
};
use crate::{
    Command, Error, Memory, Range, Result,
    ir::{ParamKind, Role},
    op::TensorSpec,
};
use std::ops;

/// Commands, what they use, and which of them each step became.
#[derive(Default)]
pub(super) struct Lowered {
    pub commands: Vec<Command>,
    pub keep: Keep,
    pub steps: Vec<ops::Range<usize>>,
}

/// Checks steps and turns them into commands.
pub(super) fn lower(device: &Device, steps: &[Step]) -> Result<Lowered> {
    let mut out = Lowered { commands: Vec::with_capacity(steps.len()), ..Lowered::default() };
    for step in steps {
        let first = out.commands.len();
        match step {
            Step::Copy { src, dst } => copy(device, src, dst, &mut out)?,
            Step::Fill { dst, word } => fill(device, dst, *word, &mut out)?,
            Step::Launch { program, grid, bindings, scalars } => {
                launch(device, program, *grid, bindings, scalars, &mut out)?
            }
        }
        out.steps.push(first..out.commands.len());
    }
    Ok(out)
}

/// The raw range of a slice; the slice's buffer is kept.
pub(super) fn range(slice: &Slice, keep: &mut Keep) -> Range {
    keep.buffers.push(slice.buffer.clone());
    Range { buffer: slice.buffer.handle(), offset: slice.offset, bytes: slice.bytes }
}

fn copy(device: &Device, src: &Slice, dst: &Slice, out: &mut Lowered) -> Result<()> {
    let id = &device.info().id;
    src.check(device.number(), id, || "copy: the source".into())?;
    dst.check(device.number(), id, || "copy: the destination".into())?;
    if src.bytes != dst.bytes {
        return Err(Error::invalid(format!(
            "copy: the source has {} bytes and the destination {}; they must be equal",
            src.bytes, dst.bytes
        )));
    }
    if src.overlaps(dst) {
        return Err(Error::invalid(format!(
            "copy: bytes {}..{} and {}..{} of one buffer overlap; copy through a third buffer",
            src.offset,
            src.offset + src.bytes,
            dst.offset,
            dst.offset + dst.bytes,
        )));
    }
    super::edges::copy(device, src, dst, out)
}

fn fill(device: &Device, dst: &Slice, word: u32, out: &mut Lowered) -> Result<()> {
    dst.check(device.number(), &device.info().id, || "fill: the destination".into())?;
    super::edges::fill(device, dst, word, out)
}

pub(super) fn launch(
    device: &Device,
    program: &Program,
    grid: Grid,
    bindings: &[Slice],
    scalars: &[ScalarArg],
    out: &mut Lowered,
) -> Result<()> {
    if program.device() != device.number() {
        return Err(Error::invalid(format!(
            "program {} was loaded by another opened device than {}; load it there",
            program.name(),
            device.info().id
        )));
    }
    let launched = match program.body() {
        Body::Kernel(k) => launch_kernel(device, k, grid, bindings, scalars, out)?,
        Body::Graph(g) => {
            let command = launch_graph(device, g, bindings, scalars, &mut out.keep)?;
            out.commands.push(command);
            true
        }
    };
    if launched {
        out.keep.programs.push(program.clone());
    }
    Ok(())
}

/// `false`: the grid is empty.
fn launch_kernel(
    device: &Device,
    k: &KernelBody,
    grid: Grid,
    slices: &[Slice],
    scalars: &[ScalarArg],
    out: &mut Lowered,
) -> Result<bool> {
    let info = device.info();
    let source = &k.source;
    let who = || format!("kernel {} on {}", source.name, info.id);
    let wrong = |why: String| Err(Error::invalid(format!("{}: {why}", who())));

    // Scalars: as many as declared, each of its type.
    let user = || {
        source.params.iter().filter_map(|p| match p.kind {
            ParamKind::Scalar { elem, role: Role::User } => Some((p, elem)),
            _ => None,
        })
    };
    let declared = user().count();
    if declared != scalars.len() {
        return wrong(format!("{} scalars are given, it takes {}", scalars.len(), signature(source, declared, false)));
    }
    let mut wide = None;
    for ((param, elem), given) in user().zip(scalars) {
        if elem != given.elem() {
            return Err(Error::DTypeMismatch(format!(
                "{}: scalar `{}` is {}, {} was given",
                who(),
                param.name,
                elem.name(),
                given.elem().name()
            )));
        }
        if let ScalarArg::Idx(x) = given
            && *x > u64::from(u32::MAX)
        {
            wide = Some(format!("`{}` = {x}", param.name));
        }
    }

    // Bindings: as many as declared, whole elements, within limits, written ones alone.
    let buffers = source.buffers().count();
    if buffers != slices.len() {
        return wrong(format!("{} buffers are bound, it takes {}", slices.len(), signature(source, buffers, true)));
    }
    let mut bindings = Vec::with_capacity(buffers);
    let mut rests = Vec::with_capacity(buffers);
    for (n, ((id, elem, access), slice)) in source.buffers().zip(slices).enumerate() {
        let param = &source.params[id.at()];
        let name = &param.name;
        slice.check(device.number(), &info.id, || format!("{}: buffer `{name}`", who()))?;
        let size = elem.size() as u64;
        let align = match param.kind {
            ParamKind::Buffer { align, .. } => u64::from(align.max(1)) * size,
            ParamKind::Scalar { .. } => size,
        };
        if !slice.offset.is_multiple_of(align) || !slice.bytes.is_multiple_of(size) {
            return wrong(format!(
                "buffer `{name}`: offset {} and length {} do not fit {}: the offset must be a multiple of {align} bytes and \
                 the length of {size}",
                slice.offset,
                slice.bytes,
                kind_name(&param.kind),
            ));
        }
        if access.writes() {
            let twin = slices.iter().enumerate().find(|(m, s)| *m != n && s.buffer.same(&slice.buffer));
            if let Some((m, _)) = twin {
                let other = source.buffers().nth(m).map_or("?", |(p, ..)| &source.params[p.at()].name);
                return wrong(format!(
                    "buffer `{name}` is written and its memory is also bound as `{other}`; bind another buffer there, or use \
                     a kernel that works in place through one parameter"
                ));
            }
        }
        let (bound, rest) = align_down(slice, info.limits.binding_align);
        if bound.bytes > info.limits.max_binding_bytes {
            return Err(Error::unsupported(
                format!("{}: buffer `{name}` of {} bytes", who(), bound.bytes),
                format!("one binding has at most {} bytes", info.limits.max_binding_bytes),
            ));
        }
        if bound.bytes / size > u64::from(u32::MAX) {
            wide = Some(format!("{} elements in `{name}`", slice.bytes / size));
        }
        out.keep.buffers.push(slice.buffer.clone());
        bindings.push(bound);
        rests.push((rest / size, slice.bytes / size));
    }

    // The grid.
    let Some((groups, linear)) = fold(k, grid, info, &who)? else { return Ok(false) };
    let lanes = groups.iter().zip(source.workgroup).map(|(&g, w)| u128::from(g) * u128::from(w));
    let items: u128 = lanes.product();
    if items > u128::from(u32::MAX) {
        wide = Some(format!("{items} lanes"));
    }

    let variant = match wide {
        Some(why) => k.wide(device, || why.clone())?,
        None => k.narrow(),
    };
    let mut scalars = pack(variant, scalars, &rests, linear);
    if variant.spills {
        bindings.push(spill(device, std::mem::take(&mut scalars), out)?);
    }
    out.commands.push(Command::Launch { program: variant.program, groups, bindings, scalars });
    Ok(true)
}

/// More scalars than the device takes: they are copied into a buffer of this launch's own.
fn spill(device: &Device, mut scalars: Vec<u8>, out: &mut Lowered) -> Result<Range> {
    let align = device.info().limits.copy_align.max(4);
    scalars.resize((scalars.len() as u64).next_multiple_of(align) as usize, 0);
    let bytes = scalars.len() as u64;
    let staged = device.alloc_in(bytes, Memory::Upload)?.all();
    device.raw().host_write(staged.buffer.handle(), 0, &scalars).map_err(|e| device.flight().note(e))?;
    let held = device.alloc_in(bytes, Memory::Device)?.all();
    let (src, dst) = (range(&staged, &mut out.keep), range(&held, &mut out.keep));
    out.commands.push(Command::Copy { src, dst });
    Ok(dst)
}

/// The range that is bound, and the bytes between its start and the slice's. Backends may assume that a range is not
/// empty: an empty slice binds the buffer's first bytes, which checked kernels never touch (its length is 0).
fn align_down(slice: &Slice, align: u64) -> (Range, u64) {
    let buffer = slice.buffer.handle();
    if slice.bytes == 0 {
        return (Range { buffer, offset: 0, bytes: slice.buffer.capacity().min(16) }, 0);
    }
    let rest = slice.offset % align.max(1);
    (Range { buffer, offset: slice.offset - rest, bytes: slice.bytes + rest }, rest)
}

/// Workgroups per dimension, and of the linear grid. `None`: there are none.
fn fold(
    k: &KernelBody,
    grid: Grid,
    info: &crate::DeviceInfo,
    who: &dyn Fn() -> String,
) -> Result<Option<([u32; 3], u64)>> {
    let max = info.limits.max_groups;
    let linear = match grid {
        Grid::Linear(n) => n,
        Grid::Xyz(xyz) if xyz.contains(&0) => 0,
        Grid::Xyz([x, 1, 1]) => u64::from(x),
        Grid::Xyz(xyz) if !k.uses_dims => {
            return Err(Error::invalid(format!(
                "{}: the grid is {xyz:?}, but the kernel looks at dimension 0 only; accepted: Grid::Linear(n), or \
                 Grid::Xyz([n, 1, 1])",
                who()
            )));
        }
        Grid::Xyz(xyz) => {
            return match xyz.iter().zip(max).position(|(&n, max)| n > max) {
                None => Ok(Some((xyz, xyz.iter().map(|&n| u64::from(n)).product()))),
                Some(d) => Err(Error::unsupported(
                    format!("{}: the grid {xyz:?}", who()),
                    format!("dimension {d} has at most {} workgroups", max[d]),
                )),
            };
        }
    };
    if linear == 0 {
        return Ok(None);
    }
    if linear <= u64::from(max[0]) {
        return Ok(Some(([linear as u32, 1, 1], linear)));
    }
    // Rows of equal length, so that few workgroups are left over.
    let rows = linear.div_ceil(u64::from(max[0]));
    if rows > u64::from(max[1]) || !k.narrow().folds {
        let most = if k.narrow().folds { u64::from(max[0]) * u64::from(max[1]) } else { u64::from(max[0]) };
        return Err(Error::unsupported(
            format!("{}: a grid of {linear} workgroups", who()),
            format!("at most {most} are possible"),
        ));
    }
    Ok(Some(([linear.div_ceil(rows) as u32, rows as u32, 1], linear)))
}

fn pack(variant: &Variant, user: &[ScalarArg], rests: &[(u64, u64)], groups: u64) -> Vec<u8> {
    let mut bytes = vec![0; variant.scalar_bytes as usize];
    for &(slot, from) in &variant.scalars {
        let bits = match from {
            Source::User(n) => user[n].bits(),
            Source::High(n) => user[n].bits() >> 32,
            Source::Offset(n) => rests[n].0,
            Source::Len(n) => rests[n].1,
            Source::Groups => groups,
        };
        let at = slot.offset as usize;
        let size = slot.bytes as usize;
        bytes[at..at + size].copy_from_slice(&bits.to_le_bytes()[..size]);
    }
    bytes
}

/// What a kernel takes, for messages: `2 (rows: u32, eps: f32)`.
fn signature(k: &crate::ir::Kernel, count: usize, buffers: bool) -> String {
    let wanted = k.params.iter().filter(|p| match p.kind {
        ParamKind::Buffer { .. } => buffers,
        ParamKind::Scalar { role, .. } => !buffers && role == Role::User,
    });
    let list: Vec<_> = wanted.map(|p| format!("{}: {}", p.name, kind_name(&p.kind))).collect();
    if list.is_empty() { "none".into() } else { format!("{count} ({})", list.join(", ")) }
}

fn launch_graph(
    device: &Device,
    g: &GraphBody,
    slices: &[Slice],
    scalars: &[ScalarArg],
    keep: &mut Keep,
) -> Result<Command> {
    let info = device.info();
    let graph = &g.source;
    let who = || format!("graph {} on {}", graph.name, info.id);
    let wrong = |why: String| Err(Error::invalid(format!("{}: {why}", who())));
    if !scalars.is_empty() {
        return wrong(format!("{} scalars are given, a graph takes none", scalars.len()));
    }
    let inputs = graph.inputs.len();
    let specs: Vec<&TensorSpec> = graph.inputs.iter().chain(graph.outputs.iter().map(|(_, s)| s)).collect();
    let workspace = g.resources.workspace;
    let brings = slices.len() == specs.len() + 1 && workspace > 0;
    if slices.len() != specs.len() && !brings {
        return wrong(format!(
            "{} slices are bound, it takes {inputs} inputs, {} outputs{}",
            slices.len(),
            specs.len() - inputs,
            if workspace > 0 { format!(" and, at choice, {workspace} bytes of workspace") } else { String::new() },
        ));
    }
    let align = info.limits.binding_align.max(1);
    let name = |n: usize| match n {
        n if n < inputs => format!("input {n}"),
        n if n < specs.len() => format!("output {}", n - inputs),
        _ => "the workspace".into(),
    };
    let mut bindings = Vec::with_capacity(specs.len() + 1);
    for (n, slice) in slices.iter().enumerate() {
        slice.check(device.number(), &info.id, || format!("{}: {}", who(), name(n)))?;
        if !slice.offset.is_multiple_of(align) {
            return wrong(format!("{} begins at byte {}; multiples of {align} are accepted", name(n), slice.offset));
        }
        let needs = match specs.get(n) {
            Some(spec) => span_bytes(spec).ok_or_else(|| {
                Error::invalid(format!("{}: {}: strides {:?} leave the binding", who(), name(n), spec.strides))
            })?,
            None => workspace,
        };
        if slice.bytes < needs {
            return wrong(format!("{} has {} bytes, {needs} are needed", name(n), slice.bytes));
        }
        if slice.bytes > info.limits.max_binding_bytes {
            return Err(Error::unsupported(
                format!("{}: {} of {} bytes", who(), name(n), slice.bytes),
                format!("one binding has at most {} bytes", info.limits.max_binding_bytes),
            ));
        }
        let twin = slices.iter().enumerate().find(|(m, s)| n >= inputs && *m != n && s.buffer.same(&slice.buffer));
        if let Some((m, _)) = twin {
            return wrong(format!("{} is written and its memory is also bound as {}", name(n), name(m)));
        }
        keep.buffers.push(slice.buffer.clone());
        bindings.push(align_down(slice, align).0);
    }
    if workspace > 0 && !brings {
        let own = device.alloc_in(workspace, Memory::Device)?.all();
        bindings.push(range(&own, keep));
    }
    Ok(Command::Launch { program: g.program, groups: [1, 1, 1], bindings, scalars: vec![] })
}

/// Bytes from the start of a binding to the end of the tensor's last element; `None` when an element lies before it.
fn span_bytes(spec: &TensorSpec) -> Option<u64> {
    if spec.elements() == 0 {
        return Some(0);
    }
    let mut low = spec.offset as i128;
    let mut high = low;
    for (&n, &stride) in spec.shape.iter().zip(&spec.strides) {
        let reach = (n as i128 - 1) * stride as i128;
        if reach < 0 { low += reach } else { high += reach }
    }
    if low < 0 {
        return None;
    }
    u64::try_from((high + 1) * spec.dtype.size() as i128).ok()
}
