# A hub of its own for each test or file (tests/support/hub.py), with the built-in pair as its files. Sourced after common.bash.

repo_name=tiny/pair-GGUF
hub_tmp=${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}
state=$hub_tmp/state
served=$hub_tmp/served
requests=$state/requests

# Begin with an empty cache and no variable of the person's own.
start_hub() {
    mkdir -p "$state" "$served/$repo_name"
    cp "$llm" "$served/$repo_name/pair-llm-Q4_K_M.gguf"
    cp "$slm" "$served/$repo_name/pair-slm-Q8_0.gguf"
    echo 'A pair.' >"$served/$repo_name/README.md"
    mkfifo "$state/stop"
    python3 "$repo/tests/support/hub.py" "$served" "$state" "$@" <"$state/stop" 3>&- &
    hub_pid=$!
    exec 9>"$state/stop"
    wait_for test -e "$state/endpoint"
    unset "${!HF_@}" "${!HUGGING@}" "${!TRANSFORMERS_@}" MODEL_ENDPOINT LLAMA_CACHE SSL_CERT_FILE http_proxy https_proxy all_proxy ALL_PROXY HTTPS_PROXY
    export HF_HUB_DOWNLOAD_TIMEOUT=3600 # only the test of it is about time
    HF_ENDPOINT=$(cat "$state/endpoint")
    export HF_ENDPOINT HF_HOME=$hub_tmp/hf
    cache=$HF_HOME/hub
    hub_folder=$cache/models--tiny--pair-GGUF
}

stop_hub() {
    exec 9>&-
    wait "$hub_pid"
}

# Ends a hang.
wait_for() {
    for _ in $(seq 6000); do
        ! "$@" 2>/dev/null || return 0
        sleep 0.1
    done
    echo "not after ten minutes: $*" >&2
    return 1
}

faults() { printf '%s' "$1" >"$state/faults.json"; }

# asked EXPRESSION: a Python expression over the requests `r` must be true.
asked() { python3 -c 'import json, sys
r = [json.loads(line) for line in open(sys.argv[1])]
assert eval(sys.argv[2]), r' "$requests" "$1"; }

sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

# The snapshot's path of a file that was pulled.
pulled() { echo "$hub_folder/snapshots/$(cat "$hub_folder/refs/main")/$1"; }

# No file has its name that is not the hub's: every blob is what its name says, every link leads to one.
cache_is_sound() {
    local blob
    for blob in "$hub_folder"/blobs/*; do
        [[ $blob == *.incomplete || $blob == *'*' || $(sha256 "$blob") == "${blob##*/}" ]] || { echo "$blob is something else" >&2; return 1; }
    done
    [ -z "$(find "$cache" -xtype l)" ] || { echo "a link leads nowhere" >&2; return 1; }
}

# The recommended pair of the README, at the commits that it is pinned to; small models under the names of large ones.
serve_small_qwen() {
    mkdir -p "$served/Qwen/Qwen2.5-1.5B-Instruct-GGUF" "$served/Qwen/Qwen2.5-0.5B-Instruct-GGUF"
    cp "$llm" "$served/Qwen/Qwen2.5-1.5B-Instruct-GGUF/qwen2.5-1.5b-instruct-q4_k_m.gguf"
    cp "$slm" "$served/Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf"
}
pin_small_qwen() {
    faults '{"commits": {"Qwen/Qwen2.5-1.5B-Instruct-GGUF": "91cad51170dc346986eccefdc2dd33a9da36ead9",
        "Qwen/Qwen2.5-0.5B-Instruct-GGUF": "9217f5db79a29953eb74d5343926648285ec7e67"}}'
}
