// The scale and minimum of group `sub` (0..7, 32 values each) of a Q4_K or Q5_K super-block, from its first 16 bytes:
// f16 d and dmin, then 12 bytes of 6-bit integers. Groups 0-3 have theirs in the lower bits of bytes 0-3 and 4-7;
// groups 4-7 have four bits in bytes 8-11 and the upper two in the upper bits of bytes 0-7.

fn group_scales(head: vec4<u32>, sub: u32) -> vec2<f32> {
    let d = unpack2x16float(head.x);
    let shift = (sub & 3u) * 8u;
    let first = (head.y >> shift) & 0xffu;
    let second = (head.z >> shift) & 0xffu;
    let third = (head.w >> shift) & 0xffu;
    let is_late = sub >= 4u;
    let scale = select(first & 63u, (third & 15u) | ((first >> 6u) << 4u), is_late);
    let minimum = select(second & 63u, (third >> 4u) | ((second >> 6u) << 4u), is_late);
    return d * vec2<f32>(f32(scale), f32(minimum));
}
