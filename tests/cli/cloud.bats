# generate and compare through a node of their own: the same answers, what is reported, what is sent, what goes wrong on the way.
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
    cloud=(--cloud "$node_url" --context "$notes")
}

teardown() { if [ -n "${own_pid:-}" ]; then stop_node "$own_pid"; fi; }

# A node for one test.
start_own_node() {
    local shared_pid=$node_pid shared_url=$node_url
    start_node "$@"
    own_pid=$node_pid own_url=$node_url
    node_pid=$shared_pid node_url=$shared_url
}

@test "every mode, precision and K gives the tokens of an LLM in this process" {
    costeer generate --context "$notes" "$query" >"$out"
    for options in '' '--cloud-mode lockstep' '--cloud-mode drafted' '--window 1' '--half-precision' '--base-top-k 0' \
        '--base-top-k 8' '--half-precision --cloud-mode drafted' '--draft private -q' '--template chatml' \
        '--cloud-mode drafted --draft private --draft-confidence 0.5 --draft-length 8 -q'; do
        # shellcheck disable=SC2086
        run --separate-stderr costeer generate "${cloud[@]}" $options "$query"
        succeeded
        diff "$out" <(printf '%s\n' "$output") || { echo "with $options"; return 1; }
    done
}

@test "without a context the node's LLM answers alone, and of the SLM only the vocabulary is needed" {
    costeer generate "$query" >"$out"
    costeer generate --cloud "$node_url" "$query" | diff "$out" -
    costeer generate --cloud "$node_url" --template chatml "$query" | diff "$out" -
    costeer generate --cloud "$node_url" --json "$query" >"$out"
    json "$out" 'd["models"]["slm"] is None and d["n_steered"] == 0 and d["cloud"]["corrections"] == 0'
}

@test "draws are the same in this process, in lockstep and streamed" {
    costeer generate --temperature 1 --seed 5 --base-top-k 64 --context "$notes" "$query" >"$out"
    for mode in lockstep streamed; do
        costeer generate --temperature 1 --seed 5 "${cloud[@]}" --cloud-mode "$mode" "$query" | diff "$out" -
    done
}

@test "--json tells what went to the cloud and back" {
    costeer generate "${cloud[@]}" --json "$query" >"$out"
    json "$out" 'set(d["cloud"]) == set("url engine mode round_trip_us bytes_up bytes_down tokens_sent drafts_sent withdrawn corrections deepenings reconnects steps wasted_steps llm".split())'
    URL=$node_url json "$out" 'd["cloud"]["url"] == __import__("os").environ["URL"] and d["cloud"]["mode"] == "streamed" and d["cloud"]["llm"] == d["models"]["llm"]["name"] != ""'
    json "$out" 'd["cloud"]["bytes_up"] > 0 and d["cloud"]["bytes_down"] > 0 and d["cloud"]["round_trip_us"] > 0 and d["cloud"]["reconnects"] == 0'
    json "$out" 'd["cloud"]["corrections"] == d["n_steered"] > 0 and d["cloud"]["drafts_sent"] == d["cloud"]["withdrawn"] == 0'
    json "$out" 'd["cloud"]["steps"] >= d["n_tokens"] - 1 and 0 <= d["cloud"]["wasted_steps"] <= d["cloud"]["steps"]'
    json "$out" 'd["n_local"] == 0 and d["local_from"] is None and d["cloud_error"] is None and d["certified"] == d["n_tokens"]'
}

@test "the trace is that of an LLM in this process" {
    costeer generate --context "$notes" --trace "$BATS_TEST_TMPDIR/here" "$query" >/dev/null
    costeer generate "${cloud[@]}" --trace "$BATS_TEST_TMPDIR/there" "$query" >/dev/null
    json_lines "$BATS_TEST_TMPDIR/there" 'all(x["is_local"] is False for x in d)'
    HERE=$BATS_TEST_TMPDIR/here json_lines "$BATS_TEST_TMPDIR/there" \
        '[(x["token"], x["base_token"], x["steered"]) for x in d] == [(x["token"], x["base_token"], x["steered"]) for x in map(json.loads, open(__import__("os").environ["HERE"]))]'
}

