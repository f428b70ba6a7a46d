# The cloud node as a process: its pages, its protocol as a hand-made device sees it, TLS, tokens, limits, draining.
load helpers/common

setup() {
    pids=()
    out=$BATS_TEST_TMPDIR/out
    err=$BATS_TEST_TMPDIR/err
    tls=$BATS_FILE_TMPDIR/tls
    token_file=$BATS_TEST_TMPDIR/token
}

setup_file() { "$COSTEER" node --init-tls "$BATS_FILE_TMPDIR/tls"; }

teardown() {
    local pid
    for pid in "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
    done
}

# Start a node on a free port; sets pid and port.
start_node() {
    rm -f "$out" # the loop below must not see what an earlier node said
    "$COSTEER" node --listen 127.0.0.1:0 --json "$@" >"$out" 2>"$err" 3>&- &
    pid=$!
    pids+=("$pid")
    for _ in $(seq 6000); do
        [ -s "$out" ] && break
        kill -0 "$pid" 2>/dev/null || { cat "$err" >&2; return 1; }
        sleep 0.05
    done
    port=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["port"])' "$out")
}

# SIGTERM, and the exit code.
stop_node() {
    kill -TERM "$pid"
    local code=0
    wait "$pid" || code=$?
    return "$code"
}

device() { python3 -W ignore "$helpers/device.py" "$port" "$@"; }

@test "one line tells model and address, and port 0 is a real one" {
    start_node
    json "$out" 'set(d) == {"url", "port", "model", "pid"} and d["port"] > 0 and d["url"] == "ws://127.0.0.1:%d" % d["port"]'
    json "$out" "d['pid'] == $pid"
    stop_node
    [ "$(wc -l <"$out")" -eq 1 ] && [ ! -s "$err" ]
    rm -f "$out" # the loop below must not see what an earlier node said
    "$COSTEER" node --listen localhost:0 >"$out" 2>"$err" 3>&- &
    pid=$!
    pids+=("$pid")
    for _ in $(seq 6000); do [ -s "$out" ] && break; sleep 0.05; done
    grep -qE '^costeer node: CoSteer built-in LLM, ws://localhost:[1-9][0-9]+$' "$out"
    stop_node
}

