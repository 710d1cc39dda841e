// Sums and maxima over a workgroup: first inside each subgroup, then over the subgroups' results in workgroup memory.
// Subgroups may have any size. Every invocation must call these (they hold barriers), and every one gets the result.

struct Lane {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) inner: u32,
}

var<workgroup> reduce_slots: array<f32, WG>; // one per subgroup; a subgroup has at least one invocation
var<workgroup> reduce_slots4: array<vec4<f32>, WG>;

fn reduce_add(value: f32, lane: Lane) -> f32 {
    let part = subgroupAdd(value);
    if lane.inner == 0u { reduce_slots[lane.subgroup] = part; }
    workgroupBarrier();
    var total = reduce_slots[0];
    for (var i = 1u; i < lane.subgroups; i++) { total += reduce_slots[i]; }
    workgroupBarrier(); // the slots may be used again
    return total;
}

fn reduce_add4(value: vec4<f32>, lane: Lane) -> vec4<f32> {
    let part = subgroupAdd(value);
    if lane.inner == 0u { reduce_slots4[lane.subgroup] = part; }
    workgroupBarrier();
    var total = reduce_slots4[0];
    for (var i = 1u; i < lane.subgroups; i++) { total += reduce_slots4[i]; }
    workgroupBarrier();
    return total;
}

fn reduce_max(value: f32, lane: Lane) -> f32 {
    let part = subgroupMax(value);
    if lane.inner == 0u { reduce_slots[lane.subgroup] = part; }
    workgroupBarrier();
    var top = reduce_slots[0];
    for (var i = 1u; i < lane.subgroups; i++) { top = max(top, reduce_slots[i]); }
    workgroupBarrier();
    return top;
}
