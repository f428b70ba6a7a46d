# costeer pull, against a small hub that speaks the real one's API: what lands in the cache, and what every fault comes to.
load helpers/common
load helpers/hub

setup() { start_hub; }
teardown() { stop_hub; }

pull() { run --separate-stderr costeer pull "$@"; }

# After a failure nothing has a name: no link, no reference, no whole file.
nothing_in_place() {
    [ -z "$(find "$cache" -path '*/snapshots/*' -o -path '*/refs/*' 2>/dev/null)" ]
    [ -z "$(find "$cache" -path '*/blobs/*' ! -name '*.incomplete' 2>/dev/null)" ]
}

@test "a model by repository: the path is printed, the file is the hub's, the layout is huggingface_hub's" {
    pull "$repo_name"
    succeeded
    [ "$output" = "$(pulled pair-llm-Q4_K_M.gguf)" ]
    cmp "$output" "$llm"
    [ "$(readlink "$output")" = "../../blobs/$(sha256 "$llm")" ]
    [ "$(find "$hub_folder/blobs" -type f | wc -l)" = 1 ]
    [[ $(cat "$hub_folder/refs/main") =~ ^[0-9a-f]{40}$ ]]
    cache_is_sound
}

@test "a quantisation, a file, hf: names, and what is there is not downloaded again" {
    pull "$repo_name:q8_0"
    succeeded
    [ "$output" = "$(pulled pair-slm-Q8_0.gguf)" ]
    pull "hf:$repo_name/pair-slm-Q8_0.gguf" "hf://$repo_name:Q8_0" "$repo_name@main:Q8_0"
    succeeded
    [ "${#lines[@]}" = 3 ] && [ "${lines[0]}" = "${lines[2]}" ]
    asked 'sum(x["server"] == "storage" for x in r) == 1'
}

@test "a revision: a branch, a tag and a pull request are kept as references, a commit needs none and no question" {
    pull "$repo_name@v1.0:Q8_0"
    succeeded
    pull "$repo_name@refs/pr/1:Q8_0"
    succeeded
    commit=$(cat "$hub_folder/refs/v1.0")
    [ "$(cat "$hub_folder/refs/refs/pr/1")" = "$commit" ] && [ ! -e "$hub_folder/refs/main" ]
    pull "$repo_name@$commit:Q8_0"
    succeeded
    [ "$output" = "$hub_folder/snapshots/$commit/pair-slm-Q8_0.gguf" ]
    asked "not any('revision/$commit' in x['path'] for x in r)"
    pull "$repo_name@0123456789012345678901234567890123456789"
    failed_with 6 'no revision 0123456789'
    pull "$repo_name@v2"
    failed_with 6 'tiny/pair-GGUF: the hub has no revision v2 in it'
}

@test "a model in several files: all parts, in their folder, and a missing part is said" {
    mkdir "$served/$repo_name/Q5_K_M"
    cp "$llm" "$served/$repo_name/Q5_K_M/big-Q5_K_M-00001-of-00002.gguf"
    cp "$slm" "$served/$repo_name/Q5_K_M/big-Q5_K_M-00002-of-00002.gguf"
    cp "$slm" "$served/$repo_name/half-Q6_K-00001-of-00002.gguf"
    faults '{"page": 2}'
    pull "$repo_name:Q5_K_M"
    succeeded
    [ "$output" = "$(pulled Q5_K_M/big-Q5_K_M-00001-of-00002.gguf)" ]
    cmp "${output/00001/00002}" "$slm"
    [ "$(readlink "$output")" = "../../../blobs/$(sha256 "$llm")" ]
    asked 'sum("cursor" in x["path"] for x in r) == 2'
    pull "hf:$repo_name/Q5_K_M/big-Q5_K_M-00002-of-00002.gguf"
    succeeded
    [[ $output == *00001-of-00002.gguf ]]
    pull "$repo_name:Q6_K"
    failed_with 4 'part 2 of 2 of half-Q6_K-00001-of-00002.gguf is missing'
    cache_is_sound
}

@test "a small file that is no LFS file is checked by Git's hash" {
    head -c 4000 "$llm" >"$served/$repo_name/small-Q2_K.gguf"
    pull "$repo_name:Q2_K"
    succeeded
    oid=$(basename "$(readlink "$output")")
    [ "$oid" = "$(git hash-object "$output")" ]
}

