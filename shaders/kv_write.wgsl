// import: kv_store
// Each token's keys and values into its sequence's pages, one workgroup a (token, head).

struct Params { tokens: u32, kv_heads: u32, head_dim: u32, table_width: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> k: array<f32>; // (tokens, kv_heads, head_dim)
@group(0) @binding(1) var<storage, read> v: array<f32>; // (tokens, kv_heads, head_dim)
@group(0) @binding(2) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(3) var<storage, read_write> kv_k: array<u32>; // (pages, kv_heads, 64, words a slot)
@group(0) @binding(4) var<storage, read_write> kv_v: array<u32>;
@group(0) @binding(5) var<storage, read> kv_table: array<u32>; // (sequences, table_width)

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let flat = group.y * groups.x + group.x; // (token, head)
    if flat >= params.tokens * params.kv_heads { return; }
    let token = flat / params.kv_heads;
    let head = flat - token * params.kv_heads;
    let sequence = index[token].y;
    let position = index[token].z;
    if position >> 6u >= params.table_width { return; } // beyond the sequence's pages
    let page = kv_table[sequence * params.table_width + (position >> 6u)];
    let slot = (page * params.kv_heads + head) * 64u + (position & 63u);
    for (var i = lane; i < store_units(); i += WG) { store_unit(slot, i, flat * params.head_dim); }
}
