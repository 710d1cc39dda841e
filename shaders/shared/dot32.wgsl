// The dot product of 32 values with 32 values.

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