@test "a repository that moved is followed on the same host" {
    faults '{"moved": {"old/pair-GGUF": "tiny/pair-GGUF"}, "token": "hf_sesame"}'
    HF_TOKEN=hf_sesame pull old/pair-GGUF:Q8_0
    succeeded
    cmp "$output" "$slm"
}

@test "a cut download resumes within a pull, and with the next one" {
    faults '{"cut": 100000, "cuts": 2}'
    pull -v "$repo_name:Q4_K_M"
    [ "$status" = 0 ]
    [ "${#stderr_lines[@]}" = 1 ] && [[ $stderr == *"pair-llm-Q4_K_M.gguf: the connection broke; the download resumes" ]]
    cmp "$output" "$llm"
    asked '[x["range"] for x in r if x["server"] == "storage"] == [None, "bytes=100000-", "bytes=200000-"]'
    cache_is_sound
}

@test "a download that always breaks at once: given up after five attempts, and nothing is in place" {
    faults '{"cut": 0}'
    pull "$repo_name:Q8_0"
    failed_with 6 '127.0.0.1: .*; pull again when the network is there, it resumes'
    nothing_in_place
    asked 'sum(x["server"] == "storage" for x in r) == 5'
}

@test "a server that falls silent: asked again with what came in hand, and given up when nothing comes" {
    faults '{"hold": 1000000}'
    HF_HUB_DOWNLOAD_TIMEOUT=1 pull -v "$repo_name:Q8_0"
    [ "$status" = 0 ] && [[ $stderr == *"the connection broke; the download resumes"* ]]
    cmp "$output" "$slm"
    rm -r "$hub_folder"
    faults '{"hold": 0}'
    HF_HUB_DOWNLOAD_TIMEOUT=1 pull "$repo_name:Q8_0"
    failed_with 6 'nothing came in time .*; pull again later, it resumes'
    nothing_in_place
    faults '{}'
    pull "$repo_name:Q8_0"
    succeeded
    cmp "$output" "$slm"
    HF_HUB_DOWNLOAD_TIMEOUT=soon pull "$repo_name:Q8_0"
    failed_with 2 'HF_HUB_DOWNLOAD_TIMEOUT: not a whole number'
}

@test "the next pull begins where the last one was, and hashes what was there" {
    size=$(stat -c %s "$slm")
    faults '{"storage": {"status": 404}}'
    pull "$repo_name:Q8_0"
    failed_with 6 'HTTP 404'
    head -c 123456 "$slm" >"$hub_folder/blobs/$(sha256 "$slm").incomplete"
    faults '{}'
    pull "$repo_name:Q8_0"
    succeeded
    asked 'r[-1]["range"] == "bytes=123456-"'
    cmp "$output" "$slm"
    # a whole one that only lacks its name needs no byte
    rm "$output"
    mv "$hub_folder/blobs/$(sha256 "$slm")" "$hub_folder/blobs/$(sha256 "$slm").incomplete"
    before=$(wc -l <"$requests")
    pull "$repo_name:Q8_0"
    succeeded
    asked "not any(x['server'] == 'storage' for x in r[$before:])"
    [ "$(stat -c %s "$hub_folder/blobs/$(sha256 "$slm")")" = "$size" ]
}

@test "a beginning that is another file's is found out by its hash, and the next pull gets the right one" {
    mkdir -p "$hub_folder/blobs"
    head -c 50000 /dev/zero >"$hub_folder/blobs/$(sha256 "$slm").incomplete"
    pull "$repo_name:Q8_0"
    failed_with 6 'pair-slm-Q8_0.gguf: the hash of what came is [0-9a-f]{16}…, the hub.s is '"$(sha256 "$slm" | cut -c 1-16)"
    nothing_in_place
    pull "$repo_name:Q8_0"
    succeeded
    cmp "$output" "$slm"
}

@test "a server without ranges: the file begins again" {
    mkdir -p "$hub_folder/blobs"
    head -c 50000 /dev/zero >"$hub_folder/blobs/$(sha256 "$slm").incomplete"
    faults '{"no_ranges": true}'
    pull "$repo_name:Q8_0"
    succeeded
    cmp "$output" "$slm"
    rm -r "$hub_folder"
    mkdir -p "$hub_folder/blobs"
    head -c 50000 "$slm" >"$hub_folder/blobs/$(sha256 "$slm").incomplete"
    faults '{"wrong_range": true}'
    pull "$repo_name:Q8_0"
    failed_with 6 'another part than it was asked for'
    nothing_in_place
}

