//! Whether what a case makes fits into the device, asked before anything is allocated: a host that runs out of memory
//! ends the process without a word.

use super::SETS;
use anychip::{DType, Device, Error, Result, hal::info::MemoryInfo};

/// Refuses a case whose tensors do not fit. `inputs` are made once per set; `results` are what stands beside all of them.
pub fn check(name: &str, device: &Device, dtype: DType, inputs: &[Vec<usize>], results: &[Vec<usize>]) -> Result<()> {
    fits(device.id(), &device.info().memory, dtype, inputs, results)
        .map_err(|why| Error::invalid(format!("bench: {name}: {why}; give a smaller --size or --shape")))
}

/// Bytes of a tensor, or the largest number where they are beyond it.
fn bytes(shape: &[usize], size: usize) -> u128 {
    shape.iter().fold(size as u128, |n, &extent| n.saturating_mul(extent as u128))
}

fn fits(
    device: &str,
    memory: &MemoryInfo,
    dtype: DType,
    inputs: &[Vec<usize>],
    results: &[Vec<usize>],
) -> std::result::Result<(), String> {
    // Inputs are made as f32 and then become what was asked for.
    let made = dtype.size().max(DType::F32.size());
    let all = inputs.iter().map(|s| (s, made)).chain(results.iter().map(|s| (s, dtype.size())));
    for (shape, size) in all {
        let one = bytes(shape, size);
        if one > memory.max_alloc as u128 {
            let most = memory.max_alloc;
            return Err(format!("a tensor of shape {shape:?} takes {one} bytes, a buffer of {device} at most {most}"));
        }
    }
    let sum = |shapes: &[Vec<usize>]| shapes.iter().fold(0u128, |n, s| n.saturating_add(bytes(s, dtype.size())));
    let needed = sum(inputs).saturating_mul(SETS as u128).saturating_add(sum(results));
    if needed > memory.total as u128 {
        return Err(format!(
            "inputs of shapes {inputs:?} in {dtype}, {SETS} sets of them, and results of shapes {results:?} take {needed} \
             bytes; {device} has {}",
            memory.total
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_all_memory_are_refused_with_numbers() {
        let d = Device::open("cpu").expect("the host is a device");
        let total = d.info().memory.total;
        let refused = |inputs: &[Vec<usize>], results: &[Vec<usize>]| {
            check("sum", &d, DType::F32, inputs, results).expect_err("should have been refused").to_string()
        };
        let n = 99_999_999_999;
        let e = refused(&[vec![n, n], vec![n, n]], &[vec![n, n]]);
        assert!(e.contains("99999999999") && e.contains("39999999999200000000004"), "{e}");
        let e = refused(&[vec![usize::MAX; 4]], &[]);
        assert!(e.contains(&u128::MAX.to_string()), "{e}");
        // Each set fits, all of them do not.
        let share = (total / 4 / SETS as u64) as usize;
        let e = refused(&[vec![share], vec![share]], &[]);
        assert!(e.contains(&format!("has {total}")) && e.contains(&(share * 8 * SETS).to_string()), "{e}");
        check("sum", &d, DType::F32, &[vec![1024, 1024]], &[vec![1]]).expect("a small one fits");
    }
}
