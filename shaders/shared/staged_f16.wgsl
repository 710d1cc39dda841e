// What a tile of F16 weights holds in workgroup memory: half of the bytes, nothing lost.
alias Staged = f16;
