// import: codes, block_halves
// Q3_K: value = d·(scale - 32) · (code - 4), a 6-bit scale per 16 values. codes: super-blocks of 256 values, 6 ×
// vec4<u32>: 32 bytes whose bit g is the third bit of group g's codes, then two runs of 32 bytes whose bits 2g and 2g
// + 1 are the lower two. scales: four words per super-block: 16 lower nibbles (scales 0-7 low, 8-15 high), 16 pairs
// of upper bits (byte j & 3, bits 2·(j >> 2)), then f16 d. A block is one of eight groups of 32.

const CODE_OFFSET = 4i;

fn block_packed(block: u32) -> W8 {
    let head = (block >> 3u) * 6u;
    let at = head + 2u + ((block >> 2u) & 1u) * 2u;
    let scales = (block >> 3u) * 4u;
    let parts = vec2<i32>(part_of(scales, (block & 7u) * 2u), part_of(scales, (block & 7u) * 2u + 1u));
    let d = unpack2x16float(w_scales[scales + 3u]).x;
    return W8(three_bits(at, head, block), three_bits(at + 1u, head + 1u, block), d, parts);
}

fn three_bits(lower: u32, third: u32, block: u32) -> vec4<u32> {
    let low = (words(w_codes[lower]) >> vec4<u32>((block & 3u) * 2u)) & vec4<u32>(0x03030303u);
    return low | (((words(w_codes[third]) >> vec4<u32>(block & 7u)) & vec4<u32>(0x01010101u)) << vec4<u32>(2u));
}

fn part_of(scales: u32, j: u32) -> i32 {
    let lower = (w_scales[scales + ((j & 7u) >> 2u)] >> ((j & 3u) * 8u + (j >> 3u) * 4u)) & 15u;
    let upper = (w_scales[scales + 2u] >> ((j & 3u) * 8u + (j >> 2u) * 2u)) & 3u;
    return i32(lower | (upper << 4u)) - 32;
}
