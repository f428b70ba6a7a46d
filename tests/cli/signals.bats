# Interruptions: what was written stays, the exit code tells the signal, nothing hangs.
load helpers/common

query="Tell me everything."

setup_file() {
    find_long_answer "$query"
    export long_options="${long_answer[*]}"
}

setup() {
    read -ra long_answer <<<"$long_options"
    write_notes
    out=$BATS_TEST_TMPDIR/out
    trace=$BATS_TEST_TMPDIR/trace
}

drive() { "$helpers/drive.py" "$@"; }

@test "SIGINT in the middle: the text so far stays, with a line end, and the exit code is 130" {
    costeer generate "${long_answer[@]}" "$query" >"$out"
    run --separate-stderr drive interrupt -- "$COSTEER" generate "${long_answer[@]}" "$query"
    [ "$status" -eq 130 ] && [ -z "$stderr" ]
    [ -n "$output" ] && [ "${#output}" -lt "$(wc -m <"$out")" ]
    whole=$(cat "$out")
    [ "${whole:0:${#output}}" = "$output" ]
}

@test "SIGINT with a context: the trace so far is there, in whole lines" {
    run --separate-stderr drive interrupt -- "$COSTEER" generate "${long_answer[@]}" --strength 0.1 --context "$notes" --trace "$trace" "$query"
    [ "$status" -eq 130 ] && [ -z "$stderr" ]
    json_lines "$trace" '0 < len(d) < 600'
}

@test "SIGINT before --json is printed: the report says cancelled" {
    run --separate-stderr drive terminal --interrupt-at tokens -- "$COSTEER" compare --context "$notes" --json --output "$out" \
        --temperature 5 --max-tokens 900 "$query"
    [ "$status" -eq 130 ] || [ "$status" -eq 0 ]
    json "$out" 'len(d["methods"]) >= 1'
    if [ "$status" -eq 130 ]; then json "$out" 'd["methods"][-1]["finish"] == "cancelled"'; fi
}

@test "SIGTERM ends it as well, with 143" {
    run --separate-stderr drive interrupt --signal SIGTERM -- "$COSTEER" generate "${long_answer[@]}" "$query"
    [ "$status" -eq 143 ] && [ -z "$stderr" ] && [ -n "$output" ]
}

@test "a second SIGINT kills" {
    run --separate-stderr drive interrupt --twice -- "$COSTEER" generate "${long_answer[@]}" "$query"
    [ "$status" -eq 130 ]
    [[ $output == *"killed by signal 2" ]]
}

@test "SIGINT while the query is being typed ends with 130" {
    run --separate-stderr drive terminal --interrupt-at 'end it with Ctrl-D' -- "$COSTEER" generate
    [ "$status" -eq 130 ]
    [ "${#lines[@]}" -eq 1 ]
}

@test "a query can be typed on the terminal" {
    run --separate-stderr drive terminal --type "$query" -- "$COSTEER" generate --max-tokens 4
    [ "$status" -eq 0 ]
    [[ $output == *"costeer: reading the query from the terminal; end it with Ctrl-D"* ]]
}

@test "a reader that goes away ends it quietly with 141" {
    set +o pipefail
    "$COSTEER" generate "${long_answer[@]}" "$query" 2>"$BATS_TEST_TMPDIR/errors" | head -c 10 >"$out"
    [ "$(wc -c <"$out")" -eq 10 ]
    [ ! -s "$BATS_TEST_TMPDIR/errors" ]
    for arguments in "generate $query" "generate --json $query" "generate --context $notes $query" help version; do
        # shellcheck disable=SC2086
        run --separate-stderr drive no-reader -- "$COSTEER" ${arguments/$query/hello}
        [ "$status" -eq 141 ] && [ -z "$stderr" ]
    done
}

@test "a reader that goes away leaves the trace of what it read" {
    run --separate-stderr drive no-reader -- "$COSTEER" generate "${long_answer[@]}" --trace "$trace" "$query"
    [ "$status" -eq 141 ]
    json_lines "$trace" 'len(d) < 600'
}

@test "no crash dump can hold the context" {
    mkfifo "$BATS_TEST_TMPDIR/query"
    (
        ulimit -S -c "$(ulimit -H -c)"
        exec "$COSTEER" generate <"$BATS_TEST_TMPDIR/query" >"$BATS_TEST_TMPDIR/out"
    ) &
    pid=$!
    exec 8>"$BATS_TEST_TMPDIR/query" # the program starts, and waits for its query
    for _ in $(seq 6000); do
        [[ $(readlink "/proc/$pid/exe") == */costeer ]] && soft=$(awk '/^Max core file size/ {print $5}' "/proc/$pid/limits") &&
            [[ $soft =~ ^[01]$ ]] && break
        sleep 0.05
    done
    printf 'Hello' >&8
    exec 8>&-
    wait "$pid"
    [[ $soft =~ ^[01]$ ]]
    [ -s "$BATS_TEST_TMPDIR/out" ]
}
