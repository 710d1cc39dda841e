// A block of int8 activations, its halves as the dot products take them.

struct X8 { low: Half, high: Half, scale: f32, sums: vec2<i32> } // sums: of the codes of low, of high

fn half_sums(word: u32) -> vec2<i32> {
    return vec2<i32>(extractBits(bitcast<i32>(word), 0u, 16u), bitcast<i32>(word) >> 16u);
}
