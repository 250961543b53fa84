//! Graphs: work with what it comes behind. An instantiated graph runs its nodes one after another in an order drawn anew each time
//! from those that the edges allow, so that an edge that is missing shows.

use crate::{
    abi::{Copy3d, CopySide, FillNode, Handle, KernelNode},
    calls::{driver_api, lock, put},
    code::{Code, Outcome},
    context, exec, handle,
    handle::Object,
    launch, memory,
    stream::{self, Copy, Failure, Fill, Work},
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

pub struct Graph {
    nodes: Mutex<Vec<(Work, Vec<usize>)>>,
}

/// A node that was added by hand.
pub struct Node {
    graph: Arc<Graph>,
    at: usize,
}

pub struct Executable {
    pub context: Handle,
    nodes: Vec<(Work, Vec<usize>)>,
    launches: AtomicU64,
}

impl Graph {
    pub fn new() -> Graph {
        Graph { nodes: Mutex::new(Vec::new()) }
    }

    /// Adds a node behind others.
    pub fn add(&self, work: Work, behind: Vec<usize>) -> usize {
        let mut nodes = lock(&self.nodes);
        nodes.push((work, behind));
        nodes.len() - 1
    }

    /// These nodes and all that come before them.
    pub fn before(&self, nodes: &[usize]) -> BTreeSet<usize> {
        let all = lock(&self.nodes);
        let (mut found, mut open) = (BTreeSet::new(), nodes.to_vec());
        while let Some(node) = open.pop() {
            if found.insert(node) {
                open.extend(&all[node].1);
            }
        }
        found
    }
}

impl Executable {
    /// Runs every node, none before what it comes behind.
    pub fn perform(&self) -> Result<(), Failure> {
        let mut draw = exec::Draw::new(self.launches.fetch_add(1, Ordering::Relaxed));
        let mut behind: Vec<usize> = self.nodes.iter().map(|(_, behind)| behind.len()).collect();
        let mut ahead = vec![Vec::new(); self.nodes.len()];
        for (at, (_, before)) in self.nodes.iter().enumerate() {
            for node in before {
                ahead[*node].push(at);
            }
        }
        let mut ready: Vec<usize> = (0..self.nodes.len()).filter(|at| behind[*at] == 0).collect();
        while !ready.is_empty() {
            let pick = draw.below(ready.len());
            let at = ready.swap_remove(pick);
            self.nodes[at].0.clone().perform()?;
            for next in &ahead[at] {
                behind[*next] -= 1;
                if behind[*next] == 0 {
                    ready.push(*next);
                }
            }
        }
        Ok(())
    }
}

fn add(to: *mut Handle, graph: Handle, behind: *const Handle, count: usize, work: Work) -> Outcome {
    let graph = handle::get::<Graph>(graph)?;
    if to.is_null() || (behind.is_null() && count > 0) {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: so many handles lie there: the caller's promise.
    let handles = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(behind, count) } };
    let behind = handles.iter().map(|handle| match handle::get::<Node>(*handle) {
        Ok(node) if Arc::ptr_eq(&node.graph, &graph) => Ok(node.at),
        _ => Err(Code::INVALID_VALUE),
    });
    let at = graph.add(work, behind.collect::<Result<_, _>>()?);
    put(to, handle::insert(|_| Arc::new(Node { graph, at })).0)
}

/// Checks one side of a copy and gives its address and pitches.
fn side(side: &CopySide, copy: &Copy3d) -> Result<(usize, [usize; 2]), Code> {
    let base = match side.kind {
        1 => side.host,
        2 | 4 => side.device as usize,
        _ => return Err(Code::NOT_SUPPORTED),
    };
    let pitch = if side.pitch == 0 { copy.width } else { side.pitch };
    let plane = pitch * if side.height == 0 { copy.height } else { side.height };
    let at = base + side.x + side.y * pitch + side.z * plane;
    if base == 0 || pitch < copy.width {
        return Err(Code::INVALID_VALUE);
    }
    if side.kind == 2 {
        memory::on_device(at, (copy.depth - 1) * plane + (copy.height - 1) * pitch + copy.width)?;
    }
    Ok((at, [pitch, plane]))
}

fn copy(params: *const Copy3d) -> Result<Work, Code> {
    if params.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller's structure.
    let copy = unsafe { params.read() };
    if copy.width == 0 || copy.height == 0 || copy.depth == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let ((dst, dst_pitch), (src, src_pitch)) = (side(&copy.dst, &copy)?, side(&copy.src, &copy)?);
    Ok(Work::Copy(Copy { dst, src, width: copy.width, rows: [copy.height, copy.depth], dst_pitch, src_pitch }))
}

