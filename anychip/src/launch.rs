//! An author's own kernel on tensors, by the same means that the library's kernels have.
//!
//! Launches here are safe: kernels are loaded with their bounds checks, arguments are checked against the kernel's
//! parameters, and what a kernel writes are new tensors, so that no tensor changes under its readers.

use crate::{
    Device, Scalar, Tensor,
    tensor::axes::{IntoShape, shape},
};
use anychip_hal::{
    DType, Error, Result,
    device::{self, Buffer, Checks, Grid, ScalarArg, Slice, Step},
    ir::{Access, Elem, Kernel, ParamKind, Role},
};
use anychip_kernels::{Node, buffer_of, shape::elements};
use half::{bf16, f16};

/// One launch in the making: arguments in the order of the kernel's parameters, then the grid, then [`Launch::run`].
///
/// ```
/// use anychip::{Device, Launch, Tensor};
/// use anychip::hal::{DType, ir::{Access, Builder, Builtin, Place}};
/// # fn main() -> anychip::Result<()> {
/// // y[i] = a · x[i], built by calls; `#[kernel]` writes the same from a Rust function.
/// let mut b = Builder::new("scale", [64, 1, 1]);
/// let x = b.buffer("x", DType::F32, Access::Read);
/// let y = b.buffer("y", DType::F32, Access::Write);
/// let a = b.scalar("a", DType::F32);
/// let i = b.builtin(Builtin::GlobalId(0));
/// let v = b.load(Place::Buffer(x), i);
/// let v = b.mul(v, a);
/// b.store(Place::Buffer(y), i, v);
/// let kernel = b.finish()?;
///
/// let device = Device::open("cpu")?;
/// let x = Tensor::arange(0f32, 100., &device)?;
/// let out = Launch::new(&kernel, &device).input(&x).output(100).scalar(2.0).over(100).run()?;
/// assert_eq!(out[0].to_vec1::<f32>()?[99], 198.0);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing runs before run()"]
pub struct Launch<'a> {
    kernel: &'a Kernel,
    device: Device,
    args: Vec<Arg>,
    grid: Option<Grid>,
}

enum Arg {
    Input(Tensor),
    Output(Vec<i64>),
    Update(Tensor),
    Scalar(Scalar),
}

/// A buffer that a launch writes and the tensor that becomes of it.
struct Written {
    buffer: Buffer,
    dtype: DType,
    shape: Vec<usize>,
}

impl<'a> Launch<'a> {
    /// A launch of a kernel on a device; on a chain, on the first of its devices that can.
    pub fn new(kernel: &'a Kernel, device: &Device) -> Launch<'a> {
        Launch { kernel, device: device.clone(), args: vec![], grid: None }
    }

    /// The next parameter, a buffer that is only read, is this tensor.
    pub fn input(mut self, tensor: &Tensor) -> Launch<'a> {
        self.args.push(Arg::Input(tensor.clone()));
        self
    }

