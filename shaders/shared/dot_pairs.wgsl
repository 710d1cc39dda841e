// import: x8
// Integer dot products of 16 codes with 16 int8 activations, for adapters without products of bytes.
// Codes are 0 to 2^CODE_BITS - 1, of at most six bits. (w0 + w2·2^16)·(x2 + x0·2^16) has w0·x0 + w2·x2 in its upper
// half: two products in one, and sums of them as long as they keep within 16 bits.

const PARTS = 2u;
alias Half = array<vec4<u32>, PARTS>; // of four bytes x: x2 + x0·2^16, then x3 + x1·2^16

const EVEN = vec4<u32>(0x00ff00ffu);
const_assert CODE_BITS <= 6u;

fn half_of(codes: vec4<u32>) -> Half {
    let x = bitcast<vec4<i32>>(codes);
    let even = ((x << vec4<u32>(24u)) >> vec4<u32>(8u)) + ((x << vec4<u32>(8u)) >> vec4<u32>(24u));
    let odd = (((x << vec4<u32>(16u)) >> vec4<u32>(24u)) << vec4<u32>(16u)) + (x >> vec4<u32>(24u));
    return Half(bitcast<vec4<u32>>(even), bitcast<vec4<u32>>(odd));
}

fn dot16(w: vec4<u32>, x: Half) -> i32 {
    let sums = (w & EVEN) * x[0] + ((w >> vec4<u32>(8u)) & EVEN) * x[1];
    if CODE_BITS <= 4u { return upper((sums.x + sums.y) + (sums.z + sums.w)); }
    if CODE_BITS == 5u { return upper(sums.x + sums.y) + upper(sums.z + sums.w); }
    return (upper(sums.x) + upper(sums.y)) + (upper(sums.z) + upper(sums.w));
}

// The signed upper half, less what a negative lower half took from it.
fn upper(sum: u32) -> i32 {
    return bitcast<i32>(sum + 0x8000u) >> 16u;
}
