// import: kv, attention_score
// Causal attention of many tokens with an online softmax: a workgroup takes 32 rows, a row being a (token, head) of
// heads that share a KV head, and walks over 32 keys at a time, which it stages in workgroup memory, 32 elements at a
// time. An invocation scores 4 rows × 4 keys, then sums 4 rows × 4 elements of every chunk of 32. What a row adds up
// does not depend on the others: keys that it does not see add nothing to it. Loop trips for 32k keys at head_dim
// 128: 54 k.

struct Params {
    tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, table_width: u32, window: u32, scale: f32, softcap: f32,
    alibi: f32, stride: u32, sink_size: u32,
}
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (tokens, stride), a token's heads first
@group(0) @binding(1) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(2) var<storage, read> sinks: array<f32>; // (heads), or none
@group(0) @binding(3) var<storage, read> kv_k: array<u32>; // (pages, kv_heads, 64, words a slot)
@group(0) @binding(4) var<storage, read> kv_v: array<u32>;
@group(0) @binding(5) var<storage, read> kv_table: array<u32>; // (sequences, table_width)
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>; // (tokens, heads, head_dim)

const_assert WG == 64u; // 8 × 8 invocations
const CHUNKS = (UNITS + 7u) >> 3u; // of 32 elements
const IS_WIDE = CHUNKS > 4u; // then loops are unrolled further, lest they count too many trips
const TILE_TOKENS = 32u / GROUP;
const NEVER = 0xffffffffu;
alias Four = array<vec4<f32>, 4>;

// Rows of 8 and one more, so that invocations that read below each other hit different memory banks.
var<workgroup> left: array<vec4<f32>, 288>; // queries' chunk (32 rows, 8 units), then weights (32 keys, 8 × 4 rows)
var<workgroup> right: array<vec4<f32>, 288>; // a chunk of keys or values (32 keys, 8 units)
var<workgroup> shares: array<vec4<f32>, 64>; // of a row's maximum or sum: (8 × 4 rows, 8)

