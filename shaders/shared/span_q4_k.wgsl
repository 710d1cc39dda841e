// A whole super-block of Q4_K: its eight blocks share a header, and two each their nibbles.

const SPAN = 8u;

struct Span { head: vec4<u32>, nibbles: array<vec4<u32>, 8> }

fn load_span(n: u32) -> Span {
    let at = n * 9u;
    return Span(
        words(w_codes[at]),
        array<vec4<u32>, 8>(
            words(w_codes[at + 1u]), words(w_codes[at + 2u]), words(w_codes[at + 3u]), words(w_codes[at + 4u]),
            words(w_codes[at + 5u]), words(w_codes[at + 6u]), words(w_codes[at + 7u]), words(w_codes[at + 8u]),
        ),
    );
}

fn span_block(span: Span, i: u32) -> W8 {
    let shift = vec4<u32>((i & 1u) * 4u);
    let scales = group_scales(span.head, i);
    let low = (span.nibbles[i & 6u] >> shift) & NIBBLES;
    let high = (span.nibbles[(i & 6u) + 1u] >> shift) & NIBBLES;
    return W8(low, high, scales.x, -scales.y);
}
