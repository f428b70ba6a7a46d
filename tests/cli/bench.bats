# costeer bench, make_model and the tools beside them: that they work, on tiny models. What they measure is judged by nobody here.
load helpers/common

MAKE_MODEL=${MAKE_MODEL:-$repo/build/bench/make_model}
HTTP_LOAD=${HTTP_LOAD:-$(dirname "$MAKE_MODEL")/http_load}

setup() {
    out=$BATS_TEST_TMPDIR/out
    made=$BATS_TEST_TMPDIR/made.gguf
}

make_model() { "$MAKE_MODEL" "$@"; }

# The last `run --separate-stderr` ended with a code and exactly one line of make_model's that matches.
refused_with() {
    [ "$status" -eq "$1" ] && [ "${#stderr_lines[@]}" -eq 1 ] && [[ ${stderr_lines[0]} == make_model:\ * ]] &&
        grep -qE -- "$2" <<<"${stderr_lines[0]}"
}

@test "make_model: what it makes is a whole model of the shape asked for, with the vocabulary given" {
    make_model --vocab "$slm" --n-embd 96 --n-layer 3 --n-head 6 --n-head-kv 3 --n-ff 160 --n-ctx 512 --pad-vocab 1024 "$made"
    costeer model --json "$made" >"$out"
    json "$out" 'd["architecture"] == "qwen2" and d["n_vocab_padded"] == 1024 and d["n_ctx_train"] == 512'
    run --separate-stderr costeer model "$llm" "$made"
    succeeded
    [ "${lines[-1]}" = "These two can be paired: they have one vocabulary." ]
}

@test "make_model: the same seed gives the same bytes, another seed others" {
    make_model --vocab "$slm" --seed 7 "$made"
    make_model --vocab "$slm" --seed 7 "$made.again"
    make_model --vocab "$slm" --seed 8 "$made.other"
    cmp "$made" "$made.again"
    run ! cmp -s "$made" "$made.other"
}

@test "make_model: every type loads and answers" {
    for type in f32 f16 q8_0 q4_0; do
        make_model --vocab "$slm" --type "$type" "$made"
        run --separate-stderr costeer generate --llm "$made" --slm "$slm" --max-tokens 3 "A query"
        [ "$status" -eq 0 ]
    done
}

@test "make_model: a renamed token makes a pair that differs in it" {
    make_model --vocab "$slm" --rename-token 500=zyzzyva "$made"
    costeer model --json "$llm" "$made" >"$out"
    json "$out" 'd["vocab"] == "byte" and "500" in d["difference"]'
}

@test "make_model: NaN weights are a numeric error, an encoder is no model for us" {
    make_model --vocab "$slm" --nan "$made"
    run --separate-stderr costeer generate --llm "$made" --slm "$slm" --max-tokens 3 "A query"
    failed_with 7 nan
    make_model --vocab "$slm" --arch bert "$made"
    run --separate-stderr costeer generate --llm "$made" --slm "$slm" --max-tokens 3 "A query"
    failed_with 4 bert
}

@test "make_model: arguments are strict, one line each" {
    run --separate-stderr make_model "$made"
    refused_with 2 'vocab is missing'
    run --separate-stderr make_model --vocab "$slm"
    refused_with 2 'output file is missing'
    run --separate-stderr make_model --vocab "$slm" --seed 1x "$made"
    refused_with 2 "'1x' is not a whole number"
    run --separate-stderr make_model --vocab "$slm" --shape huge "$made"
    refused_with 2 "'huge' is not one of tiny"
    run --separate-stderr make_model --vocab "$slm" --n-head 5 "$made"
    refused_with 2 '5 heads do not divide'
    run --separate-stderr make_model --vocab "$slm" --pad-vocab 3 "$made"
    refused_with 1 'cannot be padded to 3'
    run --separate-stderr make_model --vocab /dev/null "$made"
    refused_with 1 'not a readable GGUF file'
    [ ! -e "$made" ]
}

@test "make_model: a full disk is told, and nothing is left" {
    run --separate-stderr make_model --vocab "$slm" /dev/full
    refused_with 1 'No space left'
    run --separate-stderr make_model --vocab "$slm" "$BATS_TEST_TMPDIR/none/made.gguf"
    refused_with 1 'cannot be written'
}

