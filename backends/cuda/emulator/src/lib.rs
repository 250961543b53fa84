//! For tests only: a CUDA driver, NVRTC and parts of cuBLASLt and NVML without a GPU. The library exports the symbols that anychip's CUDA backend calls; rendered
//! CUDA C is compiled by the system's C++ compiler behind `shim/shim.h` and runs on the processor, made to fail where a GPU would
//! fail sometimes: shared memory is poisoned, threads between barriers run in shuffled orders, streams run apart and late, every
//! allocation ends at a guard page, any call can be told to fail. Nothing of anychip looks for it: it is found only where
//! `scripts/cuda-emulator` has laid it out as `libcuda.so` and `LD_LIBRARY_PATH` names that folder. README.md lists settings and shim.
#![cfg(target_os = "linux")]

mod abi;
mod blas;
mod calls;
mod code;
mod context;
mod device;
mod event;
mod exec;
mod graph;
mod handle;
mod launch;
mod memory;
mod module;
mod nvml;
mod nvrtc;
mod settings;
mod stream;
mod tensor_map;
