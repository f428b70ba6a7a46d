# costeer eval: rows × methods into a folder that a killed run goes on from, byte for byte.
load helpers/common

setup() {
    data=$BATS_TEST_TMPDIR/data.jsonl
    dir=$BATS_TEST_TMPDIR/run
    head -n 40 "$COSTEER_MODELS_DIR/eval/prompts.jsonl" >"$data"
    generic=(eval --task generic --data "$data")
}

teardown() { stop_node; }

# Wait until a file has that many lines; the process that writes it must live.
wait_for_lines() {
    local pid=$1 file=$2 wanted=$3
    for _ in $(seq 15000); do
        if [ -f "$file" ] && [ "$(wc -l <"$file")" -ge "$wanted" ]; then
            return
        fi
        kill -0 "$pid" || return 1
        sleep 0.02
    done
    return 1
}

@test "a run writes its description, its results in order and its bad rows" {
    costeer "${generic[@]}" --limit 3 --max-tokens 40 --method llm --method costeer --out "$dir" >"$BATS_TEST_TMPDIR/table"
    json "$dir/run.json" 'd["task"] == "generic" and d["jobs"] == 1 and d["limit"] == 3 and d["max_tokens"] == 40 and d["cloud"] == "local"'
    json "$dir/run.json" '[i["label"] for i in d["items"]] == ["llm", "costeer"] and d["models"]["judge"] is None'
    json "$dir/run.json" 'd["data"] == {"name": "data.jsonl", "sha256": "'"$(sha256sum "$data" | cut -d' ' -f1)"'"}'
    json_lines "$dir/results.jsonl" '[(x["row"], x["label"]) for x in d] == [(r, m) for r in "012" for m in ("llm", "costeer")]'
    json_lines "$dir/results.jsonl" 'all(x["n_tokens"] <= 40 and x["finish"] in ("end", "length") and x["answer"] for x in d)'
    json_lines "$dir/results.jsonl" 'all((x["exposure"] is not None) == (x["label"] == "costeer") and not x["shows_context"] for x in d)'
    json_lines "$dir/results.jsonl" 'sum(x["metrics"]["fact_recall"] for x in d if x["label"] == "costeer") > 0.5'
    json_lines "$dir/results.jsonl" 'all(x["metrics"]["rouge1"] is None and x["judge"] is None for x in d)'
    [ ! -s "$dir/bad_rows.jsonl" ] && [ "$(stat -c %a "$dir/results.jsonl")" = 600 ]
    grep -qE '^costeer +1\.783 +3 ' "$BATS_TEST_TMPDIR/table"
}

@test "the answers are those of generate" {
    costeer "${generic[@]}" --limit 1 --method costeer --out "$dir" >/dev/null
    python3 - "$data" "$BATS_TEST_TMPDIR" <<'PY'
import json, sys
row = json.loads(open(sys.argv[1]).readline())
open(sys.argv[2] + "/context", "w").write(row["context"])
open(sys.argv[2] + "/query", "w").write(row["query"])
PY
    costeer generate --context "$BATS_TEST_TMPDIR/context" --query-file "$BATS_TEST_TMPDIR/query" --json >"$BATS_TEST_TMPDIR/out"
    ONE=$BATS_TEST_TMPDIR/out json_lines "$dir/results.jsonl" 'd[0]["answer"] == json.load(open(__import__("os").environ["ONE"]))["text"]'
}

@test "progress stays as lines with -v off a terminal" {
    run --separate-stderr costeer "${generic[@]}" --limit 2 --max-tokens 8 --method llm --out "$dir" -v
    [ "$status" -eq 0 ]
    [[ $stderr == *"costeer: loaded costeer-llm.gguf"*"costeer: 0 of 2 answers"* && $stderr != *$'\r'* ]]
    run --separate-stderr costeer "${generic[@]}" --limit 2 --max-tokens 8 --method llm --out "$dir-quiet"
    [ "$status" -eq 0 ] && [[ $stderr != *" of 2 answers"* ]]
}