@test "bench fuse: three times and their ratios" {
    costeer bench fuse --n-vocab 2000 --repeat 3 --json >"$out"
    json "$out" 'd["n_vocab"] == 2000 and min(d["choose_us"], d["loop_us"], d["read_us"], d["limit_us"], d["limited_choose_us"]) > 0'
    json "$out" 'math.isclose(d["loop_ratio"], d["loop_us"] / d["choose_us"])'
    run --separate-stderr costeer bench fuse --n-vocab 2000 --repeat 3
    succeeded
    [ "${#lines[@]}" -eq 5 ]
}

@test "bench slm: the step of the built-in SLM" {
    costeer bench slm --n-prompt 2 --n-context 3 --n-tokens 4 --repeat 2 --json >"$out"
    json "$out" '0 < d["step_best_us"] <= d["step_us"] and math.isclose(d["tokens_per_s"], 2e6 / d["step_us"])'
}

@test "bench slm: steps with more contexts, and what an added one costs" {
    costeer bench slm --contexts 3 --n-prompt 2 --n-context 3 --n-tokens 4 --repeat 1 --json >"$out"
    json "$out" '[s["contexts"] for s in d["steps"]] == [1, 2, 3] and d["steps"][0]["added_share"] == 0'
    json "$out" 'all(0 < s["step_best_us"] <= s["step_us"] for s in d["steps"])'
    json "$out" 'all(math.isclose(s["added_share"], (s["step_us"] / d["steps"][0]["step_us"] - 1) / (s["contexts"] - 1)) for s in d["steps"][1:])'
    run --separate-stderr costeer bench slm --contexts 3 --n-prompt 2 --n-context 3 --n-tokens 4 --repeat 2
    succeeded
    [ "${#lines[@]}" -eq 5 ]
}

@test "bench generate: the built-in pair, alone and steered, with the memory" {
    costeer bench generate --n-prompt 4 --n-context 4 --n-tokens 6 --repeat 2 --json >"$out"
    json "$out" 'd["ratio"] > 0 and d["alone"]["tokens_per_s"] > 0 and d["alone"]["slm_us"] == 0 and d["steered"]["slm_us"] > 0'
    json "$out" 'd["peak_bytes"] > d["file_bytes"] > 1e6 and d["kv_bytes"] > 0'
}

@test "bench: arguments are strict" {
    run --separate-stderr costeer bench
    failed_with 2 'one of fuse, slm, generate, batch, net'
    run --separate-stderr costeer bench speed
    failed_with 2 'one of fuse, slm, generate, batch, net'
    run --separate-stderr costeer bench fuse --llm "$llm"
    failed_with 2 'does not use --llm'
    run --separate-stderr costeer bench fuse --repeat 2
    failed_with 2 'not in \[3'
    run --separate-stderr costeer bench slm --contexts 17
    failed_with 2 'not in \[1, 16'
    run --separate-stderr costeer bench generate --contexts 2
    failed_with 2 'does not use --contexts'
    run --separate-stderr costeer bench generate --n-tokens 1
    failed_with 2 'not in \[2'
    run --separate-stderr costeer bench slm --slm /dev/null
    failed_with 4 '/dev/null'
}

# ---- across a network ----

# A program that notes its process id and becomes the node, for --node.
noting_node() {
    node=$BATS_TEST_TMPDIR/node
    printf '#!/bin/sh\necho $$ >%q\nexec %q "$@"\n' "$BATS_TEST_TMPDIR/pid" "${1:-$COSTEER}" >"$node"
    chmod +x "$node"
}

# The node that noting_node started has ended and was waited for.
node_is_gone() { ! kill -0 "$(<"$BATS_TEST_TMPDIR/pid")" 2>/dev/null; }

@test "bench batch: steps of several positions, from one on" {
    costeer bench batch --n-prompt 4 --repeat 1 --json >"$out"
    json "$out" '[s["positions"] for s in d["steps"]] == [1, 2, 4, 5, 8, 9] and d["steps"][0]["ratio"] == 1'
    json "$out" 'all(s["step_us"] > 0 for s in d["steps"])'
}

