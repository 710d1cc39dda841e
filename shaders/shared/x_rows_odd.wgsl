// Activations (tokens, cols) of any number of columns.

alias X = f32;

// Columns 4·four to 4·four + 3 of a token, zeros behind the last.
fn x_part(token: u32, four: u32) -> vec4<f32> {
    var values = vec4<f32>(0.0);
    for (var i = 0u; i < 4u; i++) {
        if four * 4u + i < params.cols { values[i] = x[token * params.cols + four * 4u + i]; }
    }
    return values;
}
