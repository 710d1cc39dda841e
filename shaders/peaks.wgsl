// import: order
// peaks (row, g) = the largest key of the row's logits g, g + groups, g + 2·groups, …; an invocation takes a group, so
// neighbours read neighbouring logits.

struct Params { tokens: u32, cols: u32, groups: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> logits: array<f32>; // (tokens, cols)
@group(0) @binding(1) var<storage, read_write> peaks: array<u32>; // (tokens, groups)

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let flat = group.y * groups.x + group.x; // (row, workgroup of the row)
    let per_row = (params.groups + WG - 1u) / WG;
    let row = flat / per_row;
    let first = (flat - row * per_row) * WG + lane;
    if row >= params.tokens || first >= params.groups { return; }
    let base = row * params.cols;
    var top = 0u; // below every key
    for (var i = first; i < params.cols; i += params.groups) { top = max(top, order_key(logits[base + i])); }
    peaks[row * params.groups + first] = top;
}
