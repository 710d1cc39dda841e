// import: reduce, attention_total, act8_store
// Attention out of its ranges, as int8 blocks: a workgroup a (token, head). head_dim is 32 to 256, a multiple of 32.

struct Params { tokens: u32, heads: u32, head_dim: u32, splits: u32, window: u32, sink_size: u32, width: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> sums: array<vec4<f32>>; // (tokens, heads, splits, head_dim)
@group(0) @binding(1) var<storage, read> tops: array<vec2<f32>>; // (tokens, heads, splits): highest score, sum
@group(0) @binding(2) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(3) var<storage, read> sinks: array<f32>; // (heads), or none
@group(0) @binding(4) var<storage, read_write> out8_codes: array<vec4<u32>>; // (tokens, blocks, 2)
@group(0) @binding(5) var<storage, read_write> out8_scales: array<f32>; // (tokens, blocks)
@group(0) @binding(6) var<storage, read_write> out8_sums: array<u32>; // (tokens, blocks)

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let row = group.y * groups.x + group.x;
    if row >= params.tokens * params.heads { return; } // the whole workgroup
    sum_ranges(row, index[row / params.heads].z, lane);
    let blocks = params.head_dim >> 5u;
    if lane.index < blocks {
        let at = lane.index * 8u;
        let values = array<vec4<f32>, 8>(
            head[at], head[at + 1u], head[at + 2u], head[at + 3u],
            head[at + 4u], head[at + 5u], head[at + 6u], head[at + 7u],
        );
        store_block8(row * blocks + lane.index, values);
    }
}
