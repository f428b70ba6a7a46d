# costeer select: which parts of the notes a request needs. What the built-in model judges means nothing; that every part is shown does.
load helpers/common

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    query="Write an invitation."
    printf '# Me\nI am Mia. I like tea.\n\nBuy:\n- milk\n- \xe6\xb0\xb4\n' >"$notes"
}

@test "every part is shown with its score, and the text is that of the used ones" {
    costeer select --json --context "$notes" "$query" >"$out"
    json "$out" '[p["text"] for p in d["parts"]] == ["# Me", "I am Mia.", "I like tea.", "Buy:", "- milk", "- 水"]'
    json "$out" '[p["kind"] for p in d["parts"]] == ["heading", "sentence", "sentence", "heading", "item", "item"]'
    json "$out" 'all(p["used"] == (p["score"] > d["threshold"]) for p in d["parts"] if p["reason"] == "score")'
    json "$out" '[p["score"] is None for p in d["parts"]] == [True, False, False, True, False, False]'
    json "$out" 'd["n_used"] + d["n_left"] == 4 and d["n_tokens"] > 0'
    NOTES=$notes json "$out" 'all(open(__import__("os").environ["NOTES"], "rb").read()[p["begin"]:p["end"]].decode() == p["text"] for p in d["parts"])'
    costeer select --context "$notes" "$query" >"$out"
    [ "$(wc -l <"$out")" -eq 7 ]
    grep -qE '^[+ ] +-?[0-9.]+  I am Mia\.$' "$out"
}

@test "the same input gives the same bytes, on one thread too" {
    costeer select --json --context "$notes" "$query" | sed 's/"ms": *[0-9.]*//' >"$out"
    costeer select --json --threads 1 --context "$notes" "$query" | sed 's/"ms": *[0-9.]*//' >"$out.1"
    cmp "$out" "$out.1"
}

@test "thresholds, pins and drops" {
    [ -z "$(costeer select --text --threshold 999 --context "$notes" "$query")" ]
    [ "$(costeer select --text --threshold 999 --pin MILK --context "$notes" "$query")" = $'# Me\nBuy:\n- milk' ]
    [ "$(costeer select --text --threshold -999 --drop tea --pin tea --drop milk --context "$notes" "$query")" = $'# Me\nI am Mia.\n\nBuy:\n- 水' ]
}

@test "another selector, another question, several contexts" {
    printf 'Is {part} for {request}?{answer}It is' >"$BATS_TEST_TMPDIR/question"
    printf 'tall: yes\n' >"$BATS_TEST_TMPDIR/more"
    costeer select --json --selector "$llm" --question "$BATS_TEST_TMPDIR/question" --context "$notes" --context "$BATS_TEST_TMPDIR/more" "$query" >"$out"
    json "$out" 'd["selector"].endswith("costeer-llm.gguf") and d["parts"][-1]["text"] == "tall: yes"'
}

@test "bad input is refused in one line" {
    run --separate-stderr costeer select "$query"
    failed_with 2 '\-\-context'
    run --separate-stderr costeer select --context "$notes" --text --json "$query"
    failed_with 2 'exclude each other'
    run --separate-stderr costeer select --context "$notes:-1" "$query"
    failed_with 2 'weight'
    run --separate-stderr costeer select --context "$notes" ''
    failed_with 3 'the query is empty'
    printf 'a\xff' >"$BATS_TEST_TMPDIR/bad"
    run --separate-stderr costeer select --context "$BATS_TEST_TMPDIR/bad" "$query"
    failed_with 3 'not UTF-8: byte 1'
    run --separate-stderr costeer select --context "$BATS_TEST_TMPDIR/none" "$query"
    failed_with 3 'none'
    printf 'Is {part} good?' >"$BATS_TEST_TMPDIR/question"
    run --separate-stderr costeer select --question "$BATS_TEST_TMPDIR/question" --context "$notes" "$query"
    failed_with 2 '\{request\}'
    run --separate-stderr costeer select --selector "$notes" --context "$notes" "$query"
    failed_with 4 'notes.txt'
    run --separate-stderr costeer select --threshold much --context "$notes" "$query"
    failed_with 2 'threshold'
    run --separate-stderr costeer select --context "$notes" "$(printf 'word %.0s' {1..5000})"
    failed_with 3 'tokens'
}

@test "an empty context is left out, and nothing is asked" {
    : >"$notes"
    run --separate-stderr costeer select --json --context "$notes" "$query"
    [ "$status" -eq 0 ]
    [[ $output == *'"n_tokens": 0'* || $output == *'"n_tokens":0'* ]]
}
