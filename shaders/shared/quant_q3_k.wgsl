// import: codes, block_halves, pair_bits, fifth_bits, dot_small
// Q3_K: value = d·(scale - 32) · (code - 4), a 6-bit scale per 16 values. codes: super-blocks of 256 values, 4 ×
// vec4<u32>, the lower two bits of two blocks in each (pair_bits). scales: twelve words per super-block: a word of
// third bits per block (bit i is code i's); the scales' lower nibbles (0-7 low, 8-15 high) in two; their upper bits in
// one (byte j & 3, bits 2·(j >> 2)); then f16 d.

const CODE_OFFSET = 4i;
const CODE_BITS = 3u;

fn block_packed(block: u32) -> W8 {
    let head = (block >> 3u) * 12u;
    let scales = head + 8u;
    let parts = vec2<i32>(part_of(scales, (block & 7u) * 2u), part_of(scales, (block & 7u) * 2u + 1u));
    let d = unpack2x16float(scale_word(scales + 3u)).x;
    let h = scale_word(head + (block & 7u));
    let c = pair_words(code_words(block >> 1u), block);
    let two = vec4<u32>(2u);
    return W8(low_pairs(c) | (fifth_bits(h) >> two), high_pairs(c) | (fifth_bits(h >> 16u) >> two), d, parts);
}

fn part_of(scales: u32, j: u32) -> i32 {
    let lower = (scale_word(scales + ((j & 7u) >> 2u)) >> ((j & 3u) * 8u + (j >> 3u) * 4u)) & 15u;
    let upper = (scale_word(scales + 2u) >> ((j & 3u) * 8u + (j >> 2u) * 2u)) & 3u;
    return i32(lower | (upper << 4u)) - 32;
}
