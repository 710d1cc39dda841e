// import: reduce, attention_total
// Attention out of its ranges, a workgroup a (token, head). head_dim <= 256, a multiple of 4.

struct Params { tokens: u32, heads: u32, head_dim: u32, splits: u32, window: u32, sink_size: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> sums: array<vec4<f32>>; // (tokens, heads, splits, head_dim)
@group(0) @binding(1) var<storage, read> tops: array<vec2<f32>>; // (tokens, heads, splits): highest score, sum
@group(0) @binding(2) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(3) var<storage, read> sinks: array<f32>; // (heads), or none
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>; // (tokens, heads, head_dim)

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let row = group.y * groups.x + group.x;
    if row >= params.tokens * params.heads { return; } // the whole workgroup
    sum_ranges(row, index[row / params.heads].z, lane);
    let units = params.head_dim >> 2u;
    if lane.index < units { out[row * units + lane.index] = head[lane.index]; }
}
