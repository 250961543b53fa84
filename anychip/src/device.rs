//! Devices as an application sees them: one chip, or a chain of chips that stand in for each other.
//!
//! The process-wide registry knows the built-in backends (cargo features) and those that an application registers.

use anychip_hal::{
    Driver, Error, RawDevice, Result, device,
    info::{DeviceInfo, Numerics},
    layer::exact,
    probe::Helper,
    registry::{Listing, Registry},
    telemetry::Telemetry,
};
use std::{
    io,
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(|| {
    #[allow(unused_mut)] // without features there is nothing to add
    let mut registry = Registry::new();
    #[cfg(feature = "cpu")]
    registry.add(Arc::new(anychip_cpu::CpuDriver::new()));
    #[cfg(feature = "cuda")]
    registry.add(Arc::new(anychip_cuda::CudaDriver::new()));
    #[cfg(feature = "opencl")]
    registry.add(Arc::new(anychip_opencl::OpenClDriver::new()));
    #[cfg(feature = "vulkan")]
    registry.add(Arc::new(anychip_vulkan::VulkanDriver::new()));
    #[cfg(feature = "wgpu")]
    registry.add(Arc::new(anychip_wgpu::WgpuDriver::new()));
    RwLock::new(registry)
});

/// Adds a backend to those that [`Device::open`] and [`Device::list`] know.
///
/// A backend of the same name is replaced; devices that are open already stay what they are.
pub fn register(driver: Arc<dyn Driver>) {
    REGISTRY.write().unwrap_or_else(PoisonError::into_inner).add(driver);
}

/// Opens one device (`"vulkan:0"`) without the layers that [`Device::open`] puts on: what a layer of one's own stands on, before it goes
/// through [`device::Device::with_layers`] to [`Device::from_chain`].
///
/// # Errors
/// Those of [`Device::open`].
pub fn open_raw(id: &str) -> Result<Arc<dyn RawDevice>> {
    REGISTRY.read().unwrap_or_else(PoisonError::into_inner).open_raw(id)
}

/// Has drivers touched by a program first, of which nothing is recorded: one that hangs or dies then costs a line in
/// [`Device::list`] and not this process. Without it, this process leaves alone what is recorded as having hung or died, and
/// touches the rest. [`hal::probe`](anychip_hal::probe) has the rules.
///
/// A program is its own helper when it calls [`answer_probe`] for the arguments `probe TARGET`:
/// ```no_run
/// let mut arguments = std::env::args().skip(1);
/// if arguments.next().as_deref() == Some("probe") {
///     return Ok(anychip::answer_probe(&arguments.next().unwrap_or_default(), &mut std::io::stdout())?);
/// }
/// anychip::probe_with(anychip::hal::probe::Helper::this_program()?);
/// let device = anychip::Device::best()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn probe_with(helper: Helper) {
    REGISTRY.write().unwrap_or_else(PoisonError::into_inner).probe_with(helper);
}

/// Forgets what probing ended with: every driver counts as unknown again.
pub fn probe_again() {
    REGISTRY.write().unwrap_or_else(PoisonError::into_inner).probe_again();
}

/// What a probe helper does for the arguments `probe TARGET`: touches the driver or device and writes to its standard output
/// what came of it.
///
/// # Errors
/// What `to` says.
pub fn answer_probe(target: &str, to: &mut impl io::Write) -> io::Result<()> {
    // Not under the lock: a driver that never returns would keep it.
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner).clone();
    registry.answer_probe(target, to)
}

/// One chip, or a chain of chips: what the first cannot run goes to the next, and if the first is lost the next takes
/// over. Cheap to clone; may be used from several threads at once.
#[derive(Clone)]
pub struct Device {
    chain: Arc<Chain>,
    id: Arc<str>,
}

/// What all clones of a device share, and with them the tensors on it.
struct Chain(Vec<device::Device>);

impl Drop for Chain {
    /// Plans are kept for the whole process and hold programs, which hold their device: without this a device that nobody
    /// has a handle of any more would keep its memory and its threads.
    fn drop(&mut self) {
        self.0.iter().for_each(anychip_kernels::run::forget);
    }
}

