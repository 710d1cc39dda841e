// import: quant, reduce, dot32
// out = x·Wᵀ for few tokens: a workgroup computes four rows for up to TOKENS tokens, its invocations striding over
// the rows' blocks of 32 columns. A token's sum takes the same steps in the same order whatever TOKENS and its
// neighbours are.

struct Params { tokens: u32, rows: u32, cols: u32, row0: u32, stride: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (tokens, cols)
@group(0) @binding(1) var<storage, read> w_codes: array<Codes>; // (rows, blocks)
@group(0) @binding(2) var<storage, read> w_scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (tokens, stride), these rows from column row0

const_assert ROWS == 4u;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let row = (group.y * groups.x + group.x) * ROWS;
    if row >= params.rows { return; } // the whole workgroup
    let last = params.rows - 1u;
    let blocks = (params.cols + 31u) >> 5u;
    let at = min(vec4<u32>(row, row + 1u, row + 2u, row + 3u), vec4<u32>(last)) * blocks;
    let token0 = group.z * TOKENS;
    var sums = array<vec4<f32>, TOKENS>();
    for (var b = lane.index; b < blocks; b += WG) {
        let w0 = block_values(at.x + b); // unpacked once for all tokens
        let w1 = block_values(at.y + b);
        let w2 = block_values(at.z + b);
        let w3 = block_values(at.w + b);
        for (var t = 0u; t < TOKENS; t++) {
            let v = x_block(min(token0 + t, params.tokens - 1u), b);
            sums[t] += vec4<f32>(dot32(w0, v), dot32(w1, v), dot32(w2, v), dot32(w3, v));
        }
    }
    for (var t = 0u; t < TOKENS; t++) {
        let total = reduce_add4(sums[t], lane);
        if lane.index < ROWS && row + lane.index <= last && token0 + t < params.tokens {
            out[(token0 + t) * params.stride + params.row0 + row + lane.index] = total[lane.index];
        }
    }
}

// 32 columns of a token from column 32·b, zeros behind the last.
fn x_block(token: u32, b: u32) -> array<vec4<f32>, 8> {
    let base = token * params.cols + b * 32u;
    let columns = params.cols - b * 32u;
    if columns < 32u { return x_last(base, columns); }
    return array<vec4<f32>, 8>(
        x_four(base), x_four(base + 4u), x_four(base + 8u), x_four(base + 12u),
        x_four(base + 16u), x_four(base + 20u), x_four(base + 24u), x_four(base + 28u),
    );
}

fn x_four(at: u32) -> vec4<f32> {
    return vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}

fn x_last(base: u32, columns: u32) -> array<vec4<f32>, 8> {
    var values = array<vec4<f32>, 8>();
    for (var i = 0u; i < columns; i++) { values[i >> 2u][i & 3u] = x[base + i]; }
    return values;
}
