// What a tile of weights holds in workgroup memory.
alias Staged = f32;