@test "IPv6 stands in brackets" {
    [ -e /proc/net/if_inet6 ] && grep -q '00000000000000000000000000000001' /proc/net/if_inet6 || skip "no IPv6 here"
    rm -f "$out" # the loop below must not see what an earlier node said
    "$COSTEER" node --listen '[::1]:0' --json >"$out" 2>"$err" 3>&- &
    pid=$!
    pids+=("$pid")
    for _ in $(seq 6000); do [ -s "$out" ] && break; sleep 0.05; done
    port=$(python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert d["url"].startswith("ws://[::1]:"); print(d["port"])' "$out")
    HOST=::1 device answer
    stop_node
}

@test "an answer in each mode gives the same tokens" {
    start_node
    device answer
    device correct
    device forms
    device resume
    device pipelined
    device fragments
    device close_status
    stop_node
    [ ! -s "$err" ]
}

@test "chat messages go through the model's template; others are refused" {
    start_node
    device messages
    stop_node
}

@test "pages: health, metrics, model; other paths and methods" {
    start_node
    device metrics
    python3 - "$port" "$repo" <<'END'
import json, sys
sys.path.insert(0, sys.argv[2] + "/tests/net")
import ws
port = int(sys.argv[1])
status, head, body = ws.http_get("127.0.0.1", port, "/health")
assert status == 200 and "application/json" in head and json.loads(body) == {"status": "ok", "sessions": 0}, body
model = json.loads(ws.http_get("127.0.0.1", port, "/v1/model")[2])
assert model["name"] == "CoSteer built-in LLM" and len(model["vocab_sha256"]) == 64 and model["protocol"] == "costeer.v1", model
assert model["n_vocab"] == 1024 and model["max_context"] == 1024 and model["max_window"] == 32 and model["max_drafts"] >= 4, model
END
    stop_node
}

@test "a broken rule is named, and ends the connection" {
    start_node
    device violations
    stop_node
    [ ! -s "$err" ]
}

@test "raw sockets and other upgrades are no way in" {
    start_node
    device upgrades
    stop_node
}

@test "without the token there is only /health" {
    printf 'a-very-secret-token\n' >"$token_file"
    chmod 600 "$token_file"
    start_node --token-file "$token_file" --log-level debug
    TOKEN=a-very-secret-token device tokens
    stop_node
    if grep -q 'secret-token' "$out" "$err"; then return 1; fi
}

@test "a token file that others can read is warned about, once" {
    printf 'a-very-secret-token\r\n' >"$token_file"
    chmod 644 "$token_file"
    start_node --token-file "$token_file"
    TOKEN=a-very-secret-token device answer
    stop_node
    [ "$(wc -l <"$err")" -eq 1 ]
    grep -q 'token: others can read this token; chmod 600' "$err"
}

@test "a token file that is no use is refused" {
    run --separate-stderr costeer node --listen 127.0.0.1:0 --token-file "$BATS_TEST_TMPDIR/none"
    failed_with 3 'none: cannot be read'
    for text in short 'with a blank in it' ''; do
        printf '%s\n' "$text" >"$token_file"
        chmod 600 "$token_file"
        run --separate-stderr costeer node --listen 127.0.0.1:0 --token-file "$token_file"
        failed_with 3 'token'
    done
    head -c 600 /dev/zero | tr '\0' a >"$token_file"
    run --separate-stderr costeer node --listen 127.0.0.1:0 --token-file "$token_file"
    failed_with 3 '600 characters'
}

@test "plain is for loopback only" {
    for address in 0.0.0.0:0 '[::]:0'; do
        run --separate-stderr costeer node --listen "$address"
        failed_with 2 'is beyond this machine'
    done
    run --separate-stderr costeer node --listen 0.0.0.0:0
    failed_with 2 '0\.0\.0\.0 is beyond this machine.*certificate.*--insecure'
    rm -f "$out" # the loop below must not see what an earlier node said
    "$COSTEER" node --listen 0.0.0.0:0 --insecure --json >"$out" 2>"$err" 3>&- &
    pid=$!
    pids+=("$pid")
    for _ in $(seq 6000); do [ -s "$out" ] && break; sleep 0.05; done
    port=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["port"])' "$out")
    device answer
    stop_node
}

@test "--init-tls makes a certificate that Python's TLS accepts for each name" {
    [ "$(stat -c %a "$tls/node-key.pem")" = 600 ]
    [ "$(find "$tls" -type f | wc -l)" -eq 3 ]
    openssl verify -CAfile "$tls/ca.pem" -purpose sslserver "$tls/node.pem"
    openssl x509 -in "$tls/node.pem" -noout -text >"$out"
    grep -q 'ecdsa-with-SHA256' "$out" && grep -q 'CA:FALSE' "$out" && grep -q 'TLS Web Server Authentication' "$out"
    grep -q "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" "$out"
    openssl x509 -in "$tls/node.pem" -noout -checkend $((364 * 86400)) && ! openssl x509 -in "$tls/node.pem" -noout -checkend $((366 * 86400))
    start_node --tls-cert "$tls/node.pem" --tls-key "$tls/node-key.pem"
    json "$out" 'd["url"].startswith("wss://127.0.0.1:")'
    for name in 127.0.0.1 localhost; do
        HOST=$name TLS_CA=$tls/ca.pem device tls
    done
    TLS_CA=$tls/ca.pem device pipelined
    stop_node
    [ ! -s "$err" ]
}

@test "--init-tls overwrites nothing and leaves nothing half made" {
    cp "$tls/node.pem" "$BATS_TEST_TMPDIR/before"
    run --separate-stderr costeer node --init-tls "$tls"
    failed_with 5 'node-key.pem: is there already and is not overwritten'
    cmp "$tls/node.pem" "$BATS_TEST_TMPDIR/before"
    mkdir "$BATS_TEST_TMPDIR/half"
    touch "$BATS_TEST_TMPDIR/half/ca.pem"
    run --separate-stderr costeer node --init-tls "$BATS_TEST_TMPDIR/half"
    failed_with 5 'ca.pem: is there already'
    [ "$(ls "$BATS_TEST_TMPDIR/half")" = ca.pem ]
    run --separate-stderr costeer node --init-tls "$BATS_TEST_TMPDIR/none/there"
    failed_with 5 'cannot be made'
    run --separate-stderr costeer node --init-tls "$BATS_TEST_TMPDIR/fresh" --json
    succeeded
    python3 -c 'import json, os, sys; d = json.loads(sys.argv[1]); assert all(os.path.exists(d[k]) for k in ("ca", "cert", "key")), d' "$output"
}

