// import: exact_division
// Rounds 32 values to an int8 block of the operand out8: scale = max|x| / 127, codes half to even, and the sums of the
// codes' two halves as int16. A block whose scale is not a normal number has codes 0; it keeps an infinite or NaN one.

const SMALLEST_SCALE = 1.1754944e-38; // the smallest normal number
const INFINITE_BITS = 0x7f800000u; // magnitudes as integers are in the order of the values, NaN last

fn store_block8(block: u32, v: array<vec4<f32>, 8>) {
    let bits = max(max(max(bits4(v[0]), bits4(v[1])), max(bits4(v[2]), bits4(v[3]))),
                   max(max(bits4(v[4]), bits4(v[5])), max(bits4(v[6]), bits4(v[7]))));
    let magnitude = max(max(bits.x, bits.y), max(bits.z, bits.w));
    let highest = bitcast<f32>(magnitude);
    var scale = highest; // an infinity or a NaN stays what it is
    var inverse = 0.0;
    if magnitude < INFINITE_BITS {
        scale = over_127(highest);
        if scale < SMALLEST_SCALE { scale = 0.0; } else { inverse = inverse_of(scale); }
    }
    let low = vec4<u32>(four_codes8(v[0], inverse), four_codes8(v[1], inverse),
                        four_codes8(v[2], inverse), four_codes8(v[3], inverse));
    let high = vec4<u32>(four_codes8(v[4], inverse), four_codes8(v[5], inverse),
                         four_codes8(v[6], inverse), four_codes8(v[7], inverse));
    out8_codes[block * 2u] = low;
    out8_codes[block * 2u + 1u] = high;
    out8_scales[block] = scale;
    out8_sums[block] = (sum16(low) & 0xffffu) | (sum16(high) << 16u);
}

fn bits4(x: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
}

fn four_codes8(x: vec4<f32>, inverse: f32) -> u32 {
    if inverse == 0.0 { return 0u; } // 0 · infinity would be NaN
    return pack4xI8(vec4<i32>(clamp(round(x * inverse), vec4<f32>(-127.0), vec4<f32>(127.0))));
}

fn sum16(codes: vec4<u32>) -> u32 {
    let ones = 0x01010101u;
    let sum = dot4I8Packed(codes.x, ones) + dot4I8Packed(codes.y, ones) + dot4I8Packed(codes.z, ones)
        + dot4I8Packed(codes.w, ones);
    return bitcast<u32>(sum);
}
