// Writing f32 pages: a slot is head_dim words. A unit is one value of the head in `row`.

fn store_units() -> u32 { return params.head_dim; }

fn store_unit(slot: u32, unit: u32, is_v: bool) {
    put(slot * params.head_dim + unit, bitcast<u32>(row[unit]), is_v);
}
