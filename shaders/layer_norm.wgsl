// import: reduce
// out = (x - mean) / sqrt(variance + eps) · gain + bias, one workgroup a row; the variance from the centred values.

struct Params { rows: u32, dim: u32, eps: f32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, dim)
@group(0) @binding(1) var<storage, read> gain: array<f32>; // (dim)
@group(0) @binding(2) var<storage, read> bias: array<f32>; // (dim)
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (rows, dim)

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows { return; } // the whole workgroup
    let base = row * params.dim;
    var sum = 0.0;
    for (var i = lane.index; i < params.dim; i += WG) { sum += x[base + i]; }
    let mean = reduce_add(sum, lane) / f32(params.dim);
    var squares = 0.0;
    for (var i = lane.index; i < params.dim; i += WG) {
        let centred = x[base + i] - mean;
        squares = fma(centred, centred, squares);
    }
    let variance = reduce_add(squares, lane) / f32(params.dim);
    let factor = 1.0 / sqrt(variance + params.eps);
    for (var i = lane.index; i < params.dim; i += WG) {
        out[base + i] = fma((x[base + i] - mean) * factor, gain[i], bias[i]);
    }
}
