# The README's own commands, as they are written there, with small models under the names of large ones: each succeeds and warns of
# nothing. A host that is only an example cannot be asked; that command must fail for this reason and no other.
load helpers/common
load helpers/hub

setup_file() {
    export folder=$BATS_FILE_TMPDIR/clone
    mkdir -p "$folder/build"
    cd "$folder"
    ln -s "$COSTEER" build/costeer
    local name
    for name in Qwen2.5-7B-Instruct-Q4_0 big; do ln -s "$COSTEER_MODELS_DIR/costeer-llm.gguf" "$name.gguf"; done
    for name in Qwen2.5-0.5B-Instruct-Q4_0 small judge; do ln -s "$COSTEER_MODELS_DIR/costeer-slm.gguf" "$name.gguf"; done
    ln -s "$COSTEER_MODELS_DIR/costeer-slm-other.gguf" Llama-3.2-1B-Instruct-Q4_0.gguf
    printf 'name: Soraya\ncity: Gothenburg\n' >notes.md
    printf 'Write a short bio.\n' >query.txt
    (umask 077 && printf 'a-key-of-an-engine\n' >key)
    printf '{"id": %d, "query": "Write a short bio.", "context": "My name is Soraya.", "output": "I am Soraya."}\n' 1 2 >rows.jsonl
    printf '{"id": %d, "input": "Write a short bio.", "personalized_input": "My name is Soraya. Write a short bio.", "output": "I am Soraya."}\n' \
        1 2 >cogenesis.jsonl
    "$helpers/readme.py" "$repo/README.md" >commands
    start_hub
    serve_small_qwen
    pin_small_qwen
}

teardown_file() { stop_hub; }

teardown() { stop_node; }

# Run a command of the README in the folder; what it prints is in out and err.
as_written() {
    (cd "$folder" && PATH=$folder/build:$PATH bash -c "$1") </dev/null >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&-
}

# The command that serves is left running; later ones go to its address.
serve() {
    local out=$BATS_TEST_TMPDIR/node.out
    node_err=$BATS_TEST_TMPDIR/node.err
    (cd "$folder" && PATH=$folder/build:$PATH exec bash -c "exec ${1/0.0.0.0:8790/127.0.0.1:0}") >"$out" 2>"$node_err" 3>&- &
    node_pid=$!
    for _ in $(seq 600); do
        port=$(sed -nE 's/.*127\.0\.0\.1:([0-9]+).*/\1/p' "$out" | head -n 1)
        if [ -n "$port" ] || ! kill -0 "$node_pid" 2>/dev/null; then break; fi
        sleep 0.1
    done
    [ -n "$port" ] || { cat "$node_err" >&2; return 1; }
}

@test "each command succeeds without a warning" {
    local line status node_err=
    [ "$(wc -l <"$folder/commands")" -ge 10 ]
    while read -r line; do
        echo "# $line"
        case $line in
            *'costeer node --model'*) serve "$line"; continue ;;
            *wss://big-machine:8790*) line=${line/big-machine:8790/127.0.0.1:$port} ;;
            *llm.example.org*) line=${line/llm.example.org/127.0.0.1:1} ;;
        esac
        status=0
        as_written "$line" || status=$?
        cat "$BATS_TEST_TMPDIR/err"
        case $line in
            *127.0.0.1:1\ *) [ "$status" -eq 6 ] && grep -q 'cannot be reached' "$BATS_TEST_TMPDIR/err" ;;
            *) [ "$status" -eq 0 ] && ! grep -qiE 'costeer: |warn' "$BATS_TEST_TMPDIR/err" ;;
        esac || return 1
    done <"$folder/commands"
    [ -n "$node_err" ] && [ ! -s "$node_err" ] || { cat "$node_err"; return 1; }
}
