// import: x8
// Integer dot products of 16 codes with 16 int8 activations. Weights' codes are below 128, so that signed products
// serve signed and unsigned ones.

const PARTS = 1u;
alias Half = array<vec4<u32>, PARTS>;

fn half_of(codes: vec4<u32>) -> Half {
    return Half(codes);
}

fn dot16(w: vec4<u32>, x: Half) -> i32 {
    let c = x[0];
    return (dot4I8Packed(w.x, c.x) + dot4I8Packed(w.y, c.y)) + (dot4I8Packed(w.z, c.z) + dot4I8Packed(w.w, c.w));
}
