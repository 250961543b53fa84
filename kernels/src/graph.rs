//! The lazy graph: nodes are made by operations, hash-consed, and know no chip.
//!
//! A node is pending (an operation on other nodes), a leaf with bytes on the host, or realised on a device. Realising drops
//! the history. Making a node checks shapes and types and computes nothing.

mod infer;

pub use infer::op_name;

use crate::shape::{Strided, elements, window_shape};
use anychip_hal::{
    DType, Error, Result,
    device::{Buffer, Device, Pending},
    op::Op,
};
use infer::{check_rank, infer};
use rustc_hash::{FxHashMap, FxHasher};
use std::{
    hash::{Hash, Hasher},
    ops::Deref,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes on the host that outlive the node: a vector, or a memory-mapped file.
pub type Bytes = Arc<dyn Deref<Target = [u8]> + Send + Sync>;

/// A leaf's bytes, row-major and dense.
#[derive(Clone)]
pub struct Host {
    bytes: Bytes,
    offset: usize,
    len: usize,
}

impl Host {
    /// All of some bytes.
    pub fn new(bytes: impl Deref<Target = [u8]> + Send + Sync + 'static) -> Host {
        let len = bytes.len();
        Host { bytes: Arc::new(bytes), offset: 0, len }
    }
    /// A part of shared bytes, e.g. one tensor of a mapped file. `None` when it lies outside.
    pub fn part(bytes: Bytes, offset: usize, len: usize) -> Option<Host> {
        let end = offset.checked_add(len)?;
        (end <= bytes.len()).then_some(Host { bytes, offset, len })
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.offset..self.offset + self.len]
    }
}

/// The same elements seen under other indices; no bytes move.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum View {
    /// Another shape, the same row-major order.
    Reshape(Vec<usize>),
    /// New axis i is old axis `order[i]`.
    Permute(Vec<usize>),
    /// Repeats axes of extent 1; new axes in front.
    Expand(Vec<usize>),
    /// Elements start, start+step, … along each axis, `len` of them; a step may be negative.
    Slice {
        /// First element per axis.
        start: Vec<usize>,
        /// Step per axis, not zero.
        step: Vec<isize>,
        /// Elements per axis.
        len: Vec<usize>,
    },
    /// Stretches of an axis, which may overlap: the axis counts them, and a new last axis goes along each.
    Window {
        /// The axis.
        axis: usize,
        /// Elements of a stretch.
        size: usize,
        /// From the first element of a stretch to the first of the next.
        step: usize,
        /// From an element of a stretch to its next.
        dilation: usize,
    },
}

impl View {
    /// The view of a strided value; `None` when it needs a copy.
    pub fn of(&self, s: &Strided) -> Option<Strided> {
        match self {
            View::Reshape(to) => s.reshape(to),
            View::Permute(order) => Some(s.permute(order)),
            View::Expand(to) => Some(s.expand(to)),
            View::Slice { start, step, len } => Some(s.slice(start, step, len)),
            View::Window { axis, size, step, dilation } => s.window(*axis, *size, *step, *dilation),
        }
    }
}

/// What a node is made from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An operation on other nodes.
    Op(Op, Vec<Node>),
    /// A view of another node.
    View(View, Node),
}

/// A value on a device, row-major and dense from the buffer's first byte.
#[derive(Clone)]
pub struct Placed {
    /// The device.
    pub device: Device,
    /// The buffer.
    pub buffer: Buffer,
    /// The work that writes it, and the work that wrote what that read, as far as it was not complete: when any of it fails,
    /// the buffer holds no value.
    pub work: Arc<[Arc<Pending>]>,
}

impl Placed {
    /// A value that is there.
    pub fn ready(device: &Device, buffer: Buffer) -> Placed {
        Placed { device: device.clone(), buffer, work: Arc::new([]) }
    }

    /// What the work failed with, if that is known by now.
    pub fn failure(&self) -> Option<Error> {
        self.work.iter().find_map(|w| w.poll().and_then(Result::err))
    }

    /// Waits for the work.
    pub fn wait(&self) -> Result<()> {
        self.work.iter().try_for_each(|w| w.wait())
    }
}

