//! The prelude works under any name that it is re-exported by.
mod anychip {
    pub mod kernel_prelude {
        pub use anychip_hal::ir::typed::*;
        pub use anychip_macros::{device, kernel};
    }
}

mod user {
    use crate::anychip::kernel_prelude::*;

    #[device]
    fn twice(x: f32) -> f32 {
        x * 2.0
    }

    #[kernel]
    pub fn double(out: &mut Buf<f32>) {
        let i = global_id(0);
        out[i] = twice(out[i]);
    }
}

fn main() {
    user::double(64).unwrap();
}
