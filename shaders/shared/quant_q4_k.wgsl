// import: codes, block_minimum, scales_k4, dot_small
// Q4_K: value = d·scale · code - dmin·minimum. codes: super-blocks of 256 values, 9 × vec4<u32>: d, dmin and 12 bytes
// of scales, then one per block: byte i holds codes i (low) and i + 16 (high).

const CODE_BITS = 4u;

fn block_packed(block: u32) -> W8 {
    let head = (block >> 3u) * 9u;
    let scales = group_scales(code_words(head), block & 7u);
    let c = code_words(head + 1u + (block & 7u));
    return W8(c & NIBBLES, (c >> vec4<u32>(4u)) & NIBBLES, scales.x, -scales.y);
}
