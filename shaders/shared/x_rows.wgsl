// Activations (tokens, cols), cols a multiple of four, read four at a time.

alias X = vec4<f32>;

// Columns 4·four to 4·four + 3 of a token, zeros behind the last. WHOLE: cols is a multiple of 32, as blocks are read.
fn x_part(token: u32, four: u32) -> vec4<f32> {
    let fours = params.cols >> 2u;
    if WHOLE == 0u && four >= fours { return vec4<f32>(0.0); }
    return x[token * fours + four];
}
