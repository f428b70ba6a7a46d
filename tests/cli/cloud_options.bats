# The options of a cloud that is elsewhere: what goes together, and a node that is not there.
load helpers/common

setup() {
    write_notes
    query="Write a short introduction for my new team."
    nowhere=ws://127.0.0.1:1 # tcpmux: nothing listens there
}

refuses() {
    local pattern=$1
    shift
    run --separate-stderr costeer generate "$@" "hello"
    failed_with 2 "$pattern"
}

@test "every option of the cloud needs --cloud" {
    for option in '--cloud-ca x' '--cloud-token-file x' '--cloud-mode lockstep' '--window 8' '--draft private' \
        '--draft-confidence 0.5' '--draft-length 3' --half-precision '--timeout-ms 5' '--on-cloud-failure local' '--audit x' \
        '--cloud-key-file x' '--cloud-model x'; do
        # shellcheck disable=SC2086
        refuses "^costeer: ${option%% *}: needs --cloud" $option --context "$notes"
    done
}

@test "the LLM's own options and --cloud exclude each other" {
    for option in '--threads-llm 2' '--gpu-layers-llm 1'; do
        # shellcheck disable=SC2086
        refuses "^costeer: ${option%% *} and --cloud exclude each other" --cloud "$nowhere" $option
    done
}

@test "a URL is a node's or an engine's, without credentials, and is not repeated" {
    for url in ftp://h:1 localhost:8790 '' ws:/x wss vllm+ws://h:1 vllm+h:1 llama+http://h:1 vllm+openai+http://h:1; do
        refuses '^costeer: --cloud: needs a URL: wss://' --cloud "$url"
    done
    refuses 'the URL holds credentials' --cloud ws://me:canary@127.0.0.1:1
    [[ $stderr != *canary* ]]
    refuses '--cloud-ca: needs a wss:// or https:// URL' --cloud "$nowhere" --cloud-ca x
    refuses '--cloud-ca: needs a wss:// or https:// URL' --cloud vllm+http://127.0.0.1:1 --cloud-ca x
    refuses 'the URL holds credentials.*--cloud-key-file' --cloud vllm+https://me:canary@127.0.0.1:1
    [[ $stderr != *canary* ]]
}

@test "what only a node has, and what only an engine has" {
    engine=llama-server+http://127.0.0.1:1
    refuses '--cloud-key-file: is for an engine' --cloud "$nowhere" --cloud-key-file x
    refuses '--cloud-model: is for an engine' --cloud "$nowhere" --cloud-model x
    refuses '--cloud-token-file: is for a costeer node' --cloud "$engine" --cloud-token-file x
    refuses '--half-precision: only a costeer node' --cloud "$engine" --half-precision
    refuses '--draft private: only a costeer node' --cloud "$engine" --draft private --context "$notes"
    refuses '--window: 0 is not in' --cloud "$engine" --window 0
}

@test "an engine that is not there: exit code 6, one line, at once; without the LLM the SLM may answer" {
    run --separate-stderr costeer generate --cloud llama-server+http://127.0.0.1:1 --context "$notes" "$query"
    failed_with 6 '127.0.0.1:1 cannot be reached'
    run --separate-stderr costeer generate --cloud https://no-such-host.invalid --context "$notes" "$query"
    failed_with 6 'no-such-host.invalid'
    run --separate-stderr costeer generate --cloud vllm+http://127.0.0.1:1 --on-cloud-failure local --context "$notes" "$query"
    [ "$status" -eq 0 ]
    [[ $output == *Soraya* || -n $output ]]
}

@test "a key is not sent in the clear to another machine, and must be readable" {
    printf 'canary-key\n' >"$BATS_TEST_TMPDIR/key"
    run --separate-stderr costeer generate --cloud openai+http://192.0.2.1 --cloud-key-file "$BATS_TEST_TMPDIR/key" hello
    failed_with 2 'a key is not sent over plain http://'
    [[ $stderr != *canary* ]]
    run --separate-stderr costeer generate --cloud vllm+http://127.0.0.1:1 --cloud-key-file "$BATS_TEST_TMPDIR/none" hello
    failed_with 3 'none: cannot be read'
    run --separate-stderr costeer generate --cloud vllm+https://127.0.0.1:1 --cloud-ca "$BATS_TEST_TMPDIR/none" hello
    failed_with 3 'none: not readable'
}

