# --method and what belongs to it: every row of the table through generate and compare, gates, who sees the context.
load helpers/common

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    query="Write a short introduction for my new team."
    tone=$BATS_TEST_TMPDIR/tone.txt
    printf 'Be cheerful.\n' >"$tone"
}

generate() { costeer generate --context "$notes" --max-tokens 60 "$@" "$query"; }

refuses() {
    local pattern=$1
    shift
    run --separate-stderr costeer generate "$@" "$query"
    failed_with 2 "$pattern"
    [ -z "$output" ]
}

# ---- the same answer by two ways ----

@test "without --method it is costeer with a context, else llm" {
    generate >"$out"
    generate --method costeer | diff "$out" -
    costeer generate --max-tokens 60 "$query" >"$out"
    costeer generate --max-tokens 60 --method llm "$query" | diff "$out" -
}

@test "methods that only see a prompt say what their model says to it" {
    prompt="$(cat "$notes")"$'\n\n'"$query"
    costeer generate --max-tokens 60 "$prompt" | diff <(generate --method llm+context) -
    costeer generate --max-tokens 60 --llm "$slm" "$prompt" | diff <(generate --method slm+context) -
    costeer generate --max-tokens 60 --llm "$slm" "$query" | diff <(costeer generate --max-tokens 60 --method slm "$query") -
}

@test "the weight of a method is its own, and --strength takes its place" {
    generate --method lightcosteer >"$out"
    generate --method costeer --T 1 | diff "$out" -
    generate --method costeer --strength 0.47619047619047616 | diff "$out" -
    generate --method amulet >"$out"
    generate --method context-steering --strength 4.64869901 | diff "$out" -
    generate --method amulet --json --T 20 >"$out"
    json "$out" 'abs(d["strength"] - 3.56651369) < 1e-8'
    generate --method linear-alignment --json >"$out"
    json "$out" 'd["strength"] == 2'
}

@test "context-steering: 0 is llm+context, -1 is llm" {
    generate --method llm+context | diff <(generate --method context-steering --strength 0) -
    costeer generate --max-tokens 60 "$query" | diff <(generate --method context-steering --strength -1) -
}

@test "linear-alignment stays in its base's support: a tiny one leaves the base's own choice" {
    generate --method llm+context | diff <(generate --method linear-alignment --support-top-p 1e-9) -
    generate --method context-steering --strength 2 | diff <(generate --method linear-alignment --support-top-p 1) -
}

@test "proxy-tuning: an SLM that was not tuned changes nothing, another one does" {
    costeer generate --max-tokens 60 "$query" >"$out"
    costeer generate --max-tokens 60 --method proxy-tuning --tuned-slm "$slm" "$query" | diff "$out" -
    costeer generate --max-tokens 60 --method proxy-tuning --tuned-slm "$llm" --json "$query" >"$out"
    json "$out" 'd["method"] == "proxy-tuning" and d["strength"] == 1 and d["n_steered"] >= 0 and d["models"]["tuned_slm"]["name"]'
    run --separate-stderr costeer generate --method proxy-tuning --tuned-slm "$notes" "$query"
    failed_with 4 "$notes"
}

@test "proxy-tuning: a LoRA adapter is put on the SLM" {
    lora=$BATS_TEST_TMPDIR/lora.gguf
    costeer generate --max-tokens 60 "$query" >"$out"
    "$helpers/gguf.py" lora "$slm" "$lora" 0
    costeer generate --max-tokens 60 --method proxy-tuning --tuned-slm "$lora" "$query" | diff "$out" -
    "$helpers/gguf.py" lora "$slm" "$lora" 3
    costeer generate --max-tokens 60 --method proxy-tuning --tuned-slm "$lora" --json "$query" >"$out"
    json "$out" 'd["n_steered"] > 0'
    "$helpers/gguf.py" lora "$llm" "$lora" 3
    run --separate-stderr costeer generate --method proxy-tuning --tuned-slm "$lora" "$query"
    failed_with 4 "$lora"
    run --separate-stderr costeer generate --slm "$lora" --context "$notes" "$query"
    failed_with 4 "$lora"
}

