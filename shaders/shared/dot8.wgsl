// A block of int8 activations, and integer dot products of 16 codes with 16. Weights' codes are below 128, so that
// signed products serve signed and unsigned ones.

struct X8 { low: vec4<u32>, high: vec4<u32>, scale: f32, sums: vec2<i32> } // sums: of the codes of low, of high

fn half_sums(word: u32) -> vec2<i32> {
    return vec2<i32>(extractBits(bitcast<i32>(word), 0u, 16u), bitcast<i32>(word) >> 16u);
}

fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return (dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y)) + (dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w));
}
