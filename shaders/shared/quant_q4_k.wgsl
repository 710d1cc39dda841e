// import: codes, block_minimum, scales_k4
// Q4_K: value = d·scale · code - dmin·minimum. codes: the file's own super-blocks of 256 values, 9 × vec4<u32>: d,
// dmin and 12 bytes of scales, then four runs of 32 bytes whose nibbles are groups 2i (low) and 2i + 1 (high). A
// block is one group.

fn block_packed(block: u32) -> W8 {
    let head = (block >> 3u) * 9u;
    let at = head + 1u + (block & 6u);
    let shift = vec4<u32>((block & 1u) * 4u);
    let scales = group_scales(words(w_codes[head]), block & 7u);
    let low = (words(w_codes[at]) >> shift) & NIBBLES;
    let high = (words(w_codes[at + 1u]) >> shift) & NIBBLES;
    return W8(low, high, scales.x, -scales.y);
}
