// import: order, philox, settings
// Picks a row's next token and moves the row on; one workgroup a row. The peaks of its groups tell which few groups
// can hold a candidate. A radix selection over eight bits at a time finds the last of the `wanted` largest logits
// (by key, then by smaller id), the candidates are gathered and sorted, and top-p, min-p and the pick are places in
// running sums over them. Every sum is added in one fixed order.

struct Params { tokens: u32, cols: u32, groups: u32 }
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> logits: array<f32>; // (tokens, cols)
@group(0) @binding(1) var<storage, read> peaks: array<u32>; // (tokens, groups): keys
@group(0) @binding(2) var<storage, read> settings: array<u32>; // (tokens, SETTINGS_WORDS)
@group(0) @binding(3) var<storage, read_write> index: array<u32>; // (tokens, 4): id, sequence, position, output token
@group(0) @binding(4) var<storage, read_write> history: array<u32>; // (tokens, HISTORY)

const_assert WG == 256u; // the digits of eight bits
const ALL_IDS = 0xffffffu; // ids are ranked by 24 bits of their complement, so that a smaller id ranks higher
const EACH = MOST_CANDIDATES / WG;
const COLDEST_SCORE = -200.0; // exp of less is 0

var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> totals: array<u32, 256>; // of the bins from each one up
var<workgroup> found: array<u32, 3>; // digit, how many are still wanted from its bin, how many the bin has
var<workgroup> taken: array<atomic<u32>, 1>;
var<workgroup> keys: array<u32, MOST_CANDIDATES>;
var<workgroup> ids: array<u32, MOST_CANDIDATES>;
var<workgroup> shares: array<f32, MOST_CANDIDATES>; // running sums of the candidates' weights
var<workgroup> sums: array<f32, 256>;

struct Rank { key: u32, id: u32 } // id: the complement; a larger key ranks higher, then a larger complement

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.tokens { return; } // the whole workgroup
    let position = index[row * 4u + 2u] + 1u;
    if position >= setting(row, LIMIT) { return; } // likewise
    let temperature = setting_f32(row, TEMPERATURE);
    var wanted = select(setting(row, TOP_K), 1u, temperature == 0.0);
    wanted = min(select(wanted, params.cols, wanted == 0u), params.cols);
    if wanted > MOST_CANDIDATES { return; } // sample_wide picks

    let floor = last_peak(row, lane, wanted);
    let last = last_logit(row, lane, wanted, floor);
    gather(row, lane, floor, last);
    sort(lane, wanted);
    let is_usable = keys[0] > LOWEST_KEY && keys[0] < HIGHEST_KEY;
    var place = 0u;
    if is_usable && wanted > 1u {
        let count = num_kept(row, lane, wanted);
        let u = uniform_number(vec2<u32>(setting(row, SEED_LOW), setting(row, SEED_HIGH)), position);
        sum_weights(lane, count, 1.0 / max(temperature, 1e-30));
        place = min(num_below(lane, count, u * shares[count - 1u], true), count - 1u);
    }
    if lane != 0u { return; }
    history[row * HISTORY + position % HISTORY] = select(NO_TOKEN, ids[place], is_usable);
    if is_usable {
        index[row * 4u] = ids[place];
        index[row * 4u + 2u] = position;
    }
}

// A key that at least `wanted` groups reach with their peaks, as few more as it takes.
fn last_peak(row: u32, lane: u32, wanted: u32) -> u32 {
    if wanted >= params.groups { return 0u; }
    var prefix = 0u;
    var missing = wanted;
    for (var shift = 24u; shift < 32u; shift -= 8u) { // 24, 16, 8, 0, and then it wraps
        clear_bins(lane);
        for (var i = lane; i < params.groups; i += WG) {
            let key = peaks[row * params.groups + i];
            if is_prefixed(key, prefix, shift) { atomicAdd(&bins[(key >> shift) & 255u], 1u); }
        }
        find_digit(lane, missing);
        prefix |= found[0] << shift;
        missing = found[1];
        if missing == found[2] { break; }
    }
    return prefix;
}

// The rank of the last of the `wanted` largest logits.
fn last_logit(row: u32, lane: u32, wanted: u32, floor: u32) -> Rank {
    var last = Rank(0u, 0u);
    if wanted >= params.cols { return last; }
    var missing = wanted;
    for (var digit = 0u; digit < 7u; digit++) { // four of the key, then three of the id for those with an equal key
        clear_bins(lane);
        let shift = select(16u - (digit - 4u) * 8u, 24u - digit * 8u, digit < 4u);
        for (var g = lane; g < params.groups; g += WG) {
            if peaks[row * params.groups + g] < floor { continue; }
            for (var i = g; i < params.cols; i += params.groups) {
                let key = order_key(logits[row * params.cols + i]);
                if digit < 4u {
                    if is_prefixed(key, last.key, shift) { atomicAdd(&bins[(key >> shift) & 255u], 1u); }
                } else if key == last.key && is_id_prefixed(ALL_IDS - i, last.id, shift) {
                    atomicAdd(&bins[((ALL_IDS - i) >> shift) & 255u], 1u);
                }
            }
        }
        find_digit(lane, missing);
        if digit < 4u { last.key |= found[0] << shift; } else { last.id |= found[0] << shift; }
        missing = found[1];
        if missing == found[2] { break; }
    }
    return last;
}

