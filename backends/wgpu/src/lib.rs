//! The wgpu backend: whatever wgpu reaches, which is Vulkan, Metal, DirectX 12, OpenGL and a browser's WebGPU.
//!
//! It moves bytes, loads what [`anychip_hal::render::wgsl`] prints (or, where the driver is Vulkan and takes it,
//! [`anychip_hal::render::spirv`] builds) and runs it. It knows no tensors and no graphs. Nothing of wgpu shows outside. No
//! adapter, or one that cannot be used, is an error with a reason, never a panic.
//!
//! # In a browser
//! Nothing there may block. [`WgpuDriver::request`] finds the adapters and opens a device of each; [`Driver::open`] hands those
//! out. Reading is `Pending`'s future: a ticket is complete when what the host reads is mapped, so that
//! [`RawDevice::host_read`] only copies.
//!
//! # Choices
//! `WGPU_BACKEND` (vulkan, metal, dx12, gl) leaves out drivers, `ANYCHIP_WGPU_SHADERS=wgsl` the way by SPIR-V.
#![deny(missing_docs)]

mod device;
mod memory;
mod native;
mod probe;
mod program;
mod queue;
mod quirks;

use anychip_hal::{DeviceInfo, Driver, Error, RawDevice, Result, probe::Installed};
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

/// The backend's name: what stands before the colon in a device id.
pub const NAME: &str = "wgpu";

/// Reaches every device that wgpu finds on this machine.
#[derive(Default)]
pub struct WgpuDriver {
    /// Devices that were opened ahead, in a browser; each is handed out once.
    requested: Vec<Requested>,
}

struct Requested {
    info: Result<DeviceInfo>,
    opened: Mutex<Option<device::Device>>,
}

impl fmt::Debug for WgpuDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WgpuDriver ({} requested)", self.requested.len())
    }
}

impl WgpuDriver {
    /// A driver; nothing is opened yet.
    pub fn new() -> WgpuDriver {
        WgpuDriver::default()
    }

    /// A driver whose devices are found and opened now, without blocking: what a browser needs, and may be used anywhere.
    ///
    /// # Errors
    /// `NoDriver` where wgpu finds no adapter.
    pub async fn request() -> Result<WgpuDriver> {
        let mut requested = vec![];
        for (n, adapter) in adapters().await?.iter().enumerate() {
            let opened = match probe::probe(adapter, n as u32) {
                Ok(probed) => device::Device::open(adapter, probed).await,
                Err(e) => Err(e),
            };
            requested.push(match opened {
                Ok(d) => Requested { info: Ok(d.info.clone()), opened: Mutex::new(Some(d)) },
                Err(e) => Requested { info: Err(e), opened: Mutex::new(None) },
            });
        }
        Ok(WgpuDriver { requested })
    }
}

impl Driver for WgpuDriver {
    fn name(&self) -> &str {
        NAME
    }

    fn distance(&self) -> u8 {
        2
    }

    fn installed(&self) -> Option<Installed> {
        let gl = Installed::new().library("libEGL.so.1", None).library("libEGL_mesa.so.0", None);
        Some(Installed::vulkan().and(gl).variables(&[
            "WGPU_*",
            "ANYCHIP_WGPU_*",
            "EGL_*",
            "__EGL_*",
            "GALLIUM_*",
            "LIBGL_*",
            "DISPLAY",
            "WAYLAND_DISPLAY",
        ]))
    }

    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        if !self.requested.is_empty() {
            return Ok(self.requested.iter().map(|r| r.info.clone()).collect());
        }
        let found = now(adapters())??;
        Ok(found.iter().enumerate().map(|(n, a)| probe::probe(a, n as u32).map(|p| p.info)).collect())
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        let none = |count: usize| Error::NoDevice {
            asked: format!("{NAME}:{ordinal}"),
            why: format!("there are {count}, counted from 0"),
        };
        if !self.requested.is_empty() {
            let slot = self.requested.get(ordinal as usize).ok_or_else(|| none(self.requested.len()))?;
            let info = slot.info.clone()?;
            return match device::lock(&slot.opened).take() {
                Some(d) => Ok(Arc::new(d)),
                None => Err(Error::NoDevice {
                    asked: info.id,
                    why: "it was opened from this request already; request the driver again for another handle".into(),
                }),
            };
        }
        let found = now(adapters())??;
        let adapter = found.get(ordinal as usize).ok_or_else(|| none(found.len()))?;
        let probed = probe::probe(adapter, ordinal)?;
        Ok(Arc::new(now(device::Device::open(adapter, probed))??))
    }
}

/// What a future that needs no waiting gives; wgpu's are such, except in a browser.
fn now<T>(future: impl Future<Output = T>) -> Result<T> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(x) => Ok(x),
        Poll::Pending => Err(Error::NoDriver {
            backend: NAME.into(),
            why: "a browser answers later: await WgpuDriver::request and use the driver that it gives".into(),
        }),
    }
}

/// Every adapter, in the order that gives it its number. `NoDriver` says what is missing when there is none.
async fn adapters() -> Result<Vec<wgpu::Adapter>> {
    #[cfg(not(target_arch = "wasm32"))]
    {
        // Asked once: loading drivers costs as much as their answer, and adapters of OpenGL that were asked for apart share a
        // context without knowing of each other.
        static FOUND: Mutex<Vec<wgpu::Adapter>> = Mutex::new(vec![]);
        let mut found = device::lock(&FOUND);
        if found.is_empty() {
            *found = now(ask())??;
        }
        Ok(found.clone())
    }
    #[cfg(target_arch = "wasm32")]
    ask().await
}

async fn ask() -> Result<Vec<wgpu::Adapter>> {
    let mut options = wgpu::InstanceDescriptor::new_without_display_handle();
    // Layers and checks of the driver are asked for by the variables that wgpu reads (WGPU_VALIDATION, WGPU_DEBUG).
    options.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(options.with_env());
    let found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    match found.is_empty() {
        false => Ok(found),
        true => Err(Error::NoDriver {
            backend: NAME.into(),
            why: format!(
                "wgpu finds no adapter; it looks for {}. Install a driver, e.g. mesa-vulkan-drivers",
                if cfg!(target_arch = "wasm32") {
                    "navigator.gpu"
                } else {
                    "Vulkan, Metal, DirectX 12 and OpenGL (EGL)"
                }
            ),
        }),
    }
}