@test "bench net: every mode answers through a node and a proxy, with the same tokens" {
    noting_node
    costeer bench net --step-ms 0 --round-trip-ms 0 --prompts 2 --repeat 1 --n-tokens 12 --node "$node" --json --output "$out"
    node_is_gone
    json "$out" 'len(d["cells"]) == 1 and len(d["cells"][0]["modes"]) == 6'
    json "$out" 'all(4 <= m["sums"]["tokens"] <= 24 and m["sums"]["bytes_up"] > 0 and m["sums"]["bytes_down"] > 0 for m in d["cells"][0]["modes"])'
    json "$out" 'all(m["tokens_per_s"]["median"] > 0 and m["predicted_us"] > 0 for m in d["cells"][0]["modes"])'
    # a difference is allowed only where two choices are as good as equal
    json "$out" 'sum(m["answers_different"] for m in d["cells"][0]["modes"]) <= 1'
    json "$out" 'd["cells"][0]["modes"][0]["sums"]["steered"] == 0 and d["cells"][0]["modes"][1]["sums"]["steered"] > 0'
    json "$out" 'd["cells"][0]["modes"][1]["mode"] == "lockstep" and d["cells"][0]["modes"][1]["sums"]["wasted_steps"] == 0'
}

@test "bench net: steps and round trips take what they were asked to take" {
    costeer bench net --step-ms 10 --round-trip-ms 0,30 --modes plain,lockstep --prompts 1 --repeat 1 --n-tokens 6 --json >"$out"
    json "$out" '[(c["step_ms"], c["round_trip_ms"]) for c in d["cells"]] == [(10, 0), (10, 30)]'
    json "$out" 'all(m["token_us"] >= 9900 for c in d["cells"] for m in c["modes"])'
    json "$out" 'd["cells"][1]["modes"][1]["token_us"] >= 39900'
}

@test "bench net: prompts from a file, and a table" {
    printf '%s\n' '{"query": "Write a short bio.", "context": "name: Soraya"}' >"$BATS_TEST_TMPDIR/prompts.jsonl"
    run --separate-stderr costeer bench net --step-ms 0 --round-trip-ms 0 --modes streamed --prompts-file "$BATS_TEST_TMPDIR/prompts.jsonl" \
        --prompts 1 --repeat 1 --n-tokens 6
    succeeded
    [ "${#lines[@]}" -eq 3 ]
    [[ ${lines[2]} == *streamed* ]]
}

@test "bench net --sessions: all answers of all sessions, and the prompts for another server" {
    costeer bench net --sessions 3 --prompts 2 --n-tokens 8 --json >"$out"
    json "$out" '[m["mode"] for m in d["modes"]] == ["plain", "streamed"] and all(m["answers"] == 6 for m in d["modes"])'
    json "$out" 'all(12 <= m["tokens"] <= 48 and m["tokens_per_s"] > 0 for m in d["modes"]) and len(d["prompts"]) == 2'
}

@test "bench net: arguments are strict" {
    run --separate-stderr costeer bench net --step-ms 1,x
    failed_with 2 'step-ms: "1,x" is not a list'
    run --separate-stderr costeer bench net --round-trip-ms ''
    failed_with 2 'round-trip-ms: "" is not a list'
    run --separate-stderr costeer bench net --modes plain,fast
    failed_with 2 'modes: "plain,fast" is not a list of plain, lockstep'
    run --separate-stderr costeer bench net --sessions 2 --step-ms 0,30
    failed_with 2 'sessions: takes one --step-ms'
    run --separate-stderr costeer bench fuse --window 8
    failed_with 2 'bench fuse: does not use --window'
    run --separate-stderr costeer bench net --llm /dev/null
    failed_with 4 '/dev/null'
    run --separate-stderr costeer bench net --output "$BATS_TEST_TMPDIR/none/out" --step-ms x
    failed_with 5 'none/out'
}

@test "bench net: a file of prompts that is none is told, without its text" {
    echo '{"query": "Zanzibar", "contexts": 1}' >"$BATS_TEST_TMPDIR/prompts.jsonl"
    run --separate-stderr costeer bench net --prompts-file "$BATS_TEST_TMPDIR/prompts.jsonl"
    failed_with 2 'prompt 1 is not a JSON object'
    [[ $stderr != *Zanzibar* ]]
    run --separate-stderr costeer bench net --prompts-file /dev/null
    failed_with 2 'no prompt in it'
    run --separate-stderr costeer bench net --prompts-file "$BATS_TEST_TMPDIR/none"
    failed_with 2 'none: cannot be read'
}

