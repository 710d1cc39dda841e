// import: kv_store, reduce
// Biases, norms and rotates queries (in place) and keys, and stores keys and values in their sequences' pages: one
// workgroup a (token, head), the heads of a token's row being its queries, its keys, its values. head_dim <= 256.

struct Params {
    tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, table_width: u32, rot: u32, interleaved: u32,
    positions: u32, half: u32, stride: u32, bias_size: u32, gain_size: u32, eps: f32,
}
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>; // (tokens, stride)
@group(0) @binding(1) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(2) var<storage, read> table: array<f32>; // (positions, half, 2): cos, sin
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (stride), or none
@group(0) @binding(4) var<storage, read> gains: array<f32>; // (2, head_dim): of queries, of keys; or none
@group(0) @binding(5) var<storage, read_write> kv_k: array<u32>; // (pages, kv_heads, 64, words a slot)
@group(0) @binding(6) var<storage, read_write> kv_v: array<u32>;
@group(0) @binding(7) var<storage, read> kv_table: array<u32>; // (sequences, table_width)

var<workgroup> row: array<f32, 256>; // the head

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let flat = group.y * groups.x + group.x; // (token, head)
    let units = params.heads + 2u * params.kv_heads;
    let token = flat / units;
    if token >= params.tokens { return; } // the whole workgroup
    let head = flat - token * units;
    let start = flat * params.head_dim;
    let is_q = head < params.heads;
    let is_v = head >= params.heads + params.kv_heads;
    let position = index[token].z;

    var squares = 0.0;
    for (var i = lane.index; i < params.head_dim; i += WG) {
        var x = qkv[start + i];
        if params.bias_size > 0u { x += bias[head * params.head_dim + i]; }
        squares = fma(x, x, squares);
        row[i] = x;
    }
    if params.gain_size > 0u && !is_v {
        let mean = reduce_add(squares, lane) / f32(params.head_dim);
        let factor = 1.0 / sqrt(mean + params.eps);
        let first = select(params.head_dim, 0u, is_q);
        for (var i = lane.index; i < params.head_dim; i += WG) { row[i] *= factor * gains[first + i]; }
    }
    workgroupBarrier();
    if params.rot > 0u && !is_v { rotate(lane.index, position); }
    workgroupBarrier();
    if is_q {
        for (var i = lane.index; i < params.head_dim; i += WG) { qkv[start + i] = row[i]; }
        return;
    }
    if position >> 6u >= params.table_width { return; } // beyond the sequence's pages
    let page = kv_table[index[token].y * params.table_width + (position >> 6u)];
    let kv_head = head - params.heads - select(0u, params.kv_heads, is_v);
    let slot = (page * params.kv_heads + kv_head) * 64u + (position & 63u);
    for (var i = lane.index; i < store_units(); i += WG) { store_unit(slot, i, is_v); }
}

// Pairs are (2i, 2i + 1) when interleaved, else (i, i + half); elements beyond 2·half stay.
fn rotate(lane: u32, position: u32) {
    let angles = 2u * params.half * min(position, params.positions - 1u);
    let pairs = params.rot >> 1u;
    for (var i = lane; i < pairs; i += WG) {
        let first = select(i, 2u * i, params.interleaved == 1u);
        let second = select(i + pairs, 2u * i + 1u, params.interleaved == 1u);
        let c = table[angles + 2u * i];
        let s = table[angles + 2u * i + 1u];
        let a = row[first];
        let b = row[second];
        row[first] = a * c - b * s;
        row[second] = a * s + b * c;
    }
}

fn put(at: u32, word: u32, is_v: bool) {
    if is_v { kv_v[at] = word; } else { kv_k[at] = word; }
}
