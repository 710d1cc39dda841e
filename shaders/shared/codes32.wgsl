// What the quant formats share: 32 packed codes as floats, and these made values.

const NIBBLES = vec4<u32>(0x0f0f0f0fu);

fn four_codes(word: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(word));
}

fn codes32(low: vec4<u32>, high: vec4<u32>) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        four_codes(low.x), four_codes(low.y), four_codes(low.z), four_codes(low.w),
        four_codes(high.x), four_codes(high.y), four_codes(high.z), four_codes(high.w),
    );
}

// The first 16 codes · scale.x + offset.x, the others · scale.y + offset.y
fn affine32(w: array<vec4<f32>, 8>, scale: vec2<f32>, offset: vec2<f32>) -> array<vec4<f32>, 8> {
    let s = vec4<f32>(scale.x);
    let t = vec4<f32>(scale.y);
    let o = vec4<f32>(offset.x);
    let p = vec4<f32>(offset.y);
    return array<vec4<f32>, 8>(
        fma(w[0], s, o), fma(w[1], s, o), fma(w[2], s, o), fma(w[3], s, o),
        fma(w[4], t, p), fma(w[5], t, p), fma(w[6], t, p), fma(w[7], t, p),
    );
}

// (code - offset) · scale, likewise
fn scale32(w: array<vec4<f32>, 8>, offset: f32, scale: vec2<f32>) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        (w[0] - offset) * scale.x, (w[1] - offset) * scale.x, (w[2] - offset) * scale.x, (w[3] - offset) * scale.x,
        (w[4] - offset) * scale.y, (w[5] - offset) * scale.y, (w[6] - offset) * scale.y, (w[7] - offset) * scale.y,
    );
}
