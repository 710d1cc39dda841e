// import: codes, block_halves
// Q6_K: value = d·scale · (code - 32), a scale per 16 values. codes: super-blocks of 256 values, 13 × vec4<u32>: 128
// bytes of lower nibbles, 64 bytes of upper two bits, 16 int8 scales. scales: f16 d, two super-blocks a word. A block
// is one of eight groups of 32: groups 0-3 use the first half of the nibbles and bits, 4-7 the second. In a half,
// groups 0 and 1 are the low nibbles of its first and second 32 bytes, 2 and 3 the high ones; group g has bits 2g and
// 2g + 1 of the upper bytes.

const CODE_OFFSET = 32i;

fn block_packed(block: u32) -> W8 {
    let super_block = block >> 3u;
    let head = super_block * 13u;
    let second = (block >> 2u) & 1u;
    let at = head + second * 4u + (block & 1u) * 2u;
    let upper = head + 8u + second * 2u;
    let parts = unpack4xI8(words(w_codes[head + 12u])[(block & 7u) >> 1u] >> ((block & 1u) * 16u)).xy;
    let d = unpack2x16float(w_scales[super_block >> 1u])[super_block & 1u];
    return W8(six_bits(at, upper, block), six_bits(at + 1u, upper + 1u, block), d, parts);
}

fn six_bits(nibbles: u32, upper: u32, block: u32) -> vec4<u32> {
    let low = (words(w_codes[nibbles]) >> vec4<u32>((block & 2u) * 2u)) & NIBBLES;
    let high = (words(w_codes[upper]) >> vec4<u32>((block & 3u) * 2u)) & vec4<u32>(0x03030303u);
    return low | (high << vec4<u32>(4u));
}
