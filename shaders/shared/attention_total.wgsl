// One head's attention out of its ranges' sums: into `head`, four elements an entry. Each of the WG invocations sums
// one entry over every part-th range that the token at `position` has looked at.

const LOWEST = -3.0e38;

var<workgroup> head: array<vec4<f32>, 64>;
var<workgroup> part_sums: array<vec4<f32>, WG>;

// row: (token, head).
fn sum_ranges(row: u32, position: u32, lane: Lane) {
    let base = row * params.splits;
    let seen = position + 1u;
    let begin = select(0u, seen - min(params.window, seen), params.window > 0u) >> 6u;
    let end = min((position >> 6u) + 1u, params.splits);
    var top = LOWEST;
    if params.sink_size > 0u { top = sinks[row % params.heads]; }
    let sink = top;
    for (var s = begin + lane.index; s < end; s += WG) { top = max(top, tops[base + s].x); }
    top = reduce_max(top, lane);
    var weight = 0.0;
    for (var s = begin + lane.index; s < end; s += WG) { weight += exp(tops[base + s].x - top) * tops[base + s].y; }
    weight = reduce_add(weight, lane);
    if params.sink_size > 0u { weight += exp(sink - top); }

    let units = params.head_dim >> 2u;
    let parts = WG / units;
    let unit = lane.index % units;
    let part = lane.index / units;
    var acc = vec4<f32>();
    if part < parts {
        for (var s = begin + part; s < end; s += parts) {
            acc = fma(vec4<f32>(exp(tops[base + s].x - top)), sums[(base + s) * units + unit], acc);
        }
    }
    part_sums[lane.index] = acc;
    workgroupBarrier();
    if lane.index < units {
        for (var p = 1u; p < parts; p++) { acc += part_sums[p * units + lane.index]; }
        head[lane.index] = acc / weight;
    }
    workgroupBarrier();
}
