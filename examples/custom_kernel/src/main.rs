//! An application's own kernel, written once in Rust, launched on tensors of every device that is here, and compared with
//! the same computation written with tensor methods.

use anychip::{Device, Launch, Result, Tensor, lang::*};

/// Rotary position embedding: pairs (x[i], x[i + half]) of each head are turned by an angle that grows with the position.
/// `x` and `out` are `[positions, heads, 2 · half]`.
#[kernel]
fn rotate(x: &Buf<f32>, out: &mut Buf<f32>, heads: u32, half: u32, base: f32) {
    let pair = global_id(0).to_u32();
    if pair < x.len().to_u32() / 2 {
        let i = pair % half;
        let head = pair / half;
        let position = head / heads;
        let angle = position.to_f32() * pow(base, -(i.to_f32() / half.to_f32()));
        let first = head * half * 2 + i;
        let second = first + half;
        out[first] = x[first] * cos(angle) - x[second] * sin(angle);
        out[second] = x[second] * cos(angle) + x[first] * sin(angle);
    }
}

/// The same with tensor methods.
fn rotate_with_tensors(x: &Tensor, base: f32) -> Result<Tensor> {
    let device = x.device();
    let (positions, half) = (x.dim(0)?, x.dim(2)? / 2);
    let frequency =
        Tensor::full(base, half, device)?.pow(Tensor::arange(0f32, half as f32, device)?.div(half)?.neg()?)?;
    let angle = Tensor::arange(0f32, positions as f32, device)?.reshape((positions, 1, 1))?.mul(frequency)?;
    let (first, second) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let (cos, sin) = (angle.cos()?, angle.sin()?);
    let turned = first.mul(&cos)?.sub(second.mul(&sin)?)?;
    Tensor::cat(&[turned, second.mul(&cos)?.add(first.mul(&sin)?)?], 2)
}

fn main() -> Result<()> {
    let (positions, heads, width) = (64, 4, 32);
    // A kernel is a value: its workgroup is chosen here, the device when it is launched.
    let kernel = rotate(64)?;
    for info in Device::list().devices {
        let device = Device::open(&info.id)?;
        let values = (0..positions * heads * width).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        let x = Tensor::from_vec(values, (positions, heads, width), &device)?;
        let turned = Launch::new(&kernel, &device)
            .input(&x)
            .output(x.dims())
            .scalar(heads)
            .scalar(width / 2)
            .scalar(10_000f32)
            .over((positions * heads * width / 2) as u64)
            .run()?;
        let difference = turned[0].sub(rotate_with_tensors(&x, 10_000.0)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        println!("{:<10} {}: largest difference {difference:.1e}", info.id, info.identity.name);
        if difference.is_nan() || difference > 1e-5 {
            return Err(anychip::Error::invalid(format!("{}: kernel and tensors disagree", info.id)));
        }
    }
    Ok(())
}