@test "the trace's delta is the published one in every mode" {
    costeer generate --context "$notes" --trace "$BATS_TEST_TMPDIR/here" "$query" >/dev/null
    export HERE=$BATS_TEST_TMPDIR/here
    same='all(abs(x["delta"] - y["delta"]) < 0.02 for x, y in zip(d, map(json.loads, open(__import__("os").environ["HERE"]))))'
    for mode in lockstep streamed drafted; do
        costeer generate "${cloud[@]}" --cloud-mode "$mode" --trace "$BATS_TEST_TMPDIR/there" "$query" >/dev/null
        json_lines "$BATS_TEST_TMPDIR/there" "$same and max(abs(x[\"delta\"]) for x in d) > 0.5"
    done
    # a strength has no part in it: where the first token is the same, so is its delta
    costeer generate --context "$notes" --strength 0.01 --max-tokens 1 --trace "$BATS_TEST_TMPDIR/weak" "$query" >/dev/null
    costeer generate --context "$notes" --strength 0.02 --max-tokens 1 --trace "$HERE" "$query" >/dev/null
    json_lines "$BATS_TEST_TMPDIR/weak" "$same"
}

@test "the summary tells of the cloud in short, and of drafts that were withdrawn" {
    run --separate-stderr costeer generate -v "${cloud[@]}" "$query"
    [[ ${stderr_lines[-2]} =~ ^costeer:\ [0-9]+\ tokens,.*\;\ cloud:\ [0-9]+\ corrected,\ [0-9.]+\ bytes\ a\ token\ up,\ [0-9]+\ down$ ]]
    [[ ${stderr_lines[-1]} =~ ^costeer:\ the\ cloud\ now\ knows\ [0-9]+\ words\ of\ the\ context:\  ]]
    run --separate-stderr costeer generate -v "${cloud[@]}" --cloud-mode drafted "$query"
    [[ ${stderr_lines[-2]} =~ \;\ [0-9]+\ of\ [0-9]+\ tokens\ sent\ were\ withdrawn$ ]]
}

@test "words_disclosed has the words of the context that are in the answer, and not those of the query" {
    run --separate-stderr costeer generate "${cloud[@]}" --json "$query"
    succeeded
    printf '%s\n' "$output" >"$out"
    json "$out" 'len(d["words_disclosed"]) > 0 and len(set(d["words_disclosed"])) == len(d["words_disclosed"])'
    json "$out" 'all(w in d["text"] for w in d["words_disclosed"])'
    json "$out" "not any(w.lower() in \"$query\".lower().split() for w in d['words_disclosed'])"
    run costeer generate --method llm "${cloud[@]}" --json --quiet "$query"
    printf '%s\n' "$output" >"$out"
    json "$out" 'd["words_disclosed"] is None'
}

@test "private drafts are warned about once, and counted" {
    run --separate-stderr costeer generate "${cloud[@]}" --draft private --draft-confidence 0.3 --json "$query"
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == "costeer: private drafts: the cloud also sees drafted tokens that are withdrawn; their number is in the report" ]]
    printf '%s\n' "$output" >"$out"
    json "$out" 'd["cloud"]["drafts_sent"] > 0 and d["cloud"]["drafts_sent"] >= d["cloud"]["withdrawn"]'
    run --separate-stderr costeer compare "${cloud[@]}" --draft private --json "$query"
    [ "${#stderr_lines[@]}" -eq 1 ]
}