@test "the help's table of methods has their strengths, and who sees the context" {
    costeer generate --help | sed '/^The text is printed/,$d' >"$BATS_TEST_TMPDIR/table"
    all=$(sed -nE 's/^  ([a-z+-]+) +(LLM|SLM).*/\1/p' "$BATS_TEST_TMPDIR/table")
    [ "$(wc -l <<<"$all")" -eq 14 ]
    for method in $all; do
        tuned=()
        [ "$method" != proxy-tuning ] || tuned=(--tuned-slm "$slm")
        generate -q --method "$method" "${tuned[@]}" --max-tokens 1 --json >"$out"
        LINE=$(grep -F "  $method " "$BATS_TEST_TMPDIR/table") json "$out" \
            '(lambda line: ("shows the context" in line) == d["shows_context"] and (d["strength"] == 0 or format(round(d["strength"], 4), "g") in line.split()))(__import__("os").environ["LINE"])'
    done
}

# ---- limits ----

@test "limits: the methods that have them are the published one with them, and without them they are it" {
    generate >"$out"
    generate --method costeer-plausible --plausibility 0 | diff "$out" -
    generate --method costeer-divergence --divergence 0 | diff "$out" -
    generate --method costeer-whole --plausibility 0 --divergence 0 --strength 1.7832568428338384 | diff "$out" -
    generate --method costeer-whole >"$out"
    generate --method costeer-plausible --strength 2.5 --divergence 0.5 | diff "$out" -
    generate --method costeer-divergence --strength 2.5 --divergence 0.5 --plausibility 0.1 | diff "$out" -
    ! generate --method costeer-whole --divergence 50 | diff -q "$out" -
}

@test "limits: --json and --trace tell what was applied" {
    generate --method costeer-whole --base-top-k 8 --json --trace "$BATS_TEST_TMPDIR/trace" >"$out"
    json "$out" 'd["strength"] == 2.5 and d["plausibility"] == 0.1 and d["divergence"] == 0.5 and d["certified"] == d["n_tokens"]'
    json_lines "$BATS_TEST_TMPDIR/trace" 'all(len(x["weights"]) == 1 and 0 <= x["weights"][0] <= 2.5 for x in d)'
    json_lines "$BATS_TEST_TMPDIR/trace" 'min(x["weights"][0] for x in d) < 1 and max(x["weights"][0] for x in d) == 2.5'
    json_lines "$BATS_TEST_TMPDIR/trace" 'all(x["gain"] <= x["weights"][0] * x["delta"] + 1e-6 for x in d)'
    generate --json --trace "$BATS_TEST_TMPDIR/trace" >"$out"
    json "$out" 'd["plausibility"] == 0 and d["divergence"] == 0'
    json_lines "$BATS_TEST_TMPDIR/trace" 'all(abs(x["gain"] - 1.7832568428338384 * x["delta"]) < 1e-6 for x in d)'
    generate --method llm -q --trace "$BATS_TEST_TMPDIR/trace" >/dev/null
    json_lines "$BATS_TEST_TMPDIR/trace" 'all(x["weights"] == [] and x["gain"] == 0 for x in d)'
}

