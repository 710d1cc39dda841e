// f32 -> f16 bits, rounding half to even, as numpy does. In integers, because pack2x16float may round either way and
// is undefined where the result overflows.

fn half_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u { return sign | 0x7e00u; } // NaN
    if magnitude >= 0x477ff000u { return sign | 0x7c00u; } // 65520 and above round to infinity
    if magnitude < 0x33000001u { return sign; } // at most 2^-25, half of the smallest subnormal
    if magnitude < 0x38800000u { // below 2^-14: a subnormal, mantissa in units of 2^-24
        let shift = 126u - (magnitude >> 23u); // 14..24
        return sign | round_shift((magnitude & 0x7fffffu) | 0x800000u, shift);
    }
    return sign | round_shift(magnitude - 0x38000000u, 13u); // a carry out of the mantissa raises the exponent
}

// value / 2^shift, rounded half to even.
fn round_shift(value: u32, shift: u32) -> u32 {
    let whole = value >> shift;
    let rest = value & ((1u << shift) - 1u);
    let middle = 1u << (shift - 1u);
    return whole + select(0u, 1u, rest > middle || (rest == middle && (whole & 1u) == 1u));
}
