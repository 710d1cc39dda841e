// import: activation, act8_store
// out8 = act(gate) · up as int8 blocks of 32, an invocation a block.

struct Params { tokens: u32, cols: u32, activation: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> gate_up: array<vec4<f32>>; // (tokens, 2, cols)
@group(0) @binding(1) var<storage, read_write> out8_codes: array<vec4<u32>>; // (tokens, blocks, 2)
@group(0) @binding(2) var<storage, read_write> out8_scales: array<f32>; // (tokens, blocks)
@group(0) @binding(3) var<storage, read_write> out8_sums: array<u32>; // (tokens, blocks)

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = (group.y * groups.x + group.x) * WG + lane;
    let blocks = params.cols >> 5u;
    let token = block / blocks;
    if token >= params.tokens { return; }
    let gate = (block + token * blocks) * 8u; // behind the gates and ups of the tokens before
    let up = gate + blocks * 8u;
    var values = array<vec4<f32>, 8>();
    for (var i = 0u; i < 8u; i++) {
        let g = gate_up[gate + i];
        let a = params.activation;
        values[i] = vec4<f32>(activate(g.x, a), activate(g.y, a), activate(g.z, a), activate(g.w, a))
            * gate_up[up + i];
    }
    store_block8(block, values);
}
