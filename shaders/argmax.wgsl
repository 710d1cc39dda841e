// import: order
// out = the position of the row's largest value, the smallest where several are equal, a NaN counting as the largest
// (as in numpy); one workgroup a row. Values are compared as integers in their order, so no driver can lose a NaN.

struct Params { rows: u32, cols: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>; // (rows, cols)
@group(0) @binding(1) var<storage, read_write> out: array<u32>; // (rows)

var<workgroup> best: array<vec2<u32>, WG>; // key, position

fn is_better(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y < b.y);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows { return; } // the whole workgroup
    var mine = vec2<u32>(0u, 0xffffffffu);
    for (var i = lane; i < params.cols; i += WG) {
        let candidate = vec2<u32>(order_key(x[row * params.cols + i]), i);
        if is_better(candidate, mine) { mine = candidate; }
    }
    best[lane] = mine;
    workgroupBarrier();
    for (var half = WG >> 1u; half > 0u; half >>= 1u) {
        if lane < half && is_better(best[lane + half], best[lane]) { best[lane] = best[lane + half]; }
        workgroupBarrier();
    }
    if lane == 0u { out[row] = best[0].y; }
}
