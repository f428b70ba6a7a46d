# costeer model: what a file is, and whether two can be paired. The tests of bad files are in bad_input.bats.
load helpers/common

setup() { out=$BATS_TEST_TMPDIR/out; }

@test "a model is described as text and as JSON" {
    run --separate-stderr costeer model "$llm"
    succeeded
    for row in name architecture size parameters vocabulary 'vocabulary hash' 'context length' 'chat template'; do
        grep -qE "^  $row +[^ ]" <<<"$output"
    done
    costeer model --json "$llm" >"$out"
    json "$out" 'd["architecture"] == "llama" and d["n_vocab"] > 500 and d["n_vocab_padded"] >= d["n_vocab"]'
    json "$out" 'len(d["vocab_sha256"]) == 64 and "im_start" in d["chat_template"] and d["n_params"] > 1e6 and 2 < d["bits_per_weight"] <= 32'
    SIZE=$(stat -c %s "$llm") json "$out" 'd["file_bytes"] == int(__import__("os").environ["SIZE"])'
}

@test "the built-in pair can be paired, in both orders" {
    run --separate-stderr costeer model "$llm" "$slm"
    succeeded
    [ "${lines[-1]}" = "These two can be paired." ]
    costeer model --json "$slm" "$llm" >"$out"
    json "$out" 'd["can_be_paired"] is True and d["reason"] is None and len(d["models"]) == 2'
    json "$out" 'd["models"][0]["vocab_sha256"] == d["models"][1]["vocab_sha256"]'
}

@test "two that cannot be paired: the reason, also as JSON, and exit code 4" {
    "$helpers/gguf.py" token "$slm" "$BATS_TEST_TMPDIR/other.gguf" 500 zyzzyva
    run --separate-stderr costeer model --json "$llm" "$BATS_TEST_TMPDIR/other.gguf"
    failed_with 4 500
    printf '%s' "$output" >"$out"
    json "$out" 'd["can_be_paired"] is False and "500" in d["reason"]'
}

@test "arguments: one file or two" {
    run --separate-stderr costeer model
    failed_with 2 'one GGUF file, or two'
    run --separate-stderr costeer model a b c
    failed_with 2 'one GGUF file, or two'
}