@test "a wrong bit, too many bytes, a longer beginning: refused, and nothing is in place" {
    faults '{"damage": true}'
    pull "$repo_name:Q8_0"
    failed_with 6 'the hash of what came'
    nothing_in_place
    [ -z "$(ls "$hub_folder/blobs")" ]
    faults '{"more": 1}'
    pull "$repo_name:Q8_0"
    failed_with 6 'more comes than the [0-9]+ bytes that the hub announced'
    nothing_in_place
    cat "$slm" "$slm" >"$hub_folder/blobs/$(sha256 "$slm").incomplete"
    faults '{}'
    pull "$repo_name:Q8_0"
    succeeded
    cmp "$output" "$slm"
}

@test "a blob of another length is pulled again" {
    pull "$repo_name:Q8_0"
    truncate -s 1000 "$hub_folder/blobs/$(sha256 "$slm")"
    pull "$repo_name:Q8_0"
    succeeded
    cmp "$output" "$slm"
}

@test "401, 403, 404, 429, 503: one line each, exit code 6, nothing in place" {
    pull tiny/none
    failed_with 6 'tiny/none: the hub has no such repository \(HTTP 404\)'
    pull "hf:$repo_name/none.gguf"
    failed_with 4 'no GGUF file none.gguf in it; there is Q4_K_M, Q8_0'
    faults '{"token": "hf_sesame"}'
    pull "$repo_name"
    failed_with 6 'no such repository, or a private one \(HTTP 401\).*HF_TOKEN'
    HF_TOKEN=hf_other pull "$repo_name"
    failed_with 6 'the hub refuses the token \(HTTP 401\)'
    faults '{"gated": true}'
    pull "$repo_name"
    failed_with 6 "is gated \(HTTP 403\): accept its terms at $HF_ENDPOINT/tiny/pair-GGUF, then set HF_TOKEN"
    HF_TOKEN=hf_x pull "$repo_name"
    failed_with 6 "accept its terms at $HF_ENDPOINT/tiny/pair-GGUF with the account of the token"
    for where in api resolve storage; do
        faults '{"'"$where"'": {"status": 429, "headers": {"Retry-After": "37"}}}'
        pull "$repo_name"
        failed_with 6 'too many requests \(HTTP 429\); pull again in 37 s'
    done
    faults '{"api": {"status": 429}}'
    pull "$repo_name"
    failed_with 6 'too many requests \(HTTP 429\); pull again later'
    faults '{"api": {"status": 503}}'
    pull "$repo_name"
    failed_with 6 'the hub failed with HTTP status 503'
    faults '{"api": {"status": 200}}'
    pull "$repo_name"
    failed_with 6 'it is not JSON'
    python3 -c 'import json; print(json.dumps({"items": [{"type": "directory", "path": "x" * (9 << 20)}]}))' >"$state/faults.json"
    pull "$repo_name"
    failed_with 6 'it has more than 8 MiB'
    python3 -c 'import json; print(json.dumps({"items": [{"type": "file", "path": "%d.gguf" % i, "size": 1, "oid": "0" * 40} for i in range(10001)]}))' >"$state/faults.json"
    pull "$repo_name"
    failed_with 6 'it lists too many files'
    nothing_in_place
}

@test "the token goes to the hub and to no other host or port" {
    faults '{"token": "hf_sesame"}'
    HF_TOKEN=hf_sesame pull "$repo_name:Q8_0"
    succeeded
    asked 'all(x["authorization"] == "Bearer hf_sesame" for x in r if x["server"] == "hub") and len(r) == 4'
    asked '[x["authorization"] for x in r if x["server"] == "storage"] == [None]'
    # from the file, and from another one; spaces around it are not part of it
    rm -r "$hub_folder"
    printf 'hf_sesame\n' >"$HF_HOME/token"
    pull "$repo_name:Q8_0"
    succeeded
    printf ' hf_sesame \n' >"$BATS_TEST_TMPDIR/token"
    rm -r "$hub_folder" "$HF_HOME/token"
    HF_TOKEN_PATH=$BATS_TEST_TMPDIR/token pull "$repo_name:Q8_0"
    succeeded
    HF_TOKEN_PATH=$BATS_TEST_TMPDIR/token HF_HUB_DISABLE_IMPLICIT_TOKEN=1 pull "$repo_name"
    failed_with 6 'HTTP 401'
    HF_TOKEN=$'hf_\nX-Evil: 1' pull "$repo_name"
    failed_with 2 'HF_TOKEN: no token'
}

