//! Command buffers: what is needed to record commands into one, and how a command is recorded.
//!
//! A slot is used again when its work has ended, its descriptors with it, so that nothing grows with the number of
//! launches. Barriers stand where a command touches what an earlier one wrote, or writes what it read.

use crate::{
    device::{Device, Handle},
    program::Program,
    vk_error::Named,
};
use anychip_hal::{Command, Error, Memory, Range, Result, Span};
use ash::vk::{self, Handle as _};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// Sets of one descriptor pool, and buffers of all of them.
const SETS: u32 = 128;
const DESCRIPTORS: u32 = 1024;

/// A command buffer with everything that its commands hold.
pub struct Slot {
    pool: vk::CommandPool,
    pub buffer: vk::CommandBuffer,
    descriptors: Vec<vk::DescriptorPool>,
    /// Pools before this one are full.
    filling: usize,
    /// Buffers as texels.
    views: Vec<vk::BufferView>,
    queries: Option<(vk::QueryPool, u32)>,
    /// Commands whose time was taken.
    timed: u32,
    handle: Arc<Handle>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let raw = &self.handle.raw;
        // SAFETY: its work has ended: slots are dropped when they are free, or when the device is idle.
        unsafe {
            raw.destroy_command_pool(self.pool, None);
            self.descriptors.iter().for_each(|p| raw.destroy_descriptor_pool(*p, None));
            self.views.iter().for_each(|v| raw.destroy_buffer_view(*v, None));
            if let Some((pool, _)) = self.queries {
                raw.destroy_query_pool(pool, None);
            }
        }
    }
}

// SAFETY (of all calls below): the device is open as long as the slot lives, whoever holds the slot mutably is its only
// user, and the structures live until the calls return.
impl Slot {
    pub fn new(handle: &Arc<Handle>, family: u32) -> Result<Slot> {
        let (raw, id) = (&handle.raw, handle.id.as_str());
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(family);
        let pool = unsafe { raw.create_command_pool(&info, None) }.named(id, "vkCreateCommandPool")?;
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        let got = unsafe { raw.allocate_command_buffers(&info) }.named(id, "vkAllocateCommandBuffers");
        match got.map(|b| b.first().copied()) {
            Ok(Some(buffer)) => Ok(Slot {
                pool,
                buffer,
                descriptors: vec![],
                filling: 0,
                views: vec![],
                queries: None,
                timed: 0,
                handle: handle.clone(),
            }),
            other => {
                unsafe { raw.destroy_command_pool(pool, None) };
                Err(other.err().unwrap_or_else(|| Error::invalid(format!("{id}: no command buffer was given"))))
            }
        }
    }

