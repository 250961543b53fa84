//! Tensors: lazy handles on values.
//!
//! A tensor is a node of the lazy graph and the device that computes it when its values are asked for. Every method
//! checks its arguments at once and computes nothing; `to_vec*`, [`Tensor::realize`] and the like do.

mod activations;
mod attention;
pub(crate) mod axes;
mod composed;
pub(crate) mod conv;
mod create;
mod elementwise;
#[cfg(feature = "ndarray")]
mod from_ndarray;
mod ids;
mod index;
mod masks;
mod neural;
mod norms;
pub(crate) mod operand;
mod operators;
mod pad;
pub(crate) mod pool;
mod random;
mod rearrange;
mod reduce;
pub(crate) mod resize;
mod scan;
mod scatter;
mod sort;
pub(crate) mod spatial;
mod statistics;
mod views;

pub use random::Generator;

use crate::{Device, Element, element};
use anychip_hal::{DType, Error, Result};
use anychip_kernels::{Host, Node, View};

/// A value of some shape and element type, computed when it is asked for. Cheap to clone.
///
/// Axis arguments may be negative: -1 is the last axis. Elementwise methods broadcast by NumPy's rule: shapes are
/// aligned at the right, extents are equal or 1. Types are never converted silently; see [`Tensor::to_dtype`].
#[derive(Clone)]
pub struct Tensor {
    node: Node,
    device: Device,
}

impl Tensor {
    /// A tensor from a node of the graph and the device that shall compute it.
    pub fn from_node(node: Node, device: &Device) -> Tensor {
        Tensor { node, device: device.clone() }
    }

