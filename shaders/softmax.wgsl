// import: reduce
// out = exp(x·scale - max) / sum of them, one workgroup a row.

struct Params { rows: u32, cols: u32, scale: f32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, cols)
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // (rows, cols)

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lane: Lane) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows { return; } // the whole workgroup
    let base = row * params.cols;
    var highest = -3.0e38; // below any finite score; WGSL has no literal for infinity
    for (var i = lane.index; i < params.cols; i += WG) { highest = max(highest, x[base + i] * params.scale); }
    let top = reduce_max(highest, lane);
    var sum = 0.0;
    for (var i = lane.index; i < params.cols; i += WG) {
        let e = exp(x[base + i] * params.scale - top);
        out[base + i] = e;
        sum += e;
    }
    let total = reduce_add(sum, lane);
    for (var i = lane.index; i < params.cols; i += WG) { out[base + i] = out[base + i] / total; }
}
