// Sums and maxima over a workgroup by a tree in workgroup memory, for adapters without subgroups. WG is a power of
// two. Every invocation must call these (they hold barriers), and every one gets the result.

struct Lane { @builtin(local_invocation_index) index: u32 }

var<workgroup> reduce_slots: array<f32, WG>;
var<workgroup> reduce_slots4: array<vec4<f32>, WG>;

fn reduce_add(value: f32, lane: Lane) -> f32 {
    reduce_slots[lane.index] = value;
    workgroupBarrier();
    for (var half = WG >> 1u; half > 0u; half >>= 1u) {
        if lane.index < half { reduce_slots[lane.index] += reduce_slots[lane.index + half]; }
        workgroupBarrier();
    }
    let total = reduce_slots[0];
    workgroupBarrier(); // the slots may be used again
    return total;
}

fn reduce_add4(value: vec4<f32>, lane: Lane) -> vec4<f32> {
    reduce_slots4[lane.index] = value;
    workgroupBarrier();
    for (var half = WG >> 1u; half > 0u; half >>= 1u) {
        if lane.index < half { reduce_slots4[lane.index] += reduce_slots4[lane.index + half]; }
        workgroupBarrier();
    }
    let total = reduce_slots4[0];
    workgroupBarrier();
    return total;
}

fn reduce_max(value: f32, lane: Lane) -> f32 {
    reduce_slots[lane.index] = value;
    workgroupBarrier();
    for (var half = WG >> 1u; half > 0u; half >>= 1u) {
        if lane.index < half {
            reduce_slots[lane.index] = max(reduce_slots[lane.index], reduce_slots[lane.index + half]);
        }
        workgroupBarrier();
    }
    let top = reduce_slots[0];
    workgroupBarrier();
    return top;
}
