// Reading q8_0 pages: 9 words per 32 values, 8 of int8 codes and the f16 scale. `unit` counts groups of four values.

fn k_values(slot: u32, unit: u32) -> vec4<f32> {
    let at = (slot * (params.head_dim >> 5u) + (unit >> 3u)) * 9u;
    return unpack2x16float(kv_k[at + 8u]).x * vec4<f32>(unpack4xI8(kv_k[at + (unit & 7u)]));
}

fn v_values(slot: u32, unit: u32) -> vec4<f32> {
    let at = (slot * (params.head_dim >> 5u) + (unit >> 3u)) * 9u;
    return unpack2x16float(kv_v[at + 8u]).x * vec4<f32>(unpack4xI8(kv_v[at + (unit & 7u)]));
}
