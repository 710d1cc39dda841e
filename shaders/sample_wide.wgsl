// import: order, philox, settings
// Picks the next token of rows that keep more candidates than `sample` can sort; one workgroup a row. Nothing is
// sorted: logits in falling order (of equal ones the smallest id first) are followed through a histogram of their
// keys' digits, eight bits at a time, to the one at which a running sum passes a goal. So top-k cuts, then top-p, and
// the pick itself. Weights are whole numbers of 2^-40, so a sum does not depend on its order.

struct Params { tokens: u32, cols: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> logits: array<f32>; // (tokens, cols)
@group(0) @binding(1) var<storage, read> settings: array<u32>; // (tokens, SETTINGS_WORDS)
@group(0) @binding(2) var<storage, read_write> index: array<u32>; // (tokens, 4): id, sequence, position, output token
@group(0) @binding(3) var<storage, read_write> history: array<u32>; // (tokens, HISTORY)

const_assert WG == 256u; // the digits of eight bits
const COLDEST_SCORE = -200.0; // exp of less is 0
const LEAST_FALL = -1e31; // of any logit below the top, lest differences overflow

alias Long = vec2<u32>; // 64 bits, the lower half first
// Tokens of a larger key, and the first `ties` of this one; of both only those whose logit is at most -least below top.
struct Kept { top: f32, least: f32, key: u32, ties: u32 }
// Up to the token at which the weights' sum passes `share` of all of theirs, or reaches it. Weights are
// exp(fall · scale); one each for a negative scale, and the goal is then `count`.
struct Goal { scale: f32, share: f32, reaches: bool, count: u32 }

var<workgroup> low: array<atomic<u32>, 256>; // sums by digit
var<workgroup> high: array<atomic<u32>, 256>;
var<workgroup> totals: array<Long, 256>; // of the digits from each one up
var<workgroup> found: array<u32, 3>; // digit, what is left of the goal in it
var<workgroup> top_key: atomic<u32>;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.tokens { return; } // the whole workgroup, as below
    let position = index[row * 4u + 2u] + 1u;
    if position >= setting(row, LIMIT) { return; }
    let top_k = setting(row, TOP_K);
    let wanted = min(select(top_k, params.cols, top_k == 0u), params.cols);
    let temperature = setting_f32(row, TEMPERATURE);
    if temperature == 0.0 || wanted <= MOST_CANDIDATES { return; } // `sample` picks

    let highest = largest(row, lane);
    if highest <= LOWEST_KEY || highest >= HIGHEST_KEY {
        if lane == 0u { history[row * HISTORY + position % HISTORY] = NO_TOKEN; }
        return;
    }
    var kept = Kept(value_of_key(highest), LEAST_FALL, 0u, 0u);
    if wanted < params.cols { kept = narrowed(row, lane, kept, Goal(-1.0, 0.0, false, wanted - 1u)); }
    let top_p = setting_f32(row, TOP_P);
    if top_p < 1.0 { kept = narrowed(row, lane, kept, Goal(1.0, top_p, true, 0u)); }
    kept.least = setting_f32(row, LOG_MIN_P);
    let u = uniform_number(vec2<u32>(setting(row, SEED_LOW), setting(row, SEED_HIGH)), position);
    kept = narrowed(row, lane, kept, Goal(1.0 / max(temperature, 1e-30), u, false, 0u));
    store(row, lane, kept, position);
}

fn key_at(row: u32, i: u32) -> u32 { return order_key(logits[row * params.cols + i]); }

fn largest(row: u32, lane: u32) -> u32 {
    if lane == 0u { atomicStore(&top_key, 0u); }
    workgroupBarrier();
    var top = 0u;
    for (var i = lane; i < params.cols; i += WG) { top = max(top, key_at(row, i)); }
    atomicMax(&top_key, top);
    workgroupBarrier();
    return atomicLoad(&top_key);
}

// What is kept up to the token that the goal leads to, which is the last of its ties.
fn narrowed(row: u32, lane: u32, kept: Kept, goal: Goal) -> Kept {
    var key = 0u;
    var left = Long(goal.count, 0u);
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - digit * 8u;
        clear_bins(lane);
        for (var i = lane; i < params.cols; i += WG) {
            let other = key_at(row, i);
            if other > kept.key && is_prefixed(other, key, shift) { add_weight(kept, other, 1u, goal.scale, shift); }
        }
        if lane == 0u && kept.ties > 0u && is_prefixed(kept.key, key, shift) {
            add_weight(kept, kept.key, kept.ties, goal.scale, shift);
        }
        sum_bins(lane);
        if digit == 0u && goal.scale >= 0.0 { left = part_of(totals[0], goal); }
        find_digit(lane, left);
        key |= found[0] << shift;
        left = Long(found[1], found[2]);
    }
    let each = weight(fall_of(kept, key), goal.scale);
    var ties = u32(as_float(left) / as_float(each)); // before the token; off by one at most
    if is_less(left, times(each, ties)) { ties -= 1u; } else if !is_less(left, times(each, ties + 1u)) { ties += 1u; }
    return Kept(kept.top, kept.least, key, ties + 1u);
}

