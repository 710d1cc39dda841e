// Blocks read one by one.

const SPAN = 1u;
alias Span = W8;

fn load_span(n: u32) -> Span {
    return block_packed(n);
}

fn span_block(span: Span, _i: u32) -> W8 {
    return span;
}
