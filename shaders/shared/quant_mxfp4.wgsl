// import: codes, block_offset, dot8
// MXFP4: value = 2^(e - 128) · table[code], the table being FP4 (E2M1) doubled. codes: one vec4<u32> per block of 32
// values; byte i holds codes i (low) and i + 16 (high). scales: the exponents e, a byte each.

const CODE_OFFSET = 0i;

fn fp4_word(nibbles: u32) -> u32 {
    let codes = unpack4xU8(nibbles);
    let four = select(vec4<u32>(0x03020100u), vec4<u32>(0x0c080604u), (codes & vec4<u32>(4u)) != vec4<u32>(0u));
    let magnitude = vec4<i32>((four >> ((codes & vec4<u32>(3u)) << vec4<u32>(3u))) & vec4<u32>(0xffu));
    return pack4xI8(select(magnitude, -magnitude, (codes & vec4<u32>(8u)) != vec4<u32>(0u)));
}

fn fp4_values(c: vec4<u32>) -> vec4<u32> {
    let n = c & NIBBLES;
    return vec4<u32>(fp4_word(n.x), fp4_word(n.y), fp4_word(n.z), fp4_word(n.w));
}

fn block_packed(block: u32) -> W8 {
    let c = code_words(block);
    let e = (scale_word(block >> 2u) >> ((block & 3u) * 8u)) & 0xffu;
    let scale = bitcast<f32>(select((e - 1u) << 23u, 0x200000u << (e & 1u), e < 2u)); // 0 and 1 are subnormal
    return W8(fp4_values(c), fp4_values(c >> vec4<u32>(4u)), scale);
}
