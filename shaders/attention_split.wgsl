// import: kv, reduce, attention_score
// Attention of a token over one page of 64 keys: a workgroup for the query heads that share a KV head, at most GROUP of
// them. First an invocation scores 64 / WG keys for all heads, each key's values being read once; then it sums values
// of four elements over every PARTS-th key. Ranges of which the token sees nothing are left alone.

struct Params {
    tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, table_width: u32, window: u32, scale: f32, softcap: f32,
    alibi: f32, stride: u32, splits: u32,
}
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (tokens, stride), a token's heads first
@group(0) @binding(1) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(2) var<storage, read> kv_k: array<u32>; // (pages, kv_heads, 64, words a slot)
@group(0) @binding(3) var<storage, read> kv_v: array<u32>;
@group(0) @binding(4) var<storage, read> kv_table: array<u32>; // (sequences, table_width)
@group(0) @binding(5) var<storage, read_write> sums: array<vec4<f32>>; // (tokens, heads, splits, head_dim)
@group(0) @binding(6) var<storage, read_write> tops: array<vec2<f32>>; // (tokens, heads, splits): highest score, sum

const KEYS = 64u / WG; // of an invocation
const PARTS = max(WG / UNITS, 1u); // that share out the keys of an element
const_assert WG <= 64u;

var<workgroup> query: array<vec4<f32>, GROUP * UNITS>; // (heads, units)
var<workgroup> weights: array<f32, GROUP * 64u>; // (heads, keys)
var<workgroup> part_sums: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let flat = group.y * groups.x + group.x; // (token, KV head, block of its heads, split)
    let shared_by = params.heads / params.kv_heads;
    let blocks = (shared_by + 7u) >> 3u;
    let block = flat / params.splits;
    let split = flat - block * params.splits;
    let token = block / (params.kv_heads * blocks);
    if token >= params.tokens { return; } // the whole workgroup
    let position = min(index[token].z, params.table_width * 64u - 1u);
    let first = first_key(position);
    if split > (position >> 6u) || split < (first >> 6u) { return; }
    let kv_head = block / blocks - token * params.kv_heads;
    let head0 = kv_head * shared_by + block % blocks * 8u;
    let heads = min(GROUP, (kv_head + 1u) * shared_by - head0);
    let slot0 = (kv_table[index[token].y * params.table_width + split] * params.kv_heads + kv_head) * 64u;
    let row0 = (token * params.heads + head0) * params.splits + split; // of the first head's results

    for (var i = lane.index; i < heads * UNITS; i += WG) {
        query[i] = q[((token * params.stride) >> 2u) + head0 * UNITS + i];
    }
    workgroupBarrier();
    var scores = array<f32, GROUP * KEYS>();
    for (var u = 0u; u < UNITS; u++) {
        var k = array<vec4<f32>, KEYS>();
        for (var j = 0u; j < KEYS; j++) { k[j] = k_values(slot0 + lane.index + j * WG, u); }
        for (var h = 0u; h < GROUP; h++) {
            let part = query[h * UNITS + u];
            for (var j = 0u; j < KEYS; j++) { scores[h * KEYS + j] += dot(part, k[j]); }
        }
    }
    for (var h = 0u; h < heads; h++) {
        let slope = slope_of(head0 + h);
        var highest = LOWEST;
        for (var j = 0u; j < KEYS; j++) {
            let key = split * 64u + lane.index + j * WG;
            let score = score_of(scores[h * KEYS + j]) - slope * f32(position - key);
            scores[h * KEYS + j] = select(LOWEST, score, key >= first && key <= position);
            highest = max(highest, scores[h * KEYS + j]);
        }
        let top = reduce_max(highest, lane);
        var sum = 0.0;
        for (var j = 0u; j < KEYS; j++) {
            let key = split * 64u + lane.index + j * WG;
            let weight = select(0.0, exp(scores[h * KEYS + j] - top), key >= first && key <= position);
            weights[h * 64u + lane.index + j * WG] = weight;
            sum += weight;
        }
        let total = reduce_add(sum, lane); // and a barrier after which the weights can be read
        if lane.index == 0u { tops[row0 + h * params.splits] = vec2<f32>(top, total); }
    }
    let begin = max(first, split * 64u) - split * 64u;
    let end = min(position - split * 64u + 1u, 64u);
    for (var u = 0u; u < UNITS; u += WG) { sum_values(lane.index, u, slot0, begin, end, row0, heads); }
}

// Units u .. u + WG - 1 of the values' sums of all heads.
fn sum_values(lane: u32, u: u32, slot0: u32, begin: u32, end: u32, row0: u32, heads: u32) {
    let unit = select(u + lane, lane % UNITS, PARTS > 1u);
    let part = select(0u, lane / UNITS, PARTS > 1u); // PARTS and above have nothing to sum
    var acc = array<vec4<f32>, GROUP>();
    if unit < UNITS && part < PARTS {
        for (var s = begin + part; s < end; s += PARTS) {
            let v = v_values(slot0 + s, unit);
            for (var h = 0u; h < GROUP; h++) { acc[h] = fma(vec4<f32>(weights[h * 64u + s]), v, acc[h]); }
        }
    }
    for (var h = 0u; h < GROUP; h++) {
        var total = acc[h];
        if PARTS > 1u {
            part_sums[lane] = total;
            workgroupBarrier();
            if lane < UNITS {
                for (var p = 1u; p < PARTS; p++) { total += part_sums[p * UNITS + lane]; }
            }
            workgroupBarrier();
        }
        if h < heads && unit < UNITS && part == 0u { sums[(row0 + h * params.splits) * UNITS + unit] = total; }
    }
}
