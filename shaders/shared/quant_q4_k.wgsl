// import: codes32, scales_k4
// Q4_K: value = d·scale · code - dmin·minimum. codes: the file's own super-blocks of 256 values, 9 × vec4<u32>: d,
// dmin and 12 bytes of scales, then four runs of 32 bytes whose nibbles are groups 2i (low) and 2i + 1 (high). A
// block is one group.

fn four_codes(nibbles: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8(nibbles & 0x0f0f0f0fu));
}

fn block_codes(block: u32) -> array<vec4<f32>, 8> {
    let at = (block >> 3u) * 9u + 1u + (block & 6u);
    let shift = vec4<u32>((block & 1u) * 4u);
    let a = w_codes[at] >> shift;
    let b = w_codes[at + 1u] >> shift;
    return array<vec4<f32>, 8>(
        four_codes(a.x), four_codes(a.y), four_codes(a.z), four_codes(a.w),
        four_codes(b.x), four_codes(b.y), four_codes(b.z), four_codes(b.w),
    );
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let scales = group_scales(w_codes[(block >> 3u) * 9u], block & 7u);
    return affine32(block_codes(block), scales.x, -scales.y);
}
