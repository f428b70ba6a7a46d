# Contexts that are empty, and what of a text is its text: line ends at its end are not, wherever it comes from.
load helpers/common

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    empty=$BATS_TEST_TMPDIR/empty.md
    : >"$empty"
    query="Write a short bio."
}

teardown() { stop_node; }

@test "an empty context, or one of white space: the LLM's own answer, exit code 0 and one line" {
    costeer generate --max-tokens 40 "$query" >"$out"
    for bytes in '' '\n' ' \t\r\n\n' '\xef\xbb\xbf\n'; do
        printf "$bytes" >"$empty"
        run --separate-stderr costeer generate --context "$empty" --max-tokens 40 "$query"
        failed_with 0 'empty.md: the context is empty; going on without it, unsteered'
        diff "$out" - <<<"$output"
    done
    costeer generate -q --context "$empty" --json --max-tokens 40 "$query" >"$out" 2>"$BATS_TEST_TMPDIR/err"
    [ ! -s "$BATS_TEST_TMPDIR/err" ]
    json "$out" 'd["n_contexts"] == 0 and d["n_contexts_empty"] == 1 and d["n_steered"] == 0 and d["method"] == "costeer"'
}

@test "every method, gate and mode with an empty context" {
    costeer generate --max-tokens 20 "$query" >"$out"
    for method in costeer lightcosteer adacosteer llm+context context-steering linear-alignment amulet; do
        costeer generate -q --context "$empty" --method "$method" --max-tokens 20 "$query" | diff "$out" -
    done
    costeer generate -q --context "$empty" --method slm+context --max-tokens 20 "$query" |
        diff <(costeer generate --method slm --max-tokens 20 "$query") -
    costeer generate -q --context "$empty" --gate token --trace "$BATS_TEST_TMPDIR/trace" --max-tokens 20 "$query" | diff "$out" -
    [ "$(wc -l <"$BATS_TEST_TMPDIR/trace")" -gt 10 ]
    start_node
    for mode in lockstep streamed drafted "streamed --draft private" "streamed --on-cloud-failure local"; do
        # shellcheck disable=SC2086  # several options
        costeer generate -q --cloud "$node_url" --cloud-mode $mode --context "$empty" --max-tokens 20 "$query" | diff "$out" -
    done
}

@test "of several contexts an empty one is left out, with its weight" {
    costeer generate --context "$notes" --max-tokens 60 "$query" >"$out"
    run --separate-stderr costeer generate --context "$empty:-3" --context "$notes" --max-tokens 60 "$query"
    failed_with 0 'empty.md: the context is empty; going on without it$'
    diff "$out" - <<<"$output"
    costeer generate --context "$notes" --context "$empty:2" -q --json --max-tokens 60 "$query" >"$out.json"
    json "$out.json" 'd["n_contexts"] == 1 and d["n_contexts_empty"] == 1 and d["n_steered"] > 0'
    run --separate-stderr costeer generate --context "$empty" --context "$empty" --max-tokens 4 "$query"
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 2 ]
}

@test "compare and score with an empty context" {
    run --separate-stderr costeer compare --context "$empty" --json --max-tokens 20 "$query"
    failed_with 0 'the context is empty'
    printf '%s' "$output" >"$out"
    json "$out" 'd["n_contexts"] == 0 and d["n_contexts_empty"] == 1'
    json "$out" 'len({m["text"] for m in d["methods"] if m["name"] != "slm+context"}) == 1'
    json "$out" 'not any(m["gives_context_away"] for m in d["methods"])'
    run --separate-stderr costeer compare --context "$empty" --max-tokens 20 "$query"
    failed_with 0 'the context is empty'
    [[ $output == *"the context is empty"* ]]
    printf 'I am Soraya.' >"$BATS_TEST_TMPDIR/text"
    costeer score --text "$BATS_TEST_TMPDIR/text" "$query" >"$out"
    costeer score -q --context "$empty" --text "$BATS_TEST_TMPDIR/text" "$query" | diff "$out" -
    run --separate-stderr costeer score --json --context "$empty" --text "$BATS_TEST_TMPDIR/text" "$query"
    failed_with 0 'the context is empty'
    printf '%s' "$output" >"$out"
    json "$out" 'd["n_contexts"] == 0 and d["n_contexts_empty"] == 1'
}

@test "line ends at the end of a text are not part of it: argument, file, standard input, context, template" {
    costeer generate --context "$notes" --max-tokens 40 "$query" >"$out"
    printf '%s\r\n\n' "$query" >"$BATS_TEST_TMPDIR/query"
    { cat "$notes"; printf '\n\n'; } >"$BATS_TEST_TMPDIR/more"
    printf '{context}\n\n{query}\n' >"$BATS_TEST_TMPDIR/template"
    costeer generate --context "$notes" --max-tokens 40 "$query"$'\n' | diff "$out" -
    costeer generate --context "$notes" --max-tokens 40 --query-file "$BATS_TEST_TMPDIR/query" | diff "$out" -
    costeer generate --context "$notes" --max-tokens 40 <"$BATS_TEST_TMPDIR/query" | diff "$out" -
    costeer generate --context "$BATS_TEST_TMPDIR/more" --max-tokens 40 "$query" | diff "$out" -
    costeer generate --context <(printf %s "$(cat "$notes")") --max-tokens 40 "$query" | diff "$out" -
    costeer generate --context "$notes" --context-template "$BATS_TEST_TMPDIR/template" --max-tokens 40 "$query" | diff "$out" -
}
