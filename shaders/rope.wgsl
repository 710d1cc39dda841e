// Rotates each pair of x in place by the angle of its token's position, one invocation a pair. Pairs are (2i, 2i + 1)
// when interleaved, else (i, i + half); elements beyond 2·half stay.

struct Params { tokens: u32, heads: u32, head_dim: u32, rot: u32, interleaved: u32, positions: u32, half: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // (tokens, heads, head_dim)
@group(0) @binding(1) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(2) var<storage, read> table: array<f32>; // (positions, half, 2): cos, sin

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let flat = (group.y * groups.x + group.x) * WG + lane;
    let head = flat / params.half; // (token, head) as one number
    if head >= params.tokens * params.heads { return; }
    let i = flat - head * params.half;
    let position = min(index[head / params.heads].z, params.positions - 1u);
    let angle = 2u * (position * params.half + i);
    let base = head * params.head_dim;
    let first = base + select(i, 2u * i, params.interleaved == 1u);
    let second = base + select(i + params.half, 2u * i + 1u, params.interleaved == 1u);
    let c = table[angle];
    let s = table[angle + 1u];
    let a = x[first];
    let b = x[second];
    x[first] = a * c - b * s;
    x[second] = a * s + b * c;
}