@test "bench net: a node that does not start is told in one line" {
    run --separate-stderr costeer bench net --node /bin/false --prompts 1
    failed_with 6 'node did not start: it ended with exit code 1'
    run --separate-stderr costeer bench net --node /bin/echo --prompts 1
    failed_with 6 'did not tell its port'
    run --separate-stderr costeer bench net --node "$BATS_TEST_TMPDIR/none" --prompts 1
    failed_with 6 'cannot be started: No such file'
    printf '#!/bin/sh\necho "costeer: the reason" >&2\nexit 4\n' >"$BATS_TEST_TMPDIR/failing"
    chmod +x "$BATS_TEST_TMPDIR/failing"
    run --separate-stderr costeer bench net --node "$BATS_TEST_TMPDIR/failing" --prompts 1
    failed_with 6 'node did not start: the reason'
}

@test "bench net: a signal ends it and its node, while it measures and while the node starts" {
    noting_node
    "$COSTEER" bench net --step-ms 200 --round-trip-ms 0 --modes lockstep --prompts 1 --node "$node" >"$out" 2>&1 &
    local bench=$! ended=0
    until [ -s "$BATS_TEST_TMPDIR/pid" ]; do sleep 0.05; done
    sleep 1
    kill -TERM "$bench"
    wait "$bench" || ended=$?
    [ "$ended" -eq 143 ]
    node_is_gone
    [ ! -s "$out" ]
    rm "$BATS_TEST_TMPDIR/pid"
    printf '#!/bin/sh\necho $$ >%q\nexec sleep 100\n' "$BATS_TEST_TMPDIR/pid" >"$node"
    "$COSTEER" bench net --prompts 1 --node "$node" &
    bench=$!
    ended=0
    until [ -s "$BATS_TEST_TMPDIR/pid" ]; do sleep 0.05; done
    kill -TERM "$bench"
    wait "$bench" || ended=$?
    [ "$ended" -eq 143 ]
    node_is_gone
}

@test "plot.py: a picture per step time, well-formed, labels apart" {
    costeer bench net --step-ms 0,5 --round-trip-ms 0,5 --modes plain,lockstep,streamed --prompts 1 --repeat 1 --n-tokens 4 --json >"$out"
    python3 "$repo/bench/plot.py" "$out" "$BATS_TEST_TMPDIR"
    python3 - "$BATS_TEST_TMPDIR" <<'EOF'
import sys, xml.etree.ElementTree as tree
for step in (0, 5):
    root = tree.parse(f"{sys.argv[1]}/net-tokens-per-second-s{step}.svg").getroot()
    labels = [e for e in root.iter("{http://www.w3.org/2000/svg}text") if e.get("class", "").startswith("m")]
    assert [e.text.split()[0] for e in labels] == ["plain", "lockstep", "streamed"], labels
    heights = sorted(float(e.get("y")) for e in labels)
    assert all(b - a >= 16.9 for a, b in zip(heights, heights[1:])), heights
EOF
}

@test "http_load: counts the tokens of whole and streamed answers, and says when there are none" {
    cat >"$BATS_TEST_TMPDIR/server.py" <<'EOF'
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        if b"nothing" not in body:
            self.wfile.write(b'data: {"tokens_predicted":1,"tokens_evaluated":9}\n\n' + b"x" * 70000 + b'{"tokens_predict')
            self.wfile.flush()
            self.wfile.write(b'ed":7}')
    def log_message(self, *arguments):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
EOF
    python3 "$BATS_TEST_TMPDIR/server.py" >"$BATS_TEST_TMPDIR/port" 3>&- &
    local server=$!
    until [ -s "$BATS_TEST_TMPDIR/port" ]; do sleep 0.05; done
    printf '{}\n{}\n{}\n{}\n' >"$BATS_TEST_TMPDIR/requests"
    "$HTTP_LOAD" "$(<"$BATS_TEST_TMPDIR/port")" 2 "$BATS_TEST_TMPDIR/requests" >"$out"
    json "$out" 'd["tokens"] == 28 and d["answers"] == 4 and d["wall_us"] > 0'
    echo nothing >"$BATS_TEST_TMPDIR/requests"
    run --separate-stderr "$HTTP_LOAD" "$(<"$BATS_TEST_TMPDIR/port")" 1 "$BATS_TEST_TMPDIR/requests"
    kill "$server"
    [ "$status" -eq 1 ] && [ "$stderr" = "http_load: no answer with tokens_predicted" ]
    run --separate-stderr "$HTTP_LOAD" 1 0 "$BATS_TEST_TMPDIR/requests"
    [ "$status" -eq 2 ]
}
