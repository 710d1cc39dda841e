// import: codes, block_minimum, scales_k4, fifth_bits, dot_small
// Q5_K: value = d·scale · code - dmin·minimum. codes: super-blocks of 256 values, 11 × vec4<u32>: d, dmin and 12 bytes
// of scales; a word of fifth bits per block (bit i is code i's); then one vec4<u32> per block: byte i holds the lower
// four bits of codes i (low) and i + 16 (high).

const CODE_BITS = 5u;

fn block_packed(block: u32) -> W8 {
    let head = (block >> 3u) * 11u;
    let scales = group_scales(code_words(head), block & 7u);
    let h = code_words(head + 1u + ((block >> 2u) & 1u))[block & 3u];
    let c = code_words(head + 3u + (block & 7u));
    return W8(
        (c & NIBBLES) | fifth_bits(h), ((c >> vec4<u32>(4u)) & NIBBLES) | fifth_bits(h >> 16u), scales.x, -scales.y,
    );
}