@test "proxies come from the environment, for engines only, and not for hosts that are excepted" {
    log=$BATS_TEST_TMPDIR/log
    mkfifo "$BATS_TEST_TMPDIR/hold"
    python3 "$helpers/http_proxy.py" "$BATS_TEST_TMPDIR/port" "$log" <"$BATS_TEST_TMPDIR/hold" &
    exec 9>"$BATS_TEST_TMPDIR/hold"
    for _ in $(seq 6000); do
        [ ! -s "$BATS_TEST_TMPDIR/port" ] || break
        sleep 0.1
    done
    proxy=http://127.0.0.1:$(cat "$BATS_TEST_TMPDIR/port")
    run --separate-stderr env http_proxy="$proxy" no_proxy= "$COSTEER" generate --cloud vllm+http://192.0.2.1 hello
    failed_with 6
    grep -q '^GET http://192.0.2.1.*/v1/models' "$log"
    run --separate-stderr env https_proxy="$proxy" no_proxy= "$COSTEER" generate --cloud vllm+https://192.0.2.1 hello
    failed_with 6
    grep -q '^CONNECT 192.0.2.1:443' "$log"
    rm "$log"
    run --separate-stderr env http_proxy="$proxy" no_proxy=127.0.0.1 "$COSTEER" generate --cloud vllm+http://127.0.0.1:1 hello
    failed_with 6 'cannot be reached'
    run --separate-stderr env http_proxy="$proxy" no_proxy= "$COSTEER" generate --cloud ws://127.0.0.1:1 hello
    failed_with 6
    [ ! -e "$log" ]
    exec 9>&-
}

@test "options that would do nothing are refused" {
    refuses '--window: only --cloud-mode streamed' --cloud "$nowhere" --window 4 --cloud-mode lockstep
    refuses '--draft private: --cloud-mode lockstep' --cloud "$nowhere" --draft private --cloud-mode lockstep --context "$notes"
    refuses '--draft-confidence: needs --draft private' --cloud "$nowhere" --draft-confidence 0.9 --context "$notes"
    refuses '--draft-length: needs' --cloud "$nowhere" --draft-length 3 --context "$notes"
    refuses 'need a --context' --cloud "$nowhere" --cloud-mode drafted
    refuses '--on-cloud-failure local: needs a --context' --cloud "$nowhere" --on-cloud-failure local
    refuses '--half-precision: needs a --base-top-k' --cloud "$nowhere" --half-precision --base-top-k 0
    refuses '--half-precision: where it proves nothing' --cloud "$nowhere" --half-precision --temperature 0.5
    refuses '--half-precision: where it proves nothing' --cloud "$nowhere" --half-precision --constant-k
    refuses '--audit.*name the same file|name the same file' --cloud "$nowhere" --audit "$notes" --output "$notes"
}

@test "numbers and choices of the cloud have their ranges" {
    refuses '--window: 0 is not in \[1, 256\]' --cloud "$nowhere" --window 0
    refuses '--draft-confidence: 0 is not in \(0, 1\]' --cloud "$nowhere" --draft-confidence 0
    refuses '--draft-length: 33 is not in \[1, 32\]' --cloud "$nowhere" --draft-length 33
    refuses '--timeout-ms: 0 is not in' --cloud "$nowhere" --timeout-ms 0
    refuses '--cloud-mode: "fast" is not one of' --cloud "$nowhere" --cloud-mode fast
    refuses '--on-cloud-failure: "ignore" is not one of' --cloud "$nowhere" --on-cloud-failure ignore
}

@test "a token file: missing, too short, not ASCII; nothing of it is shown" {
    token=$BATS_TEST_TMPDIR/token
    run --separate-stderr costeer generate --cloud "$nowhere" --cloud-token-file "$token" hello
    failed_with 3 "$token: cannot be read"
    for text in canary '' 'canary canary' $'canary\tcanary' 'canaryé-canary'; do
        printf '%s\n' "$text" >"$token"
        run --separate-stderr costeer generate --cloud "$nowhere" --cloud-token-file "$token" hello
        failed_with 3 "$token: "
        [[ $stderr != *canary* ]]
    done
    head -c 513 /dev/zero | tr '\0' x >"$token"
    run --separate-stderr costeer generate --cloud "$nowhere" --cloud-token-file "$token" hello
    failed_with 3 'the first line has 513 characters'
}

