// Reading f32 pages: a slot is head_dim words. `unit` counts groups of four values in the slot.

fn k_values(slot: u32, unit: u32) -> vec4<f32> {
    let at = slot * params.head_dim + unit * 4u;
    return bitcast<vec4<f32>>(vec4<u32>(kv_k[at], kv_k[at + 1u], kv_k[at + 2u], kv_k[at + 3u]));
}

fn v_values(slot: u32, unit: u32) -> vec4<f32> {
    let at = slot * params.head_dim + unit * 4u;
    return bitcast<vec4<f32>>(vec4<u32>(kv_v[at], kv_v[at + 1u], kv_v[at + 2u], kv_v[at + 3u]));
}
