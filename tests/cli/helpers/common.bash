# What every file here needs. COSTEER is the program under test, COSTEER_MODELS_DIR the folder of the built-in pair.
bats_require_minimum_version 1.5.0

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
helpers=$repo/tests/cli/helpers
golden=$repo/tests/golden
COSTEER=${COSTEER:-$repo/build/costeer}
export COSTEER_MODELS_DIR=${COSTEER_MODELS_DIR:-$repo/models}
export LC_ALL=C.UTF-8
unset COLUMNS NO_COLOR
llm=$COSTEER_MODELS_DIR/costeer-llm.gguf
slm=$COSTEER_MODELS_DIR/costeer-slm.gguf

costeer() { "$COSTEER" "$@"; }

# Set long_answer to options that make a long answer of the query, whatever the models have learned: hot sampling rarely meets an
# end token, and a seed that does is passed over.
find_long_answer() {
    local seed tokens
    for seed in $(seq 20); do
        long_answer=(--temperature 5 --seed "$seed" --max-tokens 600)
        tokens=$(costeer generate --json "${long_answer[@]}" "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["n_tokens"])')
        if [ "$tokens" -ge 400 ]; then
            return
        fi
    done
    echo "no seed gives a long answer" >&2
    return 1
}

write_notes() {
    notes=$BATS_TEST_TMPDIR/notes.txt
    printf 'name: Soraya\ncity: Gothenburg\nMy dog is called Rufus.\n' >"$notes"
}

# The last `run --separate-stderr` ended with a code and exactly one line on standard error that matches.
failed_with() {
    local code=$1 pattern=$2
    # shellcheck disable=SC2154  # set by run
    if [ "$status" -ne "$code" ] || [ "${#stderr_lines[@]}" -ne 1 ] || [[ ${stderr_lines[0]} != costeer:\ * ]] ||
        ! grep -qE -- "$pattern" <<<"${stderr_lines[0]}"; then
        printf 'exit code %s, wanted %s; standard error, wanted one line matching %s:\n%s\n' "$status" "$code" "$pattern" "$stderr" >&2
        return 1
    fi
}

succeeded() {
    if [ "$status" -ne 0 ] || [ -n "$stderr" ]; then
        printf 'exit code %s; standard error: %s\n' "$status" "$stderr" >&2
        return 1
    fi
}

# json FILE EXPRESSION: a Python expression over the parsed file `d` must be true.
json() { python3 -c 'import json, math, sys
d = json.load(open(sys.argv[1]))
assert eval(sys.argv[2]), (sys.argv[2], d)' "$1" "$2"; }

# The same over a file of JSON lines, as the list `d`.
json_lines() { python3 -c 'import json, math, sys
d = [json.loads(line) for line in open(sys.argv[1])]
assert eval(sys.argv[2]), (sys.argv[2], d[:2])' "$1" "$2"; }

# ---- a cloud node ----

# start_node [OPTIONS…]: a node on a free port of this machine; sets node_pid and node_url. Its output is in $node_log.
start_node() {
    local scheme=ws option
    for option in "$@"; do [ "$option" = --tls-cert ] && scheme=wss; done
    node_log=$BATS_FILE_TMPDIR/node.$RANDOM$RANDOM
    "$COSTEER" node --listen 127.0.0.1:0 "$@" >"$node_log" 2>&1 3>&- &
    node_pid=$!
    local port=
    for _ in $(seq 6000); do
        port=$(sed -nE 's/.*[^0-9]127\.0\.0\.1:([0-9]+).*/\1/p' "$node_log" | head -n 1)
        [ -n "$port" ] && break
        kill -0 "$node_pid" 2>/dev/null || break
        sleep 0.1
    done
    node_url=$scheme://127.0.0.1:$port
    [ -n "$port" ] || { echo "the node did not start:"; cat "$node_log"; return 1; } >&2
}

# End a node that start_node started, and wait for it.
stop_node() {
    [ -n "${1:-${node_pid:-}}" ] || return 0
    kill "${1:-$node_pid}" 2>/dev/null || true
    wait "${1:-$node_pid}" 2>/dev/null || true
}