// What a workgroup works on, the same in all its invocations.
struct Tile { token0: u32, head0: u32, heads: u32, kv_head: u32 }
// Keys that are looked at: from slot0 on, those at low..high-1 are seen by some row.
struct Keys { slot0: u32, low: u32, high: u32 }

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let flat = group.y * groups.x + group.x; // (tile of tokens, KV head, block of its heads)
    let shared_by = params.heads / params.kv_heads;
    let blocks = (shared_by + 7u) >> 3u;
    let kv_head = flat / blocks % params.kv_heads;
    let head0 = kv_head * shared_by + flat % blocks * 8u;
    let heads = min(GROUP, (kv_head + 1u) * shared_by - head0);
    let tile = Tile(flat / (blocks * params.kv_heads) * TILE_TOKENS, head0, heads, kv_head);
    if tile.token0 >= params.tokens { return; } // the whole workgroup
    let end = min(tile.token0 + TILE_TOKENS, params.tokens);
    let rows = lane >> 3u; // rows 4·rows .. 4·rows + 3 are this invocation's
    let mine = vec4<u32>(rows * 4u, rows * 4u + 1u, rows * 4u + 2u, rows * 4u + 3u);
    let slope = vec4<f32>(
        slope_in(tile, mine.x), slope_in(tile, mine.y), slope_in(tile, mine.z), slope_in(tile, mine.w),
    );

    var top = vec4<f32>(LOWEST); // of each row
    var sum = vec4<f32>(); // of the weights of this invocation's keys
    if params.sink_size > 0u { // a key of value 0
        top = vec4<f32>(sink_in(tile, mine.x), sink_in(tile, mine.y), sink_in(tile, mine.z), sink_in(tile, mine.w));
        if (lane & 7u) == 0u { sum = vec4<f32>(1.0); }
    }
    var acc0 = Four();
    var acc1 = Four();
    var acc2 = Four();
    var acc3 = Four();
    var acc4 = Four();
    var acc5 = Four();
    var acc6 = Four();
    var acc7 = Four();
    for (var first = tile.token0; first < end;) { // tokens of one sequence
        let sequence = index[first].y;
        var least = NEVER;
        var most = 0u;
        var last = first;
        for (; last < end && index[last].y == sequence; last++) {
            least = min(least, first_key(position_of(last)));
            most = max(most, position_of(last) + 1u);
        }
        let seen = array<vec2<u32>, 4>(
            seen_by(tile, mine.x, first, last), seen_by(tile, mine.y, first, last),
            seen_by(tile, mine.z, first, last), seen_by(tile, mine.w, first, last),
        );
        for (var key0 = least & ~31u; key0 < most; key0 += 32u) {
            let page = kv_table[sequence * params.table_width + (key0 >> 6u)];
            let slot0 = (page * params.kv_heads + kv_head) * 64u + (key0 & 32u);
            let keys = Keys(slot0, max(least, key0) - key0, min(most - key0, 32u));
            var s = Four(); // (rows), a component a key
            for (var c = 0u; c < CHUNKS; c++) {
                stage_queries(lane, tile, c);
                stage_keys(lane, keys, c);
                workgroupBarrier();
                add_products(rows, lane & 7u, &s);
                workgroupBarrier();
            }
            // Scores of keys key0 + 8j + (lane & 7), j being the component.
            let key = vec4<u32>(key0 + (lane & 7u)) + vec4<u32>(0u, 8u, 16u, 24u);
            s[0] = masked(s[0], slope.x, key, seen[0]);
            s[1] = masked(s[1], slope.y, key, seen[1]);
            s[2] = masked(s[2], slope.z, key, seen[2]);
            s[3] = masked(s[3], slope.w, key, seen[3]);
            shares[lane] = vec4<f32>(highest_of(s[0]), highest_of(s[1]), highest_of(s[2]), highest_of(s[3]));
            workgroupBarrier();
            let new_top = max(top, max_of_shares(rows * 8u));
            let fade = exp(top - new_top); // of all that came before; exp of a huge negative number is 0
            top = new_top;
            let w = Four(
                weights_of(s[0], top.x, key, seen[0]), weights_of(s[1], top.y, key, seen[1]),
                weights_of(s[2], top.z, key, seen[2]), weights_of(s[3], top.w, key, seen[3]),
            );
            let columns = transpose(mat4x4<f32>(w[0], w[1], w[2], w[3]));
            sum = sum * fade + ((columns[0] + columns[1]) + (columns[2] + columns[3]));
            left[(lane & 7u) * 9u + rows] = columns[0];
            left[((lane & 7u) + 8u) * 9u + rows] = columns[1];
            left[((lane & 7u) + 16u) * 9u + rows] = columns[2];
            left[((lane & 7u) + 24u) * 9u + rows] = columns[3];
            add_values(lane, 0u, keys, fade, &acc0);
            if CHUNKS > 1u { add_values(lane, 1u, keys, fade, &acc1); }
            if CHUNKS > 2u { add_values(lane, 2u, keys, fade, &acc2); }
            if CHUNKS > 3u { add_values(lane, 3u, keys, fade, &acc3); }
            if CHUNKS > 4u { add_values(lane, 4u, keys, fade, &acc4); }
            if CHUNKS > 5u { add_values(lane, 5u, keys, fade, &acc5); }
            if CHUNKS > 6u { add_values(lane, 6u, keys, fade, &acc6); }
            if CHUNKS > 7u { add_values(lane, 7u, keys, fade, &acc7); }
        }
        first = last;
    }

    shares[lane] = sum;
    workgroupBarrier();
    let total = sum_of_shares(rows * 8u);
    put(tile, mine, lane & 7u, total, acc0);
    if CHUNKS > 1u { put(tile, mine, 8u + (lane & 7u), total, acc1); }
    if CHUNKS > 2u { put(tile, mine, 16u + (lane & 7u), total, acc2); }
    if CHUNKS > 3u { put(tile, mine, 24u + (lane & 7u), total, acc3); }
    if CHUNKS > 4u { put(tile, mine, 32u + (lane & 7u), total, acc4); }
    if CHUNKS > 5u { put(tile, mine, 40u + (lane & 7u), total, acc5); }
    if CHUNKS > 6u { put(tile, mine, 48u + (lane & 7u), total, acc6); }
    if CHUNKS > 7u { put(tile, mine, 56u + (lane & 7u), total, acc7); }
}

fn position_of(token: u32) -> u32 { return min(index[token].z, params.table_width * 64u - 1u); }

fn token_in(tile: Tile, row: u32) -> u32 { return tile.token0 + row / GROUP; }

