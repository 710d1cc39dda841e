// 16 bytes of codes, bound as 64-bit values: for adapters that load value by value.

alias Codes = vec2<u64>;

fn words(codes: Codes) -> vec4<u32> {
    return vec4<u32>(u32(codes.x), u32(codes.x >> 32u), u32(codes.y), u32(codes.y >> 32u));
}
