//! Convolution: the windows of an image meet the packed filters without being laid out as a matrix.
//!
//! A task copies a stripe of the image once, padded and, for strides above 1, divided into its phases, so that the windows of
//! neighbouring places are neighbours in memory: a window's element is then an offset, and places are one long row. Rows share
//! the zeros between them; what a tile computes for places between rows is dropped. The stripe stays in L2, a block of filters in L1.

use super::kernel::MAX_ROWS;
use super::matmul::{Epilogue, for_each};
use super::pack::Shared;
use super::scratch::{self, Aligned};
use super::slide::Slide;
use super::view::{Element, LinalgError, Matrices, MatricesMut, Tile};
use crate::{team::Team, vmath::Level};
use std::ops::Range;

/// Elements of a stripe: 512 KiB, a quarter of a 2 MiB L2.
const STRIPE: usize = 128 << 10;
/// Widest stripe, in places: beyond, one long row is cut.
const WIDEST: usize = 2048;
/// Most steps of a chain of filters that stay in L1 with eight rows: 24 KiB.
const STEPS: usize = 768;
/// Places from which on a task takes a single image.
const PLACES: usize = 384;
/// Multiply-adds that are worth a task of their own (about 3 µs on one core).
const TASK: usize = 1 << 18;

/// What is convolved with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Input channels of a group.
    pub channels: usize,
    /// Output channels of a group.
    pub filters: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Height and width of a filter.
    pub kernel: [usize; 2],
    /// Places of the input from one window to the next.
    pub stride: [usize; 2],
    /// Places from an element of a window to its next.
    pub dilation: [usize; 2],
    /// Zeros in front of the input.
    pub before: [usize; 2],
}

impl ConvShape {
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
    fn depth(&self) -> usize {
        self.channels * self.taps()
    }
}

/// Filters packed once: per group, blocks of as many filters as the register tile has rows, side by side for every step.
pub struct PackedFilters {
    slide: &'static Slide,
    shape: ConvShape,
    buffer: Aligned,
}

impl PackedFilters {
    /// Packs `w` of shape `[groups · filters, channels, kernel height, kernel width]` for a level.
    ///
    /// # Errors
    /// [`LinalgError::Shape`] when that is not its shape.
    pub fn new<T: Element>(level: Level, shape: ConvShape, w: &Matrices<'_, T>) -> Result<PackedFilters, LinalgError> {
        let wanted = [shape.groups * shape.filters, shape.channels, shape.kernel[0], shape.kernel[1]];
        if w.shape() != wanted {
            return Err(LinalgError::Shape { operand: "filters", found: w.shape(), wanted });
        }
        let slide = Slide::of(level);
        let (rows, depth) = (slide.rows, shape.depth());
        let blocks = shape.filters.div_ceil(rows);
        let mut buffer = Aligned::with_len(shape.groups * blocks * depth * rows);
        for filter in 0..wanted[0] {
            let (group, within) = (filter / shape.filters, filter % shape.filters);
            let first = (group * blocks + within / rows) * depth * rows + within % rows;
            for c in 0..wanted[1] {
                for i in 0..wanted[2] {
                    for j in 0..wanted[3] {
                        let step = (c * wanted[2] + i) * wanted[3] + j;
                        // SAFETY: the index is inside the shape of the view; the place is inside the block of the buffer.
                        unsafe { *buffer.as_mut_ptr().add(first + step * rows) = (*w.at([filter, c, i, j])).to_f32() };
                    }
                }
            }
        }
        Ok(PackedFilters { slide, shape, buffer })
    }
}

/// The distances of a filter's elements within the phases of one axis.
struct Phases {
    /// Which phases are read, ascending.
    used: Vec<usize>,
    /// Per element of the filter: which of them, and how far in it.
    at: Vec<(usize, usize)>,
    /// The farthest.
    far: usize,
}

impl Phases {
    fn new(kernel: usize, stride: usize, dilation: usize) -> Phases {
        let mut used: Vec<usize> = (0..kernel).map(|i| i * dilation % stride).collect();
        used.sort_unstable();
        used.dedup();
        let at = |i: usize| {
            let phase = i * dilation % stride;
            (used.partition_point(|&p| p < phase), i * dilation / stride)
        };
        let at: Vec<(usize, usize)> = (0..kernel).map(at).collect();
        let far = at.iter().map(|a| a.1).max().unwrap_or(0);
        Phases { used, at, far }
    }
}

