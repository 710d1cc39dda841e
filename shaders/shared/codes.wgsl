// 16 bytes of codes as they are bound and as words.

alias Codes = vec4<u32>;

fn words(codes: Codes) -> vec4<u32> {
    return codes;
}
