# An SLM with a vocabulary of its own: the modes of --vocab, the tables' cache, and a node whose vocabulary is named with --llm.
load helpers/common

query="Write a short introduction for my new team."

setup_file() {
    start_node
    export node_pid node_url
}

teardown_file() { stop_node; }

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    other=$COSTEER_MODELS_DIR/costeer-slm-other.gguf
    export COSTEER_CACHE_DIR=$BATS_TEST_TMPDIR/cache
}

generate() { costeer generate --slm "$other" --context "$notes" --max-tokens 100 "$@" "$query"; }

@test "auto takes byte, and every mode brings the context across" {
    generate --json >"$out"
    json "$out" 'd["vocab"] == "byte" and "Soraya" in d["text"] and "Gothenburg" in d["text"]'
    json "$out" 'd["models"]["llm"]["vocab_sha256"] != d["models"]["slm"]["vocab_sha256"]'
    generate >"$out"
    generate --vocab byte | diff "$out" -
    costeer generate --max-tokens 100 "$query" >"$BATS_TEST_TMPDIR/alone"
    for mode in map map-intersect; do
        generate --vocab "$mode" --json >"$out"
        MODE=$mode json "$out" 'd["vocab"] == __import__("os").environ["MODE"] and d["n_steered"] > 0 and d["certified"] == d["n_tokens"]'
    done
    run --separate-stderr generate --vocab byte -v
    [[ $stderr == *", vocab byte"* ]]
}

@test "same refuses them, with the first difference" {
    run --separate-stderr generate --vocab same
    failed_with 4 'token 0.*; see --vocab'
    run --separate-stderr generate --vocab base64
    failed_with 2 '--vocab: "base64" is not one of'
}

@test "strength 0 is the LLM alone, through every mode; so are the positions that a gate leaves alone" {
    costeer generate --max-tokens 100 "$query" >"$out"
    for mode in map map-intersect byte; do
        generate --vocab "$mode" --strength 0 | diff "$out" -
        generate --vocab "$mode" --gate token --gate-threshold 1 | diff "$out" -
    done
}

@test "two SLMs with one vocabulary: every mode gives the answer of same" {
    costeer generate --context "$notes" --max-tokens 100 "$query" >"$out"
    for mode in auto same map map-intersect byte; do
        costeer generate --context "$notes" --max-tokens 100 --vocab "$mode" --json "$query" >"$BATS_TEST_TMPDIR/json"
        TEXT=$out json "$BATS_TEST_TMPDIR/json" 'd["vocab"] == "same" and d["text"] + "\n" == open(__import__("os").environ["TEXT"]).read()'
    done
}

@test "gates and several contexts work across vocabularies" {
    printf 'Be cheerful.\n' >"$BATS_TEST_TMPDIR/tone"
    for mode in map byte; do
        generate --vocab "$mode" --gate token --gate-threshold 0.5 --json >"$out"
        json "$out" '0 < d["n_gated"] < d["n_tokens"] and d["n_slm_steps"] < d["n_tokens"] - 1 and d["n_steered"] > 0'
        generate --vocab "$mode" >"$out"
        costeer generate --slm "$other" --vocab "$mode" --max-tokens 100 --context "$notes:0.5" --context "$notes:0.5" "$query" | diff "$out" -
        generate --vocab "$mode" --context "$BATS_TEST_TMPDIR/tone:0" | diff "$out" -
    done
    generate --context "$BATS_TEST_TMPDIR/tone:-0.5" --json >"$out"
    json "$out" 'd["vocab"] == "byte" and d["n_steered"] > 0'
}

# ---- the cache ----

@test "the tables are kept where the environment says, and nowhere when it says nothing" {
    generate --max-tokens 4 >"$out"
    [ "$(find "$COSTEER_CACHE_DIR" -type f | wc -l)" -eq 1 ]
    find "$COSTEER_CACHE_DIR" -type f -exec sh -c 'echo damaged >"$1"' - {} \;
    generate --max-tokens 4 | diff "$out" -
    unset COSTEER_CACHE_DIR
    XDG_CACHE_HOME=$BATS_TEST_TMPDIR/xdg generate --max-tokens 4 | diff "$out" -
    [ "$(find "$BATS_TEST_TMPDIR/xdg/costeer" -type f | wc -l)" -eq 1 ]
    unset XDG_CACHE_HOME
    HOME=$BATS_TEST_TMPDIR/home generate --max-tokens 4 | diff "$out" -
    [ "$(find "$BATS_TEST_TMPDIR/home/.cache/costeer" -type f | wc -l)" -eq 1 ]
    (cd "$BATS_TEST_TMPDIR" && mkdir empty && cd empty && HOME='' generate --max-tokens 4 | diff "$out" - && [ -z "$(ls -A)" ])
    COSTEER_CACHE_DIR=/proc/nowhere generate --max-tokens 4 | diff "$out" -
}

