// import: activation
// out = act(gate) · up, one invocation an element.

struct Params { tokens: u32, cols: u32, activation: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> gate_up: array<f32>; // (tokens, 2, cols)
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // (tokens, cols)

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WG + lane;
    let token = i / params.cols;
    if token >= params.tokens { return; }
    let gate = i + token * params.cols; // behind the gates and ups of the tokens before
    out[i] = activate(gate_up[gate], params.activation) * gate_up[gate + params.cols];
}
