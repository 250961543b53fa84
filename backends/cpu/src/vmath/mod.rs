//! Elementwise mathematics over slices of f32, compiled for several vector widths and chosen at run time.

mod level;

pub use level::Level;