/// What is known of a node's value.
#[derive(Default)]
pub(crate) struct State {
    /// The operands of a pending node; gone once it is realised.
    pub inputs: Option<Vec<Node>>,
    /// Its bytes on the host: leaves, and checkpoints.
    pub host: Option<Host>,
    /// Copies on devices.
    pub placed: Vec<Placed>,
}

pub(crate) struct Inner {
    id: u64,
    shape: Vec<usize>,
    dtype: DType,
    /// Set by [`Node::constant`]: the value is a weight.
    constant: bool,
    state: Mutex<State>,
    /// What it does to which nodes; `None` for a leaf.
    made: Option<Made>,
}

/// A value that may not be computed yet. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}: {} {:?}", self.0.id, self.0.dtype, self.0.shape)
    }
}

/// What a node does.
#[derive(Debug, Clone, PartialEq)]
enum What {
    Op(Op),
    View(View),
}

/// Identity of a node that is no leaf: what it does to which nodes. It stays when the node is realised, so that the same work
/// asked for again is found done.
struct Made {
    what: What,
    /// Ids of the operands, which are never given out twice.
    inputs: Ids,
    hash: u64,
}

impl Inner {
    fn is(&self, what: &What, inputs: &Ids, shape: &[usize], dtype: DType) -> bool {
        let made = self.made.as_ref();
        made.is_some_and(|m| m.what == *what && m.inputs == *inputs) && self.shape == shape && self.dtype == dtype
    }
}

/// A few ids without an allocation.
#[derive(PartialEq, Eq)]
enum Ids {
    Few([u64; 3]),
    Many(Box<[u64]>),
}

impl Ids {
    fn of(nodes: &[Node]) -> Ids {
        match nodes.len() {
            // No id is 0.
            0..=3 => Ids::Few(std::array::from_fn(|i| nodes.get(i).map_or(0, Node::id))),
            _ => Ids::Many(nodes.iter().map(Node::id).collect()),
        }
    }
}

/// What an operation's hash is made of: enough to tell most apart, equality does the rest. Written out because operations
/// hold floats, and because this lies on the way of every tensor operation.
pub(crate) fn hash_op(op: &Op, h: &mut impl Hasher) {
    std::mem::discriminant(op).hash(h);
    match op {
        Op::Unary(u) => u.hash(h),
        Op::Binary(b) => b.hash(h),
        Op::Compare(c) => c.hash(h),
        Op::Cast(d) => d.hash(h),
        Op::Full(bits) => bits.hash(h),
        Op::Iota { axis } | Op::Concat { axis } => axis.hash(h),
        Op::Reduce { op, axes } => (op, axes).hash(h),
        _ => {}
    }
}

fn hash(what: &What, inputs: &[Node], shape: &[usize], dtype: DType) -> u64 {
    let mut h = FxHasher::default();
    match what {
        What::Op(op) => hash_op(op, &mut h),
        What::View(view) => view.hash(&mut h),
    }
    inputs.iter().for_each(|n| n.id().hash(&mut h));
    (shape, dtype).hash(&mut h);
    h.finish()
}

static NEXT: AtomicU64 = AtomicU64::new(1);
/// By hash. Of two nodes with one hash the later stays: the other is made anew when it is asked for again.
static CONSED: LazyLock<Mutex<FxHashMap<u64, Weak<Inner>>>> = LazyLock::new(Default::default);

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(made) = &self.made {
            let mut table = CONSED.lock().unwrap_or_else(PoisonError::into_inner);
            if table.get(&made.hash).is_some_and(|w| w.strong_count() == 0) {
                table.remove(&made.hash);
            }
        }
        // A long pending chain is taken apart here, node by node, and not by recursion.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut todo: Vec<Node> = state.inputs.take().unwrap_or_default();
        while let Some(Node(arc)) = todo.pop() {
            if let Some(mut inner) = Arc::into_inner(arc) {
                let state = inner.state.get_mut().unwrap_or_else(PoisonError::into_inner);
                todo.extend(state.inputs.take().unwrap_or_default());
            }
        }
    }
}

impl Source {
    /// The nodes it is made from.
    pub fn inputs(&self) -> &[Node] {
        match self {
            Source::Op(_, inputs) => inputs,
            Source::View(_, input) => std::slice::from_ref(input),
        }
    }
}