@test "one vocabulary needs no tables" {
    costeer generate --context "$notes" --vocab byte --max-tokens 4 "$query" >/dev/null
    [ ! -e "$COSTEER_CACHE_DIR" ] || [ -z "$(find "$COSTEER_CACHE_DIR" -type f)" ]
}

# ---- what goes with two vocabularies ----

@test "drafts need one vocabulary, which is found before anybody is connected to" {
    for options in '--cloud-mode drafted' '--draft private'; do
        # shellcheck disable=SC2086
        run --separate-stderr generate --cloud ws://127.0.0.1:1 --llm "$llm" $options
        failed_with 2 "${options/drafted/drafted}: drafts need one vocabulary"
    done
    run --separate-stderr generate --method proxy-tuning --tuned-slm "$other" -q
    failed_with 2 'proxy-tuning: needs one vocabulary'
}

@test "methods that do not take both models do not care" {
    for method in llm slm+context llm+context context-steering; do
        costeer generate -q --vocab same --slm "$other" --context "$notes" --max-tokens 20 --method "$method" --json "$query" >"$out"
        json "$out" 'd["vocab"] is None'
    done
}

# ---- a node ----

@test "a node of another vocabulary: the message says to name it with --llm, and then it works" {
    run --separate-stderr generate --cloud "$node_url"
    failed_with 4 'different vocabularies.*give --llm a GGUF with the vocabulary'
    for mode in auto map; do
        generate --vocab "$mode" >"$out"
        generate --vocab "$mode" --cloud "$node_url" --llm "$llm" | diff "$out" -
    done
    generate --cloud "$node_url" --llm "$llm" --json >"$out"
    json "$out" 'd["vocab"] == "byte" and d["models"]["llm"]["vocab_sha256"] != d["models"]["slm"]["vocab_sha256"] and d["cloud"]["corrections"] > 0'
    run --separate-stderr generate --cloud "$node_url" --llm "$other"
    failed_with 4 'different vocabularies.*--llm is to have the vocabulary'
    run --separate-stderr generate --cloud "$node_url" --vocab map
    failed_with 2 '--vocab map: with --cloud it needs --llm'
}

@test "without the SLM the node's tokens are spelled by --llm alone" {
    costeer generate --max-tokens 60 "$query" >"$out"
    costeer generate --max-tokens 60 --cloud "$node_url" --llm "$llm" --slm /nowhere.gguf "$query" | diff "$out" -
    # A vocabulary is enough.
    vocab=$BATS_TEST_TMPDIR/vocab.gguf
    "$helpers/gguf.py" no-tensors "$llm" "$vocab"
    [ "$(stat -c %s "$vocab")" -lt 200000 ]
    costeer generate --max-tokens 60 --cloud "$node_url" --llm "$vocab" "$query" | diff "$out" -
    run --separate-stderr costeer generate --llm "$vocab" "$query"
    failed_with 4 "$vocab"
}

@test "compare: the node, two vocabularies, and what is left out" {
    costeer compare --slm "$other" --context "$notes" --max-tokens 60 --cloud "$node_url" --llm "$llm" --json "$query" >"$out"
    json "$out" '[m["name"] for m in d["methods"]] == ["llm", "slm+context", "costeer"] and d["skipped"] == ["llm+context"]'
    json "$out" '[m["vocab"] for m in d["methods"]] == [None, None, "byte"]'
    costeer generate --slm "$other" --context "$notes" --max-tokens 60 --json "$query" >"$BATS_TEST_TMPDIR/one"
    COLUMNS=100 costeer compare --slm "$other" --method costeer --context "$notes" --max-tokens 5 "$query" | grep -q 'vocab byte$'
    ONE=$BATS_TEST_TMPDIR/one json "$out" 'd["methods"][2]["token_ids"] == json.load(open(__import__("os").environ["ONE"]))["tokens"]'
}

@test "a node that dies: the SLM with its own vocabulary finishes the answer" {
    run --separate-stderr generate --cloud ws://127.0.0.1:1 --llm "$llm" --on-cloud-failure local
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == *"the rest is the small model's alone" ]]
    # the SLM's own text, though many of its tokens are none of the LLM's
    notes=$COSTEER_MODELS_DIR/demo/notes.txt query="Thank my neighbour for watering the plants."
    costeer generate --slm "$other" --method slm+context --context "$notes" --max-tokens 60 "$query" >"$out"
    [ -s "$out" ]
    [[ $(generate --cloud ws://127.0.0.1:1 --llm "$llm" --on-cloud-failure local -q) == "$(cat "$out")"* ]]
}