@test "limits: with other vocabularies, gates, drawn tokens, several contexts and a tuned SLM" {
    for vocab in byte map map-intersect; do
        generate --method costeer-whole --slm "$COSTEER_MODELS_DIR/costeer-slm-other.gguf" --vocab "$vocab" --json >"$out"
        json "$out" 'd["n_steered"] > 0 and d["certified"] == d["n_tokens"]'
    done
    generate --method costeer-whole --gate token --json >"$out"
    json "$out" 'd["n_gated"] > 0 and d["n_steered"] > 0'
    generate --method costeer-whole --temperature 0.7 --seed 5 --base-top-k 64 --json >"$out"
    generate --method costeer-whole --temperature 0.7 --seed 5 --base-top-k 64 --json >"$BATS_TEST_TMPDIR/again"
    AGAIN=$BATS_TEST_TMPDIR/again json "$out" 'd["text"] == json.load(open(__import__("os").environ["AGAIN"]))["text"] and d["uncertified"] == 0'
    generate --method costeer-whole --context "$tone:-0.5" --json --trace "$BATS_TEST_TMPDIR/trace" >"$out"
    json_lines "$BATS_TEST_TMPDIR/trace" 'all(len(x["weights"]) == 2 and x["weights"][0] >= 0 >= x["weights"][1] for x in d)'
    costeer generate --max-tokens 30 --method proxy-tuning --tuned-slm "$llm" --plausibility 0.1 --divergence 0.5 --json "$query" >"$out"
    json "$out" 'd["plausibility"] == 0.1 and d["divergence"] == 0.5'
}

@test "limits: what is refused, and what to use instead" {
    refuses 'costeer has no plausibility: it is as published; use costeer-plausible$' --plausibility 0.1 --context "$notes"
    refuses 'costeer has no divergence: it is as published; use costeer-divergence$' --divergence 1 --context "$notes"
    refuses 'amulet has no plausibility: it is steered by the LLM' --method amulet --plausibility 0.1 --context "$notes"
    refuses 'llm has no divergence: it has no deltas to limit' --method llm --divergence 1
    refuses '--plausibility: 1.5 is not in \[0, 1\]' --method costeer-whole --plausibility 1.5 --context "$notes"
    refuses '--plausibility: -0.1 is not in' --method costeer-whole --plausibility -0.1 --context "$notes"
    refuses '--divergence: -1 is not in' --method costeer-whole --divergence -1 --context "$notes"
    refuses '--divergence: "inf" is not a finite number' --method costeer-whole --divergence inf --context "$notes"
    refuses 'costeer-whole has no T: its weight is one number' --method costeer-whole --T 3 --context "$notes"
}

# ---- what is told ----

@test "--json names the method, its gate, its vocabulary, and who saw the context" {
    for method in llm slm slm+context costeer lightcosteer adacosteer; do
        generate -q --method "$method" --json >"$out"
        METHOD=$method json "$out" 'd["method"] == __import__("os").environ["METHOD"] and d["shows_context"] is False'
    done
    for method in llm+context context-steering linear-alignment amulet; do
        generate --method "$method" --json >"$out"
        METHOD=$method json "$out" 'd["method"] == __import__("os").environ["METHOD"] and d["shows_context"] is True and d["vocab"] is None'
        json "$out" 'd["models"]["slm"] is None and d["models"]["llm"]["name"]'
    done
    generate --json >"$out"
    json "$out" 'd["vocab"] == "same" and d["gate"] == "none" and d["n_gated"] == 0'
    json "$out" 'd["n_slm_steps"] == d["n_slm_tokens"] == d["n_tokens"] - 1'
    generate --method slm+context --json >"$out"
    json "$out" 'd["models"]["llm"] is None and d["models"]["slm"]["name"] and d["cloud"] is None and d["strength"] == 0'
}

@test "the summary says who saw the context" {
    run --separate-stderr generate -v --method llm+context
    [[ $stderr == *"not steered, "*"; the LLM saw the context (on this machine)" ]]
    run --separate-stderr generate -v --method costeer
    [[ $stderr != *saw* ]]
    run --separate-stderr generate -v --method adacosteer
    [[ $stderr == *" gated"* ]]
}

@test "a method that uses no context says so once, and -q silences it" {
    run --separate-stderr generate --method llm
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == "costeer: --method llm uses no context; "* ]]
    run --separate-stderr generate -q --method llm
    succeeded
}

