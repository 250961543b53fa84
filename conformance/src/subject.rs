//! The device under test.

use crate::Failure;
use crate::watch::{Loads, Traffic, Watch};
use anychip::{
    DType, Device, Result,
    hal::{
        RawDevice,
        device::{self, Layers},
        info::{self, DeviceInfo},
        layer::{Exact, Serial},
    },
};
use anychip_oracle::{Arithmetic, Facts, Subnormals, Type};
use std::{fmt, sync::Arc, time::Duration};

/// How long a soak lasts where nobody says otherwise.
pub const SOAK: Duration = Duration::from_secs(3600);

/// Opens the device below all layers.
type Make = dyn Fn() -> Result<Arc<dyn RawDevice>> + Send + Sync;

/// A device under test, opened; nothing falls back from it to another.
#[derive(Clone)]
pub struct Subject {
    /// For tensors.
    pub device: Device,
    make: Arc<Make>,
    watch: Option<Arc<Watch>>,
    soak: Duration,
}

impl Subject {
    /// Opens one device by its id, under watch.
    ///
    /// # Errors
    /// Those of [`Device::open`]; a chain is no subject.
    pub fn open(id: &str) -> Result<Subject> {
        let id = id.to_string();
        Subject::from_raw(move || anychip::open_raw(&id))
    }

    /// Takes a device of the contract, under watch. It is asked for again where a case wants the device once more.
    ///
    /// # Errors
    /// What `make` says.
    pub fn from_raw(make: impl Fn() -> Result<Arc<dyn RawDevice>> + Send + Sync + 'static) -> Result<Subject> {
        Subject::made(Arc::new(make), true, SOAK)
    }

    fn made(make: Arc<Make>, watched: bool, soak: Duration) -> Result<Subject> {
        let raw = make()?;
        // The watch's own work must not overlap with other calls either.
        let raw = if watched && raw.info().serialised { Arc::new(Serial::new(raw)) } else { raw };
        let watch = watched.then(|| Arc::new(Watch::new(raw.clone())));
        let raw: Arc<dyn RawDevice> = match &watch {
            Some(watch) => watch.clone(),
            None => raw,
        };
        let mut layers = Layers::from_env();
        // Buffers as long as asked for, and fresh: else guards would stand behind the pool's rounding.
        layers.quarantine |= watched;
        let device = Device::from_chain(vec![device::Device::with_layers(raw, &layers)])?;
        Ok(Subject { device, make, watch, soak })
    }

    /// The same chip, opened once more, under watch if this one is: nothing is shared with the first.
    ///
    /// # Errors
    /// What opening it says.
    pub fn again(&self) -> Result<Subject> {
        Subject::made(self.make.clone(), self.watch.is_some(), self.soak)
    }

    /// The same chip with exact numerics, opened once more, under watch if this one is.
    ///
    /// # Errors
    /// What opening it says; `Unsupported` where its declared arithmetic leaves results open.
    pub fn exact(&self) -> Result<Subject> {
        let make = self.make.clone();
        let exact = move || -> Result<Arc<dyn RawDevice>> { Ok(Arc::new(Exact::new(make()?)?)) };
        Subject::made(Arc::new(exact), self.watch.is_some(), self.soak)
    }

    /// The same chip, opened once more without the watch and with the pool that an application has: for limits, for memory that is
    /// used again, for times.
    ///
    /// # Errors
    /// What opening it says.
    pub fn plain(&self) -> Result<Subject> {
        Subject::made(self.make.clone(), false, self.soak)
    }

    /// A device of the contract, opened once more, without any layer.
    ///
    /// # Errors
    /// What opening it says.
    pub fn raw(&self) -> Result<Arc<dyn RawDevice>> {
        (self.make)()
    }

    /// For how long a case should go on that is [`soaking`](crate::Case::soaking). Under watch it calls [`check`](Self::check) now and
    /// then: until that, no freed memory goes back.
    pub fn soak(&self) -> Duration {
        self.soak
    }

    /// The same with another time for soaking.
    pub fn soaking(self, soak: Duration) -> Subject {
        Subject { soak, ..self }
    }

    /// Launches and moves that this handle was given; `None` without the watch.
    pub fn traffic(&self) -> Option<Traffic> {
        self.watch.as_ref().map(|w| w.traffic())
    }

    /// Programs that this handle's device has loaded since this was last asked; nothing without the watch.
    pub fn loads(&self) -> Loads {
        self.watch.as_ref().map(|w| w.loads()).unwrap_or_default()
    }

    /// Counts what another handle of this chip did for a case as this one's: its launches, what it loaded. Once, when it is done.
    pub fn absorb(&self, other: &Subject) {
        if let (Some(mine), Some(others)) = (&self.watch, &other.watch) {
            mine.absorb(others);
        }
    }

    /// What must hold after every case: nothing failed unseen, and nobody wrote beside a buffer. Gives unused memory back.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> std::result::Result<(), Failure> {
        let Some(watch) = &self.watch else { return Ok(()) };
        self.device.synchronize()?;
        self.chip().trim();
        watch.check()
    }

    /// The handle of the contract: buffers, programs, submissions.
    pub fn chip(&self) -> &device::Device {
        &self.device.chain()[0]
    }

    /// What the device says that it is and can do.
    pub fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    /// What it declares of the arithmetic in which a type is computed.
    pub fn arithmetic(&self, ty: Type) -> Arithmetic {
        let compute = Arithmetic::compute_type(ty);
        let facts = self.info().arithmetic.get(&dtype(compute)).map_or(Facts::IEEE, |a| Facts {
            correctly_rounded: a.correctly_rounded,
            may_contract: a.may_contract,
            fma_fused: a.fma_fused,
            div_ulp: a.div_ulp as f64,
            sqrt_ulp: a.sqrt_ulp as f64,
            subnormals: match a.subnormals {
                info::Subnormals::Kept => Subnormals::Kept,
                _ => Subnormals::MayBeZero,
            },
            nan_inf: a.nan_inf,
        });
        Arithmetic::new(ty, facts)
    }

    /// Unsupported where the device does not compute with a type.
    ///
    /// # Errors
    /// That.
    pub fn computes(&self, ty: Type) -> std::result::Result<(), Failure> {
        match self.info().support(dtype(ty)).arithmetic {
            true => Ok(()),
            false => Err(Failure::Unsupported(format!("{}: no arithmetic in {}", self.device, dtype(ty)))),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.device)
    }
}

/// The library's name of a type.
pub fn dtype(ty: Type) -> DType {
    match ty {
        Type::Bool => DType::Bool,
        Type::I8 => DType::I8,
        Type::I16 => DType::I16,
        Type::I32 => DType::I32,
        Type::I64 => DType::I64,
        Type::U8 => DType::U8,
        Type::U16 => DType::U16,
        Type::U32 => DType::U32,
        Type::U64 => DType::U64,
        Type::F16 => DType::F16,
        Type::BF16 => DType::BF16,
        Type::F32 => DType::F32,
        Type::F64 => DType::F64,
    }
}
