// A whole super-block of Q6_K: its eight blocks share nibbles, upper bits and scales, which one by one they would load
// three times over.

const SPAN = 8u;

struct Span { nibbles: array<vec4<u32>, 8>, upper: array<vec4<u32>, 4>, scales: vec4<u32>, d: f32 }

fn load_span(n: u32) -> Span {
    let at = n * 13u;
    return Span(
        array<vec4<u32>, 8>(
            words(w_codes[at]), words(w_codes[at + 1u]), words(w_codes[at + 2u]), words(w_codes[at + 3u]),
            words(w_codes[at + 4u]), words(w_codes[at + 5u]), words(w_codes[at + 6u]), words(w_codes[at + 7u]),
        ),
        array<vec4<u32>, 4>(
            words(w_codes[at + 8u]), words(w_codes[at + 9u]), words(w_codes[at + 10u]), words(w_codes[at + 11u]),
        ),
        words(w_codes[at + 12u]),
        unpack2x16float(w_scales[n >> 1u])[n & 1u],
    );
}

fn span_block(span: Span, i: u32) -> W8 {
    let at = (i >> 2u) * 4u + (i & 1u) * 2u;
    let upper = (i >> 2u) * 2u;
    let low = vec4<u32>((i & 2u) * 2u);
    let high = vec4<u32>((i & 3u) * 2u);
    let twos = vec4<u32>(0x03030303u);
    return W8(
        ((span.nibbles[at] >> low) & NIBBLES) | (((span.upper[upper] >> high) & twos) << vec4<u32>(4u)),
        ((span.nibbles[at + 1u] >> low) & NIBBLES) | (((span.upper[upper + 1u] >> high) & twos) << vec4<u32>(4u)),
        span.d, unpack4xI8(span.scales[i >> 1u] >> ((i & 1u) * 16u)).xy,
    );
}
