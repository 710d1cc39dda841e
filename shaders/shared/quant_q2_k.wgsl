// import: codes, codes32, pair_bits, dot_small
// Q2_K: value = d·scale · code - dmin·minimum, a scale and a minimum of four bits per 16 values. codes: super-blocks
// of 256 values, 4 × vec4<u32>, two blocks in each (pair_bits). scales: five words per super-block, 16 bytes of scales
// (low) and minima (high), then f16 d and dmin.

const CODE_BITS = 2u;

struct W8 { low: vec4<u32>, high: vec4<u32>, scale: f32, minimum: f32, scales: vec2<i32>, minima: vec2<i32> }

fn block_packed(block: u32) -> W8 {
    let scales = (block >> 3u) * 5u;
    let bytes = scale_word(scales + ((block & 7u) >> 1u)) >> ((block & 1u) * 16u); // of the block's two halves
    let d = unpack2x16float(scale_word(scales + 4u));
    let c = pair_words(code_words(block >> 1u), block);
    return W8(
        low_pairs(c), high_pairs(c), d.x, -d.y,
        unpack4xI8(bytes & 0x0f0f0f0fu).xy, unpack4xI8((bytes >> 4u) & 0x0f0f0f0fu).xy,
    );
}

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let w = block_packed(block);
    return affine32(codes32(w.low, w.high), w.scale * vec2<f32>(w.scales), w.minimum * vec2<f32>(w.minima));
}

fn block_dot_act8(w: W8, x: X8) -> f32 {
    let dot = w.scales.x * dot16(w.low, x.low) + w.scales.y * dot16(w.high, x.high);
    let sum = w.minima.x * x.sums.x + w.minima.y * x.sums.y;
    return x.scale * (w.scale * f32(dot) + w.minimum * f32(sum));
}
