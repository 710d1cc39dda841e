// import: quant, span, x_span, store_four
// out = x·Wᵀ for int8 activations: each invocation keeps MINE rows' sums for TOKENS tokens in registers and unpacks a
// block of each row once for all of them. LANES invocations share their rows' blocks of 32 columns, either the whole
// workgroup (neighbours read neighbouring blocks) or one (no sums to gather: for adapters whose lanes are slow to
// meet). Blocks are read in spans: one each, or all that share words in the file's format. A token's sum takes the
// same steps in the same order whatever TOKENS and its neighbours are.

struct Params { tokens: u32, rows: u32, cols: u32, row0: u32, stride: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x_codes: array<vec4<u32>>; // (tokens, blocks, 2)
@group(0) @binding(1) var<storage, read> x_scales: array<f32>; // (tokens, blocks)
@group(0) @binding(2) var<storage, read> x_sums: array<u32>; // (tokens, blocks)
const W_CODES = 3u; // where the weight (rows, blocks) is bound
const W_SCALES = 4u;
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
    let spans = blocks / SPAN;
    for (var n = select(0u, lane.index, LANES == WG); n < spans; n += LANES) {
        let x = x_span(token0, n, blocks, lane);
        for (var r = 0u; r < FOURS; r++) {
            let s0 = load_span(min(row + r * 4u, last) * spans + n);
            let s1 = load_span(min(row + r * 4u + 1u, last) * spans + n);
            let s2 = load_span(min(row + r * 4u + 2u, last) * spans + n);
            let s3 = load_span(min(row + r * 4u + 3u, last) * spans + n);
            for (var i = 0u; i < SPAN * TOKENS; i++) {
                let w0 = span_block(s0, i % SPAN);
                let w1 = span_block(s1, i % SPAN);
                let w2 = span_block(s2, i % SPAN);
                let w3 = span_block(s3, i % SPAN);
                sums[i / SPAN][r] += vec4<f32>(block_dot_act8(w0, x[i]), block_dot_act8(w1, x[i]),
                                               block_dot_act8(w2, x[i]), block_dot_act8(w3, x[i]));
            }
        }
    }
    for (var t = 0u; t < TOKENS; t++) {
        for (var r = 0u; r < FOURS; r++) { store_four(token0 + t, row + r * 4u, sums[t][r], lane); }
    }
}

// Where the i-th block of a span lies: one token's, then the next one's. The last token again where there are fewer.
fn x_place(i: u32, token0: u32, n: u32, blocks: u32) -> u32 {
    return min(token0 + i / SPAN, params.tokens - 1u) * blocks + n * SPAN + i % SPAN;
}

fn x_block(at: u32) -> X8 {
    return X8(half_of(x_codes[at * 2u]), half_of(x_codes[at * 2u + 1u]), x_scales[at], half_sums(x_sums[at]));
}
