// A row's sampling settings: the words of contracts/picks.py, in its order.

const TEMPERATURE = 0u;
const TOP_K = 1u;
const TOP_P = 2u;
const LOG_MIN_P = 3u;
const REPEAT_PENALTY = 4u;
const PRESENCE_PENALTY = 5u;
const FREQUENCY_PENALTY = 6u;
const SEED_LOW = 7u;
const SEED_HIGH = 8u;
const LIMIT = 9u;
const BIASES = 10u;

fn setting(row: u32, field: u32) -> u32 { return settings[row * SETTINGS_WORDS + field]; }

fn setting_f32(row: u32, field: u32) -> f32 { return bitcast<f32>(setting(row, field)); }
