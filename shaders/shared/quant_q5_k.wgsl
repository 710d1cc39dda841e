// import: codes, block_minimum, scales_k4
// Q5_K: value = d·scale · code - dmin·minimum. codes: the file's own super-blocks of 256 values, 11 × vec4<u32>: d,
// dmin and 12 bytes of scales; 32 bytes whose bit g is the fifth bit of group g's code; then four runs of 32 bytes
// whose nibbles are groups 2i (low) and 2i + 1 (high). A block is one group.

fn block_packed(block: u32) -> W8 {
    let head = (block >> 3u) * 11u;
    let at = head + 3u + (block & 6u);
    let shift = vec4<u32>((block & 1u) * 4u);
    let scales = group_scales(words(w_codes[head]), block & 7u);
    return W8(
        ((words(w_codes[at]) >> shift) & NIBBLES) | fifth_bit(words(w_codes[head + 1u]), block & 7u),
        ((words(w_codes[at + 1u]) >> shift) & NIBBLES) | fifth_bit(words(w_codes[head + 2u]), block & 7u),
        scales.x, -scales.y,
    );
}

fn fifth_bit(bytes: vec4<u32>, group: u32) -> vec4<u32> {
    return ((bytes >> vec4<u32>(group)) & vec4<u32>(0x01010101u)) << vec4<u32>(4u);
}