@test "a redirect leads to http and https only" {
    faults '{"redirect": "file:///etc/passwd"}'
    pull "$repo_name:Q8_0"
    failed_with 6 'redirects to what may not be followed'
    nothing_in_place
}

@test "TLS: the hub's certificate is checked, and what has begun with TLS ends with it" {
    stop_hub
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hub -addext subjectAltName=IP:127.0.0.1 \
        -keyout "$BATS_TEST_TMPDIR/key.pem" -out "$BATS_TEST_TMPDIR/cert.pem" 2>/dev/null
    rm -r "$state" "$served"
    start_hub "$BATS_TEST_TMPDIR/cert.pem" "$BATS_TEST_TMPDIR/key.pem"
    [[ $HF_ENDPOINT == https:* ]]
    pull "$repo_name:Q8_0"
    failed_with 6 'certificate'
    export SSL_CERT_FILE=$BATS_TEST_TMPDIR/cert.pem
    faults '{"redirect": "http://127.0.0.1:9/x"}'
    pull "$repo_name:Q8_0"
    failed_with 6 'redirects to what may not be followed'
    faults '{"next": "http://127.0.0.1:9/x"}'
    pull "$repo_name:Q8_0"
    failed_with 6 'names a page that may not be followed'
    faults '{}'
    pull "$repo_name:Q8_0"
    succeeded
    cmp "$output" "$slm"
}

@test "a list of files goes on at http and https only, and a pinned revision is that commit or nothing" {
    faults '{"next": "file:///etc/passwd"}'
    pull "$repo_name:Q8_0"
    failed_with 6 'names a page that may not be followed'
    faults '{"sha": "0123456789abcdef0123456789abcdef01234567"}'
    pull "$repo_name@fedcba9876543210fedcba9876543210fedcba98:Q8_0"
    failed_with 6 'another commit than the one that was asked for'
    nothing_in_place
}

@test "escape sequences in the hub's text reach no terminal, and paths stay in the cache" {
    faults '{"items": [{"type": "file", "path": "\u001b]0;x\u0007-Q4_K_M.gguf", "size": 5, "oid": "0123456789012345678901234567890123456789"},
        {"type": "file", "path": "../../../../evil-Q4_K_M.gguf", "size": 5, "oid": "0123456789012345678901234567890123456789"},
        {"type": "file", "path": "a\u009b1m-Q4_K_M.gguf", "size": 5, "oid": "0123456789012345678901234567890123456789"},
        {"type": "file", "path": "/evil-Q4_K_M.gguf", "size": 5, "oid": "0123456789012345678901234567890123456789"}]}'
    pull -v "$repo_name"
    succeeded
    [ "$output" = "$(pulled pair-llm-Q4_K_M.gguf)" ]
    pull "$repo_name:Q9"
    failed_with 4 'there is Q4_K_M, Q8_0'
    ! grep -q $'\x1b\|\x9b' <<<"$output$stderr"
    faults '{"api": {"status": 500, "headers": {"X-Error-Code": "\u001b[31m"}}}'
    pull "$repo_name"
    failed_with 6 'HTTP status 500'
    ! grep -q $'\x1b' <<<"$stderr"
    faults '{"items": [{"type": "file", "path": "x-Q4_K_M.gguf", "size": 5, "oid": "../../../evil", "lfs": {"oid": "../../evil", "size": 5}}]}'
    pull "$repo_name"
    failed_with 6 'a file has no size or no hash'
    [ -z "$(find "$BATS_TEST_TMPDIR" -name 'evil*')" ]
}

