// Divisions made exact (Markstein: corrections by fma), so that every adapter gets the bits that numpy gets: WGSL
// allows a plain division to be off by 2.5 units in the last place.

fn over_127(x: f32) -> f32 {
    let q = x * 0.007874015748;
    return fma(fma(-127.0, q, x), 0.007874015748, q);
}

fn inverse_of(d: f32) -> f32 {
    var y = 1.0 / d;
    y = fma(fma(-d, y, 1.0), y, y);
    return fma(fma(-d, y, 1.0), y, y);
}
