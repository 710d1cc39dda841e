// import: codes32
// Formats whose value is scale · code + minimum, both per 32 values. A format's file defines `block_packed`.

struct W8 { low: vec4<u32>, high: vec4<u32>, scale: f32, minimum: f32 }

fn block_values(block: u32) -> array<vec4<f32>, 8> {
    let w = block_packed(block);
    return affine32(codes32(w.low, w.high), vec2<f32>(w.scale), vec2<f32>(w.minimum));
}

fn block_dot_act8(w: W8, x: X8) -> f32 {
    let dot = dot16(w.low, x.low) + dot16(w.high, x.high);
    return x.scale * (w.scale * f32(dot) + w.minimum * f32(x.sums.x + x.sums.y));
}