@test "no room: said before the first byte" {
    faults '{"size": 4000000000000000}'
    pull "$repo_name:Q8_0"
    failed_with 5 'MB free, 4000000000.0 MB needed; free some space, or set HF_HUB_CACHE'
    asked 'not any(x["server"] == "storage" or "resolve" in x["path"] for x in r)'
    [ ! -e "$cache" ]
}

@test "a disk that is full in the middle: one line, and the next pull resumes" {
    ulimit -S -f 512 # KiB
    pull "$repo_name:Q8_0"
    failed_with 5 'File too large; free some space and pull again \(it resumes\)'
    nothing_in_place
    [ "$(stat -c %s "$hub_folder"/blobs/*.incomplete)" = 524288 ]
    ulimit -S -f unlimited
    pull "$repo_name:Q8_0"
    succeeded
    asked 'r[-1]["range"] == "bytes=524288-"'
    cmp "$output" "$slm"
}

@test "a small disk: what is free is looked at" {
    [ "$(id -u)" = 0 ] || skip "only root mounts"
    mkdir "$BATS_TEST_TMPDIR/small"
    mount -t tmpfs -o size=64k none "$BATS_TEST_TMPDIR/small" 2>/dev/null || skip "nothing can be mounted here"
    HF_HUB_CACHE=$BATS_TEST_TMPDIR/small pull "$repo_name:Q8_0"
    left=$(find "$BATS_TEST_TMPDIR/small" -type f)
    umount "$BATS_TEST_TMPDIR/small"
    failed_with 5 'small: 0.1 MB free, [0-9.]+ MB needed'
    [ -z "$left" ]
}

@test "a cache that cannot be written: one line; what is in it is found all the same" {
    pull "$repo_name:Q8_0"
    echo file >"$BATS_TEST_TMPDIR/file"
    HF_HUB_CACHE=$BATS_TEST_TMPDIR/file/hub pull "$repo_name:Q8_0"
    failed_with 5 'Not a directory; set HF_HUB_CACHE to a folder that can be written'
    if [ "$(id -u)" = 0 ]; then # whom modes do not stop
        mount --bind "$cache" "$cache" 2>/dev/null && mount -o remount,bind,ro "$cache" || skip "nothing can be mounted here"
    else
        chmod -R a-w "$cache"
    fi
    run --separate-stderr costeer pull "$repo_name:Q8_0"
    there=$status
    pull "$repo_name:Q4_K_M"
    if [ "$(id -u)" = 0 ]; then umount "$cache"; else chmod -R u+w "$cache"; fi
    [ "$there" = 0 ]
    failed_with 5 '(Read-only file system|Permission denied); set HF_HUB_CACHE'
}

@test "two pulls at once: one downloads, the other waits and finds it" {
    faults '{"hold": 100000}'
    "$COSTEER" pull "$repo_name:Q8_0" >"$BATS_TEST_TMPDIR/a" 2>&1 3>&- 9>&- &
    first=$!
    wait_for test -s "$hub_folder/blobs/$(sha256 "$slm").incomplete"
    "$COSTEER" pull -v "$repo_name:Q8_0" >"$BATS_TEST_TMPDIR/b" 2>"$BATS_TEST_TMPDIR/b.err" 3>&- 9>&- &
    second=$!
    wait_for grep -q 'pair-slm-Q8_0.gguf: another program is pulling this file; waiting for it' "$BATS_TEST_TMPDIR/b.err"
    touch "$state/go"
    wait "$first"
    wait "$second"
    cmp "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
    asked 'sum(x["server"] == "storage" for x in r) == 1'
    cache_is_sound
}

@test "Ctrl-C: exit code 130, what came stays for the next pull; also while it waits for another" {
    faults '{"hold": 100000}'
    # a shell's background job ignores SIGINT; this one does not
    python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$COSTEER" pull "$repo_name:Q8_0" >/dev/null 2>"$BATS_TEST_TMPDIR/err" 3>&- 9>&- &
    first=$!
    part=$hub_folder/blobs/$(sha256 "$slm").incomplete
    wait_for eval '[ "$(stat -c %s "$part")" = 100000 ]'
    "$COSTEER" pull -v "$repo_name:Q8_0" >/dev/null 2>"$BATS_TEST_TMPDIR/err2" 3>&- 9>&- &
    second=$!
    wait_for grep -q waiting "$BATS_TEST_TMPDIR/err2"
    kill -TERM "$second"
    code=0; wait "$second" || code=$?
    [ "$code" = 143 ]
    kill -INT "$first"
    code=0; wait "$first" || code=$?
    [ "$code" = 130 ] && [ ! -s "$BATS_TEST_TMPDIR/err" ]
    nothing_in_place
    faults '{}'
    pull "$repo_name:Q8_0"
    succeeded
    asked 'r[-1]["range"] == "bytes=100000-"'
    cmp "$output" "$slm"
}

