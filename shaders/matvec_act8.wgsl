// import: quant, store_four
// out = x·Wᵀ for int8 activations: each invocation keeps MINE rows' sums for TOKENS tokens in registers and unpacks a
// block of each row once for all of them. LANES invocations share their rows' blocks of 32 columns, either the whole
// workgroup (neighbours read neighbouring blocks) or one (no sums to gather: for adapters whose lanes are slow to
// meet). A token's sum takes the same steps in the same order whatever TOKENS and its neighbours are.

struct Params { tokens: u32, rows: u32, cols: u32, row0: u32, stride: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x_codes: array<Codes>; // (tokens, blocks, 2)
@group(0) @binding(1) var<storage, read> x_scales: array<f32>; // (tokens, blocks)
@group(0) @binding(2) var<storage, read> x_sums: array<u32>; // (tokens, blocks)
@group(0) @binding(3) var<storage, read> w_codes: array<Codes>; // (rows, blocks)
@group(0) @binding(4) var<storage, read> w_scales: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>; // (tokens, stride), these rows from column row0

const MINE = ROWS * LANES / WG; // rows of an invocation, of the workgroup's ROWS
const FOURS = MINE / 4u;
const_assert MINE % 4u == 0u && (LANES == 1u || LANES == WG);

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let first = (group.y * groups.x + group.x) * ROWS;
    if first >= params.rows { return; } // the whole workgroup
    let row = first + select(lane.index * MINE, 0u, LANES == WG);
    let last = params.rows - 1u;
    let blocks = params.cols >> 5u;
    let token0 = group.z * TOKENS;
    var sums = array<array<vec4<f32>, FOURS>, TOKENS>();
    for (var b = select(0u, lane.index, LANES == WG); b < blocks; b += LANES) {
        var x = array<X8, TOKENS>();
        for (var t = 0u; t < TOKENS; t++) { x[t] = x_block(min(token0 + t, params.tokens - 1u) * blocks + b); }
        for (var r = 0u; r < FOURS; r++) {
            let w0 = block_packed(min(row + r * 4u, last) * blocks + b);
            let w1 = block_packed(min(row + r * 4u + 1u, last) * blocks + b);
            let w2 = block_packed(min(row + r * 4u + 2u, last) * blocks + b);
            let w3 = block_packed(min(row + r * 4u + 3u, last) * blocks + b);
            for (var t = 0u; t < TOKENS; t++) {
                sums[t][r] += vec4<f32>(block_dot_act8(w0, x[t]), block_dot_act8(w1, x[t]),
                                        block_dot_act8(w2, x[t]), block_dot_act8(w3, x[t]));
            }
        }
    }
    for (var t = 0u; t < TOKENS; t++) {
        for (var r = 0u; r < FOURS; r++) { store_four(token0 + t, row + r * 4u, sums[t][r], lane); }
    }
}

fn x_block(at: u32) -> X8 {
    return X8(words(x_codes[at * 2u]), words(x_codes[at * 2u + 1u]), x_scales[at], half_sums(x_sums[at]));
}