impl Node {
    fn make(shape: Vec<usize>, dtype: DType, constant: bool, state: State, made: Option<Made>) -> Node {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Node(Arc::new(Inner { id, shape, dtype, constant, state: Mutex::new(state), made }))
    }

    /// A leaf from bytes on the host.
    ///
    /// # Errors
    /// `ShapeMismatch` when the bytes do not fill the shape, or the rank is above 8.
    pub fn leaf(host: Host, dtype: DType, shape: &[usize]) -> Result<Node> {
        check_rank("tensor", shape)?;
        let want = elements(shape)? * dtype.size();
        if host.len != want {
            return Err(Error::ShapeMismatch(format!(
                "tensor of shape {shape:?} and type {dtype} takes {want} bytes, got {}",
                host.len
            )));
        }
        let state = State { host: Some(host), ..State::default() };
        Ok(Node::make(shape.to_vec(), dtype, false, state, None))
    }

    /// A leaf that does not change as long as it lives: a weight, which a device may keep in a layout of its own.
    pub fn constant(host: Host, dtype: DType, shape: &[usize]) -> Result<Node> {
        let mut node = Node::leaf(host, dtype, shape)?;
        if let Some(inner) = Arc::get_mut(&mut node.0) {
            inner.constant = true;
        }
        Ok(node)
    }

    /// A value that lies on a device already, dense from the buffer's first byte.
    pub fn on_device(device: &Device, buffer: Buffer, dtype: DType, shape: &[usize]) -> Result<Node> {
        check_rank("tensor", shape)?;
        let want = (elements(shape)? * dtype.size()) as u64;
        if buffer.bytes() < want {
            return Err(Error::ShapeMismatch(format!(
                "tensor of shape {shape:?} and type {dtype} takes {want} bytes, the buffer has {}",
                buffer.bytes()
            )));
        }
        let placed = Placed::ready(device, buffer);
        let state = State { placed: vec![placed], ..State::default() };
        Ok(Node::make(shape.to_vec(), dtype, false, state, None))
    }

    /// A value that work under way will have written.
    pub(crate) fn placed(placed: Placed, dtype: DType, shape: &[usize]) -> Node {
        let state = State { placed: vec![placed], ..State::default() };
        Node::make(shape.to_vec(), dtype, false, state, None)
    }

    /// An operation; shapes and types are checked here. Operands of elementwise operations have equal shapes (use
    /// [`View::Expand`] to broadcast).
    pub fn op(op: Op, inputs: &[Node]) -> Result<Node> {
        let (shape, dtype) = infer(&op, inputs)?;
        Ok(Node::consed(What::Op(op), inputs.to_vec(), shape, dtype))
    }

    /// Every element the same: the low bits of `bits` are its bit pattern
    /// ([`encode_f64`](anychip_hal::ir::build::encode_f64) makes one from a number).
    pub fn full(bits: u64, dtype: DType, shape: &[usize]) -> Result<Node> {
        check_rank("full", shape)?;
        elements(shape)?;
        Ok(Node::consed(What::Op(Op::Full(bits)), vec![], shape.to_vec(), dtype))
    }

    /// 0, 1, 2, … along `axis`, the same along all others.
    pub fn iota(axis: usize, dtype: DType, shape: &[usize]) -> Result<Node> {
        check_rank("arange", shape)?;
        elements(shape)?;
        if axis >= shape.len() || dtype == DType::Bool {
            return Err(Error::invalid(format!("arange: axis {axis} of shape {shape:?}, type {dtype}")));
        }
        Ok(Node::consed(What::Op(Op::Iota { axis }), vec![], shape.to_vec(), dtype))
    }

    /// A view of this node.
    pub fn view(&self, view: View) -> Result<Node> {
        let shape = self.view_shape(&view)?;
        if shape == self.shape() && !matches!(view, View::Permute(_) | View::Slice { .. }) {
            return Ok(self.clone());
        }
        Ok(Node::consed(What::View(view), vec![self.clone()], shape, self.dtype()))
    }

