// Q3_K: value = d·(scale - 32) · (code - 4), a 6-bit scale per 16 values. codes: super-blocks of 256 values, 6 ×
// vec4<u32>: 32 bytes whose bit g is the third bit of group g's codes, then two runs of 32 bytes whose bits 2g and 2g
// + 1 are the lower two. scales: four words per super-block: 16 lower nibbles (scales 0-7 low, 8-15 high), 16 pairs
// of upper bits (byte j & 3, bits 2·(j >> 2)), then f16 d. A block is one of eight groups of 32.

fn four_values(low: u32, third: u32, scale: f32) -> vec4<f32> {
    return (vec4<f32>(unpack4xU8((low & 0x03030303u) | ((third & 0x01010101u) << 2u))) - 4.0) * scale;
}

fn scale_of(at: u32, j: u32) -> f32 {
    let lower = (w_scales[at + ((j & 7u) >> 2u)] >> ((j & 3u) * 8u + (j >> 3u) * 4u)) & 15u;
    let upper = (w_scales[at + 2u] >> ((j & 3u) * 8u + (j >> 2u) * 2u)) & 3u;
    return unpack2x16float(w_scales[at + 3u]).x * (f32(lower | (upper << 4u)) - 32.0);
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let head = (block >> 3u) * 6u;
    let at = head + 2u + ((block >> 2u) & 1u) * 2u;
    let shift = vec4<u32>((block & 3u) * 2u);
    let a = w_codes[at] >> shift;
    let b = w_codes[at + 1u] >> shift;
    let c = w_codes[head] >> vec4<u32>(block & 7u);
    let d = w_codes[head + 1u] >> vec4<u32>(block & 7u);
    let first = scale_of((block >> 3u) * 4u, (block & 7u) * 2u);
    let second = scale_of((block >> 3u) * 4u, (block & 7u) * 2u + 1u);
    return array<vec4<f32>, 8>(
        four_values(a.x, c.x, first), four_values(a.y, c.y, first),
        four_values(a.z, c.z, first), four_values(a.w, c.w, first),
        four_values(b.x, d.x, second), four_values(b.y, d.y, second),
        four_values(b.z, d.z, second), four_values(b.w, d.w, second),
    );
}