    /// The node of the graph.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        self.node.shape()
    }

    /// Extents, outermost first; the same as [`Tensor::shape`].
    pub fn dims(&self) -> &[usize] {
        self.node.shape()
    }

    /// Extent of one axis.
    pub fn dim(&self, axis: i64) -> Result<usize> {
        Ok(self.dims()[self.axis("dim", axis)?])
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.dims().len()
    }

    /// Number of elements.
    pub fn elem_count(&self) -> usize {
        self.node.elements()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.node.dtype()
    }

    /// The device that computes it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The same value, computed (or, when it has a value already, copied as soon as it is needed) on another device.
    pub fn to_device(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor { node: self.node.clone(), device: device.clone() })
    }

    /// Starts computing the value, without waiting for it. Its history is dropped: what it was made from can be freed.
    pub fn realize(&self) -> Result<&Tensor> {
        anychip_kernels::realize(std::slice::from_ref(&self.node), self.device.chain())?;
        Ok(self)
    }

    /// Starts computing several values together, so that what they share is computed once.
    ///
    /// # Errors
    /// `InvalidArgument` when they are on different devices.
    pub fn realize_all(tensors: &[&Tensor]) -> Result<()> {
        let Some(first) = tensors.first() else { return Ok(()) };
        tensors.iter().try_for_each(|t| t.on("realize_all", &first.device))?;
        let nodes: Vec<Node> = tensors.iter().map(|t| t.node.clone()).collect();
        anychip_kernels::realize(&nodes, first.device.chain())
    }

    /// Computes the value and keeps a copy on the host: it survives the loss of its device.
    pub fn checkpoint(&self) -> Result<&Tensor> {
        anychip_kernels::checkpoint(&self.node, self.device.chain())?;
        Ok(self)
    }

    /// The same value as a weight: a device may keep it in a layout of its own, which makes products with it faster. A value
    /// that is not on the host yet is computed and read.
    pub fn constant(&self) -> Result<Tensor> {
        let host = match self.node.host() {
            Some(host) => host,
            None => Host::new(self.to_bytes()?),
        };
        Ok(self.with(Node::constant(host, self.dtype(), self.dims())?))
    }

    /// What computing this value would do: fusion, schedules, placement.
    pub fn explain(&self) -> Result<String> {
        anychip_kernels::explain(std::slice::from_ref(&self.node), self.device.chain())
    }

    /// The value in a buffer of one of the contract's devices, row-major without gaps; computed and carried there if need be.
    pub fn buffer_on(&self, device: &anychip_hal::device::Device) -> Result<anychip_hal::device::Slice> {
        anychip_kernels::buffer_of(&self.node, device)
    }

    /// A tensor whose elements lie row-major from the first byte of a buffer of the device's first chip. Who writes to the
    /// buffer later changes the tensor.
    ///
    /// # Errors
    /// `ShapeMismatch` when the buffer is too small.
    pub fn from_buffer(
        device: &Device,
        buffer: anychip_hal::device::Buffer,
        dtype: DType,
        extents: impl axes::IntoShape,
    ) -> Result<Tensor> {
        let shape = axes::shape("from_buffer", extents)?;
        let want = (anychip_kernels::shape::elements(&shape)? * dtype.size()) as u64;
        if buffer.bytes() < want {
            return Err(Error::ShapeMismatch(format!(
                "from_buffer: shape {shape:?} of {dtype} takes {want} bytes, the buffer has {}",
                buffer.bytes()
            )));
        }
        Ok(Tensor::from_node(Node::on_device(&device.chain()[0], buffer, dtype, &shape)?, device))
    }

    // ---- values ----

    /// The elements' bytes, row-major, little-endian.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        anychip_kernels::read(&self.node, self.device.chain())
    }

    /// All elements, row-major, whatever the shape.
    ///
    /// # Errors
    /// `DTypeMismatch` when `T` is not the element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        element::check::<T>("to_vec", self.dtype())?;
        Ok(T::values(&self.to_bytes()?))
    }

    /// The element of a tensor that has exactly one.
    pub fn to_vec0<T: Element>(&self) -> Result<T> {
        element::check::<T>("to_vec0", self.dtype())?;
        if self.elem_count() != 1 {
            return Err(self.shape_error("to_vec0", "must have exactly one element"));
        }
        self.to_vec()?.first().copied().ok_or_else(|| self.shape_error("to_vec0", "gave no element"))
    }

    /// The element of a tensor that has exactly one; the same as [`Tensor::to_vec0`].
    pub fn to_scalar<T: Element>(&self) -> Result<T> {
        self.to_vec0()
    }

    /// The elements of a tensor of rank 1.
    pub fn to_vec1<T: Element>(&self) -> Result<Vec<T>> {
        self.expect_rank("to_vec1", 1)?;
        self.to_vec()
    }

    /// The rows of a tensor of rank 2.
    pub fn to_vec2<T: Element>(&self) -> Result<Vec<Vec<T>>> {
        self.expect_rank("to_vec2", 2)?;
        Ok(rows(&self.to_vec()?, self.dims()[0], self.dims()[1]))
    }

    /// The matrices of a tensor of rank 3.
    pub fn to_vec3<T: Element>(&self) -> Result<Vec<Vec<Vec<T>>>> {
        self.expect_rank("to_vec3", 3)?;
        let [a, b, c] = [self.dims()[0], self.dims()[1], self.dims()[2]];
        let flat = self.to_vec::<T>()?;
        Ok((0..a).map(|i| rows(&flat[i * b * c..(i + 1) * b * c], b, c)).collect())
    }

    // ---- what the other files share ----

    /// The node on this tensor's device.
    fn with(&self, node: Node) -> Tensor {
        Tensor { node, device: self.device.clone() }
    }

    fn view(&self, view: View) -> Result<Tensor> {
        Ok(self.with(self.node.view(view)?))
    }

    fn op(&self, op: anychip_hal::op::Op, others: &[&Tensor]) -> Result<Tensor> {
        let name = anychip_kernels::graph::op_name(&op);
        let mut nodes = vec![self.node.clone()];
        for other in others {
            other.on(name, &self.device)?;
            nodes.push(other.node.clone());
        }
        Ok(self.with(Node::op(op, &nodes)?))
    }

    /// Refuses a tensor of another device.
    pub(crate) fn on(&self, what: &str, device: &Device) -> Result<()> {
        if self.device.same_as(device) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{what}: tensors are on different devices, {} and {}; move one with to_device()",
            device.id(),
            self.device.id()
        )))
    }

    fn shape_error(&self, what: &str, why: &str) -> Error {
        Error::ShapeMismatch(format!("{what}: shape {:?} {why}", self.dims()))
    }

    fn expect_rank(&self, what: &str, rank: usize) -> Result<()> {
        if self.rank() == rank {
            return Ok(());
        }
        Err(self.shape_error(what, &format!("has rank {}, must have rank {rank}", self.rank())))
    }

    /// An axis argument as an index.
    fn axis(&self, what: &str, axis: i64) -> Result<usize> {
        axes::resolve(what, axis, self.dims(), self.rank())
    }
}

fn rows<T: Copy>(flat: &[T], count: usize, width: usize) -> Vec<Vec<T>> {
    (0..count).map(|i| flat[i * width..(i + 1) * width].to_vec()).collect()
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {:?} on {})", self.dtype(), self.dims(), self.device)
    }
}
