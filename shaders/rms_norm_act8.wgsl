// import: reduce, act8_store
// out = x / sqrt(mean(x²) + eps) · gain, and out8 = that as int8 blocks: a workgroup a row, an invocation a block of
// 32.

struct Params { rows: u32, dim: u32, eps: f32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (rows, dim)
@group(0) @binding(1) var<storage, read> gain: array<vec4<f32>>; // (dim)
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>; // (rows, dim)
@group(0) @binding(3) var<storage, read_write> out8_codes: array<vec4<u32>>; // (rows, blocks, 2)
@group(0) @binding(4) var<storage, read_write> out8_scales: array<f32>; // (rows, blocks)
@group(0) @binding(5) var<storage, read_write> out8_sums: array<u32>; // (rows, blocks)

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows { return; } // the whole workgroup
    let blocks = params.dim >> 5u;
    let first = row * blocks;
    var squares = vec4<f32>();
    for (var b = lane.index; b < blocks; b += WG) {
        for (var i = 0u; i < 8u; i++) {
            let four = x[(first + b) * 8u + i];
            squares = fma(four, four, squares);
        }
    }
    let mean = reduce_add((squares.x + squares.y) + (squares.z + squares.w), lane) / f32(params.dim);
    let factor = 1.0 / sqrt(mean + params.eps);
    for (var b = lane.index; b < blocks; b += WG) {
        var values = array<vec4<f32>, 8>();
        for (var i = 0u; i < 8u; i++) {
            values[i] = x[(first + b) * 8u + i] * factor * gain[b * 8u + i];
            out[(first + b) * 8u + i] = values[i];
        }
        store_block8(first + b, values);
    }
}
