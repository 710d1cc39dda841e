// Reading f16 pages: a slot is head_dim / 2 words, two values a word. `unit` counts groups of four values in the
// slot.

fn k_values(slot: u32, unit: u32) -> vec4<f32> {
    let at = slot * (params.head_dim >> 1u) + unit * 2u;
    return vec4<f32>(unpack2x16float(kv_k[at]), unpack2x16float(kv_k[at + 1u]));
}

fn v_values(slot: u32, unit: u32) -> vec4<f32> {
    let at = slot * (params.head_dim >> 1u) + unit * 2u;
    return vec4<f32>(unpack2x16float(kv_v[at]), unpack2x16float(kv_v[at + 1u]));
}
