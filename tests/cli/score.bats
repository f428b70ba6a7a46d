# costeer score: the likelihood of a given text, against what generate says of the same tokens.
load helpers/common

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    answer=$BATS_TEST_TMPDIR/answer
    query="Plan my day."
}

@test "the sum is that of the trace of the same tokens" {
    costeer generate --max-tokens 3 --trace "$BATS_TEST_TMPDIR/trace" "$query" >"$answer"
    costeer score --json --text "$answer" "$query" >"$out"
    SCORE=$out json_lines "$BATS_TEST_TMPDIR/trace" 'len(d) == json.load(open(__import__("os").environ["SCORE"]))["n_tokens"]'
    SCORE=$out json_lines "$BATS_TEST_TMPDIR/trace" 'abs(sum(x["base_logprob"] for x in d) - json.load(open(__import__("os").environ["SCORE"]))["logprob_sum"]) < 1e-3'
    json "$out" 'abs(d["perplexity"] - math.exp(-d["logprob_sum"] / d["n_tokens"])) < 1e-9 * d["perplexity"]'
}

@test "--with-end counts the end, the context counts, standard input is read" {
    costeer generate --context "$notes" "$query" >"$answer"
    costeer score --json "$query" <"$answer" >"$out"
    costeer score --json --with-end --text "$answer" "$query" >"$BATS_TEST_TMPDIR/end"
    ONE=$out json "$BATS_TEST_TMPDIR/end" 'd["n_tokens"] == json.load(open(__import__("os").environ["ONE"]))["n_tokens"] + 1'
    ONE=$out json "$BATS_TEST_TMPDIR/end" 'd["logprob_sum"] < json.load(open(__import__("os").environ["ONE"]))["logprob_sum"]'
    costeer score --json --context "$notes" --text - "$query" <"$answer" >"$BATS_TEST_TMPDIR/context"
    ONE=$out json "$BATS_TEST_TMPDIR/context" 'd["logprob_sum"] != json.load(open(__import__("os").environ["ONE"]))["logprob_sum"]'
    costeer score --model "$slm" --text "$answer" "$query" | grep -qE '^perplexity +[0-9.]+$'
}

@test "bad texts are refused" {
    : >"$answer"
    run --separate-stderr costeer score --text "$answer" "$query"
    failed_with 3 'the text is empty'
    printf 'x\xff' >"$answer"
    run --separate-stderr costeer score --text "$answer" "$query"
    failed_with 3 'the text is not UTF-8: byte 1'
    printf 'word %.0s' {1..3000} >"$answer"
    run --separate-stderr costeer score --text "$answer" "$query"
    failed_with 3 '[0-9]{3,}.*[0-9]{3,}'
}