    /// Empties it.
    fn reset(&mut self) -> Result<()> {
        let (raw, id) = (&self.handle.raw, self.handle.id.as_str());
        unsafe { raw.reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty()) }
            .named(id, "vkResetCommandPool")?;
        for p in self.descriptors.iter().take(self.filling + 1) {
            unsafe { raw.reset_descriptor_pool(*p, vk::DescriptorPoolResetFlags::empty()) }
                .named(id, "vkResetDescriptorPool")?;
        }
        self.views.drain(..).for_each(|v| unsafe { raw.destroy_buffer_view(v, None) });
        (self.filling, self.timed) = (0, 0);
        Ok(())
    }

    /// A set of descriptors of these buffers that lives until the next reset.
    fn set_of(&mut self, program: &Program, buffers: &[vk::DescriptorBufferInfo]) -> Result<vk::DescriptorSet> {
        let set = self.set(program.layout.set)?;
        let first = self.views.len();
        for t in &program.texels {
            let view = self.view(&buffers[t.buffer as usize], t.bytes)?;
            self.views.push(view);
        }
        // One write goes on through the following bindings of the same sort.
        let write =
            |ty, at: usize| vk::WriteDescriptorSet::default().dst_set(set).dst_binding(at as u32).descriptor_type(ty);
        let storage = write(vk::DescriptorType::STORAGE_BUFFER, 0).buffer_info(buffers);
        let views = &self.views[first..];
        let texels = write(vk::DescriptorType::UNIFORM_TEXEL_BUFFER, buffers.len()).texel_buffer_view(views);
        let all = [storage, texels];
        unsafe { self.handle.raw.update_descriptor_sets(&all[..if views.is_empty() { 1 } else { 2 }], &[]) };
        Ok(set)
    }

    /// A part of a buffer as texels of so many bytes.
    fn view(&self, part: &vk::DescriptorBufferInfo, bytes: u32) -> Result<vk::BufferView> {
        let info =
            vk::BufferViewCreateInfo::default().buffer(part.buffer).offset(part.offset).range(part.range).format(
                match bytes {
                    4 => vk::Format::R32_UINT,
                    8 => vk::Format::R32G32_UINT,
                    _ => vk::Format::R32G32B32A32_UINT,
                },
            );
        unsafe { self.handle.raw.create_buffer_view(&info, None) }.named(&self.handle.id, "vkCreateBufferView")
    }

    /// A set of descriptors that lives until the next reset.
    fn set(&mut self, layout: vk::DescriptorSetLayout) -> Result<vk::DescriptorSet> {
        let (raw, id) = (&self.handle.raw, self.handle.id.as_str());
        let layouts = [layout];
        loop {
            let fresh = self.filling == self.descriptors.len();
            if fresh {
                let sizes = [vk::DescriptorType::STORAGE_BUFFER, vk::DescriptorType::UNIFORM_TEXEL_BUFFER]
                    .map(|ty| vk::DescriptorPoolSize::default().ty(ty).descriptor_count(DESCRIPTORS));
                let info = vk::DescriptorPoolCreateInfo::default().max_sets(SETS).pool_sizes(&sizes);
                let pool = unsafe { raw.create_descriptor_pool(&info, None) }.named(id, "vkCreateDescriptorPool")?;
                self.descriptors.push(pool);
            }
            let info = vk::DescriptorSetAllocateInfo::default()
                .descriptor_pool(self.descriptors[self.filling])
                .set_layouts(&layouts);
            match unsafe { raw.allocate_descriptor_sets(&info) } {
                Ok(sets) if !sets.is_empty() => return Ok(sets[0]),
                Err(vk::Result::ERROR_OUT_OF_POOL_MEMORY | vk::Result::ERROR_FRAGMENTED_POOL) if !fresh => {
                    self.filling += 1;
                }
                other => {
                    other.named(id, "vkAllocateDescriptorSets")?;
                    return Err(Error::invalid(format!("{id}: no descriptor set was given")));
                }
            }
        }
    }

    /// Makes room for the times of so many commands.
    fn timers(&mut self, commands: u32) -> Result<vk::QueryPool> {
        let (raw, id) = (&self.handle.raw, self.handle.id.as_str());
        if let Some((pool, room)) = self.queries {
            if room >= 2 * commands {
                return Ok(pool);
            }
            unsafe { raw.destroy_query_pool(pool, None) };
            self.queries = None;
        }
        let room = (2 * commands).next_power_of_two().max(64);
        let info = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(room);
        let pool = unsafe { raw.create_query_pool(&info, None) }.named(id, "vkCreateQueryPool")?;
        self.queries = Some((pool, room));
        Ok(pool)
    }

    /// The times of the commands, once they have ended.
    pub fn spans(&self, (bits, period): (u32, f32)) -> Result<Vec<Span>> {
        let Some((pool, _)) = self.queries.filter(|_| self.timed > 0) else { return Ok(vec![]) };
        let mut ticks = vec![0u64; 2 * self.timed as usize];
        unsafe { self.handle.raw.get_query_pool_results(pool, 0, &mut ticks, vk::QueryResultFlags::TYPE_64) }
            .named(&self.handle.id, "vkGetQueryPoolResults")?;
        let mask = u64::MAX >> (64 - bits.clamp(1, 64));
        let time = |t: u64| ((t & mask) as f64 * f64::from(period)) as u64;
        Ok(ticks.chunks_exact(2).map(|t| Span { begin: time(t[0]), end: time(t[1]).max(time(t[0])) }).collect())
    }
}

/// What a recording is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// One submission.
    Once,
    /// One submission that takes times.
    Timed,
    /// Many submissions, one after another.
    Again,
}

type Stage = vk::PipelineStageFlags;
type Access = vk::AccessFlags;

/// Buffers that were touched since the last barrier: true for those that were written.
#[derive(Default)]
struct Touched(HashMap<u64, bool>);

impl Touched {
    /// Must a command that reads and writes these wait for those before it?
    fn hazard(&self, command: &[(u64, bool)]) -> bool {
        command.iter().any(|(b, write)| self.0.get(b).is_some_and(|written| *written || *write))
    }

