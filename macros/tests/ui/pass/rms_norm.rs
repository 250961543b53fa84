use anychip_hal::ir::typed::*;
use anychip_macros::kernel;

#[kernel]
fn rms_norm<T: Float>(x: &Buf<T>, weight: &Buf<T>, out: &mut Buf<T>, cols: u32, eps: f32) {
    let row = group_id(0);
    let mut sum: f32 = 0.0;
    for c in strided(local_id(0), cols, local_size(0)) {
        let v = x[row * cols + c].to_f32();
        sum = mul_add(v, v, sum);
    }
    let scale = rsqrt(group_sum(sum) / cols.to_f32() + eps);
    for c in strided(local_id(0), cols, local_size(0)) {
        let i = row * cols + c;
        out[i] = T::from_f32(x[i].to_f32() * scale * weight[c].to_f32());
    }
}

fn main() {
    let k = rms_norm::<f32>(256).unwrap();
    assert_eq!(k.name, "rms_norm_f32");
    assert_eq!(rms_norm::<f16>(256).unwrap().name, "rms_norm_f16");
}
