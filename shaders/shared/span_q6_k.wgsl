// A whole super-block of Q6_K: its eight blocks share words of upper bits, scales and d, which one by one they would
// load again.

const SPAN = 8u;

struct Span { nibbles: array<vec4<u32>, 8>, upper: array<vec4<u32>, 4>, scales: vec4<u32>, d: f32 }

fn load_span(n: u32) -> Span {
    let at = n * 12u;
    let scales = n * 5u;
    return Span(
        array<vec4<u32>, 8>(
            words(w_codes[at]), words(w_codes[at + 1u]), words(w_codes[at + 2u]), words(w_codes[at + 3u]),
            words(w_codes[at + 4u]), words(w_codes[at + 5u]), words(w_codes[at + 6u]), words(w_codes[at + 7u]),
        ),
        array<vec4<u32>, 4>(
            words(w_codes[at + 8u]), words(w_codes[at + 9u]), words(w_codes[at + 10u]), words(w_codes[at + 11u]),
        ),
        vec4<u32>(w_scales[scales], w_scales[scales + 1u], w_scales[scales + 2u], w_scales[scales + 3u]),
        unpack2x16float(w_scales[scales + 4u]).x,
    );
}

fn span_block(span: Span, i: u32) -> W8 {
    let c = span.nibbles[(i & 4u) + ((i & 1u) << 1u) + ((i >> 1u) & 1u)];
    let upper = pair_words(span.upper[i >> 1u], i);
    return W8(
        (c & NIBBLES) | (low_pairs(upper) << vec4<u32>(4u)),
        ((c >> vec4<u32>(4u)) & NIBBLES) | (high_pairs(upper) << vec4<u32>(4u)),
        span.d, unpack4xI8(span.scales[i >> 1u] >> ((i & 1u) * 16u)).xy,
    );
}
