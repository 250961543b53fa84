// reverse in WGSL
enable f16;
@group(0) @binding(0) var<storage, read> b0_x: array<f16>;
@group(0) @binding(1) var<storage, read_write> b1_out: array<f32>;
struct Scalars { w0: u32, w1: u32, w2: u32, w3: u32, w4: u32 }
var<immediate> scalars: Scalars;
var<workgroup> s0_half: array<f16, 32>;
var<workgroup> s1_tile: array<f32, 32>;
var<workgroup> s2_scratch_f32: array<f32, 4>;
fn is_nan_f32(x: f32) -> bool {
    return (bitcast<u32>(x) & 2147483647u) > 2139095040u;
}
fn max_f32(a: f32, b: f32) -> f32 {
    return select(b, a, (a > b) | is_nan_f32(a));
}
@compute @workgroup_size(16, 2, 1)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) num_groups: vec3<u32>, @builtin(local_invocation_id) local_id: vec3<u32>, @builtin(subgroup_invocation_id) subgroup_lane: u32, @builtin(subgroup_id) subgroup_number: u32) {
    var x0_read_0: f16;
    var x1_read_0: f32;
    var x2_read_0: f16;
    let v4 = (group_id.x + (group_id.y * num_groups.x));
    if ((v4 < scalars.w4)) {
        let v7 = scalars.w0;
        let v8 = scalars.w1;
        let v15 = ((local_id.y * 16u) + local_id.x);
        let v19 = ((v4 * 32u) + v15);
        x0_read_0 = 0e0h;
        if ((v19 < scalars.w2)) {
            let v22 = (v19 + v7);
            let v23 = b0_x[v22];
            x0_read_0 = v23;
        }
        let v24 = x0_read_0;
        let v26 = (v15 <= 31u);
        if (v26) {
            s0_half[v15] = v24;
        }
        let v27 = f32(v24);
        if (v26) {
            s1_tile[v15] = v27;
        }
        workgroupBarrier();
        storageBarrier();
        let v28 = (31u - v15);
        let v29 = (v28 <= 31u);
        x1_read_0 = 0e0f;
        if (v29) {
            let v31 = s1_tile[v28];
            x1_read_0 = v31;
        }
        let v32 = x1_read_0;
        x2_read_0 = 0e0h;
        if (v29) {
            let v33 = s0_half[v28];
            x2_read_0 = v33;
        }
        let v34 = x2_read_0;
        let v36 = (v32 + f32(v34));
        let v37 = (subgroupMax(v36) + subgroupAdd(select(0e0f, v36, is_nan_f32(v36))));
        let v38 = subgroup_number;
        if ((subgroup_lane == 0u)) {
            s2_scratch_f32[v38] = v37;
        }
        workgroupBarrier();
        storageBarrier();
        let v42 = s2_scratch_f32[0u];
        let v44 = s2_scratch_f32[1u];
        let v47 = s2_scratch_f32[2u];
        let v50 = s2_scratch_f32[3u];
        workgroupBarrier();
        storageBarrier();
        let v52 = (v36 + max_f32(max_f32(max_f32(v42, v44), v47), v50));
        if ((v19 < scalars.w3)) {
            let v54 = (v19 + v8);
            b1_out[v54] = v52;
        }
    }
}
