// import: codes, block_offset, iq4_table, dot8
// IQ4_XS: value = d·(scale - 32) · table[code]. codes: one vec4<u32> per group of 32 values; byte i holds codes i
// (low) and i + 16 (high). scales: two words per super-block of eight groups: f16 d and the scales' upper two bits,
// then their lower four.

const CODE_OFFSET = 0i;

fn block_packed(block: u32) -> W8 {
    let c = code_words(block);
    let head = scale_word((block >> 3u) * 2u);
    let lower = (scale_word((block >> 3u) * 2u + 1u) >> ((block & 7u) * 4u)) & 15u;
    let upper = (head >> (16u + (block & 7u) * 2u)) & 3u;
    let scale = unpack2x16float(head).x * (f32(lower | (upper << 4u)) - 32.0);
    return W8(iq4_values(c), iq4_values(c >> vec4<u32>(4u)), scale);
}