/// How a stripe lies in scratch: `[channel][phase of rows][phase of columns][image][row][column]`.
struct Layout {
    rows: usize,
    cols: usize,
    /// From a row to the next, from an image to the next, from a phase to the next, from a channel to the next.
    pitch: usize,
    image: usize,
    plane: usize,
    channel: usize,
    /// Copied rows of an image.
    height: usize,
    /// Places from the first to the last of the stripe.
    places: usize,
}

impl Layout {
    fn new(s: &ConvShape, [y, x]: [&Phases; 2], images: usize, rows: usize, cols: usize) -> Layout {
        let pitch = if s.stride[1] == 1 && cols == s.output[1] {
            // Zeros behind a row are those in front of the next, as far as both are there.
            let reach = s.output[1] + (s.kernel[1] - 1) * s.dilation[1];
            let behind = reach.saturating_sub(s.before[1] + s.input[1]);
            (s.input[1] + s.before[1].max(behind)).max(cols)
        } else {
            cols + x.far
        };
        let height = rows + y.far;
        let image = height * pitch;
        let plane = images * image;
        let channel = plane * y.used.len() * x.used.len();
        let places = (images - 1) * image + (rows - 1) * pitch + cols;
        Layout { rows, cols, pitch, image, plane, channel, height, places }
    }
    fn elements(&self, s: &ConvShape) -> usize {
        s.channels * self.channel
    }
}

/// What all tasks of a call share.
struct Problem<'a, T> {
    s: ConvShape,
    x: &'a Matrices<'a, T>,
    w: &'a PackedFilters,
    phases: [Phases; 2],
    /// The output, and from image to image and from channel to channel; `None`: the epilogue stores.
    out: Option<(Shared, [usize; 2])>,
    epilogue: Option<Epilogue<'a>>,
}

// SAFETY: `out` is written by each task in its own images, channels and places; all else is read only.
unsafe impl<T: Sync> Sync for Problem<'_, T> {}

/// A task: images, a group, blocks of its filters, and a rectangle of the output.
struct Task {
    images: Range<usize>,
    group: usize,
    blocks: Range<usize>,
    rows: Range<usize>,
    cols: Range<usize>,
}

/// Convolves `x` of shape `[batch, groups · channels, height, width]`, then `epilogue` on the result, whose tiles have
/// `[0, image]` as their batch, output channels as rows and places, row-major, as columns. The result goes to `out` of shape
/// `[1, batch, groups · filters, places]`; without one, tiles lie in scratch and the epilogue carries them away. Sums are f32, each
/// one chain of multiply-adds over channel, row and column of the filter, whatever the number of threads.
///
/// # Errors
/// [`LinalgError::Shape`] when an operand does not fit.
pub fn convolve<T: Element>(
    x: &Matrices<'_, T>,
    w: &PackedFilters,
    out: Option<&mut MatricesMut<'_, f32>>,
    epilogue: Option<Epilogue<'_>>,
) -> Result<(), LinalgError> {
    let s = w.shape;
    let wanted = [s.batch, s.groups * s.channels, s.input[0], s.input[1]];
    if x.shape() != wanted {
        return Err(LinalgError::Shape { operand: "input", found: x.shape(), wanted });
    }
    let wanted = [1, s.batch, s.groups * s.filters, s.output[0] * s.output[1]];
    if let Some(o) = &out
        && o.shape() != wanted
    {
        return Err(LinalgError::Shape { operand: "output", found: o.shape(), wanted });
    }
    if wanted.contains(&0) {
        return Ok(());
    }
    let out = out.map(|o| (Shared::new(o.as_mut_ptr()), [o.strides()[1], o.strides()[2]]));
    let phases = [0, 1].map(|a| Phases::new(s.kernel[a], s.stride[a], s.dilation[a]));
    let p = Problem { s, x, w, phases, out, epilogue };
    let blocks = s.filters.div_ceil(w.slide.rows);
    let [images, rows, cols, parts] = p.cut(blocks);
    let (down, across) = (s.output[0].div_ceil(rows), s.output[1].div_ceil(cols));
    let units = s.batch.div_ceil(images) * s.groups * parts * down * across;
    let work = s.batch * s.groups * s.filters * s.output[0] * s.output[1] * s.depth();
    // Depthwise, a unit is one channel of one image: several of them are worth a task.
    let together = (TASK / (work / units).max(1)).clamp(1, units.div_ceil(4 * Team::current().threads()));
    for_each(units.div_ceil(together), work, |task| {
        for unit in task * together..units.min((task + 1) * together) {
            let (rest, col) = (unit / across, unit % across);
            let (rest, row) = (rest / down, rest % down);
            let (rest, part) = (rest / parts, rest % parts);
            let (set, group) = (rest / s.groups, rest % s.groups);
            p.run(&Task {
                images: set * images..s.batch.min((set + 1) * images),
                group,
                blocks: part * blocks / parts..(part + 1) * blocks / parts,
                rows: row * rows..s.output[0].min((row + 1) * rows),
                cols: col * cols..s.output[1].min((col + 1) * cols),
            });
        }
    });
    Ok(())
}