@test "certificates that do not fit are refused before the model's work begins" {
    run --separate-stderr costeer node --listen 127.0.0.1:0 --tls-cert "$tls/node.pem"
    failed_with 2 'go together; --tls-key is missing'
    run --separate-stderr costeer node --listen 127.0.0.1:0 --tls-cert "$tls/none.pem" --tls-key "$tls/node-key.pem"
    failed_with 3 'none.pem: cannot be read: No such file'
    run --separate-stderr costeer node --listen 127.0.0.1:0 --tls-cert "$tls/node-key.pem" --tls-key "$tls/node-key.pem"
    failed_with 3 'node-key.pem: not a certificate in PEM'
    run --separate-stderr costeer node --listen 127.0.0.1:0 --tls-cert "$tls/ca.pem" --tls-key "$tls/node-key.pem"
    failed_with 3 'node-key.pem: not a private key in PEM that fits .*ca.pem'
}

@test "an address that cannot be had is named" {
    start_node
    run --separate-stderr costeer node --listen "127.0.0.1:$port"
    failed_with 5 "127\.0\.0\.1 port $port is taken by another program; choose another port, or 0"
    stop_node
    run --separate-stderr costeer node --listen 192.0.2.1:8790 --insecure
    failed_with 5 '192\.0\.2\.1 is no address of this machine'
    run --separate-stderr costeer node --listen host.invalid:8790 --insecure
    failed_with 2 'host\.invalid: no such address'
    for bad in 8790 127.0.0.1 :8790 127.0.0.1:65536 127.0.0.1:x ::1:8790 '[::1]' '[::1]8790' '[::1:8790' '[]:1' 127.0.0.1: ; do
        run --separate-stderr costeer node --listen "$bad"
        failed_with 2 '--listen: .* is not HOST:PORT'
    done
    run --separate-stderr costeer node extra
    failed_with 2 'takes options only'
    run --separate-stderr costeer node --parallel 9 --max-sessions 4
    failed_with 2 '--parallel: 9 is more than --max-sessions 4'
    run --separate-stderr costeer node --listen 127.0.0.1:0 --model "$tls/node.pem"
    failed_with 4 'node.pem'
}

@test "a full node says so, and has room again" {
    start_node --max-sessions 1
    device busy
    stop_node
    start_node --max-sessions 8 --parallel 2
    device waits
    stop_node
}

@test "who says nothing for too long is told, and closed" {
    start_node --idle-timeout-ms 2000
    device silent
    stop_node
}

@test "who asks for much and reads nothing is dropped" {
    start_node --idle-timeout-ms 2000 --window 256
    device deaf
    stop_node
    [ ! -s "$err" ]
}

@test "a thousand silent connections disturb no answer" {
    start_node
    device crowd
    stop_node
    [ ! -s "$err" ]
}

@test "SIGTERM drains: the answer goes on, others are refused, the exit code is 0" {
    start_node
    device drain "$pid"
    wait "$pid"
    start_node --drain-timeout-ms 100
    device drained "$pid"
    wait "$pid"
    [ ! -s "$err" ]
}

@test "SIGINT drains too, and a node without answers ends at once" {
    start_node
    kill -INT "$pid" || true
    # A background job of a script ignores SIGINT; SIGTERM then ends it.
    kill -TERM "$pid"
    wait "$pid"
}

@test "the help names every option and the exit codes" {
    run --separate-stderr costeer node --help
    succeeded
    for option in model listen tls-cert tls-key token-file max-sessions max-context parallel window threads insecure idle-timeout-ms \
        drain-timeout-ms bench-step-ms init-tls gpu-layers log-level quiet json; do
        grep -q -- "--$option" <<<"$output"
    done
    grep -q '/health' <<<"$output" && grep -q 'drain' <<<"$output"
}
