// import: codes, block_halves, pair_bits, dot_small
// Q6_K: value = d·scale · (code - 32), a scale per 16 values. codes: super-blocks of 256 values, 13 × vec4<u32>: the
// lower four bits of each block (byte i: codes i and i + 16), in the order 0 2 1 3 4 6 5 7; then the upper two bits,
// two blocks in each (pair_bits); then 16 int8 scales. scales: f16 d, two super-blocks a word.

const CODE_OFFSET = 32i;
const CODE_BITS = 6u;

fn block_packed(block: u32) -> W8 {
    let head = (block >> 3u) * 13u;
    let c = code_words(head + (block & 4u) + ((block & 1u) << 1u) + ((block >> 1u) & 1u));
    let upper = pair_words(code_words(head + 8u + ((block & 7u) >> 1u)), block);
    let parts = unpack4xI8(code_words(head + 12u)[(block & 7u) >> 1u] >> ((block & 1u) * 16u)).xy;
    return W8(
        (c & NIBBLES) | (low_pairs(upper) << vec4<u32>(4u)),
        ((c >> vec4<u32>(4u)) & NIBBLES) | (high_pairs(upper) << vec4<u32>(4u)), super_scale(block >> 3u), parts,
    );
}

fn super_scale(n: u32) -> f32 {
    return unpack2x16float(scale_word(n >> 1u))[n & 1u];
}
