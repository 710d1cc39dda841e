// out row i = x row index[i].w, one workgroup a row.

struct Params { tokens: u32, rows: u32, dim: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (tokens, dim)
@group(0) @binding(1) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // (rows, dim)

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows { return; }
    let source = min(index[row].w, params.tokens - 1u);
    for (var i = lane; i < params.dim; i += WG) { out[row * params.dim + i] = x[source * params.dim + i]; }
}
