// import: codes32, iq4_table
// IQ4_NL: value = d · table[code]. codes: one vec4<u32> per block of 32 values. scales: f16 d, two blocks a word.

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    return scale32(iq4_values(w_codes[block]), unpack2x16float(w_scales[block >> 1u])[block & 1u]);
}
