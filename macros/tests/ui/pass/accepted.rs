//! Forms that are easily broken: where clauses, lifetimes, visibility, constants, `_`, labels of the host.
use anychip_hal::ir::typed::*;
use anychip_macros::{device, kernel};

mod library {
    use super::*;

    /// Documented.
    #[kernel]
    pub(crate) fn bounded<'a, T, const N: usize>(out: &mut Buf<T>, #[host] names: &'a [&'a str])
    where
        T: Num,
    {
        use anychip_hal::ir::typed::group_id as group;
        const LAST: u32 = 3;
        let _ = group(0);
        #[host]
        'names: for name in names {
            #[host]
            if name.is_empty() {
                #[host]
                break 'names;
            }
            for _ in 0..N {
                out[LAST] += T::from_u32(1);
            }
        }
        {
            let ((a, _), b) = ((1.0, 2), group(1));
            let c: (f32, Idx) = (a, b);
            let _ = c;
        }
    }
}

#[device]
fn nothing() {}

#[device]
fn pair(a: f32, b: u32) -> (f32, (u32, bool)) {
    let more = if a > 1.0 && b != 3 { true } else { false };
    (a + 1.0, (b, more || !more))
}

#[kernel]
fn caller(out: &mut Buf<f32>) {
    nothing();
    let (x, (y, z)) = pair(2.0, 4);
    if !z {
        out[y] = x;
    } else if y >= 7 {
        out[0] = -x;
    } else {
        return;
    }
    while y < 3 && (out[1] > 0.5 || z == true) {
        out[1] /= 2.0;
    }
}

fn main() {
    let k = library::bounded::<u8, 3>(64, &["a", "", "b"]).unwrap();
    assert_eq!(k.name, "bounded_u8_3");
    caller([8, 8, 2]).unwrap();
}
