// Philox-4x32-10, the counter-based generator of contracts/philox.py.

// The high word of a·b, from products of half words.
fn high_product(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}

// A number in [0, 1) with 24 bits, for draw 0 of a position.
fn uniform_number(seed: vec2<u32>, position: u32) -> f32 {
    var counter = vec4<u32>(position, 0u, 0u, 0u);
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let a = vec2<u32>(high_product(0xd2511f53u, counter.x), 0xd2511f53u * counter.x);
        let b = vec2<u32>(high_product(0xcd9e8d57u, counter.z), 0xcd9e8d57u * counter.z);
        counter = vec4<u32>(b.x ^ counter.y ^ key.x, b.y, a.x ^ counter.w ^ key.y, a.y);
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return f32(counter.x >> 8u) * 0x1p-24;
}