    fn add(&mut self, command: &[(u64, bool)]) {
        for (b, write) in command {
            *self.0.entry(*b).or_default() |= *write;
        }
    }
}

impl Device {
    /// Records commands. After an error the slot is as good as new.
    pub(crate) fn put(&self, slot: &mut Slot, commands: &[Command], use_: Use) -> Result<()> {
        let (raw, id) = (&self.handle.raw, self.info.id.as_str());
        slot.reset()?;
        let flags = match use_ {
            Use::Once | Use::Timed => vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT,
            Use::Again => vk::CommandBufferUsageFlags::empty(),
        };
        let buffer = slot.buffer;
        unsafe { raw.begin_command_buffer(buffer, &vk::CommandBufferBeginInfo::default().flags(flags)) }
            .named(id, "vkBeginCommandBuffer")?;
        let timers = match use_ {
            Use::Timed => {
                let n = u32::try_from(commands.len()).unwrap_or(u32::MAX / 4);
                let pool = slot.timers(n)?;
                unsafe { raw.cmd_reset_query_pool(buffer, pool, 0, 2 * n) };
                Some(pool)
            }
            _ => None,
        };
        let barrier = || {
            let all = vk::MemoryBarrier::default()
                .src_access_mask(Access::SHADER_WRITE | Access::TRANSFER_WRITE)
                .dst_access_mask(
                    Access::SHADER_READ | Access::SHADER_WRITE | Access::TRANSFER_READ | Access::TRANSFER_WRITE,
                );
            let stages = Stage::COMPUTE_SHADER | Stage::TRANSFER;
            unsafe {
                raw.cmd_pipeline_barrier(buffer, stages, stages, vk::DependencyFlags::empty(), &[all], &[], &[]);
            }
        };
        // What earlier submissions of the queue wrote.
        barrier();
        let mut touched = Touched::default();
        let mut command_touches = vec![];
        let mut bound = Bound::default();
        let mut to_host = false;
        for (n, command) in commands.iter().enumerate() {
            command_touches.clear();
            let mut touches = |r: &Range, write: bool| command_touches.push((r.buffer.0, write));
            let step = match command {
                Command::Copy { src, dst } => {
                    if src.bytes != dst.bytes {
                        return Err(Error::invalid(format!("{id}: copy of {} bytes to {}", src.bytes, dst.bytes)));
                    }
                    let (from, to) = (self.range(src)?, self.range(dst)?);
                    touches(src, false);
                    touches(dst, true);
                    to_host |= to.memory == Memory::Readback;
                    Step::Copy(
                        from.raw,
                        to.raw,
                        vk::BufferCopy { src_offset: src.offset, dst_offset: dst.offset, size: src.bytes },
                    )
                }
                Command::Fill { dst, word } => {
                    let to = self.range(dst)?;
                    touches(dst, true);
                    to_host |= to.memory == Memory::Readback;
                    Step::Fill(to.raw, dst.offset, dst.bytes, *word)
                }
                Command::Launch { program, groups, bindings, scalars } => {
                    let program = self.program(*program)?;
                    let buffers = self.bindings(&program, bindings, scalars)?;
                    for (r, write) in bindings.iter().zip(&program.writes) {
                        touches(r, *write);
                        to_host |= *write && self.range(r)?.memory == Memory::Readback;
                    }
                    Step::Launch(program, *groups, buffers, scalars)
                }
            };
            // With times, commands do not overlap: each has its own.
            if touched.hazard(&command_touches) || timers.is_some() && n > 0 {
                barrier();
                touched.0.clear();
            }
            touched.add(&command_touches);
            if let Some(pool) = timers {
                // At the bottom: when everything before has ended.
                unsafe { raw.cmd_write_timestamp(buffer, Stage::BOTTOM_OF_PIPE, pool, 2 * n as u32) };
            }
            self.step(slot, &mut bound, step)?;
            if let Some(pool) = timers {
                unsafe { raw.cmd_write_timestamp(buffer, Stage::BOTTOM_OF_PIPE, pool, 2 * n as u32 + 1) };
                slot.timed = n as u32 + 1;
            }
        }
        if to_host {
            let seen = vk::MemoryBarrier::default()
                .src_access_mask(Access::SHADER_WRITE | Access::TRANSFER_WRITE)
                .dst_access_mask(Access::HOST_READ);
            let stages = Stage::COMPUTE_SHADER | Stage::TRANSFER;
            unsafe {
                raw.cmd_pipeline_barrier(buffer, stages, Stage::HOST, vk::DependencyFlags::empty(), &[seen], &[], &[]);
            }
        }
        unsafe { raw.end_command_buffer(buffer) }.named(id, "vkEndCommandBuffer")
    }

