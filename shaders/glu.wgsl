// import: activation
// out = act(gate) · up, one invocation an element.

struct Params { n: u32, activation: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> gate: array<f32>; // (n)
@group(0) @binding(1) var<storage, read> up: array<f32>; // (n)
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // (n)

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WG + lane;
    if i < params.n { out[i] = activate(gate[i], params.activation) * up[i]; }
}
