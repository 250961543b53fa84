//! The kernel language from outside: text form, verifier, and the meaning of legalised kernels against numbers computed
//! on the host.

mod exact;
mod floats;
mod kernels;
mod legal;
mod math;
mod narrow;
mod pairs;
mod reference;
mod spirv;
mod text;
mod verify;
mod wgsl;
