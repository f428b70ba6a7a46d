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

@test "the built-in pair can be paired, in both orders: one vocabulary" {
    run --separate-stderr costeer model "$llm" "$slm"
    succeeded
    [ "${lines[-1]}" = "These two can be paired: they have one vocabulary." ]
    costeer model --json "$slm" "$llm" >"$out"
    json "$out" 'd["can_be_paired"] is True and d["vocab"] == "same" and len(d["models"]) == 2'
    json "$out" 'd["reason"] is None and d["difference"] is None'
    json "$out" 'd["models"][0]["vocab_sha256"] == d["models"][1]["vocab_sha256"]'
}

@test "other vocabularies: what generate would do, and the first difference" {
    other=$BATS_TEST_TMPDIR/other.gguf
    "$helpers/gguf.py" token "$slm" "$other" 500 zyzzyva
    run --separate-stderr costeer model "$llm" "$other"
    succeeded
    [[ ${lines[-2]} =~ ^"These two can be paired, with --vocab byte (auto takes it): the vocabularies differ: token 500 is ".*zyzzyva ]]
    [[ ${lines[-1]} =~ ^[0-9.]+"% of the LLM's tokens" ]]
    costeer model --json "$llm" "$other" >"$out"
    json "$out" 'd["can_be_paired"] is True and d["vocab"] == "byte" and "500" in d["difference"] and d["reason"] is None'
    costeer generate --llm "$llm" --slm "$other" --context <(echo "name: Soraya") --max-tokens 4 --json "Hello" >"$out"
    json "$out" 'd["vocab"] == "byte"'
}

@test "two with nothing in common: the reason, also as JSON, and exit code 4" {
    "$helpers/gguf.py" tokens "$llm" "$BATS_TEST_TMPDIR/a.gguf" a
    "$helpers/gguf.py" tokens "$slm" "$BATS_TEST_TMPDIR/b.gguf" b
    run --separate-stderr costeer model --json "$BATS_TEST_TMPDIR/a.gguf" "$BATS_TEST_TMPDIR/b.gguf"
    failed_with 4 'nothing in common'
    printf '%s' "$output" >"$out"
    json "$out" 'd["can_be_paired"] is False and d["vocab"] is None and "in common" in d["reason"]'
    run --separate-stderr costeer model "$BATS_TEST_TMPDIR/a.gguf" "$BATS_TEST_TMPDIR/b.gguf"
    failed_with 4 'nothing in common'
    [ "${lines[-1]}" = "These two cannot be paired." ]
}

@test "arguments: one file or two" {
    run --separate-stderr costeer model
    failed_with 2 'one GGUF file, or two'
    run --separate-stderr costeer model a b c
    failed_with 2 'one GGUF file, or two'
}