@test "a node that is not there: exit code 6, one line, at once" {
    run --separate-stderr costeer generate --cloud "$nowhere" --context "$notes" "$query"
    failed_with 6 .
    [ -z "$output" ]
    run --separate-stderr costeer generate --cloud "$nowhere" --json "$query"
    failed_with 6 .
    run --separate-stderr costeer compare --cloud "$nowhere" --context "$notes" "$query"
    failed_with 6 .
}

@test "--on-cloud-failure local and no node: the SLM's own text, marked on standard error and in JSON, exit code 0" {
    local_run=(--cloud "$nowhere" --on-cloud-failure local --context "$notes")
    run --separate-stderr costeer generate "${local_run[@]}" "$query"
    [ "$status" -eq 0 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == "costeer: the cloud failed at token 0 ("*"); the rest is the small model's alone" ]]
    slm_text=$(costeer generate --llm "$slm" "$(cat "$notes")"$'\n\n'"$query")
    [ "$output" = "$slm_text" ]
    run --separate-stderr costeer generate -q "${local_run[@]}" "$query"
    succeeded
    out=$BATS_TEST_TMPDIR/out
    costeer generate -q --json --trace "$BATS_TEST_TMPDIR/trace" "${local_run[@]}" "$query" >"$out"
    json "$out" 'd["n_local"] == d["n_tokens"] > 0 and d["local_from"] == 0 and d["cloud_error"] and d["n_steered"] == 0'
    json "$out" 'd["cloud"]["tokens_sent"] == 0 and d["models"]["llm"]["name"] == "" and d["models"]["slm"]["name"]'
    json_lines "$BATS_TEST_TMPDIR/trace" 'all(x["is_local"] and not x["steered"] and x["base_token"] == x["token"] for x in d)'
}

@test "compare without its node: what needs the LLM is left out, CoSteer's title tells who wrote it" {
    out=$BATS_TEST_TMPDIR/out
    run --separate-stderr costeer compare --cloud "$nowhere" --on-cloud-failure local --context "$notes" --max-tokens 20 "$query"
    [ "$status" -eq 0 ]
    [[ $output == *"CoSteer; from token 0 on the SLM alone"* && $output == *"left out: would upload the context"* ]]
    costeer compare -q --json --cloud "$nowhere" --on-cloud-failure local --context "$notes" --max-tokens 20 "$query" >"$out" 2>/dev/null
    json "$out" '[m["name"] for m in d["methods"]] == ["slm+context", "costeer"] and d["skipped"] == ["llm", "llm+context"]'
    json "$out" 'd["methods"][0]["text"] == d["methods"][1]["text"] and d["methods"][1]["local_from"] == 0'
}

@test "without --cloud the report has the same fields, empty" {
    costeer generate --json --context "$notes" --max-tokens 4 "$query" >"$BATS_TEST_TMPDIR/out"
    json "$BATS_TEST_TMPDIR/out" 'd["cloud"] is None and d["n_local"] == 0 and d["local_from"] is None and d["cloud_error"] is None'
}

# Somebody listens, and never says a word; sets silent_port.
start_silent() {
    python3 -c 'import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(8)
print(s.getsockname()[1], flush=True)
time.sleep(1800)' >"$BATS_TEST_TMPDIR/port" 3>&- &
    silent_pid=$!
    for _ in $(seq 6000); do
        silent_port=$(cat "$BATS_TEST_TMPDIR/port")
        [ -n "$silent_port" ] && return
        sleep 0.05
    done
    return 1
}

teardown() { if [ -n "${silent_pid:-}" ]; then kill "$silent_pid"; fi; }

@test "who says nothing is waited for no longer than --timeout-ms, and SIGINT ends the wait" {
    start_silent
    run --separate-stderr costeer generate --cloud "ws://127.0.0.1:$silent_port" --timeout-ms 500 "$query"
    failed_with 6 '500 ms'
    run --separate-stderr timeout --preserve-status -s INT 1 "$COSTEER" generate --cloud "ws://127.0.0.1:$silent_port" "$query"
    [ "$status" -eq 130 ] && [ -z "$stderr" ]
}
