// Blocks read eight by eight.

const SPAN = 8u;
alias Span = u32; // its first block

fn load_span(n: u32) -> Span {
    return n * SPAN;
}

fn span_block(span: Span, i: u32) -> W8 {
    return block_packed(span + i);
}
