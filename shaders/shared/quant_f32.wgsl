// import: codes
// F32 weights. codes: 8 × vec4<u32> per block of 32 values, the floats' bits; rows are padded with zeros to whole
// blocks. No scales.

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let at = block * 8u;
    return array<vec4<f32>, 8>(
        bitcast<vec4<f32>>(code_words(at)), bitcast<vec4<f32>>(code_words(at + 1u)),
        bitcast<vec4<f32>>(code_words(at + 2u)), bitcast<vec4<f32>>(code_words(at + 3u)),
        bitcast<vec4<f32>>(code_words(at + 4u)), bitcast<vec4<f32>>(code_words(at + 5u)),
        bitcast<vec4<f32>>(code_words(at + 6u)), bitcast<vec4<f32>>(code_words(at + 7u)),
    );
}