impl<T: Element> Problem<'_, T> {
    /// Images, rows and columns of a stripe, and into how many parts the filters are divided.
    fn cut(&self, blocks: usize) -> [usize; 4] {
        let s = &self.s;
        let phases = [&self.phases[0], &self.phases[1]];
        let size = |images, rows, cols| Layout::new(s, phases, images, rows, cols).elements(s);
        let wanted = 4 * Team::current().threads();
        let [height, width] = s.output;
        let mut cols = width.div_ceil(width.div_ceil(WIDEST));
        while size(1, 1, cols) > 2 * STRIPE && cols > 96 {
            cols = cols.div_ceil(2);
        }
        let across = width.div_ceil(cols);
        let mut down = 1;
        // No shorter than four rows, which a filter's height would make mostly copies.
        let short = |down: usize| height.div_ceil(down + 1) < 4.min(height);
        while size(1, height.div_ceil(down), cols) > STRIPE && height.div_ceil(down) > 1 {
            down += 1;
        }
        while s.batch * s.groups * down * across < wanted && !short(down) {
            down += 1;
        }
        let rows = height.div_ceil(down);
        let mut images = 1;
        if down == 1 && across == 1 {
            let most = (s.batch * s.groups).div_ceil(wanted).min(s.batch);
            let one = Layout::new(s, phases, 1, rows, cols);
            images = (PLACES / one.image.max(1)).min(STRIPE / one.elements(s).max(1)).clamp(1, most.max(1));
        }
        let units = s.batch.div_ceil(images) * s.groups * height.div_ceil(rows) * across;
        [images, rows, cols, (wanted / 2).div_ceil(units).min(blocks)]
    }

    fn run(&self, t: &Task) {
        let s = &self.s;
        let slide = self.w.slide;
        let l = Layout::new(s, [&self.phases[0], &self.phases[1]], t.images.len(), t.rows.len(), t.cols.len());
        // Vectors reach beyond the last place, and a last row beyond its end into the zeros of a next one.
        let slack = slide.lanes * slide.vectors + l.pitch + self.phases[1].far;
        let ldc = l.places.next_multiple_of(slide.lanes);
        let offsets = self.offsets(&l);
        let (taps, depth) = (s.taps(), s.depth());
        let channels = (STEPS / taps).clamp(1, s.channels);
        let whole = channels == s.channels;
        let all_blocks = s.filters.div_ceil(slide.rows);
        let held = if whole { 1 } else { t.blocks.len() };
        scratch::with(l.elements(s) + slack, |image| {
            self.copy(image.as_mut_ptr(), slack, &l, t);
            let b = image.as_ptr();
            scratch::with(held * slide.rows * ldc, |sums| {
                for c0 in (0..s.channels).step_by(channels) {
                    let steps = channels.min(s.channels - c0) * taps;
                    for block in t.blocks.clone() {
                        let rows = slide.rows.min(s.filters - block * slide.rows);
                        let at = ((t.group * all_blocks + block) * depth + c0 * taps) * slide.rows;
                        let a = self.w.buffer.as_ptr().wrapping_add(at);
                        let slot = if whole { 0 } else { block - t.blocks.start };
                        let c = sums.as_mut_ptr().wrapping_add(slot * slide.rows * ldc);
                        for j in (0..l.places).step_by(slide.lanes * slide.vectors) {
                            let vectors = (l.places - j).div_ceil(slide.lanes).min(slide.vectors);
                            // SAFETY: A has `depth` steps of `slide.rows`; offsets of this stripe and `j` with whole vectors
                            // stay inside the copy and its slack; `c` has rows of `ldc`, whole vectors.
                            unsafe {
                                slide.tile(
                                    (rows, vectors),
                                    steps,
                                    (a, slide.rows),
                                    (b.wrapping_add(j), offsets.as_ptr().wrapping_add(c0 * taps)),
                                    (c.wrapping_add(j), ldc),
                                    c0 > 0,
                                );
                            }
                        }
                        if c0 + channels >= s.channels {
                            self.store((c, ldc), block * slide.rows..block * slide.rows + rows, &l, t);
                        }
                    }
                }
            });
        });
    }

    /// Where each step's row of places begins.
    fn offsets(&self, l: &Layout) -> Vec<usize> {
        let [y, x] = &self.phases;
        let mut offsets = Vec::with_capacity(self.s.depth());
        for c in 0..self.s.channels {
            for &(py, qy) in &y.at {
                for &(px, qx) in &x.at {
                    offsets.push(c * l.channel + (py * x.used.len() + px) * l.plane + qy * l.pitch + qx);
                }
            }
        }
        offsets
    }

    /// The padded stripe, its phases apart; `to` has room for it and the slack, which becomes zeros.
    fn copy(&self, to: *mut f32, slack: usize, l: &Layout, t: &Task) {
        let s = &self.s;
        let [height, width] = s.input;
        let mut row = to;
        let mut put = |phase: usize, channel: usize, image: usize, y: usize| {
            // Column e of this row is column (first + e)·stride + phase of the padded input.
            let start = t.cols.start * s.stride[1] + phase;
            let reaches = |x: usize| x.saturating_sub(start).div_ceil(s.stride[1]).min(l.pitch);
            let inside = y.checked_sub(s.before[0]).filter(|&y| y < height);
            let (from, end) = match inside {
                Some(_) => (reaches(s.before[1]), reaches(s.before[1] + width)),
                None => (l.pitch, l.pitch),
            };
            // SAFETY: `row` has `pitch` elements; columns from..end are columns of the input, as `reaches` solves for.
            unsafe {
                std::ptr::write_bytes(row, 0, from);
                if let Some(y) = inside
                    && from < end
                {
                    let x = start + from * s.stride[1] - s.before[1];
                    let src = self.x.at([image, t.group * s.channels + channel, y, x]);
                    let step = self.x.strides()[3] * s.stride[1];
                    let dst = row.add(from);
                    if step == 1 && T::IS_F32 {
                        std::ptr::copy_nonoverlapping(src.cast::<f32>(), dst, end - from);
                    } else {
                        for e in 0..end - from {
                            *dst.add(e) = (*src.add(e * step)).to_f32();
                        }
                    }
                }
                std::ptr::write_bytes(row.add(end), 0, l.pitch - end);
            }
            row = row.wrapping_add(l.pitch);
        };
        for channel in 0..s.channels {
            for &py in &self.phases[0].used {
                for &px in &self.phases[1].used {
                    for image in t.images.clone() {
                        for q in 0..l.height {
                            put(px, channel, image, (t.rows.start + q) * s.stride[0] + py);
                        }
                    }
                }
            }
        }
        // SAFETY: behind the last row, the slack.
        unsafe { std::ptr::write_bytes(row, 0, slack) };
    }

    /// Finished sums of some filters: the places that exist are gathered, and the epilogue runs on them.
    fn store(&self, (c, ldc): (*const f32, usize), filters: Range<usize>, l: &Layout, t: &Task) {
        let width = self.s.output[1];
        let channel = t.group * self.s.filters + filters.start;
        let n = filters.len();
        debug_assert!(n <= MAX_ROWS);
        // Whole rows of the output are adjacent places; parts of rows are tiles of their own.
        let whole = l.cols == width;
        let tiles = if whole { 1 } else { l.rows };
        let (tile_rows, tile_cols) = (l.rows / tiles, l.rows / tiles * l.cols);
        let emit = |image: usize, tile: usize, to: *mut f32, stride: usize| {
            let first = (image - t.images.start) * l.image + tile * tile_rows * l.pitch;
            for i in 0..n {
                for r in 0..tile_rows {
                    // SAFETY: the sums have these places; the target has `n` rows of the tile's columns, this task's own.
                    unsafe {
                        let from = c.add(i * ldc + first + r * l.pitch);
                        std::ptr::copy_nonoverlapping(from, to.add(i * stride + r * l.cols), l.cols);
                    }
                }
            }
            if let Some(epilogue) = self.epilogue {
                let place = (t.rows.start + tile * tile_rows) * width + t.cols.start;
                // SAFETY: as above: written just now, and touched by this thread alone.
                epilogue(&mut unsafe { Tile::new([0, image], (channel, place), (n, tile_cols), to, stride) });
            }
        };
        for image in t.images.clone() {
            for tile in 0..tiles {
                match self.out {
                    Some((out, [images, channels])) => {
                        let place = (t.rows.start + tile * tile_rows) * width + t.cols.start;
                        emit(
                            image,
                            tile,
                            out.get().wrapping_add(image * images + channel * channels + place),
                            channels,
                        );
                    }
                    None => scratch::with(n * tile_cols, |s| emit(image, tile, s.as_mut_ptr(), tile_cols)),
                }
            }
        }
    }
}
