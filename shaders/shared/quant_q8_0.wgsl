// import: codes, block_offset, dot8
// Q8_0: value = d · code. codes: 2 × vec4<u32> per block of 32 values, an int8 a byte. scales: f16 d, two blocks a
// word.

const CODE_OFFSET = 0i;

fn block_packed(block: u32) -> W8 {
    let scale = unpack2x16float(scale_word(block >> 1u))[block & 1u];
    return W8(code_words(block * 2u), code_words(block * 2u + 1u), scale);
}
