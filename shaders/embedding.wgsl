// import: quant
// out row t = the weight's row index[t].x, one workgroup a token. A weight split by rows holds the vocabulary's rows
// row0 .. row0 + rows; ids outside are left to its other pieces.

struct Params { tokens: u32, rows: u32, cols: u32, row0: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
const W_CODES = 1u; // where the weight (rows, blocks) is bound
const W_SCALES = 2u;
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (tokens, cols)

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let token = group.y * groups.x + group.x;
    if token >= params.tokens { return; }
    let row = index[token].x - params.row0; // wraps to a large number below row0
    if row >= params.rows { return; }
    let blocks = (params.cols + 31u) >> 5u;
    for (var b = lane; b < blocks; b += WG) {
        let values = block_values(row * blocks + b);
        let end = min(32u, params.cols - b * 32u);
        let base = token * params.cols + b * 32u;
        for (var i = 0u; i < end; i++) { out[base + i] = values[i >> 2u][i & 3u]; }
    }
}