// Whether the digits above the one at `shift` are those of the prefix.
fn is_prefixed(key: u32, prefix: u32, shift: u32) -> bool {
    return shift == 24u || (key >> (shift + 8u)) == (prefix >> (shift + 8u));
}

fn fall_of(kept: Kept, key: u32) -> f32 {
    return select(LEAST_FALL, max(value_of_key(key) - kept.top, LEAST_FALL), key > LOWEST_KEY);
}

fn weight(fall: f32, scale: f32) -> Long {
    if scale < 0.0 { return Long(1u, 0u); }
    let scaled = exp(max(fall * scale, COLDEST_SCORE)) * 256.0;
    return Long(u32(fract(scaled) * 0x1p32), u32(scaled));
}

// Adds so many tokens of a key to the bin of its digit.
fn add_weight(kept: Kept, key: u32, number: u32, scale: f32, shift: u32) {
    let fall = fall_of(kept, key);
    if fall < kept.least { return; }
    let sum = times(weight(fall, scale), number);
    let digit = (key >> shift) & 255u;
    let old = atomicAdd(&low[digit], sum.x);
    let upper = sum.y + select(0u, 1u, old + sum.x < old);
    if upper > 0u { atomicAdd(&high[digit], upper); }
}

fn clear_bins(lane: u32) {
    workgroupBarrier(); // everyone has read what was found before
    atomicStore(&low[lane], 0u);
    atomicStore(&high[lane], 0u);
    workgroupBarrier();
}

fn sum_bins(lane: u32) {
    workgroupBarrier();
    var total = Long(atomicLoad(&low[lane]), atomicLoad(&high[lane]));
    totals[lane] = total;
    workgroupBarrier();
    for (var step = 1u; step < WG; step <<= 1u) {
        if lane + step < WG { total = plus(total, totals[lane + step]); }
        workgroupBarrier();
        totals[lane] = total;
        workgroupBarrier();
    }
}

// The digit, from the highest down, at which the sum passes the goal -> found.
fn find_digit(lane: u32, goal: Long) {
    let total = totals[lane];
    let above = minus(total, Long(atomicLoad(&low[lane]), atomicLoad(&high[lane])));
    if is_less(goal, total) && !is_less(goal, above) {
        let left = minus(goal, above);
        found[0] = lane;
        found[1] = left.x;
        found[2] = left.y;
    }
    workgroupBarrier();
}

// The share of a total that is to be passed; to reach it is to pass one less.
fn part_of(total: Long, goal: Goal) -> Long {
    let part = as_float(total) * goal.share;
    let upper = floor(part * 0x1p-32);
    var passed = Long(u32(part - upper * 0x1p32), u32(upper));
    if goal.reaches && is_less(Long(0u, 0u), passed) { passed = minus(passed, Long(1u, 0u)); }
    let last = minus(total, Long(1u, 0u));
    return select(passed, last, is_less(last, passed));
}

// The last of the kept ties is the pick: each invocation counts a run of ids, and the one whose it is looks for it.
fn store(row: u32, lane: u32, kept: Kept, position: u32) {
    let each = (params.cols + WG - 1u) / WG;
    let first = min(lane * each, params.cols);
    let end = min(first + each, params.cols);
    clear_bins(lane);
    for (var i = first; i < end; i++) {
        if key_at(row, i) == kept.key { atomicAdd(&low[WG - 1u - lane], 1u); } // sums run from the highest bin down
    }
    sum_bins(lane);
    find_digit(lane, Long(kept.ties - 1u, 0u));
    if lane != WG - 1u - found[0] { return; }
    var before = found[1];
    for (var i = first; i < end; i++) {
        if key_at(row, i) != kept.key { continue; }
        if before == 0u {
            history[row * HISTORY + position % HISTORY] = i;
            index[row * 4u] = i;
            index[row * 4u + 2u] = position;
            return;
        }
        before -= 1u;
    }
}

fn plus(a: Long, b: Long) -> Long {
    let lower = a.x + b.x;
    return Long(lower, a.y + b.y + select(0u, 1u, lower < a.x));
}

fn minus(a: Long, b: Long) -> Long { return Long(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x)); }

fn times(a: Long, n: u32) -> Long { return Long(a.x * n, a.y * n + high_product(a.x, n)); }

fn is_less(a: Long, b: Long) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }

fn as_float(a: Long) -> f32 { return f32(a.y) * 0x1p32 + f32(a.x); }
