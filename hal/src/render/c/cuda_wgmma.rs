//! Products of warpgroups as text. The instruction names every register of its sums, so that its text is made and not written.

use std::fmt::Write;

/// Columns of the products.
pub const COLUMNS: [u16; 3] = [64, 128, 256];
/// Rows of a warpgroup's products, and their inner extent: a line of 128 bytes, in steps of 16.
pub const ROWS: u16 = 64;
pub const INNER: u16 = 64;

/// `warpgroup<T, N, BY_K>::add(sums, a, b)`: the whole inner extent, begun in one statement, and under way until it is waited for.
/// `BY_K`: the inner extent of B lies side by side.
pub fn products() -> String {
    let mut text = String::new();
    for (ty, name) in [("half", "f16"), ("bfloat", "bf16")] {
        for n in COLUMNS {
            let _ = write!(text, "{}", product(ty, name, n));
        }
    }
    text
}

fn product(ty: &str, name: &str, n: u16) -> String {
    let (sums, steps) = (n / 2, INNER / 16);
    let list = |one: fn(u16) -> String| (0..sums).map(one).collect::<Vec<_>>().join(", ");
    let (registers, operands) = (list(|i| format!("%{i}")), list(|i| format!("\"+f\"(s[{i}])")));
    let (a, b, turned) = (sums, sums + steps, sums + 2 * steps);
    let each = |one: &dyn Fn(u16) -> String| (0..steps).map(one).collect::<Vec<_>>();
    let issued = each(&|i| {
        let form = format!("wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{name}.{name}");
        format!("\"{form} {{{registers}}}, %{}, %{}, 1, 1, 1, 0, %{turned};\\n\"\n", a + i, b + i)
    })
    .concat();
    let lefts = each(&|i| format!("\"l\"(a + {i} * step_a)")).join(", ");
    let rights = each(&|i| format!("\"l\"(b + {i} * step_b)")).join(", ");
    let emulated = each(&|i| {
        format!("anychip_wgmma<anychip_{name}, {n}, true, BY_K>(s, tile_at(a + {i} * step_a), tile_at(b + {i} * step_b), true);\n")
    })
    .concat();
    format!(
        "template <bool BY_K> struct warpgroup<{ty}, {n}, BY_K> {{
static INLINE void add(float* s, tile_place a, tile_place b) {{
constexpr int step_a = 2 * PLACES, step_b = (BY_K ? 2 : 128) * PLACES;
#ifdef ANYCHIP_EMULATED
anychip_wgmma_fence();
{emulated}anychip_wgmma_commit();
anychip_wgmma_wait(0);
#else
asm volatile(\"wgmma.fence.sync.aligned;\\n\"
{issued}\"wgmma.commit_group.sync.aligned;\"
: {operands}
: {lefts}, {rights}, \"n\"(BY_K ? 0 : 1) : \"memory\");
#endif
}}
}};
"
    )
}
