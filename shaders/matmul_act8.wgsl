// import: quant
// out = x·Wᵀ for int8 activations of many tokens: a workgroup computes ROWS × TOKENS outputs, STEP blocks of
// 32 columns at a time. It unpacks the rows' blocks and copies the tokens' into workgroup memory; each invocation then
// multiplies 4 rows with 4 tokens in registers. Neighbours take neighbouring rows, so that they read different memory
// banks and write neighbouring outputs. Each output adds its blocks one by one in order, whatever the tile.

struct Params { tokens: u32, rows: u32, cols: u32, row0: u32, stride: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x_codes: array<vec4<u32>>; // (tokens, blocks, 2)
@group(0) @binding(1) var<storage, read> x_scales: array<f32>; // (tokens, blocks)
@group(0) @binding(2) var<storage, read> x_sums: array<u32>; // (tokens, blocks)
const W_CODES = 3u; // where the weight (rows, blocks) is bound
const W_SCALES = 4u;
@group(0) @binding(5) var<storage, read_write> out: array<f32>; // (tokens, stride), these rows from column row0

const ROW_LANES = ROWS / 4u;
const TOKEN_LANES = TOKENS / 4u;
const_assert WG == ROW_LANES * TOKEN_LANES;

var<workgroup> w_tile: array<W8, STEP * ROWS>;
var<workgroup> x_tile: array<X8, STEP * TOKENS>;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = (group.y * groups.x + group.x) * ROWS;
    if row0 >= params.rows { return; } // the whole workgroup
    let token0 = group.z * TOKENS;
    let blocks = params.cols >> 5u;
    let my_row = lane % ROW_LANES;
    let my_token = lane / ROW_LANES;
    var sums = array<vec4<f32>, 4>(); // my rows, for each of my tokens
    for (var b = 0u; b < blocks; b += STEP) {
        stage(lane, row0, token0, b, blocks);
        workgroupBarrier();
        let steps = min(STEP, blocks - b);
        for (var s = 0u; s < steps; s++) {
            let w0 = w_tile[s * ROWS + my_row];
            let w1 = w_tile[s * ROWS + my_row + ROW_LANES];
            let w2 = w_tile[s * ROWS + my_row + 2u * ROW_LANES];
            let w3 = w_tile[s * ROWS + my_row + 3u * ROW_LANES];
            for (var t = 0u; t < 4u; t++) {
                let x = x_tile[s * TOKENS + my_token + t * TOKEN_LANES];
                sums[t] += vec4<f32>(block_dot_act8(w0, x), block_dot_act8(w1, x),
                                     block_dot_act8(w2, x), block_dot_act8(w3, x));
            }
        }
        workgroupBarrier();
    }
    for (var t = 0u; t < 4u; t++) {
        let token = token0 + my_token + t * TOKEN_LANES;
        if token >= params.tokens { continue; }
        for (var r = 0u; r < 4u; r++) {
            let row = row0 + my_row + r * ROW_LANES;
            if row < params.rows { out[token * params.stride + params.row0 + row] = sums[t][r]; }
        }
    }
}

fn x_block(at: u32) -> X8 {
    return X8(half_of(x_codes[at * 2u]), half_of(x_codes[at * 2u + 1u]), x_scales[at], half_sums(x_sums[at]));
}

// STEP blocks of every row and token of the tile; the last row or token again where there are fewer, and the last
// block again, which is not used.
fn stage(lane: u32, row0: u32, token0: u32, b: u32, blocks: u32) {
    for (var i = lane; i < STEP * ROWS; i += WG) {
        let row = min(row0 + i % ROWS, params.rows - 1u);
        w_tile[i] = block_packed(row * blocks + min(b + i / ROWS, blocks - 1u));
    }
    for (var i = lane; i < STEP * TOKENS; i += WG) {
        let token = min(token0 + i % TOKENS, params.tokens - 1u);
        let at = token * blocks + min(b + i / TOKENS, blocks - 1u);
        x_tile[i] = x_block(at);
    }
}