@test "a finished run says so; another one is refused that folder; a damaged one is told" {
    one=("${generic[@]}" --limit 2 --max-tokens 8 --method llm --out "$dir")
    costeer "${one[@]}" >/dev/null
    cp "$dir/results.jsonl" "$BATS_TEST_TMPDIR/before"
    run --separate-stderr costeer "${one[@]}"
    [ "$status" -eq 0 ] && [[ $stderr == *"all 2 answers are there already"* ]]
    cmp "$dir/results.jsonl" "$BATS_TEST_TMPDIR/before"
    run --separate-stderr costeer "${one[@]}" --max-tokens 9
    failed_with 2 'another run is there: max_tokens is 8 there and 9 here'
    run --separate-stderr costeer "${one[@]}" --method costeer
    failed_with 2 'another run is there: '
    run --separate-stderr costeer "${one[@]}" --jobs 2
    failed_with 2 'jobs is 1 there and 2 here'
    echo >>"$data"
    run --separate-stderr costeer "${one[@]}"
    failed_with 2 'data.sha256'
    sed -i '$d' "$data"
    sed -i '1s/"row": "0"/"row": "x"/' "$dir/results.jsonl"
    run --separate-stderr costeer "${one[@]}" -q
    failed_with 3 'results.jsonl:1: not the result that belongs there'
    echo '[]' >"$dir/run.json"
    run --separate-stderr costeer "${one[@]}"
    failed_with 3 'run.json: not what costeer eval writes'
    rm "$dir/run.json"
    run --separate-stderr costeer "${one[@]}"
    failed_with 3 'results, but no run.json'
}

@test "killed anywhere and started again, a run with three jobs ends with the same bytes" {
    three=("${generic[@]}" --limit 24 --max-tokens 60 --method llm --method costeer --jobs 3)
    costeer "${three[@]}" --out "$dir" >/dev/null
    broken=$BATS_TEST_TMPDIR/broken
    for n in 3 26; do
        "$COSTEER" "${three[@]}" --out "$broken" >/dev/null 2>&1 3>&- &
        wait_for_lines $! "$broken/results.jsonl" "$n"
        kill -9 $!
        wait $! || true
        printf '{"row": "cut' >>"$broken/results.jsonl"
    done
    [ "$(wc -l <"$broken/results.jsonl")" -lt 48 ]
    run --separate-stderr costeer "${three[@]}" --out "$broken"
    [ "$status" -eq 0 ] && [[ $stderr == *"going on behind"* ]]
    cmp "$dir/results.jsonl" "$broken/results.jsonl"
    cmp "$dir/run.json" "$broken/run.json"
}

@test "another model of the same name, vocabulary and length is another run" {
    slm=$BATS_TEST_TMPDIR/slm.gguf
    cp "$COSTEER_MODELS_DIR/costeer-slm.gguf" "$slm"
    one=("${generic[@]}" --limit 1 --max-tokens 8 --method slm+context --slm "$slm" --out "$dir")
    costeer "${one[@]}" >/dev/null
    costeer "${one[@]}" -q >/dev/null
    tr 'a' 'b' <"$slm" | tail -c 400000 >"$BATS_TEST_TMPDIR/end"
    head -c -400000 "$COSTEER_MODELS_DIR/costeer-slm.gguf" | cat - "$BATS_TEST_TMPDIR/end" >"$slm"
    run --separate-stderr costeer "${one[@]}"
    failed_with 2 'another run is there: models.slm.sample_sha256 is not the same'
}

@test "two runs that begin at once: the second leaves everything alone" {
    mkdir "$dir"
    run --separate-stderr flock -n "$dir" "$COSTEER" "${generic[@]}" --limit 1 --max-tokens 8 --method llm --out "$dir"
    failed_with 5 'another costeer eval is writing there'
    [ -z "$(ls -A "$dir")" ]
    costeer "${generic[@]}" --limit 1 --max-tokens 8 --method llm --out "$dir" >/dev/null
}

@test "a signal ends a run in good order, and it goes on" {
    one=("${generic[@]}" --max-tokens 60 --method slm+context)
    "$COSTEER" "${one[@]}" --out "$dir" >/dev/null 2>"$BATS_TEST_TMPDIR/stderr" 3>&- &
    wait_for_lines $! "$dir/results.jsonl" 2
    run --separate-stderr costeer "${one[@]}" --out "$dir"
    failed_with 5 'another costeer eval is writing there'
    kill -TERM $!
    wait $! && status=0 || status=$?
    [ "$status" -eq 143 ] && grep -qE 'stopped with [0-9]+ of 40 answers; the same command goes on' "$BATS_TEST_TMPDIR/stderr"
    costeer "${one[@]}" --out "$dir" -q >/dev/null
    costeer "${one[@]}" --out "$BATS_TEST_TMPDIR/other" >/dev/null
    cmp "$dir/results.jsonl" "$BATS_TEST_TMPDIR/other/results.jsonl"
}

