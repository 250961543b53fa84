//! A computation captured once and replayed: no graph is built and nothing is planned when it runs.

use crate::{Device, Tensor};
use anychip_hal::{DType, Error, Result};
pub use anychip_kernels::plan::memory::MemoryPlan;
use anychip_kernels::{Host, Node};
use std::time::Duration;

/// A captured computation: same shapes and types, new values, as often as wanted.
///
/// ```
/// use anychip::{Device, Program, Tensor};
/// # fn main() -> anychip::Result<()> {
/// let device = Device::open("cpu")?;
/// let x = Tensor::zeros(3, anychip::DType::F32, &device)?;
/// let program = Program::new(&device, &[x], |inputs| Ok(vec![inputs[0].sqr()?.sum(0)?]))?;
/// let x = Tensor::from_vec(vec![1f32, 2., 3.], 3, &device)?;
/// assert_eq!(program.run(&[x])?[0].to_vec0::<f32>()?, 14.0);
/// # Ok(())
/// # }
/// ```
pub struct Program {
    program: anychip_kernels::Program,
    device: Device,
    inputs: Vec<(Vec<usize>, DType)>,
}

impl Program {
    /// Captures `body` for inputs like the examples, of which only shapes and types matter. Tensors that `body` takes
    /// from outside (weights) stay what they are. Token ids among the inputs are not known yet, so that an id outside a
    /// table gives NaN at run time and no error.
    ///
    /// # Errors
    /// What `body` returns; what planning says, e.g. an operation that no device of the chain can run.
    pub fn new(
        device: &Device,
        examples: &[Tensor],
        body: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    ) -> Result<Program> {
        let mut inputs = Vec::with_capacity(examples.len());
        let mut stand_ins = Vec::with_capacity(examples.len());
        for x in examples {
            // A leaf of its own for each input: two examples may be the same node, their values must not be baked in.
            let host = Host::new(vec![0u8; x.elem_count() * x.dtype().size()]);
            let node = Node::leaf(host, x.dtype(), x.dims())?;
            inputs.push((x.dims().to_vec(), x.dtype()));
            stand_ins.push(Tensor::from_node(node, device));
        }
        let outputs = body(&stand_ins)?;
        for y in &outputs {
            y.on("program", device)?;
        }
        let nodes = |tensors: &[Tensor]| tensors.iter().map(|t| t.node().clone()).collect::<Vec<_>>();
        let program = anychip_kernels::Program::capture(&nodes(&stand_ins), &nodes(&outputs), device.chain())?;
        Ok(Program { program, device: device.clone(), inputs })
    }

    /// Runs it on new inputs; returns at once with tensors whose values are under way.
    ///
    /// On one device that keeps recorded lists (Vulkan, wgpu, the CPU) the third run records the launches that bind neither inputs nor
    /// results. From then on the program keeps the memory of its values in between ([`MemoryPlan::kept`]) until it is dropped, or until
    /// that memory is missing.
    ///
    /// # Errors
    /// `InvalidArgument`, `ShapeMismatch`, `DTypeMismatch` when the inputs are not like the examples.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let outputs = self.program.run(&self.nodes(inputs)?)?;
        Ok(outputs.into_iter().map(|n| Tensor::from_node(n, &self.device)).collect())
    }

    /// Runs it, waits, and says how long the device worked by its own clock; `None` where it has none.
    pub fn run_timed(&self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Option<Duration>)> {
        let (outputs, time) = self.program.run_timed(&self.nodes(inputs)?)?;
        Ok((outputs.into_iter().map(|n| Tensor::from_node(n, &self.device)).collect(), time))
    }

    /// What a run takes in memory: its values in between share buffers, and [`peak`](MemoryPlan::peak) is what those take.
    /// ```
    /// # use anychip::{DType, Device, Program, Tensor};
    /// # let device = Device::open("cpu")?;
    /// let x = Tensor::zeros((64, 64), DType::F32, &device)?;
    /// let w = Tensor::ones((64, 64), DType::F32, &device)?;
    /// // Eight products after one another need two buffers between them, in turn.
    /// let deep = Program::new(&device, &[x], |x| {
    ///     Ok(vec![(0..8).try_fold(x[0].clone(), |y, _| y.matmul(&w))?])
    /// })?;
    /// assert_eq!(deep.memory().peak, 2 * 64 * 64 * 4);
    /// assert_eq!(deep.memory().naive, 7 * 64 * 64 * 4);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn memory(&self) -> MemoryPlan {
        self.program.memory()
    }

    /// What a run does: per launch what was fused, the schedule, where it came from and why, what moves and what it should
    /// take by the device's roofline; then memory and what fell back.
    pub fn explain(&self) -> String {
        self.program.explain()
    }

    /// Inputs that are like the examples.
    fn nodes(&self, inputs: &[Tensor]) -> Result<Vec<Node>> {
        if inputs.len() != self.inputs.len() {
            return Err(Error::invalid(format!("program: takes {} inputs, got {}", self.inputs.len(), inputs.len())));
        }
        for (i, (x, (shape, dtype))) in inputs.iter().zip(&self.inputs).enumerate() {
            x.on("program", &self.device)?;
            if x.dims() != shape {
                return Err(Error::ShapeMismatch(format!(
                    "program: input {i} has shape {:?}, captured with {shape:?}",
                    x.dims()
                )));
            }
            if x.dtype() != *dtype {
                return Err(Error::DTypeMismatch(format!(
                    "program: input {i} is {}, captured with {dtype}",
                    x.dtype()
                )));
            }
        }
        Ok(inputs.iter().map(|t| t.node().clone()).collect())
    }

    /// The device that runs it.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
