// Q6_K: value = d·scale · (code - 32), a scale per 16 values. codes: super-blocks of 256 values, 13 × vec4<u32>: 128
// bytes of lower nibbles, 64 bytes of upper two bits, 16 int8 scales. scales: f16 d, two super-blocks a word. A block
// is one of eight groups of 32: groups 0-3 use the first half of the nibbles and bits, 4-7 the second. In a half,
// groups 0 and 1 are the low nibbles of its first and second 32 bytes, 2 and 3 the high ones; group g has bits 2g and
// 2g + 1 of the upper bytes.

fn four_codes(nibbles: u32, upper: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8((nibbles & 0x0f0f0f0fu) | ((upper & 0x03030303u) << 4u))) - 32.0;
}

fn block_codes(block: u32) -> array<vec4<f32>, 8> {
    let head = (block >> 3u) * 13u;
    let second = (block >> 2u) & 1u;
    let at = head + second * 4u + (block & 1u) * 2u;
    let shift = vec4<u32>((block & 2u) * 2u);
    let a = w_codes[at] >> shift;
    let b = w_codes[at + 1u] >> shift;
    let upper_shift = vec4<u32>((block & 3u) * 2u);
    let c = w_codes[head + 8u + second * 2u] >> upper_shift;
    let d = w_codes[head + 9u + second * 2u] >> upper_shift;
    return array<vec4<f32>, 8>(
        four_codes(a.x, c.x), four_codes(a.y, c.y), four_codes(a.z, c.z), four_codes(a.w, c.w),
        four_codes(b.x, d.x), four_codes(b.y, d.y), four_codes(b.z, d.z), four_codes(b.w, d.w),
    );
}

// The scales of the block's two halves.
fn half_scales(block: u32) -> vec2<f32> {
    let super_block = block >> 3u;
    let d = unpack2x16float(w_scales[super_block >> 1u])[super_block & 1u];
    let word = w_codes[super_block * 13u + 12u][(block & 7u) >> 1u] >> ((block & 1u) * 16u);
    return d * vec2<f32>(unpack4xI8(word).xy);
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let scale = half_scales(block);
    let codes = block_codes(block);
    return array<vec4<f32>, 8>(
        codes[0] * scale.x, codes[1] * scale.x, codes[2] * scale.x, codes[3] * scale.x,
        codes[4] * scale.y, codes[5] * scale.y, codes[6] * scale.y, codes[7] * scale.y,
    );
}
