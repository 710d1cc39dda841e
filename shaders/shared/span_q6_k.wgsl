// A whole super-block of Q6_K: its eight blocks share words of upper bits, scales and d, which one by one they would
// load again.

const SPAN = 8u;

struct Span { nibbles: array<vec4<u32>, 8>, upper: array<vec4<u32>, 4>, scales: vec4<u32>, d: f32 }

fn load_span(n: u32) -> Span {
    let at = n * 13u;
    return Span(
        array<vec4<u32>, 8>(
            code_words(at), code_words(at + 1u), code_words(at + 2u), code_words(at + 3u),
            code_words(at + 4u), code_words(at + 5u), code_words(at + 6u), code_words(at + 7u),
        ),
        array<vec4<u32>, 4>(code_words(at + 8u), code_words(at + 9u), code_words(at + 10u), code_words(at + 11u)),
        code_words(at + 12u), super_scale(n),
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