    /// The buffers of a launch as descriptors name them.
    fn bindings(&self, program: &Program, bindings: &[Range], scalars: &[u8]) -> Result<Vec<vk::DescriptorBufferInfo>> {
        if bindings.len() != program.writes.len() || scalars.len() != program.scalars {
            return Err(Error::invalid(format!(
                "{}: kernel {} takes {} buffers and {} bytes of scalars, got {} and {}",
                self.info.id,
                program.name,
                program.writes.len(),
                program.scalars,
                bindings.len(),
                scalars.len()
            )));
        }
        let describe = |r: &Range| {
            let b = self.range(r)?;
            // Whole texels, so that an array of bytes may be read by them; buffers are made of such.
            let range = r.bytes.next_multiple_of(16).min(b.bytes - r.offset);
            Ok(vk::DescriptorBufferInfo::default().buffer(b.raw).offset(r.offset).range(range))
        };
        bindings.iter().map(describe).collect()
    }

    fn step(&self, slot: &mut Slot, bound: &mut Bound, step: Step<'_>) -> Result<()> {
        let raw = &self.handle.raw;
        let buffer = slot.buffer;
        match step {
            Step::Copy(from, to, region) => unsafe { raw.cmd_copy_buffer(buffer, from, to, &[region]) },
            Step::Fill(to, offset, bytes, word) => unsafe { raw.cmd_fill_buffer(buffer, to, offset, bytes, word) },
            Step::Launch(program, groups, buffers, scalars) => {
                const COMPUTE: vk::PipelineBindPoint = vk::PipelineBindPoint::COMPUTE;
                let layout = program.layout.pipeline;
                if bound.pipeline != program.pipeline {
                    unsafe { raw.cmd_bind_pipeline(buffer, COMPUTE, program.pipeline) };
                    bound.pipeline = program.pipeline;
                }
                if !buffers.is_empty() {
                    let names = buffers.iter().flat_map(|b| [b.buffer.as_raw(), b.offset, b.range]);
                    let names =
                        names.chain(program.texels.iter().map(|t| u64::from(t.buffer) << 8 | u64::from(t.bytes)));
                    let names = names.chain([program.layout.set.as_raw()]).collect();
                    let set = match bound.sets.entry(names) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(new) => {
                            let set = slot.set_of(&program, &buffers)?;
                            *new.insert(set)
                        }
                    };
                    if bound.set != set {
                        unsafe { raw.cmd_bind_descriptor_sets(buffer, COMPUTE, layout, 0, &[set], &[]) };
                        bound.set = set;
                    }
                }
                // All layouts have the same range of them: what was pushed stays over a change of the pipeline.
                let same = bound.scalars.len() >= program.push
                    && bound.scalars.get(..scalars.len()) == Some(scalars)
                    && bound.scalars[scalars.len()..program.push].iter().all(|b| *b == 0);
                if !same {
                    bound.scalars.clear();
                    bound.scalars.extend_from_slice(scalars);
                    bound.scalars.resize(program.push, 0);
                    let all = vk::ShaderStageFlags::COMPUTE;
                    unsafe { raw.cmd_push_constants(buffer, layout, all, 0, &bound.scalars) };
                }
                unsafe { raw.cmd_dispatch(buffer, groups[0], groups[1], groups[2]) };
            }
        }
        Ok(())
    }
}

/// A command, checked.
enum Step<'a> {
    Copy(vk::Buffer, vk::Buffer, vk::BufferCopy),
    Fill(vk::Buffer, u64, u64, u32),
    Launch(Arc<Program>, [u32; 3], Vec<vk::DescriptorBufferInfo>, &'a [u8]),
}

/// What the command buffer is set to, the sets that it has by their buffers, and room for the words of scalars.
#[derive(Default)]
struct Bound {
    pipeline: vk::Pipeline,
    set: vk::DescriptorSet,
    /// By their buffers and layout.
    sets: HashMap<Vec<u64>, vk::DescriptorSet>,
    scalars: Vec<u8>,
}
