// import: codes, block_halves, pair_bits
// Q6_K: value = d·scale · (code - 32), a scale per 16 values. codes: super-blocks of 256 values, 12 × vec4<u32>: the
// lower four bits of each block (byte i: codes i and i + 16), in the order 0 2 1 3 4 6 5 7; then the upper two bits,
// two blocks in each (pair_bits). scales: five words per super-block, 16 int8 scales and f16 d.

const CODE_OFFSET = 32i;

fn block_packed(block: u32) -> W8 {
    let head = (block >> 3u) * 12u;
    let scales = (block >> 3u) * 5u;
    let c = words(w_codes[head + (block & 4u) + ((block & 1u) << 1u) + ((block >> 1u) & 1u)]);
    let upper = pair_words(words(w_codes[head + 8u + ((block & 7u) >> 1u)]), block);
    let parts = unpack4xI8(w_scales[scales + ((block & 7u) >> 1u)] >> ((block & 1u) * 16u)).xy;
    let d = unpack2x16float(w_scales[scales + 4u]).x;
    return W8(
        (c & NIBBLES) | (low_pairs(upper) << vec4<u32>(4u)),
        ((c >> vec4<u32>(4u)) & NIBBLES) | (high_pairs(upper) << vec4<u32>(4u)), d, parts,
    );
}
