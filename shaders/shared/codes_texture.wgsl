// A weight in two textures, 16 bytes a texel, 1,024 texels a row: for adapters that load words from buffers one by one,
// but texels at once.

@group(0) @binding(W_CODES) var w_codes: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(W_SCALES) var w_scales: texture_storage_2d<rgba32uint, read>;

fn code_words(i: u32) -> vec4<u32> {
    return textureLoad(w_codes, vec2<u32>(i & 1023u, i >> 10u));
}

fn scale_word(i: u32) -> u32 {
    return textureLoad(w_scales, vec2<u32>((i >> 2u) & 1023u, i >> 12u))[i & 3u];
}
