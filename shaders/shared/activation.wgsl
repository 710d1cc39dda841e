// The activation functions, numbered as in the ops' ACTIVATIONS table. Arguments of exp are kept below overflow.

fn activate(x: f32, activation: u32) -> f32 {
    switch activation {
        case 0u: { return silu(x); }
        case 1u: { return 0.5 * x * (1.0 + erf(x * 0.70710678118)); }
        case 2u: { return gelu_tanh(x); }
        default: { return select(x * x, 0.0, x < 0.0); } // relu², a NaN staying one
    }
}

fn silu(x: f32) -> f32 {
    return x / (1.0 + exp(min(-x, 80.0)));
}

// 0.5·x·(1 + tanh z) = x / (1 + exp(-2z)), which needs no tanh: some drivers overflow in it.
fn gelu_tanh(x: f32) -> f32 {
    let z = 0.7978845608 * (x + 0.044715 * x * x * x);
    return x / (1.0 + exp(min(-2.0 * z, 80.0)));
}

// Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7 of erf.
fn erf(x: f32) -> f32 {
    let a = abs(x);
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return sign(x) * (1.0 - p * exp(-min(a * a, 80.0)));
}