@test "a method that asks no LLM says that --cloud is not connected to" {
    run --separate-stderr generate --method slm+context --cloud ws://127.0.0.1:1
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == "costeer: --method slm+context asks no LLM; "* && $output == "$(generate --method slm+context)" ]]
    run --separate-stderr generate -q --method slm+context --cloud ws://127.0.0.1:1
    succeeded
}

@test "only the models that a method takes are loaded" {
    for method in slm slm+context; do
        run --separate-stderr generate -q --method "$method" --llm /nowhere.gguf
        succeeded
    done
    for method in llm llm+context context-steering; do
        run --separate-stderr generate -q --method "$method" --slm /nowhere.gguf
        succeeded
    done
    run --separate-stderr costeer compare --method slm --method slm+context --llm /nowhere.gguf --context "$notes" --max-tokens 5 "$query"
    succeeded
}

# ---- gates ----

@test "gates: adacosteer is costeer with the gate ada, and a gate that never closes changes nothing" {
    generate --method adacosteer >"$out"
    generate --gate ada | diff "$out" -
    generate >"$out"
    generate --gate none | diff "$out" -
    generate --gate ada --gate-patience 1000000 | diff "$out" -
    costeer generate --max-tokens 60 "$query" >"$out"
    generate --gate token --gate-threshold 1 | diff "$out" -
    generate --gate ada --gate-threshold 1 --gate-patience 1 | diff "$out" -
}

@test "gates: the report and the trace tell where they were closed, and the SLM computes less" {
    generate --gate token --gate-threshold 0.5 --json --trace "$BATS_TEST_TMPDIR/trace" >"$out"
    json "$out" 'd["gate"] == "token" and 0 < d["n_gated"] < d["n_tokens"] and d["n_slm_steps"] < d["n_tokens"] - 1'
    OUT=$out json_lines "$BATS_TEST_TMPDIR/trace" \
        'sum(x["gated"] for x in d) == json.load(open(__import__("os").environ["OUT"]))["n_gated"] and not any(x["gated"] and x["steered"] for x in d)'
    generate --json --trace "$BATS_TEST_TMPDIR/trace" >"$out"
    json_lines "$BATS_TEST_TMPDIR/trace" 'not any(x["gated"] for x in d) and "method" not in d[0]'
}

# ---- several contexts ----

@test "contexts with a negative weight steer away, and stand in no prompt" {
    generate --method llm+context >"$out"
    generate --method llm+context --context "$tone:-1" | diff "$out" -
    generate --method slm+context >"$out"
    generate --method slm+context --context "$tone:0" | diff "$out" -
    costeer generate --max-tokens 60 --method llm+context --context "$notes:2" --context "$tone:0.5" "$query" >"$out"
    printf '%s\n\n%s\n' "$(cat "$notes")" "$(cat "$tone")" >"$BATS_TEST_TMPDIR/both"
    costeer generate --max-tokens 60 --method llm+context --context "$BATS_TEST_TMPDIR/both" "$query" | diff "$out" -
    generate --context "$notes:-1" >"$out" # away from it as much as towards it
    costeer generate --max-tokens 60 "$query" | diff "$out" -
    run --separate-stderr costeer generate --context "$notes:-1" --max-tokens 60 "$query"
    succeeded
    refuses '--method llm\+context: needs a --context with a positive weight' --method llm+context --context "$notes:-1"
    run --separate-stderr costeer compare --context "$notes:-1" "$query"
    failed_with 2 'needs a --context with a positive weight'
}