@test "compare: three answers, and the one that would upload the context is left out" {
    costeer compare --context "$notes" --json "$query" >"$out"
    costeer compare "${cloud[@]}" --json --audit "$BATS_TEST_TMPDIR/audit" "$query" >"$BATS_TEST_TMPDIR/there"
    HERE=$out json "$BATS_TEST_TMPDIR/there" \
        '[(m["name"], m["token_ids"]) for m in d["methods"]] == [(m["name"], m["token_ids"]) for m in json.load(open(__import__("os").environ["HERE"]))["methods"][:3]]'
    json "$BATS_TEST_TMPDIR/there" 'd["skipped"] == ["llm+context"] and not any(m["gives_context_away"] for m in d["methods"])'
    json "$BATS_TEST_TMPDIR/there" '"cloud" not in d["methods"][1] and all(d["methods"][i]["cloud"]["bytes_up"] > 0 for i in (0, 2))'
    json "$out" 'd["skipped"] == [] and all(m["cloud"] is None for m in d["methods"] if "cloud" in m)'
    costeer audit "$BATS_TEST_TMPDIR/audit" --json >"$out"
    json "$out" 'd["answers"] == 2 and d["kinds"]["connect"]["n"] == 1'
    COLUMNS=80 costeer compare "${cloud[@]}" --max-tokens 20 "$query" >"$out"
    grep -q 'LLM with the context' "$out"
    grep -q 'left out: would upload the context' "$out"
}

# ---- what is sent ----

@test "canaries: nothing of a context of random words is sent unless it is in the text, with public drafts in every mode" {
    python3 -c 'import random
r = random.Random(7)
print(" ".join("".join(r.choice("bcdfghjklmnpqrstvwxz") + r.choice("aeiou") for _ in range(4)) for _ in range(60)))' >"$notes"
    for mode in lockstep streamed drafted; do
        costeer generate "${cloud[@]}" --cloud-mode "$mode" --audit "$BATS_TEST_TMPDIR/audit" --json "$query" >"$out"
        [ "$(stat -c %a "$BATS_TEST_TMPDIR/audit")" = 600 ]
        costeer audit "$BATS_TEST_TMPDIR/audit" --context "$notes" --json >"$BATS_TEST_TMPDIR/report"
        json "$BATS_TEST_TMPDIR/report" 'd["violations"] == 0 and d["answers"] == 1 and d["messages"] > 2'
        AUDIT=$BATS_TEST_TMPDIR/audit NOTES=$notes json "$out" \
            'not any(w in open(__import__("os").environ["AUDIT"]).read() and w not in d["text"] for w in open(__import__("os").environ["NOTES"]).read().split())'
        REPORT=$BATS_TEST_TMPDIR/report json "$out" \
            '(lambda r: d["cloud"]["corrections"] == r["corrections"] and d["cloud"]["drafts_sent"] == r["drafts_sent"] and d["cloud"]["deepenings"] == r["deepenings"] and abs(r["bytes"] - d["cloud"]["bytes_up"]) <= 64)(json.load(open(__import__("os").environ["REPORT"])))'
    done
}

@test "a query that holds words of the context is found by the audit" {
    costeer generate "${cloud[@]}" --audit "$BATS_TEST_TMPDIR/audit" --max-tokens 4 "My dog is called Rufus. Who am I?" >/dev/null
    run --separate-stderr costeer audit "$BATS_TEST_TMPDIR/audit" --context "$notes"
    failed_with 3 '1 run of the context stands outside the answer'
    [[ $output == *"request    My dog is called Rufus."* ]]
}

@test "an audit that cannot be written ends the answer before anything more is sent" {
    run --separate-stderr costeer generate "${cloud[@]}" --audit "$BATS_TEST_TMPDIR/none/audit" "$query"
    failed_with 5 'none/audit: cannot be written'
    run --separate-stderr costeer generate "${cloud[@]}" --audit /dev/full --max-tokens 400 "$query"
    failed_with 5 '/dev/full: cannot be written: No space left'
}

# ---- tokens, certificates, other refusals ----

@test "a token: the right one is let in, a wrong or no one gives exit code 6, and none of it is shown or audited" {
    printf 'canary-token-1\n' >"$BATS_TEST_TMPDIR/right"
    printf 'canary-token-2\n' >"$BATS_TEST_TMPDIR/wrong"
    start_own_node --token-file "$BATS_TEST_TMPDIR/right"
    costeer generate --cloud "$own_url" --cloud-token-file "$BATS_TEST_TMPDIR/right" --audit "$BATS_TEST_TMPDIR/audit" "$query" >"$out"
    costeer generate "$query" | diff "$out" -
    run ! grep -q canary "$BATS_TEST_TMPDIR/audit"
    run --separate-stderr costeer generate --cloud "$own_url" --cloud-token-file "$BATS_TEST_TMPDIR/wrong" "$query"
    failed_with 6 'token'
    [[ $stderr != *canary* ]]
    run --separate-stderr costeer generate --cloud "$own_url" "$query"
    failed_with 6 'token'
}

