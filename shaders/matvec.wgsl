// import: quant, store_four, dot32, x_rows
// out = x·Wᵀ for few tokens: each invocation sums four rows for TOKENS tokens in registers and unpacks a block of each
// row once for all of them. LANES invocations share their rows' blocks of 32 columns, either the whole workgroup
// (neighbours read neighbouring blocks) or one (no sums to gather: for adapters whose lanes are slow to meet). A
// token's sum takes the same steps in the same order whatever TOKENS and its neighbours are.

struct Params { tokens: u32, rows: u32, cols: u32, row0: u32, stride: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<X>; // (tokens, cols)
const W_CODES = 1u; // where the weight (rows, blocks) is bound
const W_SCALES = 2u;
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (tokens, stride), these rows from column row0

const_assert ROWS * LANES == 4u * WG && (LANES == 1u || LANES == WG);

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let first = (group.y * groups.x + group.x) * ROWS;
    if first >= params.rows { return; } // the whole workgroup
    let row = first + select(lane.index * 4u, 0u, LANES == WG);
    let last = params.rows - 1u;
    let blocks = (params.cols + 31u) >> 5u;
    let at = min(vec4<u32>(row, row + 1u, row + 2u, row + 3u), vec4<u32>(last)) * blocks;
    let token0 = group.z * TOKENS;
    var sums = array<vec4<f32>, TOKENS>();
    for (var b = select(0u, lane.index, LANES == WG); b < blocks; b += LANES) {
        let w0 = block_values(at.x + b);
        let w1 = block_values(at.y + b);
        let w2 = block_values(at.z + b);
        let w3 = block_values(at.w + b);
        for (var t = 0u; t < TOKENS; t++) {
            let v = x_block(min(token0 + t, params.tokens - 1u), b * 8u);
            sums[t] += vec4<f32>(dot32(w0, v), dot32(w1, v), dot32(w2, v), dot32(w3, v));
        }
    }
    for (var t = 0u; t < TOKENS; t++) { store_four(token0 + t, row, sums[t], lane); }
}

// 32 columns of a token.
fn x_block(token: u32, four: u32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        x_part(token, four), x_part(token, four + 1u), x_part(token, four + 2u), x_part(token, four + 3u),
        x_part(token, four + 4u), x_part(token, four + 5u), x_part(token, four + 6u), x_part(token, four + 7u),
    );
}
