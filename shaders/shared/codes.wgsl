// A weight in two buffers: its codes, 16 bytes an element, and its scales. The op says where they are bound.

@group(0) @binding(W_CODES) var<storage, read> w_codes: array<vec4<u32>>;
@group(0) @binding(W_SCALES) var<storage, read> w_scales: array<u32>;

fn code_words(i: u32) -> vec4<u32> {
    return w_codes[i];
}

fn scale_word(i: u32) -> u32 {
    return w_scales[i];
}
