// import: codes
// BF16 weights, the upper halves of floats. codes: 4 × vec4<u32> per block of 32 values, two a word; rows are padded
// with zeros to whole blocks. No scales.

fn four_values(low: u32, high: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(low << 16u, low & 0xffff0000u, high << 16u, high & 0xffff0000u));
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let at = block * 4u;
    let a = code_words(at);
    let b = code_words(at + 1u);
    let c = code_words(at + 2u);
    let d = code_words(at + 3u);
    return array<vec4<f32>, 8>(
        four_values(a.x, a.y), four_values(a.z, a.w), four_values(b.x, b.y), four_values(b.z, b.w),
        four_values(c.x, c.y), four_values(c.z, c.w), four_values(d.x, d.y), four_values(d.z, d.w),
    );
}
