// What the quant formats share: 32 codes made values.

fn scale32(w: array<vec4<f32>, 8>, scale: f32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        w[0] * scale, w[1] * scale, w[2] * scale, w[3] * scale, w[4] * scale, w[5] * scale, w[6] * scale, w[7] * scale,
    );
}

// code · scale + offset
fn affine32(w: array<vec4<f32>, 8>, scale: f32, offset: f32) -> array<vec4<f32>, 8> {
    let s = vec4<f32>(scale);
    let o = vec4<f32>(offset);
    return array<vec4<f32>, 8>(
        fma(w[0], s, o), fma(w[1], s, o), fma(w[2], s, o), fma(w[3], s, o),
        fma(w[4], s, o), fma(w[5], s, o), fma(w[6], s, o), fma(w[7], s, o),
    );
}