fn head_in(tile: Tile, row: u32) -> u32 { return tile.head0 + min(row % GROUP, tile.heads - 1u); }

fn slope_in(tile: Tile, row: u32) -> f32 { return slope_of(head_in(tile, row)); }

fn sink_in(tile: Tile, row: u32) -> f32 { return sinks[head_in(tile, row)]; }

// The first key that a row sees and the one behind the last; none where its token is not one of first..last-1.
fn seen_by(tile: Tile, row: u32, first: u32, last: u32) -> vec2<u32> {
    let token = token_in(tile, row);
    if token < first || token >= last { return vec2<u32>(); }
    return vec2<u32>(first_key(position_of(token)), position_of(token) + 1u);
}

// Which of four keys a row sees.
fn visible(key: vec4<u32>, seen: vec2<u32>) -> vec4<bool> {
    return (key >= vec4<u32>(seen.x)) & (key < vec4<u32>(seen.y));
}

// Products of a row with four keys to scores; the row's own key is the last it sees.
fn masked(products: vec4<f32>, slope: f32, key: vec4<u32>, seen: vec2<u32>) -> vec4<f32> {
    let scores = vec4<f32>(score_of(products.x), score_of(products.y), score_of(products.z), score_of(products.w));
    return select(vec4<f32>(LOWEST), scores - slope * vec4<f32>(vec4<u32>(seen.y - 1u) - key), visible(key, seen));
}

fn weights_of(scores: vec4<f32>, top: f32, key: vec4<u32>, seen: vec2<u32>) -> vec4<f32> {
    return select(vec4<f32>(), exp(scores - vec4<f32>(top)), visible(key, seen));
}

fn highest_of(s: vec4<f32>) -> f32 { return max(max(s.x, s.y), max(s.z, s.w)); }

fn max_of_shares(at: u32) -> vec4<f32> {
    return max(max(max(shares[at], shares[at + 1u]), max(shares[at + 2u], shares[at + 3u])),
               max(max(shares[at + 4u], shares[at + 5u]), max(shares[at + 6u], shares[at + 7u])));
}

fn sum_of_shares(at: u32) -> vec4<f32> {
    return ((shares[at] + shares[at + 1u]) + (shares[at + 2u] + shares[at + 3u]))
        + ((shares[at + 4u] + shares[at + 5u]) + (shares[at + 6u] + shares[at + 7u]));
}

// An invocation stages a unit of every eighth row, key or value; units behind a head's last are zeros.
fn stage_queries(lane: u32, tile: Tile, c: u32) {
    let unit = c * 8u + (lane & 7u);
    let at = (lane >> 3u) * 9u + (lane & 7u);
    left[at] = query_of(tile, lane >> 3u, unit);
    left[at + 72u] = query_of(tile, (lane >> 3u) + 8u, unit);
    left[at + 144u] = query_of(tile, (lane >> 3u) + 16u, unit);
    left[at + 216u] = query_of(tile, (lane >> 3u) + 24u, unit);
}

fn query_of(tile: Tile, row: u32, unit: u32) -> vec4<f32> {
    let token = token_in(tile, row);
    if unit >= UNITS || token >= params.tokens { return vec4<f32>(); }
    return q[((token * params.stride) >> 2u) + head_in(tile, row) * UNITS + unit];
}

fn stage_keys(lane: u32, keys: Keys, c: u32) {
    let unit = c * 8u + (lane & 7u);
    let at = (lane >> 3u) * 9u + (lane & 7u);
    right[at] = key_of(keys, lane >> 3u, unit);
    right[at + 72u] = key_of(keys, (lane >> 3u) + 8u, unit);
    right[at + 144u] = key_of(keys, (lane >> 3u) + 16u, unit);
    right[at + 216u] = key_of(keys, (lane >> 3u) + 24u, unit);
}

fn key_of(keys: Keys, key: u32, unit: u32) -> vec4<f32> {
    if unit >= UNITS { return vec4<f32>(); }
    return k_values(keys.slot0 + key, unit);
}

fn stage_values(lane: u32, keys: Keys, c: u32) {
    let unit = c * 8u + (lane & 7u);
    let at = (lane >> 3u) * 9u + (lane & 7u);
    right[at] = value_of(keys, lane >> 3u, unit);
    right[at + 72u] = value_of(keys, (lane >> 3u) + 8u, unit);
    right[at + 144u] = value_of(keys, (lane >> 3u) + 16u, unit);
    right[at + 216u] = value_of(keys, (lane >> 3u) + 24u, unit);
}

