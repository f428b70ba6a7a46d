# costeer vocab: how two vocabularies relate. The tables themselves are tested in tests/unit and tests/integration.
load helpers/common

setup() {
    out=$BATS_TEST_TMPDIR/out
    other=$COSTEER_MODELS_DIR/costeer-slm-other.gguf
}

parts='sum(d[k]["n"] for k in ("exact", "prefix", "end", "special", "none")) == d["n_llm"]'

@test "the built-in pair has one vocabulary, whatever mode is asked for" {
    run --separate-stderr costeer vocab
    succeeded
    grep -qE '^  mode +same \(the vocabularies are identical\)$' <<<"$output"
    for mode in auto same map map-intersect byte; do
        costeer vocab --mode "$mode" --json >"$out"
        json "$out" "d['mode'] == 'same' and d['asked'] == '$mode' and d['none']['n'] == 0 and d['prefix']['n'] == 0 and $parts"
    done
}

@test "different vocabularies: auto is byte; counts and shares add up in both directions" {
    run --separate-stderr costeer vocab --llm "$llm" --slm "$other"
    succeeded
    for row in 'mode +byte \(the vocabularies differ\)' 'exact +[0-9]+ +[0-9.]+%' 'prefix ' 'end ' 'special ' 'none ' 'made in '; do
        grep -qE "^  $row" <<<"$output"
    done
    costeer vocab --llm "$llm" --slm "$other" --json >"$out"
    json "$out" "$parts and d['mode'] == 'byte' and d['exact']['n'] > 100 and d['prefix']['n'] > 0 and d['end']['n'] == 2"
    json "$out" 'abs(sum(d[k]["share"] for k in ("exact", "prefix", "end", "special", "none")) - 1) < 1e-9 and "time" not in d'
    costeer vocab --llm "$other" --slm "$llm" --json >"$out.back"
    EXACT=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["exact"]["n"])' "$out") \
        json "$out.back" "$parts and d['n_llm'] < d['n_slm'] and d['exact']['n'] == int(__import__('os').environ['EXACT'])"
}

@test "map-intersect has no prefixes" {
    costeer vocab --slm "$other" --mode map --json >"$out"
    json "$out" 'd["mode"] == "map" and d["prefix"]["n"] > 0'
    costeer vocab --slm "$other" --mode map-intersect --json >"$out"
    json "$out" "$parts and d['mode'] == 'map-intersect' and d['prefix']['n'] == 0 and d['none']['n'] > 0"
}

@test "times of making tables, a cached load and a pass; nothing is left in TMPDIR" {
    mkdir "$BATS_TEST_TMPDIR/tmp"
    TMPDIR=$BATS_TEST_TMPDIR/tmp costeer vocab --slm "$other" --time --json >"$out"
    json "$out" 'all(0 < t["min_ms"] <= t["median_ms"] and t["runs"] > 0 for t in d["time"].values()) and len(d["time"]) == 3'
    [ -z "$(ls -A "$BATS_TEST_TMPDIR/tmp")" ]
    costeer vocab --slm "$other" --mode map --time --json >"$out"
    json "$out" 'd["time"]["pass"] is None and d["time"]["load"]["runs"] > 0'
    costeer vocab --time --json >"$out"
    json "$out" 'd["time"]["pass"] is None and d["time"]["load"] is None and d["time"]["build"]["runs"] > 0'
    run --separate-stderr costeer vocab --slm "$other" --time
    succeeded
    for row in 'making tables' 'from the cache' 'a byte pass'; do
        grep -qE "^  $row +[0-9.]+ ms at best, median [0-9.]+ ms of [0-9]+$" <<<"$output"
    done
    TMPDIR=$BATS_TEST_TMPDIR/none run --separate-stderr costeer vocab --slm "$other" --time
    failed_with 5 "$BATS_TEST_TMPDIR/none"
}

@test "mode same of different vocabularies names the first difference, exit code 4" {
    run --separate-stderr costeer vocab --slm "$other" --mode same
    failed_with 4 'token 0 is .*mode byte'
    [ -z "$output" ]
}

@test "bad input: an argument, a mode, a file" {
    run --separate-stderr costeer vocab "$llm"
    failed_with 2 'takes no argument'
    run --separate-stderr costeer vocab --mode bytes
    failed_with 2 'mode'
    run --separate-stderr costeer vocab --llm none.gguf
    failed_with 4 'none.gguf: No such file'
    run --separate-stderr costeer vocab --slm "$repo/README.md"
    failed_with 4 'not a GGUF'
}
