// Writing f32 pages: a slot is head_dim words. A unit is one value.

fn store_units() -> u32 { return params.head_dim; }

fn store_unit(slot: u32, unit: u32, source: u32) {
    kv_k[slot * params.head_dim + unit] = bitcast<u32>(k[source + unit]);
    kv_v[slot * params.head_dim + unit] = bitcast<u32>(v[source + unit]);
}