@test "bad rows are told with file and line, written down, and make the exit code 3" {
    {
        head -n 1 "$COSTEER_MODELS_DIR/eval/prompts.jsonl"
        echo 'not JSON'
        echo
        echo '{"id": 7, "query": "Secret?"}'
        printf '{"id": 8, "query": "Secret\xff?", "context": "c"}\n'
        head -n 1 "$COSTEER_MODELS_DIR/eval/prompts.jsonl"
        python3 -c 'import json; print(json.dumps({"id": 9, "query": "Who?", "context": "word " * 2000}))'
        echo '{"id": 10, "query": "Who?", "context": "I am Ben."}'
    } >"$data"
    run --separate-stderr costeer "${generic[@]}" --method slm+context --max-tokens 8 --out "$dir"
    [ "$status" -eq 3 ]
    [[ $stderr == *"data.jsonl:2: row left out: not JSON at byte"* && $stderr == *"5 of 7 rows were left out"* ]]
    [[ $stderr != *Secret* ]]
    json_lines "$dir/bad_rows.jsonl" '[(x["line"], x["row"]) for x in d] == [(2, None), (4, "7"), (5, None), (6, "0"), (7, "9")]'
    json_lines "$dir/bad_rows.jsonl" '"\"context\" is missing" in d[1]["reason"] and "UTF-8" in d[2]["reason"] and "same id" in d[3]["reason"]'
    json_lines "$dir/bad_rows.jsonl" '"of the 1024" in d[4]["reason"] and "--truncate-context" in d[4]["reason"]'
    json_lines "$dir/results.jsonl" '[(x["row"], x["line"], x["truncated"]) for x in d] == [("0", 1, False), ("10", 8, False)]'
    run --separate-stderr costeer "${generic[@]}" --method slm+context --max-tokens 8 --out "$dir.cut" --truncate-context -q
    [ "$status" -eq 3 ]
    json_lines "$dir.cut/results.jsonl" '[(x["row"], x["truncated"]) for x in d] == [("0", False), ("9", True), ("10", False)]'
    echo nothing >"$data"
    run --separate-stderr costeer "${generic[@]}" --out "$dir.none"
    [ "$status" -eq 3 ] && [[ $stderr == *"no row that could be answered"* ]] && [ ! -e "$dir.none" ]
}

@test "a context beyond the trained length is allowed, with one warning" {
    python3 -c 'import json; print(json.dumps({"query": "Who?", "context": "word " * 500, "output": "Ben."}))' >"$data"
    run --separate-stderr costeer "${generic[@]}" --method slm+context --max-tokens 8 --ctx-size 2048 --out "$dir"
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 1 ] && [[ $stderr == *"trained for 1024 tokens"* ]]
    json_lines "$dir/results.jsonl" 'len(d) == 1 and d[0]["row"] == "1" and d[0]["metrics"]["rouge1"] is not None'
}

@test "a sweep of a limit runs the methods that take it; the published ones run as they are" {
    costeer "${generic[@]}" --limit 2 --max-tokens 8 --method costeer --method costeer-whole --sweep plausibility=0:0.2:0.1 --out "$dir" --json \
        >"$BATS_TEST_TMPDIR/out"
    labels='["costeer", "costeer-whole plausibility=0", "costeer-whole plausibility=0.1", "costeer-whole plausibility=0.2"]'
    json_lines "$dir/results.jsonl" "[x['label'] for x in d] == 2 * $labels"
    json "$dir/run.json" '[(i["plausibility"], i["divergence"], i["strength"]) for i in d["items"]][1:] == [(0, 0.5, 2.5), (0.1, 0.5, 2.5), (0.2, 0.5, 2.5)]'
    json "$dir/run.json" '(d["items"][0]["plausibility"], d["items"][0]["divergence"]) == (0, 0)'
    costeer report "$dir" >/dev/null
    grep -q 'costeer-whole plausibility=0.2' "$dir/report.md"
    ! grep -q 'over strength' "$dir/report.html"
    run --separate-stderr costeer "${generic[@]}" --method costeer --sweep divergence=0:1:1 --out "$dir.2"
    failed_with 2 'divergence is swept, but none of the methods has it'
    run --separate-stderr costeer "${generic[@]}" --method costeer-whole --sweep divergence=-1:1:1 --out "$dir.2"
    failed_with 2 'divergence is -1'
}