// Whether the digits above the one at `shift` are those of the prefix.
fn is_prefixed(key: u32, prefix: u32, shift: u32) -> bool {
    return shift == 24u || (key >> (shift + 8u)) == (prefix >> (shift + 8u));
}

fn is_id_prefixed(id: u32, prefix: u32, shift: u32) -> bool {
    return (id >> (shift + 8u)) == (prefix >> (shift + 8u));
}

fn clear_bins(lane: u32) {
    workgroupBarrier(); // everyone has read what was found before
    atomicStore(&bins[lane], 0u);
    workgroupBarrier();
}

// The bin in which the `missing`-th largest lies -> found.
fn find_digit(lane: u32, missing: u32) {
    workgroupBarrier();
    let own = atomicLoad(&bins[lane]);
    var total = own;
    totals[lane] = total;
    workgroupBarrier();
    for (var step = 1u; step < WG; step <<= 1u) {
        if lane + step < WG { total += totals[lane + step]; }
        workgroupBarrier();
        totals[lane] = total;
        workgroupBarrier();
    }
    if total >= missing && total - own < missing {
        found[0] = lane;
        found[1] = missing - (total - own);
        found[2] = own;
    }
    workgroupBarrier();
}

// The logits that rank at or above `last` -> keys and ids, in no order.
fn gather(row: u32, lane: u32, floor: u32, last: Rank) {
    for (var i = lane; i < MOST_CANDIDATES; i += WG) {
        keys[i] = 0u; // below every key
        ids[i] = ALL_IDS;
    }
    if lane == 0u { atomicStore(&taken[0], 0u); }
    workgroupBarrier();
    for (var g = lane; g < params.groups; g += WG) {
        if peaks[row * params.groups + g] < floor { continue; }
        for (var i = g; i < params.cols; i += params.groups) {
            let key = order_key(logits[row * params.cols + i]);
            if key > last.key || (key == last.key && ALL_IDS - i >= last.id) {
                let slot = atomicAdd(&taken[0], 1u);
                if slot < MOST_CANDIDATES {
                    keys[slot] = key;
                    ids[slot] = i;
                }
            }
        }
    }
    workgroupBarrier();
}

// Bitonic: the largest key first, of equal ones the smallest id.
fn sort(lane: u32, count: u32) {
    var size = 1u;
    while size < count { size <<= 1u; }
    for (var run = 2u; run <= size; run <<= 1u) {
        for (var gap = run >> 1u; gap > 0u; gap >>= 1u) {
            for (var p = lane; 2u * p < size; p += WG) {
                let a = (p / gap) * 2u * gap + p % gap;
                let b = a + gap;
                let is_ahead = keys[a] > keys[b] || (keys[a] == keys[b] && ids[a] < ids[b]);
                if is_ahead != ((a & run) == 0u) { swap(a, b); }
            }
            workgroupBarrier();
        }
    }
}

fn swap(a: u32, b: u32) {
    let key = keys[a];
    let id = ids[a];
    keys[a] = keys[b];
    ids[a] = ids[b];
    keys[b] = key;
    ids[b] = id;
}

// How many of the first `count` candidates top-p and min-p leave, at least one.
fn num_kept(row: u32, lane: u32, count: u32) -> u32 {
    var kept = count;
    let top_p = setting_f32(row, TOP_P);
    if top_p < 1.0 {
        sum_weights(lane, count, 1.0);
        kept = min(num_below(lane, count, top_p * shares[count - 1u], false) + 1u, count);
    }
    workgroupBarrier(); // everyone has read the shares
    for (var i = lane; i < count; i += WG) { shares[i] = -fall_of(i); }
    workgroupBarrier();
    return max(min(kept, num_below(lane, count, -setting_f32(row, LOG_MIN_P), true)), 1u);
}

// The candidate's logit less the largest.
fn fall_of(i: u32) -> f32 {
    return select(-1e31, value_of_key(keys[i]) - value_of_key(keys[0]), keys[i] > LOWEST_KEY);
}

// The running sums of exp(fall · scale) over the first `count` candidates -> shares.
fn sum_weights(lane: u32, count: u32, scale: f32) {
    workgroupBarrier();
    var sum = 0.0;
    for (var i = lane * EACH; i < min((lane + 1u) * EACH, count); i++) {
        sum += exp(max(fall_of(i) * scale, COLDEST_SCORE));
        shares[i] = sum;
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var step = 1u; step < WG; step <<= 1u) {
        var before = 0.0;
        if lane >= step { before = sums[lane - step]; }
        workgroupBarrier();
        sums[lane] += before;
        workgroupBarrier();
    }
    if lane > 0u {
        for (var i = lane * EACH; i < min((lane + 1u) * EACH, count); i++) { shares[i] += sums[lane - 1u]; }
    }
    workgroupBarrier();
}

// How many of the first `count` shares, which rise, are below the mark, or at it where `or_equal`.
fn num_below(lane: u32, count: u32, mark: f32, or_equal: bool) -> u32 {
    if lane == 0u { atomicStore(&taken[0], 0u); }
    workgroupBarrier();
    for (var i = lane; i < count; i += WG) {
        if shares[i] < mark || (or_equal && shares[i] == mark) { atomicAdd(&taken[0], 1u); }
    }
    workgroupBarrier();
    let below = atomicLoad(&taken[0]);
    workgroupBarrier();
    return below;
}
