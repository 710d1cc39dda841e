// import: reduce
// out = x / sqrt(mean(x²) + eps) · gain, one workgroup a row.

struct Params { rows: u32, dim: u32, eps: f32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, dim)
@group(0) @binding(1) var<storage, read> gain: array<f32>; // (dim)
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // (rows, dim)

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows { return; } // the whole workgroup
    let base = row * params.dim;
    var squares = 0.0;
    for (var i = lane.index; i < params.dim; i += WG) { squares = fma(x[base + i], x[base + i], squares); }
    let mean = reduce_add(squares, lane) / f32(params.dim);
    let factor = 1.0 / sqrt(mean + params.eps);
    for (var i = lane.index; i < params.dim; i += WG) { out[base + i] = x[base + i] * factor * gain[i]; }
}
