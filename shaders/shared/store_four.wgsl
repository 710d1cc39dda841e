// import: reduce
// Four rows' sums of a token to out: gathered from the workgroup first where LANES of it share them. All of its
// invocations come here together.

fn store_four(token: u32, row: u32, sums: vec4<f32>, lane: Lane) {
    let base = token * params.stride + params.row0 + row;
    let is_token = token < params.tokens;
    if LANES == WG {
        let total = reduce_add4(sums, lane);
        if is_token && lane.index < 4u && row + lane.index < params.rows { out[base + lane.index] = total[lane.index]; }
    } else if is_token {
        for (var i = 0u; i < 4u; i++) {
            if row + i < params.rows { out[base + i] = sums[i]; }
        }
    }
}
