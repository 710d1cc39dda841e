// The fifth bits of 16 codes of Q5_0 and Q5_1, bit i being code i's, each moved to bit 4 of its code's byte.

fn fifth_bits(bits: u32) -> vec4<u32> {
    let b = vec4<u32>(bits) >> vec4<u32>(0u, 4u, 8u, 12u);
    return ((b & vec4<u32>(1u)) << vec4<u32>(4u)) | ((b & vec4<u32>(2u)) << vec4<u32>(11u))
        | ((b & vec4<u32>(4u)) << vec4<u32>(18u)) | ((b & vec4<u32>(8u)) << vec4<u32>(25u));
}