@test "TLS: with its CA a node is trusted, without it is not" {
    costeer node --init-tls "$BATS_TEST_TMPDIR/tls" >/dev/null
    start_own_node --tls-cert "$BATS_TEST_TMPDIR/tls/node.pem" --tls-key "$BATS_TEST_TMPDIR/tls/node-key.pem"
    costeer generate --context "$notes" "$query" >"$out"
    costeer generate --cloud "$own_url" --cloud-ca "$BATS_TEST_TMPDIR/tls/ca.pem" --context "$notes" "$query" | diff "$out" -
    run --separate-stderr costeer generate --cloud "$own_url" --context "$notes" "$query"
    failed_with 6 'certificate'
    run --separate-stderr costeer generate --cloud "$own_url" --cloud-ca "$notes" --context "$notes" "$query"
    failed_with 3 "$notes"
}

@test "another vocabulary is refused, and so is what does not fit the node" {
    "$helpers/gguf.py" token "$slm" "$BATS_TEST_TMPDIR/other.gguf" 700 zyzzyva
    run --separate-stderr costeer generate "${cloud[@]}" --slm "$BATS_TEST_TMPDIR/other.gguf" "$query"
    failed_with 4 'vocabular'
    start_own_node --max-context 64
    run --separate-stderr costeer generate --cloud "$own_url" --context "$notes" "$query"
    failed_with 3 '64'
    costeer generate --cloud "$own_url" --context "$notes" --max-tokens 8 "$query" >/dev/null
}

# ---- a node that goes away ----

# While an answer is being written to $out, kill its node.
kill_node_during() {
    start_own_node --bench-step-ms 40
    "$COSTEER" generate --cloud "$own_url" --context "$notes" --timeout-ms 10000 --cloud-mode lockstep "$@" "$query" >"$out" 2>"$out.errors" 3>&- &
    local pid=$!
    for _ in $(seq 6000); do
        [ "$(wc -c <"$out")" -ge 10 ] && break
        sleep 0.05
    done
    kill -9 "$own_pid"
    status=0
    wait "$pid" || status=$?
    stderr=$(cat "$out.errors")
    readarray -t stderr_lines <"$out.errors"
}

@test "a node that dies: stop gives exit code 6, and what was written stays" {
    kill_node_during --audit "$BATS_TEST_TMPDIR/audit"
    failed_with 6 .
    costeer audit "$BATS_TEST_TMPDIR/audit" --json >"$BATS_TEST_TMPDIR/report" # what was sent was sent
    json "$BATS_TEST_TMPDIR/report" 'd["answers"] == 1 and d["kinds"]["commit"]["n"] > 0'
    [ "$(wc -c <"$out")" -ge 10 ]
    whole=$(costeer generate --context "$notes" "$query")
    text=$(cat "$out")
    [[ ${#text} -lt ${#whole} && ${whole:0:${#text}} == "$text" ]]
}

@test "a node that dies: local finishes the answer, and says where the small model's part begins" {
    kill_node_during --on-cloud-failure local --trace "$BATS_TEST_TMPDIR/trace"
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr =~ ^costeer:\ the\ cloud\ failed\ at\ token\ ([0-9]+)\ \(.*\)\;\ the\ rest\ is\ the\ small\ model\'s\ alone$ ]]
    FROM=${BASH_REMATCH[1]} json_lines "$BATS_TEST_TMPDIR/trace" \
        '[x["is_local"] for x in d] == [i >= int(__import__("os").environ["FROM"]) for i in range(len(d))] and len(d) > int(__import__("os").environ["FROM"]) > 0'
}

@test "SIGINT while the node computes: what was written stays, exit code 130, at once" {
    start_own_node --bench-step-ms 200
    run --separate-stderr "$helpers/drive.py" terminal --interrupt-at "el" -- "$COSTEER" generate -q --cloud "$own_url" --context "$notes" "$query"
    [ "$status" -eq 130 ]
    [[ $output == He* ]]
}
