// float32 values as u32 keys in their order: larger value, larger key. Both zeros have one key and a NaN the largest,
// so no driver that ignores NaN can lose one.

const LOWEST_KEY = 0x00800000u; // of minus infinity
const HIGHEST_KEY = 0xff800000u; // of infinity; above it is NaN only

fn order_key(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u { return 0xffffffffu; }
    return select(0x80000000u + magnitude, 0x80000000u - magnitude, (bits >> 31u) == 1u);
}

fn value_of_key(key: u32) -> f32 {
    return bitcast<f32>(select((0x80000000u - key) | 0x80000000u, key - 0x80000000u, key >= 0x80000000u));
}
