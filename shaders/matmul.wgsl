// import: quant, x_rows, staged
// out = x·Wᵀ for many tokens: a workgroup computes ROWS rows × TOKENS tokens, 32 columns at a time.
// Each invocation unpacks one row's block into workgroup memory and accumulates 8 rows × THREAD_TOKENS tokens in
// registers. Each output adds its columns one by one in order, whatever the tile.

struct Params { tokens: u32, rows: u32, cols: u32, row0: u32, stride: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<X>; // (tokens, cols)
const W_CODES = 1u; // where the weight (rows, blocks) is bound
const W_SCALES = 2u;
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (tokens, stride), these rows from column row0

const THREAD_TOKENS = TOKENS / 8u;
const ROW_LANES = ROWS / 8u;
const ROW_FOURS = ROWS / 4u;
const_assert ROWS == WG;

var<workgroup> w_tile: array<vec4<Staged>, 32u * ROW_FOURS>; // (32 columns, rows)
const X_STRIDE = TOKENS + 1u; // odd, so that staging columns hits different memory banks
var<workgroup> x_tile: array<f32, 32u * X_STRIDE>; // (32 columns, tokens)

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = (group.y * groups.x + group.x) * ROWS;
    if row0 >= params.rows { return; } // the whole workgroup
    let token0 = group.z * TOKENS;
    let blocks = (params.cols + 31u) >> 5u;
    let unpacked_row = min(row0 + lane, params.rows - 1u);
    let my_row = lane % ROW_LANES * 8u; // of the tile
    let my_token = lane / ROW_LANES * THREAD_TOKENS;
    var low = array<vec4<f32>, THREAD_TOKENS>(); // rows my_row .. my_row + 3 for each token
    var high = array<vec4<f32>, THREAD_TOKENS>(); // rows my_row + 4 .. my_row + 7
    for (var b = 0u; b < blocks; b++) {
        stage_weights(lane, block_values(unpacked_row * blocks + b));
        stage_tokens(lane, token0, b * 32u);
        workgroupBarrier();
        for (var k = 0u; k < 32u; k++) { // 33 trips a block: adapters that stop at 65,535 allow 63 k columns
            let w0 = vec4<f32>(w_tile[k * ROW_FOURS + (my_row >> 2u)]);
            let w1 = vec4<f32>(w_tile[k * ROW_FOURS + (my_row >> 2u) + 1u]);
            for (var t = 0u; t < THREAD_TOKENS; t++) {
                let v = vec4<f32>(x_tile[k * X_STRIDE + my_token + t]);
                low[t] = fma(w0, v, low[t]);
                high[t] = fma(w1, v, high[t]);
            }
        }
        workgroupBarrier();
    }
    for (var t = 0u; t < THREAD_TOKENS; t++) {
        for (var r = 0u; r < 8u; r++) {
            let row = row0 + my_row + r;
            if token0 + my_token + t < params.tokens && row < params.rows {
                let value = select(high[t][r & 3u], low[t][r & 3u], r < 4u);
                out[(token0 + my_token + t) * params.stride + params.row0 + row] = value;
            }
        }
    }
}

// One row's 32 values, transposed so that a column's rows are neighbours.
fn stage_weights(row: u32, values: array<vec4<f32>, 8>) {
    for (var i = 0u; i < 8u; i++) {
        let at = i * 4u * ROW_FOURS + (row >> 2u);
        w_tile[at][row & 3u] = Staged(values[i].x);
        w_tile[at + ROW_FOURS][row & 3u] = Staged(values[i].y);
        w_tile[at + 2u * ROW_FOURS][row & 3u] = Staged(values[i].z);
        w_tile[at + 3u * ROW_FOURS][row & 3u] = Staged(values[i].w);
    }
}

// 32 columns of the tile's tokens (the last token again where there are fewer): neighbours read neighbouring columns.
fn stage_tokens(lane: u32, token0: u32, column0: u32) {
    let four = lane & 7u;
    for (var i = 0u; i < TOKENS * 8u / WG; i++) {
        let token = i * WG / 8u + (lane >> 3u);
        let value = x_part(min(token0 + token, params.tokens - 1u), (column0 >> 2u) + four);
        for (var j = 0u; j < 4u; j++) { x_tile[(four * 4u + j) * X_STRIDE + token] = value[j]; }
    }
}
