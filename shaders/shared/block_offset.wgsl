// import: codes32
// Formats whose value is scale · (code - CODE_OFFSET), a scale per 32 values. A format's file defines `block_packed`.

struct W8 { low: vec4<u32>, high: vec4<u32>, scale: f32 }

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let w = block_packed(block);
    return scale32(codes32(w.low, w.high), f32(CODE_OFFSET), vec2<f32>(w.scale));
}

fn block_dot_act8(w: W8, x: X8) -> f32 {
    let dot = dot16(w.low, x.low) + dot16(w.high, x.high) - CODE_OFFSET * (x.sums.x + x.sums.y);
    return x.scale * (w.scale * f32(dot));
}