// What no row sees is staged as zeros: a page may hold anything there.
fn value_of(keys: Keys, key: u32, unit: u32) -> vec4<f32> {
    if unit >= UNITS || key < keys.low || key >= keys.high { return vec4<f32>(); }
    return v_values(keys.slot0 + key, unit);
}

// A chunk's part of the products of 4 rows and 4 keys, which are 8 apart.
fn add_products(rows: u32, key: u32, s: ptr<function, Four>) {
    for (var u = 0u; u < 8u; u += select(2u, 8u, IS_WIDE)) {
        add_two(rows * 36u + u, key * 9u + u, s);
        if IS_WIDE {
            add_two(rows * 36u + 2u, key * 9u + 2u, s);
            add_two(rows * 36u + 4u, key * 9u + 4u, s);
            add_two(rows * 36u + 6u, key * 9u + 6u, s);
        }
    }
}

fn add_two(x: u32, k: u32, s: ptr<function, Four>) {
    add_unit(x, k, s);
    add_unit(x + 1u, k + 1u, s);
}

fn add_unit(x: u32, k: u32, s: ptr<function, Four>) {
    let k0 = right[k];
    let k1 = right[k + 72u];
    let k2 = right[k + 144u];
    let k3 = right[k + 216u];
    (*s)[0] += products_of(left[x], k0, k1, k2, k3);
    (*s)[1] += products_of(left[x + 9u], k0, k1, k2, k3);
    (*s)[2] += products_of(left[x + 18u], k0, k1, k2, k3);
    (*s)[3] += products_of(left[x + 27u], k0, k1, k2, k3);
}

fn products_of(x: vec4<f32>, k0: vec4<f32>, k1: vec4<f32>, k2: vec4<f32>, k3: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(dot(x, k0), dot(x, k1), dot(x, k2), dot(x, k3));
}

// acc = acc · fade + weights · values, for one unit of chunk c.
fn add_values(lane: u32, c: u32, keys: Keys, fade: vec4<f32>, acc: ptr<function, Four>) {
    stage_values(lane, keys, c);
    workgroupBarrier();
    (*acc)[0] *= fade.x;
    (*acc)[1] *= fade.y;
    (*acc)[2] *= fade.z;
    (*acc)[3] *= fade.w;
    for (var key = 0u; key < 32u; key += select(4u, 8u, IS_WIDE)) {
        add_four(lane, key, acc);
        if IS_WIDE { add_four(lane, key + 4u, acc); }
    }
    workgroupBarrier();
}

fn add_four(lane: u32, key: u32, acc: ptr<function, Four>) {
    add_value(lane, key, acc);
    add_value(lane, key + 1u, acc);
    add_value(lane, key + 2u, acc);
    add_value(lane, key + 3u, acc);
}

fn add_value(lane: u32, key: u32, acc: ptr<function, Four>) {
    let w = left[key * 9u + (lane >> 3u)];
    let v = right[key * 9u + (lane & 7u)];
    (*acc)[0] = fma(vec4<f32>(w.x), v, (*acc)[0]);
    (*acc)[1] = fma(vec4<f32>(w.y), v, (*acc)[1]);
    (*acc)[2] = fma(vec4<f32>(w.z), v, (*acc)[2]);
    (*acc)[3] = fma(vec4<f32>(w.w), v, (*acc)[3]);
}

fn put(tile: Tile, mine: vec4<u32>, unit: u32, total: vec4<f32>, acc: Four) {
    put_row(tile, mine.x, unit, acc[0] / total.x);
    put_row(tile, mine.y, unit, acc[1] / total.y);
    put_row(tile, mine.z, unit, acc[2] / total.z);
    put_row(tile, mine.w, unit, acc[3] / total.w);
}

fn put_row(tile: Tile, row: u32, unit: u32, value: vec4<f32>) {
    let token = token_in(tile, row);
    if row < TILE_TOKENS * GROUP && token < params.tokens && row % GROUP < tile.heads && unit < UNITS {
        out[(token * params.heads + tile.head0 + row % GROUP) * UNITS + unit] = value;
    }
}