@test "what does not fit is named: one context of several, all together, or only the query" {
    for i in $(seq 2000); do echo "fact $i: something to remember"; done >"$BATS_TEST_TMPDIR/long"
    for method in costeer slm+context llm+context context-steering; do
        run --separate-stderr costeer generate --method "$method" --context "$notes" --context "$BATS_TEST_TMPDIR/long" "$query"
        failed_with 3 "^costeer: $BATS_TEST_TMPDIR/long: .*[0-9]{4}"
    done
    for i in $(seq 4); do
        for j in $(seq 20); do echo "fact $i$j: something to remember for later"; done >"$BATS_TEST_TMPDIR/part$i"
        parts+=(--context "$BATS_TEST_TMPDIR/part$i")
    done
    costeer generate "${parts[@]}" --max-tokens 5 --ctx-size 768 "$query" >/dev/null
    run --separate-stderr costeer generate --method llm+context "${parts[@]}" --max-tokens 5 --ctx-size 768 "$query"
    failed_with 3 '^costeer: the contexts together: '
    run --separate-stderr costeer generate --context "$notes" --ctx-size 64 --max-tokens 60 "$query"
    failed_with 3 '^costeer: [^:]*64'
    [[ $stderr != *notes* ]]
}

@test "--ctx-size beyond what a model was trained for is warned of once" {
    run --separate-stderr costeer compare --context "$notes" --ctx-size 100000 --max-tokens 4 "$query"
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == "costeer: warning: --ctx-size 100000: costeer-"*" was trained for "*" tokens; "* ]]
    run --separate-stderr generate -v --ctx-size 100000
    [ "$status" -eq 0 ] && [[ $stderr == *"warning: --ctx-size 100000"* ]]
    run --separate-stderr generate -q --ctx-size 100000
    succeeded
}

# ---- bad input ----

@test "names: unknown, near, twice" {
    refuses '--method: there is no "costear"; did you mean costeer\?' --method costear --context "$notes"
    refuses '--method: there is no "magic"; there are llm, llm\+context, .*proxy-tuning$' --method magic
    refuses '--method: there is no ""; there are' --method ''
    refuses '--method: given more than once' --method llm --method slm
    run --separate-stderr costeer compare --method llm --method slm --method llm --context "$notes" "$query"
    failed_with 2 '--method llm: given twice'
}

@test "a method that needs a context, or a tuned SLM, says so" {
    for method in llm+context slm+context costeer costeer-whole lightcosteer adacosteer context-steering linear-alignment amulet; do
        refuses "--method ${method/+/\\+}: needs a --context FILE" --method "$method"
    done
    refuses '--method proxy-tuning: needs --tuned-slm FILE' --method proxy-tuning
    refuses '--tuned-slm: needs --method proxy-tuning' --tuned-slm x.gguf --context "$notes"
}

@test "numbers that a method does not have" {
    refuses 'llm has no strength' --method llm --strength 1
    refuses 'lightcosteer has no T' --method lightcosteer --T 3 --context "$notes"
    refuses 'amulet has no beta' --method amulet --beta 3 --context "$notes"
    refuses 'context-steering has no alpha' --method context-steering --alpha 3 --context "$notes"
    refuses '--support-top-p: needs --method linear-alignment' --support-top-p 0.5 --context "$notes"
    refuses '--support-top-p: 0 is not in \(0, 1\]' --support-top-p 0 --method linear-alignment --context "$notes"
}

@test "gates that would do nothing" {
    refuses '--gate token: adacosteer has its own gate, ada' --method adacosteer --gate token --context "$notes"
    refuses '--gate none: adacosteer has its own gate, ada' --method adacosteer --gate none --context "$notes"
    refuses '--gate: method llm steers nothing' --gate ada
    refuses '--gate-threshold: needs --gate' --gate-threshold 0.2 --context "$notes"
    refuses '--gate-patience: needs --gate ada' --gate token --gate-patience 2 --context "$notes"
    refuses '--gate-patience: 0 is not in' --gate ada --gate-patience 0 --context "$notes"
    refuses '--gate-threshold: 1.5 is not in \(0, 1\]' --gate ada --gate-threshold 1.5 --context "$notes"
    refuses '--gate: "always" is not one of none\|ada\|token' --gate always --context "$notes"
}