@test "a sweep runs the methods that have the parameter, once a value" {
    costeer "${generic[@]}" --limit 2 --max-tokens 8 --method llm --method costeer --sweep strength=0:1:0.5 --sweep T=1:20:19 --out "$dir" --json >"$BATS_TEST_TMPDIR/out"
    labels='["llm", "costeer strength=0", "costeer strength=0.5", "costeer strength=1", "costeer T=1", "costeer T=20"]'
    json_lines "$dir/results.jsonl" "[x['label'] for x in d] == 2 * $labels"
    json_lines "$dir/results.jsonl" 'd[0]["answer"] == d[1]["answer"] and (d[2]["parameter"], d[2]["value"], d[2]["strength"]) == ("strength", 0.5, 0.5)'
    json_lines "$dir/results.jsonl" 'abs(d[4]["strength"] - 1 / 2.1) < 1e-9 and abs(d[5]["strength"] - 1.78325684) < 1e-8 and d[0]["parameter"] is None'
    json "$BATS_TEST_TMPDIR/out" "[i['label'] for i in d['items']] == $labels and d['rows'] == 2 and d['bad_rows'] == 0"
    run --separate-stderr costeer "${generic[@]}" --method llm --sweep T=1:3:1 --out "$dir.2"
    failed_with 2 'T is swept, but none of the methods has it'
    run --separate-stderr costeer "${generic[@]}" --sweep T=1:3 --out "$dir.2"
    failed_with 2 '--sweep: .*NAME=FROM:TO:STEP'
}

@test "the judge agrees with score" {
    costeer "${generic[@]}" --limit 2 --method slm+context --method costeer --judge "$llm" --jobs 2 --out "$dir" --json >"$BATS_TEST_TMPDIR/out"
    json_lines "$dir/results.jsonl" 'all(x["finish"] == "end" for x in d)'
    python3 - "$data" "$dir/results.jsonl" "$BATS_TEST_TMPDIR" <<'PY'
import json, sys
row = json.loads(open(sys.argv[1]).readline())
result = json.loads(open(sys.argv[2]).readline())
for name, text in (("context", row["context"]), ("query", row["query"]), ("answer", result["answer"])):
    open(sys.argv[3] + "/" + name, "w").write(text)
PY
    costeer score --with-end --json --context "$BATS_TEST_TMPDIR/context" --query-file "$BATS_TEST_TMPDIR/query" --text "$BATS_TEST_TMPDIR/answer" >"$BATS_TEST_TMPDIR/score"
    SCORE=$BATS_TEST_TMPDIR/score json_lines "$dir/results.jsonl" 'd[0]["judge"]["n_tokens"] == json.load(open(__import__("os").environ["SCORE"]))["n_tokens"]'
    SCORE=$BATS_TEST_TMPDIR/score json_lines "$dir/results.jsonl" 'abs(d[0]["judge"]["logprob"] - json.load(open(__import__("os").environ["SCORE"]))["logprob_sum"]) < 1e-2'
    json "$BATS_TEST_TMPDIR/out" 'all(1 < i["perplexity"] < 10 for i in d["items"])'
}

@test "over the network the answers are the same, and no context is shown without permission" {
    start_node
    costeer "${generic[@]}" --limit 2 --max-tokens 40 --cloud "$node_url" --out "$dir" >/dev/null
    json "$dir/run.json" 'd["cloud"] == "remote" and [i["label"] for i in d["items"]] == ["llm", "slm+context", "costeer"]'
    run ! grep -q 127.0.0.1 "$dir/run.json"
    costeer "${generic[@]}" --limit 2 --max-tokens 40 --method llm --method slm+context --method costeer --out "$dir.local" >/dev/null
    LOCAL=$dir.local/results.jsonl json_lines "$dir/results.jsonl" \
        '[x["answer"] for x in d] == [json.loads(line)["answer"] for line in open(__import__("os").environ["LOCAL"])]'
    costeer "${generic[@]}" --limit 3 --max-tokens 16 --cloud "$node_url" --jobs 2 --out "$dir.jobs" >/dev/null
    json_lines "$dir.jobs/results.jsonl" '[x["row"] for x in d] == list("000111222") and all(x["n_tokens"] > 0 for x in d)'
    run --separate-stderr costeer "${generic[@]}" --cloud "$node_url" --method llm+context --out "$dir.2"
    failed_with 2 'llm\+context.*--allow-context-upload'
    costeer "${generic[@]}" --limit 1 --max-tokens 8 --cloud "$node_url" --method llm+context --allow-context-upload --out "$dir.2" >/dev/null
    json_lines "$dir.2/results.jsonl" 'd[0]["shows_context"]'
    stop_node
    node_pid=
    run --separate-stderr costeer "${generic[@]}" --limit 1 --cloud "$node_url" --timeout-ms 300 --out "$dir.3"
    [ "$status" -eq 6 ] && [ ! -e "$dir.3" ]
}