@test "SIGKILL in the middle: the next pull resumes, and no lock is left" {
    faults '{"hold": 100000}'
    "$COSTEER" pull "$repo_name:Q8_0" >/dev/null 2>&1 3>&- 9>&- &
    first=$!
    wait_for eval '[ "$(stat -c %s "$hub_folder"/blobs/*.incomplete)" = 100000 ]'
    kill -KILL "$first"
    wait "$first" || true
    faults '{}'
    pull "$repo_name:Q8_0"
    succeeded
    asked 'r[-1]["range"] == "bytes=100000-"'
}

@test "progress: lines with rate and time left with -v, none without, one line on a terminal" {
    faults '{"hold": 1, "pace_ms": 100}'
    touch "$state/go"
    pull -v "$repo_name:Q8_0"
    [ "$status" = 0 ] && [ "${#stderr_lines[@]}" -ge 1 ]
    grep -qE '^costeer: pair-slm-Q8_0.gguf: [0-9.]+ of [0-9.]+ MB, [0-9.]+ MB/s, [0-9]+:[0-9]{2} left$' <<<"${stderr_lines[0]}"
    rm -r "$hub_folder"
    run python3 -c 'import os, pty, sys
out = b""
def read(fd):
    global out
    piece = os.read(fd, 4096); out += piece; return piece
code = pty.spawn(sys.argv[1:], read)
sys.exit(os.waitstatus_to_exitcode(code))' "$COSTEER" pull "$repo_name:Q8_0" </dev/null
    [ "$status" = 0 ]
    [[ $output == *$'\r\x1b[K'"pair-slm-Q8_0.gguf: "*" left"*$'\r\x1b[K'"$hub_folder/"* ]]
}

@test "offline: what is there is found, and nobody is asked" {
    pull "$repo_name:Q8_0"
    before=$(wc -l <"$requests")
    for value in 1 ON yes True; do
        HF_HUB_OFFLINE=$value pull "$repo_name:Q8_0"
        succeeded
    done
    HF_HUB_OFFLINE=1 pull "$repo_name:Q4_K_M"
    failed_with 4 'not in the cache .*HF_HUB_OFFLINE is set'
    [ "$(wc -l <"$requests")" = "$before" ]
}

@test "where the cache is: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME, in this order; MODEL_ENDPOINT before HF_ENDPOINT" {
    there() { [[ $output == "$1/models--tiny--pair-GGUF/snapshots/"* ]] && [ -e "$output" ]; }
    cd "$BATS_TEST_TMPDIR"
    export XDG_CACHE_HOME=$PWD/xdg HF_HUB_CACHE=$PWD/hubcache/ HOME=$PWD/home
    pull "$repo_name:Q8_0"
    there "$PWD/hubcache"
    HF_HUB_CACHE='~/x' pull "$repo_name:Q8_0"
    there "$HOME/x"
    unset HF_HUB_CACHE
    pull "$repo_name:Q8_0"
    there "$HF_HOME/hub"
    unset HF_HOME
    pull "$repo_name:Q8_0"
    there "$XDG_CACHE_HOME/huggingface/hub"
    unset XDG_CACHE_HOME
    MODEL_ENDPOINT=$HF_ENDPOINT/ HF_ENDPOINT=http://127.0.0.1:1 pull "$repo_name:Q8_0"
    there "$HOME/.cache/huggingface/hub"
    unset HOME
    pull "$repo_name:Q8_0"
    failed_with 2 'set HF_HUB_CACHE, HF_HOME or HOME'
}

