// The dot product of 32 values with 32 values, and the product of 32 values with a number.

fn dot32(w: array<vec4<f32>, 8>, x: array<vec4<f32>, 8>) -> f32 {
    var sum = w[0] * x[0];
    sum = fma(w[1], x[1], sum);
    sum = fma(w[2], x[2], sum);
    sum = fma(w[3], x[3], sum);
    sum = fma(w[4], x[4], sum);
    sum = fma(w[5], x[5], sum);
    sum = fma(w[6], x[6], sum);
    sum = fma(w[7], x[7], sum);
    return (sum.x + sum.y) + (sum.z + sum.w);
}

fn scale32(w: array<vec4<f32>, 8>, scale: f32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        w[0] * scale, w[1] * scale, w[2] * scale, w[3] * scale, w[4] * scale, w[5] * scale, w[6] * scale, w[7] * scale,
    );
}