# ---- compare ----

compare() { costeer compare --context "$notes" --max-tokens 30 "$@" "$query"; }

@test "compare: any methods in the order they were named, with their own numbers" {
    methods=(--method amulet --method lightcosteer --method slm --method costeer)
    compare "${methods[@]}" --json --trace "$BATS_TEST_TMPDIR/trace" >"$out"
    json "$out" '[m["name"] for m in d["methods"]] == ["amulet", "lightcosteer", "slm", "costeer"] and d["skipped"] == []'
    json "$out" '[m["gives_context_away"] for m in d["methods"]] == [True, False, False, False]'
    json "$out" '[round(m["strength"], 3) for m in d["methods"] if "strength" in m] == [4.649, 0.476, 1.783]'
    json "$out" '[m["vocab"] for m in d["methods"]] == [None, "same", None, "same"] and all(m["gate"] == "none" for m in d["methods"])'
    json_lines "$BATS_TEST_TMPDIR/trace" '{x["method"] for x in d} == {"amulet", "lightcosteer", "costeer"}'
    for i in 0:amulet 1:lightcosteer 3:costeer; do
        costeer generate --max-tokens 30 --context "$notes" --method "${i#*:}" --json "$query" >"$BATS_TEST_TMPDIR/one"
        ONE=$BATS_TEST_TMPDIR/one json "$out" 'd["methods"]['"${i%:*}"']["token_ids"] == json.load(open(__import__("os").environ["ONE"]))["tokens"]'
    done
}

@test "compare: a strength concerns what is steered, and a list of which nothing is needs no context" {
    compare --strength 0 --json >"$out"
    json "$out" 'd["methods"][0]["token_ids"] == d["methods"][2]["token_ids"] and d["methods"][2]["strength"] == 0'
    run --separate-stderr costeer compare --method llm --method slm --max-tokens 5 "$query"
    succeeded
    [[ $output == *"LLM alone"*"SLM alone"* && $output != *"like this"* ]]
}

@test "compare: as many columns as are wide enough, and all methods" {
    all=(--tuned-slm "$llm")
    for method in llm llm+context slm slm+context costeer costeer-plausible costeer-divergence costeer-whole lightcosteer adacosteer context-steering linear-alignment amulet proxy-tuning; do
        all+=(--method "$method")
    done
    for columns in 60 80 130 170 240; do
        COLUMNS=$columns compare "${all[@]}" >"$out"
        python3 -c 'import sys
lines = [line.rstrip("\n") for line in open(sys.argv[1])]
width, across = int(sys.argv[2]), int(sys.argv[3])
assert all(len(line) <= width for line in lines), width
assert max(line.count("│") for line in lines) == across - 1, width
for title in "LLM alone|LLM with the context|SLM alone|SLM with the context|CoSteer|CoSteer, plausible|CoSteer, by divergence|CoSteer, whole words|LightCoSteer|AdaCoSteer|Context Steering|Linear Alignment|Amulet|Proxy-tuning".split("|"):
    assert any(title in line for line in lines), title' "$out" "$columns" $((columns < 72 ? 1 : columns < 120 ? 2 : columns < 161 ? 3 : 4))
    done
    COLUMNS=130 compare --method llm --method costeer --method lightcosteer >"$out"
    [ "$(grep -m 1 '^LLM alone' "$out" | tr -cd '│' | wc -m)" -eq 2 ]
    grep -q 'not what the LLM alone would have written there' "$out"
    COLUMNS=200 compare --method costeer >"$out"
    [ "$(tr -cd '│' <"$out" | wc -m)" -eq 0 ]
    COLUMNS=80 compare --method amulet --method adacosteer >"$out"
    grep -q 'would give the context away, strength' "$out"
    grep -q 'not what would stand there unsteered' "$out"
    grep -q '[0-9] gated' "$out"
}