@test "a proxy is used when the environment names one" {
    python3 "$helpers/http_proxy.py" "$BATS_TEST_TMPDIR/port" "$BATS_TEST_TMPDIR/proxy.log" <"$state/stop" 3>&- 9>&- &
    wait_for test -s "$BATS_TEST_TMPDIR/port"
    http_proxy=http://127.0.0.1:$(cat "$BATS_TEST_TMPDIR/port") pull "$repo_name"
    failed_with 6 'HTTP 403'
    grep -q "GET $HF_ENDPOINT/api/models/$repo_name/revision/main" "$BATS_TEST_TMPDIR/proxy.log"
    http_proxy=http://127.0.0.1:1 no_proxy=127.0.0.1 pull "$repo_name"
    succeeded
}

@test "names that are none, and arguments" {
    for name in pair tiny/pair/x ../x tiny/..pair tiny/pair:Q4:K tiny/pair@ hf:tiny/pair/../x.gguf 'tiny/pa ir' /tiny/pair; do
        pull "$name"
        failed_with 2 "no model's name"
    done
    pull qwen2.5-4gb
    failed_with 2 "qwen2.5-4gb: no model's name; did you mean qwen2.5-4gib\\?"
    pull "$repo_name" qwen2.5-0.5
    failed_with 2 'did you mean qwen2.5-0.5b\?'
    pull
    failed_with 2 'needs a name; --list shows'
    pull --list x
    failed_with 2 'takes no name'
    HF_ENDPOINT=ftp://x pull "$repo_name"
    failed_with 2 'no endpoint of a hub'
    [ ! -e "$requests" ]
}

@test "the recommended pairs: a table, JSON, and the same table in docs/models.md" {
    pull --list
    succeeded
    for gib in 4 8 16; do grep -qE "^qwen2.5-${gib}gib +$gib GiB " <<<"$output"; done
    costeer pull --list --json >"$BATS_TEST_TMPDIR/out"
    json "$BATS_TEST_TMPDIR/out" '[p["device_gib"] for p in d["pairs"]] == [4, 8, 16] and all(p["llm"]["bytes"] > p["slm"]["bytes"] for p in d["pairs"])'
    json "$BATS_TEST_TMPDIR/out" 'all(p[m]["pinned"] == ("@" in p[m]["hub_name"]) for p in d["pairs"] for m in ("llm", "slm"))'
    python3 - "$BATS_TEST_TMPDIR/out" "$repo/docs/models.md" <<'PY'
import json, sys
text = open(sys.argv[2], encoding="utf-8").read()
for p in json.load(open(sys.argv[1]))["pairs"]:
    row = next(line for line in text.splitlines() if line.startswith(f"| `{p['name']}` |") and "GiB" in line)
    cells = [c.strip() for c in row.strip("|").split("|")]
    size = (p["llm"]["bytes"] + p["slm"]["bytes"]) / 1e9
    assert cells == [f"`{p['name']}`", f"{p['device_gib']} GiB", f"`{p['llm']['name']}`", f"`{p['slm']['name']}`", f"{size:.1f} GB",
                     p["llm"]["licence"], p["why"]], cells
    for m in ("llm", "slm"):
        assert f"| `{p[m]['name']}` | `{p[m]['hub_name']}` |" in text, p[m]
PY
}

@test "a recommended pair: both models, by the pair's name and by their own" {
    serve_small_qwen
    pull qwen2.5-4gib # this hub's commits are others
    failed_with 6 'Qwen/Qwen2.5-1.5B-Instruct-GGUF: the hub has no revision [0-9a-f]{40} in it'
    pin_small_qwen
    pull qwen2.5-4gib
    succeeded
    cmp "${lines[0]}" "$llm"
    cmp "${lines[1]}" "$slm"
    pull --json qwen2.5-1.5b qwen2.5-4gib
    succeeded
    printf %s "$output" >"$BATS_TEST_TMPDIR/out"
    json "$BATS_TEST_TMPDIR/out" '[m["name"] for m in d["models"]] == ["qwen2.5-1.5b", "qwen2.5-4gib", "qwen2.5-4gib"]'
    mkdir -p "$served/Qwen/Qwen2.5-14B-Instruct-GGUF"
    cp "$llm" "$served/Qwen/Qwen2.5-14B-Instruct-GGUF/qwen2.5-14b-instruct-q4_k_m.gguf"
    pull qwen2.5-14b
    succeeded
    [[ $output == "$cache/models--Qwen--Qwen2.5-14B-Instruct-GGUF/"* ]]
}
