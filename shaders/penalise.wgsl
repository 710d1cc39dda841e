// import: settings
// Changes the few logits of a row that have a bias or were among its last tokens; one workgroup a row, an invocation a
// slot of the history. A token that occurs several times is changed by its first slot alone.

struct Params { tokens: u32, cols: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> logits: array<f32>; // (tokens, cols)
@group(0) @binding(1) var<storage, read> index: array<vec4<u32>>; // (tokens): id, sequence, position, output token
@group(0) @binding(2) var<storage, read> history: array<u32>; // (tokens, HISTORY), position p at p modulo HISTORY
@group(0) @binding(3) var<storage, read> settings: array<u32>; // (tokens, SETTINGS_WORDS)
@group(0) @binding(4) var<storage, read> biases: array<u32>; // (tokens, MOST_BIASES, 2): id, f32 bits

const_assert WG == HISTORY;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.tokens { return; } // the whole workgroup
    let base = row * params.cols;
    for (var i = lane; i < setting(row, BIASES); i += WG) { // ids differ, so invocations do not meet
        let at = (row * MOST_BIASES + i) * 2u;
        if biases[at] < params.cols && is_finite(logits[base + biases[at]]) {
            logits[base + biases[at]] += bitcast<f32>(biases[at + 1u]);
        }
    }
    storageBarrier();

    let filled = min(index[row].z + 1u, HISTORY);
    let token = history[row * HISTORY + lane];
    if lane >= filled || token >= params.cols { return; }
    var count = 0u;
    for (var i = 0u; i < filled; i++) {
        if history[row * HISTORY + i] == token {
            if i < lane { return; } // an earlier slot does it
            count++;
        }
    }
    let value = logits[base + token];
    if is_finite(value) { logits[base + token] = penalised(row, value, f32(count)); }
}

fn penalised(row: u32, value: f32, count: f32) -> f32 {
    let repeat = setting_f32(row, REPEAT_PENALTY);
    var scaled = value;
    if repeat != 1.0 { scaled = select(value * repeat, value / repeat, value > 0.0); } // a division may be off by a bit
    return scaled - (setting_f32(row, PRESENCE_PENALTY) + setting_f32(row, FREQUENCY_PENALTY) * count);
}

fn is_finite(value: f32) -> bool { return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u; }
