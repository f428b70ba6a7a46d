# costeer bench and make_model: that they work, on tiny models. What they measure is judged by nobody here.
load helpers/common

MAKE_MODEL=${MAKE_MODEL:-$repo/build/bench/make_model}

setup() {
    out=$BATS_TEST_TMPDIR/out
    made=$BATS_TEST_TMPDIR/made.gguf
}

make_model() { "$MAKE_MODEL" "$@"; }

# The last `run --separate-stderr` ended with a code and exactly one line of make_model's that matches.
refused_with() {
    [ "$status" -eq "$1" ] && [ "${#stderr_lines[@]}" -eq 1 ] && [[ ${stderr_lines[0]} == make_model:\ * ]] &&
        grep -qE -- "$2" <<<"${stderr_lines[0]}"
}

@test "make_model: what it makes is a whole model of the shape asked for, with the vocabulary given" {
    make_model --vocab "$slm" --n-embd 96 --n-layer 3 --n-head 6 --n-head-kv 3 --n-ff 160 --n-ctx 512 --pad-vocab 1024 "$made"
    costeer model --json "$made" >"$out"
    json "$out" 'd["architecture"] == "qwen2" and d["n_vocab_padded"] == 1024 and d["n_ctx_train"] == 512'
    run --separate-stderr costeer model "$llm" "$made"
    succeeded
    [ "${lines[-1]}" = "These two can be paired." ]
}

@test "make_model: the same seed gives the same bytes, another seed others" {
    make_model --vocab "$slm" --seed 7 "$made"
    make_model --vocab "$slm" --seed 7 "$made.again"
    make_model --vocab "$slm" --seed 8 "$made.other"
    cmp "$made" "$made.again"
    run ! cmp -s "$made" "$made.other"
}

@test "make_model: every type loads and answers" {
    for type in f32 f16 q8_0 q4_0; do
        make_model --vocab "$slm" --type "$type" "$made"
        run --separate-stderr costeer generate --llm "$made" --slm "$slm" --max-tokens 3 "A query"
        [ "$status" -eq 0 ]
    done
}

@test "make_model: a renamed token makes a pair that differs in it" {
    make_model --vocab "$slm" --rename-token 500=zyzzyva "$made"
    run --separate-stderr costeer model "$llm" "$made"
    failed_with 4 500
}

@test "make_model: NaN weights are a numeric error, an encoder is no model for us" {
    make_model --vocab "$slm" --nan "$made"
    run --separate-stderr costeer generate --llm "$made" --slm "$slm" --max-tokens 3 "A query"
    failed_with 7 nan
    make_model --vocab "$slm" --arch bert "$made"
    run --separate-stderr costeer generate --llm "$made" --slm "$slm" --max-tokens 3 "A query"
    failed_with 4 bert
}

@test "make_model: arguments are strict, one line each" {
    run --separate-stderr make_model "$made"
    refused_with 2 'vocab is missing'
    run --separate-stderr make_model --vocab "$slm"
    refused_with 2 'output file is missing'
    run --separate-stderr make_model --vocab "$slm" --seed 1x "$made"
    refused_with 2 "'1x' is not a whole number"
    run --separate-stderr make_model --vocab "$slm" --shape huge "$made"
    refused_with 2 "'huge' is not one of tiny"
    run --separate-stderr make_model --vocab "$slm" --n-head 5 "$made"
    refused_with 2 '5 heads do not divide'
    run --separate-stderr make_model --vocab "$slm" --pad-vocab 3 "$made"
    refused_with 1 'cannot be padded to 3'
    run --separate-stderr make_model --vocab /dev/null "$made"
    refused_with 1 'not a readable GGUF file'
    [ ! -e "$made" ]
}

@test "make_model: a full disk is told, and nothing is left" {
    run --separate-stderr make_model --vocab "$slm" /dev/full
    refused_with 1 'No space left'
    run --separate-stderr make_model --vocab "$slm" "$BATS_TEST_TMPDIR/none/made.gguf"
    refused_with 1 'cannot be written'
}

@test "bench fuse: three times and their ratios" {
    costeer bench fuse --n-vocab 2000 --repeat 3 --json >"$out"
    json "$out" 'd["n_vocab"] == 2000 and min(d["choose_us"], d["loop_us"], d["read_us"]) > 0'
    json "$out" 'math.isclose(d["loop_ratio"], d["loop_us"] / d["choose_us"])'
    run --separate-stderr costeer bench fuse --n-vocab 2000 --repeat 3
    succeeded
    [ "${#lines[@]}" -eq 4 ]
}

@test "bench slm: the step of the built-in SLM" {
    costeer bench slm --n-prompt 2 --n-context 3 --n-tokens 4 --repeat 2 --json >"$out"
    json "$out" '0 < d["step_best_us"] <= d["step_us"] and math.isclose(d["tokens_per_s"], 2e6 / d["step_us"])'
}

@test "bench generate: the built-in pair, alone and steered, with the memory" {
    costeer bench generate --n-prompt 4 --n-context 4 --n-tokens 6 --repeat 2 --json >"$out"
    json "$out" 'd["ratio"] > 0 and d["alone"]["tokens_per_s"] > 0 and d["alone"]["slm_us"] == 0 and d["steered"]["slm_us"] > 0'
    json "$out" 'd["peak_bytes"] > d["file_bytes"] > 1e6 and d["kv_bytes"] > 0'
}

@test "bench: arguments are strict" {
    run --separate-stderr costeer bench
    failed_with 2 'one of fuse, slm, generate'
    run --separate-stderr costeer bench speed
    failed_with 2 'one of fuse, slm, generate'
    run --separate-stderr costeer bench fuse --llm "$llm"
    failed_with 2 'does not use --llm'
    run --separate-stderr costeer bench fuse --repeat 2
    failed_with 2 'not in \[3'
    run --separate-stderr costeer bench generate --n-tokens 1
    failed_with 2 'not in \[2'
    run --separate-stderr costeer bench slm --slm /dev/null
    failed_with 4 '/dev/null'
}