    /// The next parameter, a buffer that is written, is a new tensor of this shape, of the parameter's type, zero where
    /// the kernel writes nothing.
    pub fn output(mut self, extents: impl IntoShape) -> Launch<'a> {
        self.args.push(Arg::Output(extents.extents()));
        self
    }

    /// The next parameter, a buffer that is written, starts as a copy of this tensor, which itself stays as it is.
    pub fn update(mut self, tensor: &Tensor) -> Launch<'a> {
        self.args.push(Arg::Update(tensor.clone()));
        self
    }

    /// The next parameter is this number; it must be a value of the parameter's type.
    pub fn scalar(mut self, value: impl Into<Scalar>) -> Launch<'a> {
        self.args.push(Arg::Scalar(value.into()));
        self
    }

    /// As many workgroups as `items` lanes need: the kernel tests its index, or relies on its bounds checks.
    pub fn over(mut self, items: u64) -> Launch<'a> {
        self.grid = Some(Grid::covering(items, self.kernel.lanes()));
        self
    }

    /// This many workgroups along dimension 0.
    pub fn groups(mut self, groups: u64) -> Launch<'a> {
        self.grid = Some(Grid::Linear(groups));
        self
    }

    /// Workgroups per dimension.
    pub fn grid(mut self, groups: [u32; 3]) -> Launch<'a> {
        self.grid = Some(Grid::Xyz(groups));
        self
    }

    /// Runs it; returns at once with the written tensors in the order of the parameters.
    ///
    /// # Errors
    /// `InvalidArgument`, `DTypeMismatch`, `ShapeMismatch` when the arguments do not fit the kernel's parameters;
    /// `Unsupported` when no device of the chain can run it, with the last one's reason.
    pub fn run(self) -> Result<Vec<Tensor>> {
        let mut last = None;
        for device in self.device.chain() {
            match self.on(device) {
                Err(e) if e.is_unsupported() => last = Some(e),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Error::invalid("launch: the chain is empty")))
    }

    fn on(&self, device: &device::Device) -> Result<Vec<Tensor>> {
        let name = &self.kernel.name;
        let bad = |why: String| Error::invalid(format!("kernel {name}: {why}"));
        let Some(grid) = self.grid else {
            return Err(bad("no grid given; call over(), groups() or grid()".into()));
        };
        let params: Vec<_> = self
            .kernel
            .params
            .iter()
            .filter(|p| !matches!(p.kind, ParamKind::Scalar { role, .. } if role != Role::User))
            .collect();
        if params.len() != self.args.len() {
            let names: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
            return Err(bad(format!(
                "takes {} arguments ({}), got {}",
                params.len(),
                names.join(", "),
                self.args.len()
            )));
        }
        let program = device.kernel(self.kernel, Checks::On)?;
        let (mut steps, mut bindings, mut scalars, mut written) = (vec![], vec![], vec![], vec![]);
        for (param, arg) in params.iter().zip(&self.args) {
            let at = format!("kernel {name}, parameter {}", param.name);
            match (param.kind, arg) {
                (ParamKind::Scalar { elem, .. }, Arg::Scalar(value)) => scalars.push(scalar(&at, elem, *value)?),
                (ParamKind::Buffer { elem, access: Access::Read, .. }, Arg::Input(tensor)) => {
                    bindings.push(self.slice(&at, tensor, elem, device)?);
                }
                (ParamKind::Buffer { elem, access, .. }, Arg::Output(extents)) if access.writes() => {
                    let shape = shape(&at, extents.clone())?;
                    let buffer = device.alloc((elements(&shape)? * elem.size()) as u64)?;
                    if buffer.bytes() > 0 {
                        steps.push(Step::Fill { dst: buffer.all(), word: 0 });
                    }
                    bindings.push(buffer.all());
                    written.push(Written { buffer, dtype: elem, shape });
                }
                (ParamKind::Buffer { elem, access, .. }, Arg::Update(tensor)) if access.writes() => {
                    let src = self.slice(&at, tensor, elem, device)?;
                    let buffer = device.alloc(src.bytes)?;
                    if src.bytes > 0 {
                        steps.push(Step::Copy { src, dst: buffer.all() });
                    }
                    bindings.push(buffer.all());
                    written.push(Written { buffer, dtype: elem, shape: tensor.dims().to_vec() });
                }
                (kind, arg) => return Err(Error::invalid(format!("{at} {}, got {}", wants(kind), arg.describe()))),
            }
        }
        steps.push(Step::Launch { program, grid, bindings, scalars });
        // Nobody waits here: a failure of this work comes out where the outputs are read.
        drop(device.submit(&steps)?);
        written
            .into_iter()
            .map(|w| Ok(Tensor::from_node(Node::on_device(device, w.buffer, w.dtype, &w.shape)?, &self.device)))
            .collect()
    }

    fn slice(&self, at: &str, tensor: &Tensor, elem: DType, device: &device::Device) -> Result<Slice> {
        tensor.on(at, &self.device)?;
        if tensor.dtype() != elem {
            return Err(Error::DTypeMismatch(format!(
                "{at} takes elements of type {elem}, got a tensor of {}; convert with to_dtype()",
                tensor.dtype()
            )));
        }
        buffer_of(tensor.node(), device)
    }
}

fn wants(kind: ParamKind) -> String {
    match kind {
        ParamKind::Scalar { elem, .. } => format!("is a number of type {}: give it with scalar()", elem.name()),
        ParamKind::Buffer { elem, access: Access::Read, .. } => {
            format!("is a buffer of {elem} that is read: give it with input()")
        }
        ParamKind::Buffer { elem, .. } => {
            format!("is a buffer of {elem} that is written: give it with output() or update()")
        }
    }
}

impl Arg {
    fn describe(&self) -> String {
        match self {
            Arg::Input(t) => format!("input() with {t:?}"),
            Arg::Output(shape) => format!("output() of shape {shape:?}"),
            Arg::Update(t) => format!("update() with {t:?}"),
            Arg::Scalar(x) => format!("the number {x}"),
        }
    }
}

fn scalar(at: &str, elem: Elem, value: Scalar) -> Result<ScalarArg> {
    let dtype = match elem {
        Elem::Idx => return Ok(ScalarArg::Idx(value.bits(at, DType::U64)?)),
        Elem::D(dtype) => dtype,
    };
    let bits = value.bits(at, dtype)?;
    Ok(match dtype {
        DType::Bool => ScalarArg::Bool(bits != 0),
        DType::I8 => ScalarArg::I8(bits as i8),
        DType::I16 => ScalarArg::I16(bits as i16),
        DType::I32 => ScalarArg::I32(bits as i32),
        DType::I64 => ScalarArg::I64(bits as i64),
        DType::U8 => ScalarArg::U8(bits as u8),
        DType::U16 => ScalarArg::U16(bits as u16),
        DType::U32 => ScalarArg::U32(bits as u32),
        DType::U64 => ScalarArg::U64(bits),
        DType::F16 => ScalarArg::F16(f16::from_bits(bits as u16)),
        DType::BF16 => ScalarArg::BF16(bf16::from_bits(bits as u16)),
        DType::F32 => ScalarArg::F32(f32::from_bits(bits as u32)),
        DType::F64 => ScalarArg::F64(f64::from_bits(bits)),
        DType::F8E4M3 | DType::F8E5M2 => {
            return Err(Error::unsupported(at.to_string(), format!("numbers of type {dtype} cannot be passed")));
        }
    })
}
