// import: kv, reduce
// Causal attention with an online softmax, one workgroup a (token, head), one page of 64 keys at a time: invocation i
// scores the page's key i; then the invocations share out the output, each summing four values of V over every
// parts-th key. head_dim is a multiple of 4, at most 256. Loop trips per invocation for 32k keys at head_dim 128: 33
// k.

struct Params {
    tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, table_width: u32, window: u32, scale: f32, softcap: f32,
    alibi: f32, stride: u32, sink_size: u32,
}
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> q: array<f32>; // (tokens, stride), a token's heads first
@group(0) @binding(1) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(2) var<storage, read> sinks: array<f32>; // (heads), or none
@group(0) @binding(3) var<storage, read> kv_k: array<u32>; // (pages, kv_heads, 64, words a slot)
@group(0) @binding(4) var<storage, read> kv_v: array<u32>;
@group(0) @binding(5) var<storage, read> kv_table: array<u32>; // (sequences, table_width)
@group(0) @binding(6) var<storage, read_write> out: array<f32>; // (tokens, heads, head_dim)

const_assert WG == 64u; // the slots of a page
const LOWEST = -3.0e38; // below any score; WGSL has no literal for infinity

var<workgroup> query: array<vec4<f32>, 64>;
var<workgroup> weights: array<f32, 64>; // of the page's keys
var<workgroup> parts_out: array<vec4<f32>, 64>; // (parts, units)

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let flat = group.y * groups.x + group.x; // (token, head)
    if flat >= params.tokens * params.heads { return; } // the whole workgroup
    let token = flat / params.heads;
    let head = flat - token * params.heads;
    let kv_head = head / (params.heads / params.kv_heads);
    let table = index[token].y * params.table_width;
    let position = min(index[token].z, params.table_width * 64u - 1u);
    let first_key = select(0u, position + 1u - min(params.window, position + 1u), params.window > 0u);
    let units = params.head_dim >> 2u; // groups of four values
    let parts = WG / units;
    let unit = lane.index % units;
    let part = lane.index / units; // parts and above have nothing to sum
    let slope = slope_of(head);
    load_query(lane.index, units, token * params.stride + head * params.head_dim);

    var highest = LOWEST;
    var sum = 0.0; // of the weights of this invocation's keys
    if params.sink_size > 0u { // a key of value 0
        highest = sinks[head];
        sum = select(0.0, 1.0, lane.index == 0u);
    }
    var acc = vec4<f32>();
    for (var page = first_key >> 6u; page <= position >> 6u; page++) {
        let slot0 = (kv_table[table + page] * params.kv_heads + kv_head) * 64u;
        let key = page * 64u + lane.index;
        let visible = key >= first_key && key <= position;
        var score = LOWEST;
        if visible { score = score_of(slot0 + lane.index, units) - slope * f32(position - key); }
        let top = max(highest, reduce_max(score, lane));
        let fade = exp(highest - top); // of all that came before; exp of a huge negative number is 0
        let weight = select(0.0, exp(score - top), visible);
        highest = top;
        sum = fma(sum, fade, weight);
        weights[lane.index] = weight;
        workgroupBarrier();
        acc *= fade;
        if part < parts {
            let end = min(64u, position - page * 64u + 1u);
            var s = part + max(first_key, page * 64u) - page * 64u;
            for (; s + parts < end; s += 2u * parts) {
                acc = fma(vec4<f32>(weights[s]), v_values(slot0 + s, unit), acc);
                acc = fma(vec4<f32>(weights[s + parts]), v_values(slot0 + s + parts, unit), acc);
            }
            if s < end { acc = fma(vec4<f32>(weights[s]), v_values(slot0 + s, unit), acc); }
        } // the next write of weights comes after the barriers of the next reduce_max
    }

    let total = reduce_add(sum, lane);
    parts_out[lane.index] = acc;
    workgroupBarrier();
    if lane.index < units {
        for (var p = 1u; p < parts; p++) { acc += parts_out[p * units + lane.index]; }
        acc = acc / total;
        let base = flat * params.head_dim + lane.index * 4u;
        out[base] = acc.x;
        out[base + 1u] = acc.y;
        out[base + 2u] = acc.z;
        out[base + 3u] = acc.w;
    }
}

fn load_query(i: u32, units: u32, base: u32) {
    if i < units {
        let at = base + i * 4u;
        query[i] = vec4<f32>(q[at], q[at + 1u], q[at + 2u], q[at + 3u]);
    }
    workgroupBarrier();
}

fn slope_of(head: u32) -> f32 { // ALiBi: contracts/attention.py
    if params.alibi <= 0.0 { return 0.0; }
    let n = 1u << firstLeadingBit(params.heads); // the largest power of 2
    let step = select(f32(head - n) + 0.5, f32(head) + 1.0, head < n);
    return exp2(-params.alibi * step / f32(n));
}

fn score_of(slot: u32, units: u32) -> f32 {
    var sum = vec4<f32>();
    for (var i = 0u; i < units; i++) { sum = fma(query[i], k_values(slot, i), sum); }
    let score = ((sum.x + sum.y) + (sum.z + sum.w)) * params.scale;
    if params.softcap > 0.0 {
        return params.softcap * tanh(clamp(score / params.softcap, -15.0, 15.0)); // drivers' tanh may overflow
    }
    return score;
}