impl Device {
    /// Opens devices by id: `"cpu"`, `"opencl:0"`, a chain `"opencl:0,cpu"`, or `"auto"` for the best that is there.
    /// Every call gives an independent handle.
    ///
    /// # Errors
    /// `NoDevice` names what was asked for and what there is; `NoDriver` says why a backend has none.
    /// ```
    /// let cpu = anychip::Device::open("cpu")?;
    /// assert_eq!(cpu.id(), "cpu");
    /// let e = anychip::Device::open("toaster:7").unwrap_err();
    /// assert!(e.to_string().contains("toaster:7"));
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn open(id: &str) -> Result<Device> {
        Device::from_chain(REGISTRY.read().unwrap_or_else(PoisonError::into_inner).open(id)?)
    }

    /// The same with [`Numerics`]: with [`Numerics::Exact`] results have the same bits on every device that offers it, whatever chip it
    /// is. That takes longer, and devices whose declared arithmetic leaves open what a sum is do not offer it.
    /// `Device::open("cuda:0/exact")` says the same by name.
    ///
    /// # Errors
    /// Those of [`Device::open`]; `Unsupported` says what of its arithmetic a device leaves open.
    /// ```
    /// use anychip::{Device, Numerics, Tensor};
    /// let exact = Device::open_with("cpu", Numerics::Exact)?;
    /// let x = Tensor::from_vec(vec![0.1f32, 0.7, -2.5], &[3], &exact)?;
    /// // On every other chip with exact numerics these are the same bits.
    /// let bits: Vec<u32> = x.exp()?.sum_all()?.to_vec::<f32>()?.iter().map(|y| y.to_bits()).collect();
    /// # let again: Vec<u32> = x.exp()?.sum_all()?.to_vec::<f32>()?.iter().map(|y| y.to_bits()).collect();
    /// # assert_eq!(bits, again);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn open_with(id: &str, numerics: Numerics) -> Result<Device> {
        match numerics {
            Numerics::Fast => Device::open(id),
            Numerics::Exact => {
                let each: Vec<String> = id.split(',').map(|part| format!("{}{}", part.trim(), exact::SUFFIX)).collect();
                Device::open(&each.join(","))
            }
        }
    }

    /// The device that the environment variable `ANYCHIP_DEVICE` names, or the best that is there.
    pub fn best() -> Result<Device> {
        Device::from_chain(REGISTRY.read().unwrap_or_else(PoisonError::into_inner).open_default()?)
    }

    /// Every device of every backend, and for each backend that gives none, why.
    pub fn list() -> Listing {
        REGISTRY.read().unwrap_or_else(PoisonError::into_inner).devices()
    }

    /// What a device (`"cuda:0"`) says of its power, heat and clocks now. It is not opened for that, and its work is not disturbed.
    ///
    /// # Errors
    /// `Unsupported`: its driver does not tell, with the reason.
    pub fn telemetry(id: &str) -> Result<Telemetry> {
        // Not under the lock: a driver may take its time.
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner).clone();
        registry.telemetry(id)
    }

    /// A device from handles of the contract, the first one preferred.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty chain, and for one whose devices differ in their [`Numerics`].
    pub fn from_chain(chain: Vec<device::Device>) -> Result<Device> {
        if chain.is_empty() {
            return Err(Error::invalid("device: a chain needs at least one device"));
        }
        let numerics = |d: &device::Device| d.info().numerics;
        if let Some(other) = chain.iter().find(|d| numerics(d) != numerics(&chain[0])) {
            return Err(Error::invalid(format!(
                "device: {} and {} differ in their numerics; accepted: a chain of exact devices alone, or of none",
                chain[0].info().id,
                other.info().id
            )));
        }
        let id = chain.iter().map(|d| d.info().id.as_str()).collect::<Vec<_>>().join(",");
        Ok(Device { chain: Arc::new(Chain(chain)), id: id.into() })
    }

    /// How it was asked for: the ids of the chain, separated by commas.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the first device of the chain is and can do.
    pub fn info(&self) -> &DeviceInfo {
        self.chain.0[0].info()
    }

    /// The handles of the contract, in order; never empty.
    pub fn chain(&self) -> &[device::Device] {
        &self.chain.0
    }

    /// Waits until everything submitted to the chain's devices is done.
    pub fn synchronize(&self) -> Result<()> {
        self.chain.0.iter().try_for_each(|d| d.synchronize())
    }

    /// True when both are the same chain of opened devices, or chains of the same ids.
    pub fn same_as(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.chain, &other.chain) || self.id == other.id
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.id)
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)
    }
}
