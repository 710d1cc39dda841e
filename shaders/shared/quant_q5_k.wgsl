// import: codes32, scales_k4
// Q5_K: value = d·scale · code - dmin·minimum. codes: the file's own super-blocks of 256 values, 11 × vec4<u32>: d,
// dmin and 12 bytes of scales; 32 bytes whose bit g is the fifth bit of group g's code; then four runs of 32 bytes
// whose nibbles are groups 2i (low) and 2i + 1 (high). A block is one group.

fn four_codes(nibbles: u32, fifth: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8((nibbles & 0x0f0f0f0fu) | ((fifth & 0x01010101u) << 4u)));
}

fn block_codes(block: u32) -> array<vec4<f32>, 8> {
    let head = (block >> 3u) * 11u;
    let at = head + 3u + (block & 6u);
    let shift = vec4<u32>((block & 1u) * 4u);
    let a = w_codes[at] >> shift;
    let b = w_codes[at + 1u] >> shift;
    let c = w_codes[head + 1u] >> vec4<u32>(block & 7u);
    let d = w_codes[head + 2u] >> vec4<u32>(block & 7u);
    return array<vec4<f32>, 8>(
        four_codes(a.x, c.x), four_codes(a.y, c.y), four_codes(a.z, c.z), four_codes(a.w, c.w),
        four_codes(b.x, d.x), four_codes(b.y, d.y), four_codes(b.z, d.z), four_codes(b.w, d.w),
    );
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let scales = group_scales(w_codes[(block >> 3u) * 11u], block & 7u);
    return affine32(block_codes(block), scales.x, -scales.y);
}
