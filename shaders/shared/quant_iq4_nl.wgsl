// import: codes, block_offset, iq4_table, dot8
// IQ4_NL: value = d · table[code]. codes: one vec4<u32> per block of 32 values; byte i holds codes i (low) and i + 16
// (high). scales: f16 d, two blocks a word.

const CODE_OFFSET = 0i;

fn block_packed(block: u32) -> W8 {
    let c = code_words(block);
    return W8(iq4_values(c), iq4_values(c >> vec4<u32>(4u)), unpack2x16float(scale_word(block >> 1u))[block & 1u]);
}
