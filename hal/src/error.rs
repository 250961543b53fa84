//! One error type, split by what the caller should do next.
//!
//! Every message is a sentence that names the thing, the numbers and, where there is one, the way out.
//! Codes are stable: they cross process and C boundaries and appear in reports.

use std::time::Duration;

/// The result of everything in anychip that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by what the caller should do about it.
///
/// Errors are values: cloneable, because one lost device fails every piece of work that was pending on it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The driver's run-time library is missing or too old. Install it, or use another backend.
    #[error("{backend}: no driver: {why}")]
    NoDriver {
        /// The backend, e.g. `opencl`.
        backend: String,
        /// The loader's reason.
        why: String,
    },
    /// No such device. Choose one of those that exist.
    #[error("no device {asked:?}: {why}")]
    NoDevice {
        /// What was asked for.
        asked: String,
        /// What there is instead.
        why: String,
    },
    /// The device cannot do this; another device may.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// The operation, kernel or feature.
        what: String,
        /// The device's own reason.
        why: String,
    },
    /// The allocation does not fit. The device stays usable: free something and try again.
    #[error("out of memory on {device}: {asked} bytes asked for, {why}")]
    OutOfMemory {
        /// The device's id.
        device: String,
        /// Bytes asked for.
        asked: u64,
        /// The limit that was met.
        why: String,
    },
    /// A kernel did not compile. A bug in anychip, in a backend, or in the driver: the text says which source.
    #[error("kernel {kernel:?} does not compile on {device}: {log}\n--- source ---\n{rendered}")]
    CompileFailed {
        /// The kernel's name.
        kernel: String,
        /// The device's id.
        device: String,
        /// What was handed to the driver's compiler.
        rendered: String,
        /// The driver's own words.
        log: String,
    },
    /// The device is gone: every pending ticket fails with this, as does everything after it. Reopen it.
    #[error("device {device} is lost: {why}{}", if *.restart { " (the process must be restarted)" } else { "" })]
    DeviceLost {
        /// The device's id.
        device: String,
        /// The driver's reason.
        why: String,
        /// True when reopening within this process cannot work.
        restart: bool,
    },
    /// The work did not finish in time. It may still be running.
    #[error("{what} did not finish within {after:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// An argument is wrong in itself. The sentence says which, and what would be accepted.
    #[error("{0}")]
    InvalidArgument(String),
    /// Shapes do not fit together. The sentence gives them.
    #[error("{0}")]
    ShapeMismatch(String),
    /// Element types do not fit together. The sentence gives them.
    #[error("{0}")]
    DTypeMismatch(String),
    /// A file or stream is damaged, cut short, or hostile.
    #[error("{file}: damaged at byte {offset}: {why}")]
    Corrupt {
        /// The file, or a name for the bytes.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// A plugin broke the contract.
    #[error("plugin {plugin}: {why}")]
    Plugin {
        /// The plugin's name or path.
        plugin: String,
        /// Which rule it broke.
        why: String,
    },
    /// The driver failed with a code of its own.
    #[error("{backend}: {message} (code {code})")]
    Backend {
        /// The backend's name.
        backend: String,
        /// The driver's code.
        code: i64,
        /// The call and the driver's words.
        message: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {why}")]
    Io {
        /// The path.
        path: String,
        /// The system's words.
        why: String,
    },
}

impl Error {
    /// The stable code of the variant; never renumbered.
    pub fn code(&self) -> u32 {
        match self {
            Error::NoDriver { .. } => 1,
            Error::NoDevice { .. } => 2,
            Error::Unsupported { .. } => 3,
            Error::OutOfMemory { .. } => 4,
            Error::CompileFailed { .. } => 5,
            Error::DeviceLost { .. } => 6,
            Error::Timeout { .. } => 7,
            Error::InvalidArgument(_) => 8,
            Error::ShapeMismatch(_) => 9,
            Error::DTypeMismatch(_) => 10,
            Error::Corrupt { .. } => 11,
            Error::Plugin { .. } => 12,
            Error::Backend { .. } => 13,
            Error::Io { .. } => 14,
        }
    }

    /// `InvalidArgument` from anything printable.
    pub fn invalid(what: impl Into<String>) -> Error {
        Error::InvalidArgument(what.into())
    }

    /// `Unsupported` from a thing and a reason.
    pub fn unsupported(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Unsupported { what: what.into(), why: why.into() }
    }

    /// `Io` from a path and the system's error.
    pub fn io(path: impl AsRef<std::path::Path>, why: &std::io::Error) -> Error {
        Error::Io { path: path.as_ref().display().to_string(), why: why.to_string() }
    }

    /// True when another device could still do the work: a chain moves on.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Error::Unsupported { .. })
    }

    /// True when the device has to be reopened.
    pub fn is_lost(&self) -> bool {
        matches!(self, Error::DeviceLost { .. })
    }
}