    fn view_shape(&self, view: &View) -> Result<Vec<usize>> {
        let from = self.shape();
        let bad = |why: String| Err(Error::ShapeMismatch(why));
        match view {
            View::Reshape(to) => {
                check_rank("reshape", to)?;
                if elements(to)? != elements(from)? {
                    return bad(format!(
                        "reshape: {from:?} has {} elements, {to:?} has {}",
                        elements(from)?,
                        elements(to)?
                    ));
                }
                Ok(to.clone())
            }
            View::Permute(order) => {
                let mut seen = order.clone();
                seen.sort_unstable();
                if seen != (0..from.len()).collect::<Vec<_>>() {
                    return bad(format!("permute: {order:?} is not an order of the {} axes of {from:?}", from.len()));
                }
                Ok(order.iter().map(|&o| from[o]).collect())
            }
            View::Expand(to) => {
                check_rank("expand", to)?;
                elements(to)?;
                let lead = to.len().checked_sub(from.len());
                let fits = lead.is_some_and(|l| from.iter().zip(&to[l..]).all(|(&f, &t)| f == t || f == 1));
                if !fits {
                    return bad(format!("expand: {from:?} does not expand to {to:?}: only axes of extent 1 repeat"));
                }
                Ok(to.clone())
            }
            View::Slice { start, step, len } => {
                if [start.len(), step.len(), len.len()] != [from.len(); 3] {
                    return bad(format!("slice: needs one start, step and length per axis of {from:?}"));
                }
                for (axis, &n) in from.iter().enumerate() {
                    let (a, s, l) = (start[axis], step[axis], len[axis]);
                    let last = a as i128 + s as i128 * (l as i128 - 1);
                    if s == 0 || (l > 0 && (a >= n || last < 0 || last >= n as i128)) {
                        return bad(format!(
                            "slice: start {a}, step {s}, length {l} leave axis {axis} of {from:?} (extent {n})"
                        ));
                    }
                }
                Ok(len.clone())
            }
            View::Window { axis, size, step, dilation } => {
                let to = window_shape(from, *axis, *size, *step, *dilation)?;
                check_rank("unfold", &to)?;
                elements(&to)?;
                Ok(to)
            }
        }
    }

    fn consed(what: What, inputs: Vec<Node>, shape: Vec<usize>, dtype: DType) -> Node {
        let hash = hash(&what, &inputs, &shape, dtype);
        let ids = Ids::of(&inputs);
        let mut table = CONSED.lock().unwrap_or_else(PoisonError::into_inner);
        match table.get(&hash).and_then(Weak::upgrade) {
            Some(known) if known.is(&what, &ids, &shape, dtype) => {
                // The lock is released before anything drops: dropping a node takes it again.
                drop(table);
                Node(known)
            }
            other => {
                let state = State { inputs: Some(inputs), ..State::default() };
                let node = Node::make(shape, dtype, false, state, Some(Made { what, inputs: ids, hash }));
                table.insert(hash, Arc::downgrade(&node.0));
                drop(table);
                drop(other);
                node
            }
        }
    }

    /// Extents.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.0.shape.iter().product()
    }
    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.0.id
    }
    /// A weight.
    pub fn is_constant(&self) -> bool {
        self.0.constant
    }
    /// True when its value is on the host or on a device.
    pub fn is_realized(&self) -> bool {
        self.state().inputs.is_none()
    }
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// How it is computed; `None` when it has a value.
    pub fn source(&self) -> Option<Source> {
        let inputs = self.state().inputs.clone()?;
        Some(match &self.0.made.as_ref()?.what {
            What::Op(op) => Source::Op(op.clone(), inputs),
            What::View(view) => Source::View(view.clone(), inputs.into_iter().next()?),
        })
    }
    /// Its bytes, when it has some on the host: a leaf's, or a checkpoint's.
    pub fn host(&self) -> Option<Host> {
        self.state().host.clone()
    }
    /// Records a value on a device and drops the history.
    pub(crate) fn place(&self, placed: Placed) {
        let history = {
            let mut state = self.state();
            state.placed.retain(|p| p.device != placed.device);
            state.placed.push(placed);
            state.inputs.take()
        };
        // Dropped outside the lock: it may be the last handle of many nodes.
        drop(history);
    }

    /// Records the bytes on the host and drops the history.
    pub(crate) fn keep_on_host(&self, host: Host) {
        let history = {
            let mut state = self.state();
            state.host = Some(host);
            state.inputs.take()
        };
        drop(history);
    }
}