@test "a long context shortens the answers of its row, but never over the network, which would tell its length" {
    narrow=(--limit 1 --method costeer --ctx-size 240 --max-tokens 128)
    costeer "${generic[@]}" "${narrow[@]}" --out "$dir" >/dev/null
    json_lines "$dir/results.jsonl" '16 <= d[0]["n_tokens"] < 128 and not d[0]["truncated"]'
    start_node
    run --separate-stderr costeer "${generic[@]}" "${narrow[@]}" --cloud "$node_url" --out "$dir.node"
    [ "$status" -eq 3 ]
    grep -q 'less than 128 of the 240 for an answer.*--max-tokens' <<<"$stderr"
    costeer "${generic[@]}" "${narrow[@]}" --cloud "$node_url" --truncate-context --out "$dir.cut" >/dev/null
    json_lines "$dir.cut/results.jsonl" 'd[0]["truncated"]'
}

@test "options that do not go together are refused before a model is loaded" {
    run --separate-stderr costeer eval
    failed_with 2 'needs --task'
    run --separate-stderr costeer "${generic[@]}"
    failed_with 2 'needs --out'
    run --separate-stderr costeer eval --task helpsteer --data "$data" --out "$dir"
    failed_with 2 'needs a preference'
    run --separate-stderr costeer "${generic[@]}" --preference concise --out "$dir"
    failed_with 2 'takes no preference'
    run --separate-stderr costeer eval --task cogenesis --query-field q --data "$data" --out "$dir"
    failed_with 2 'only task generic'
    run --separate-stderr costeer "${generic[@]}" --out "$dir" "a query"
    failed_with 2 'takes no arguments'
    run --separate-stderr costeer "${generic[@]}" --out "$dir" --method nothing
    failed_with 2 'there is no "nothing"'
    run --separate-stderr costeer eval --task generic --data "$data.none" --out "$dir"
    failed_with 3 'data.jsonl.none'
    [ ! -e "$dir" ]
}

@test "every published task reads its rows" {
    cat >"$BATS_TEST_TMPDIR/rows.py" <<'PY'
import json, sys
name, key, text = sys.argv[1:]
records = [{key: f"k{i}", text: f"t{i}"} for i in range(6)]
row = {"input": "Write.", "output": "So.", "personalized_input": "I am Ann.\nWrite.", "top_5": records}
print(json.dumps({"id": "a"} | row))
print(json.dumps({"tid": "b"} | row))
PY
    while read -r task key text; do
        python3 "$BATS_TEST_TMPDIR/rows.py" "$task" "$key" "$text" >"$data"
        preference=()
        [ "$key" = - ] && preference=(--preference creative)
        costeer eval --task "$task" "${preference[@]}" --data "$data" --max-tokens 4 --method slm+context --out "$dir.$task" >/dev/null
        json_lines "$dir.$task/results.jsonl" '[x["row"] for x in d] == ["a", "b"]'
        json "$dir.$task/run.json" 'd["system"] == "You are a helpful assistant."'
    done <<'EOF'
cogenesis x y
longlamp_abstract title abstract
longlamp_review description reviewText
longlamp_writing summary content
helpsteer - -
personal_preference_eval - -
truthfulqa - -
ultrachat - -
EOF
}

@test "the published sets are read" {
    [ -n "${COSTEER_EVAL_DATA:-}" ] || skip "COSTEER_EVAL_DATA does not name the folder of the sets"
    for task in cogenesis helpsteer personal_preference_eval truthfulqa ultrachat; do
        file=$COSTEER_EVAL_DATA/$task.jsonl
        preference=(--preference concise)
        [ "$task" = cogenesis ] && file=$COSTEER_EVAL_DATA/cogenesis_dev.jsonl && preference=(--truncate-context)
        costeer eval --task "$task" "${preference[@]}" --data "$file" --limit 2 --max-tokens 8 --out "$dir.$task" >/dev/null
        json_lines "$dir.$task/results.jsonl" 'len(d) == 8'
    done
}