fn fill(params: *const FillNode) -> Result<Work, Code> {
    if params.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller's structure.
    let fill = unsafe { params.read() };
    let element = fill.element as usize;
    if !matches!(element, 1 | 2 | 4)
        || fill.width == 0
        || fill.height == 0
        || !(fill.dst as usize).is_multiple_of(element)
    {
        return Err(Code::INVALID_VALUE);
    }
    memory::on_device(fill.dst as usize, (fill.height - 1) * fill.pitch + fill.width * element)?;
    Ok(Work::Fill(Fill {
        dst: fill.dst as usize,
        pitch: fill.pitch,
        value: fill.value,
        element,
        width: fill.width,
        height: fill.height,
    }))
}

fn instantiate(to: *mut Handle, graph: Handle) -> Outcome {
    let context = context::usable()?;
    let graph = handle::get::<Graph>(graph)?;
    if to.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    let nodes = lock(&graph.nodes).clone();
    let executable = Executable { context: context.handle, nodes, launches: AtomicU64::new(0) };
    put(to, handle::insert(|_| Arc::new(executable)).0)
}

driver_api! {
    fn cuGraphCreate(graph: *mut Handle, _flags: u32) {
        context::usable()?;
        if graph.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        put(graph, handle::insert(|_| Arc::new(Graph::new())).0)
    }

    #[frees]
    fn cuGraphDestroy(graph: Handle) {
        let graph = handle::remove::<Graph>(graph)?;
        handle::sweep(|object| matches!(object, Object::Node(node) if Arc::ptr_eq(&node.graph, &graph)));
        Ok(())
    }

    fn cuGraphAddKernelNode_v2(node: *mut Handle, graph: Handle, behind: *const Handle, count: usize, params: *const KernelNode) {
        context::usable()?;
        if params.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the caller's structure, and what it points to.
        let launch = unsafe {
            let params = &*params;
            launch::prepare(params.function, params.grid, params.block, params.shared, params.params, params.extra)?
        };
        add(node, graph, behind, count, Work::Launch(Arc::new(launch)))
    }

    fn cuGraphAddMemcpyNode(
        node: *mut Handle, graph: Handle, behind: *const Handle, count: usize, params: *const Copy3d, _context: Handle,
    ) {
        context::usable()?;
        add(node, graph, behind, count, copy(params)?)
    }

    fn cuGraphAddMemsetNode(
        node: *mut Handle, graph: Handle, behind: *const Handle, count: usize, params: *const FillNode, _context: Handle,
    ) {
        context::usable()?;
        add(node, graph, behind, count, fill(params)?)
    }

    fn cuGraphAddEmptyNode(node: *mut Handle, graph: Handle, behind: *const Handle, count: usize) {
        context::usable()?;
        add(node, graph, behind, count, Work::Nothing)
    }

    fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: *mut usize) {
        let graph = handle::get::<Graph>(graph)?;
        // Only how many: who added them has their handles.
        if nodes.is_null() { put(count, lock(&graph.nodes).len()) } else { Err(Code::NOT_SUPPORTED) }
    }

    fn cuGraphInstantiateWithFlags(executable: *mut Handle, graph: Handle, _flags: u64) { instantiate(executable, graph) }

    fn cuGraphUpload(executable: Handle, stream: Handle) {
        handle::get::<Executable>(executable)?;
        stream::usable(stream).map(drop)
    }

    fn cuGraphLaunch(executable: Handle, stream: Handle) {
        let executable = handle::get::<Executable>(executable)?;
        stream::usable(stream)?.submit(Work::Graph(executable))
    }

    #[frees]
    fn cuGraphExecDestroy(executable: Handle) { handle::remove::<Executable>(executable).map(drop) }

    fn cuGraphKernelNodeSetParams_v2(node: Handle, params: *const KernelNode) {
        context::usable()?;
        let node = handle::get::<Node>(node)?;
        if params.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the caller's structure, and what it points to.
        let launch = unsafe {
            let params = &*params;
            launch::prepare(params.function, params.grid, params.block, params.shared, params.params, params.extra)?
        };
        lock(&node.graph.nodes)[node.at].0 = Work::Launch(Arc::new(launch));
        Ok(())
    }
}
