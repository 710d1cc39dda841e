// Q2_K: value = d·scale · code - dmin·minimum, a scale and a minimum of four bits per 16 values. codes: super-blocks
// of 256 values, 5 × vec4<u32>: 16 bytes of scales (low) and minima (high), then two runs of 32 bytes whose bits 2g
// and 2g + 1 are group g's codes. scales: one word per super-block, f16 d and dmin. A block is one of eight groups of
// 32.

fn four_values(bits: u32, scale: f32, minimum: f32) -> vec4<f32> {
    return fma(vec4<f32>(unpack4xU8(bits & 0x03030303u)), vec4<f32>(scale), vec4<f32>(-minimum));
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let head = (block >> 3u) * 5u;
    let at = head + 1u + ((block >> 2u) & 1u) * 2u;
    let shift = vec4<u32>((block & 3u) * 2u);
    let a = w_codes[at] >> shift;
    let b = w_codes[at + 1u] >> shift;
    let bytes = w_codes[head][(block & 7u) >> 1u] >> ((block & 1u) * 16u); // of the block's two halves
    let d = unpack2x16float(w_scales[block >> 3u]);
    let scale = d.x * vec2<f32>(unpack4xU8(bytes & 0x0f0f0f0fu).xy);
    let minimum = d.y * vec2<f32>(unpack4xU8((bytes >> 4u) & 0x0f0f0f0fu).xy);
    return array<vec4<f32>, 8>(
        four_values(a.x, scale.x, minimum.x), four_values(a.y, scale.x, minimum.x),
        four_values(a.z, scale.x, minimum.x), four_values(a.w, scale.x, minimum.x),
        four_values(b.x, scale.y, minimum.y), four_values(b.y, scale.y, minimum.y),
        four_values(b.z, scale.y, minimum.y), four_values(b.w, scale.y, minimum.y),
    );
}
