// import: codes
// F32 weights. codes: 8 × vec4<u32> per block of 32 values, the floats' bits; rows are padded with zeros to whole
// blocks. No scales.

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let at = block * 8u;
    return array<vec4<f32>, 8>(
        bitcast<vec4<f32>>(words(w_codes[at])), bitcast<vec4<f32>>(words(w_codes[at + 1u])),
        bitcast<vec4<f32>>(words(w_codes[at + 2u])), bitcast<vec4<f32>>(words(w_codes[at + 3u])),
        bitcast<vec4<f32>>(words(w_codes[at + 4u])), bitcast<vec4<f32>>(words(w_codes[at + 5u])),
        bitcast<vec4<f32>>(words(w_codes[at + 6u])), bitcast<vec4<f32>>(words(w_codes[at + 7u])),
    );
}
