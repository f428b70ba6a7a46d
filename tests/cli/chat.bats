# costeer chat: turns from a pipe and on a terminal, its commands, and what goes wrong in the middle of a conversation.
load helpers/common

first="Write a short bio of me."
second="Shorter, please."

setup_file() {
    find_long_answer "$first"
    export long_options="${long_answer[*]}"
}

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    err=$BATS_TEST_TMPDIR/err
    export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state
    history=$XDG_STATE_HOME/costeer/chat_history
    read -ra long_answer <<<"$long_options"
}

teardown() {
    exec 7>&-
    stop_node "${node_pid:-}"
    [ -z "${chat_pid:-}" ] || kill "$chat_pid" 2>/dev/null || true
}

# chat LINE… [-- OPTION…]: the lines as a script.
chat() {
    local lines=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        lines+=("$1")
        shift
    done
    printf '%s\n' "${lines[@]}" | costeer chat "${@:2}"
}


# ---- turns -----------------------------------------------------------------------------------------------------------

@test "the first answer is generate's, and the next goes on from it" {
    costeer generate --context "$notes" "$first" >"$out"
    run --separate-stderr chat "$first" "$second" "/save $BATS_TEST_TMPDIR/said.json" -- --context "$notes" --max-tokens 100
    succeeded
    diff "$out" <(printf '%s\n' "${lines[0]}")
    json "$BATS_TEST_TMPDIR/said.json" '[m["role"] for m in d] == ["user", "assistant"] * 2 and d[0]["content"] == "Write a short bio of me."'
    ANSWER=${lines[0]} json "$BATS_TEST_TMPDIR/said.json" 'd[1]["content"] == __import__("os").environ["ANSWER"]'
    json "$BATS_TEST_TMPDIR/said.json" '["tokens" in m for m in d] == [False, True] * 2 and len(d[1]["tokens"]["vocab"]) == 64'
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
json.dump(d[:3], open(sys.argv[2], "w"))' "$BATS_TEST_TMPDIR/said.json" "$BATS_TEST_TMPDIR/asked.json"
    costeer generate --context "$notes" --messages "$BATS_TEST_TMPDIR/asked.json" --max-tokens 100 --json >"$out"
    SAID=$BATS_TEST_TMPDIR/said.json json "$out" 'd["text"] == (m := json.load(open(__import__("os").environ["SAID"]))[3])["content"] and d["tokens"][:len(m["tokens"]["ids"])] == m["tokens"]["ids"] and len(d["tokens"]) <= len(m["tokens"]["ids"]) + 1'
    costeer chat --context "$notes" --messages "$BATS_TEST_TMPDIR/asked.json" --max-tokens 100 </dev/null | diff <(printf '%s\n' "${lines[1]}") -
}

@test "/save keeps the tokens of a conversation that it was given; another vocabulary takes the text" {
    chat "$first" "/save $BATS_TEST_TMPDIR/a" -- --context "$notes" --max-tokens 20 >"$out"
    chat "$second" "/save $BATS_TEST_TMPDIR/b" -- --context "$notes" --max-tokens 20 --messages "$BATS_TEST_TMPDIR/a" >"$out"
    A=$BATS_TEST_TMPDIR/a json "$BATS_TEST_TMPDIR/b" 'd[:2] == json.load(open(__import__("os").environ["A"])) and len(d) == 4 and "tokens" in d[3]'
    head -n 2 "$BATS_TEST_TMPDIR/b" | tail -n 1 | grep -q '^  {"role": "user", "content": "Write a short bio of me."},$'
    sed -E 's/"vocab": "[0-9a-f]{6}/"vocab": "000000/; s/"ids": \[[0-9]+/"ids": [1/' "$BATS_TEST_TMPDIR/a" >"$BATS_TEST_TMPDIR/foreign"
    sed -E 's/, "tokens": \{[^}]*\}//' "$BATS_TEST_TMPDIR/a" >"$BATS_TEST_TMPDIR/text"
    for file in foreign text; do
        sed -i '$ d' "$BATS_TEST_TMPDIR/$file"
        echo ', {"role": "user", "content": "And?"}]' >>"$BATS_TEST_TMPDIR/$file"
        costeer prompt --messages "$BATS_TEST_TMPDIR/$file" --json >"$BATS_TEST_TMPDIR/$file.prompt"
    done
    diff "$BATS_TEST_TMPDIR/foreign.prompt" "$BATS_TEST_TMPDIR/text.prompt"
}

@test "tokens of a saved conversation that were changed are named" {
    chat "$first" "/save $BATS_TEST_TMPDIR/a" -- --context "$notes" --max-tokens 20 >"$out"
    sed -i '$ d' "$BATS_TEST_TMPDIR/a"
    echo ', {"role": "user", "content": "And?"}]' >>"$BATS_TEST_TMPDIR/a"
    costeer generate --messages "$BATS_TEST_TMPDIR/a" --max-tokens 4
    changed() { # SED PATTERN
        sed -E "$1" "$BATS_TEST_TMPDIR/a" >"$BATS_TEST_TMPDIR/changed"
        ! cmp -s "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/changed"
        for command in "generate --max-tokens 4" prompt "score --text $BATS_TEST_TMPDIR/out"; do
            # shellcheck disable=SC2086 # words
            run --separate-stderr costeer $command --messages "$BATS_TEST_TMPDIR/changed"
            failed_with 3 "$2"
        done
    }
    changed 's/"ids": \[[0-9]+/"ids": [1/' 'changed: message 2: its tokens do not spell its content; leave its tokens out'
    changed 's/"ids": \[[0-9]+/"ids": [999999999/' 'changed: message 2: its tokens do not spell'
    changed 's/"ids": \[[0-9]+, [0-9]+/"ids": [0/' 'changed: message 2: its tokens do not spell'
    changed 's/"assistant", "content": "/&x/' 'changed: message 2: its tokens do not spell'
    changed 's/"ids": \[/&-1, /' 'changed: message 2 has tokens of which an id is no whole number'
    changed 's/"ids": \[/&0.5, /' 'changed: message 2 has tokens of which an id'
    changed 's/"ids": \[/&"a", /' 'changed: message 2 has tokens of which an id'
    changed 's/"ids": \[/&4294967296, /' 'changed: message 2 has tokens of which an id'
    changed 's/"ids": \[[^]]*/"ids": [/' 'changed: message 2 has tokens that are no object with vocab'
    changed 's/"vocab": "../&x/' 'changed: message 2 has tokens that are no object with vocab'
    changed 's/"ids"/"id"/' 'changed: message 2 has tokens that are no object with vocab'
    changed 's/"tokens": \{/"tokens": 5, "other": {/' 'changed: message 2 has tokens that are no object'
    changed 's/"role": "assistant"/"role": "user"/' 'changed: message 2 has tokens, which only the assistant'
}

# How many prompt tokens a chat reads: the sum, as LLM and SLM may be told of together or one after the other.
count_read() {
    run --separate-stderr chat "$@" -- --context "$notes" --max-tokens 20 -v
    [ "$status" -eq 0 ]
    sed -nE 's/.*prompts: read ([0-9]+) tokens.*/\1/p' <<<"$stderr" | awk '{ n += $1 } END { print n }' >"$BATS_TEST_TMPDIR/n"
}

@test "a later turn reads its own tokens only" {
    long=$(printf 'We met in spring. %.0s' {1..60})
    count_read "$long $first"
    one=$(<"$BATS_TEST_TMPDIR/n")
    count_read "$long $first" "$second" "$second"
    [ "$one" -gt 400 ] && [ $(($(<"$BATS_TEST_TMPDIR/n") - one)) -gt 20 ] && [ $(($(<"$BATS_TEST_TMPDIR/n") - one)) -lt 240 ]
}

@test "a conversation from a file goes on, and a last question is asked at once" {
    printf '[{"role":"user","content":"Hi."},{"role":"assistant","content":"Hello there."},{"role":"user","content":"%s"}]' "$first" >"$BATS_TEST_TMPDIR/m"
    costeer generate --context "$notes" --messages "$BATS_TEST_TMPDIR/m" >"$out"
    costeer chat --context "$notes" --messages "$BATS_TEST_TMPDIR/m" </dev/null | diff "$out" -
    printf '[{"role":"user","content":"Hi."},{"role":"assistant","content":"Hello there."}]' >"$BATS_TEST_TMPDIR/answered"
    chat "$first" -- --context "$notes" --messages "$BATS_TEST_TMPDIR/answered" | diff "$out" -
}

@test "a line goes on after a backslash, blank ones are passed over, // begins a question with a slash" {
    printf '[{"role":"user","content":"%s\\nNow."}]' "$first" >"$BATS_TEST_TMPDIR/m"
    costeer generate --messages "$BATS_TEST_TMPDIR/m" >"$out"
    printf '\n  \n%s\\\nNow.' "$first" | costeer chat | diff "$out" -
    costeer generate "/etc is a folder." >"$out"
    chat "//etc is a folder." | diff "$out" -
}

# ---- commands --------------------------------------------------------------------------------------------------------

@test "/why names every token that steering changed" {
    costeer generate --context "$notes" --json --trace "$BATS_TEST_TMPDIR/trace" "$first" >"$out"
    run --separate-stderr chat "$first" /why -- --context "$notes"
    succeeded
    n=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["n_steered"])' "$out")
    [ "$n" -gt 3 ]
    [[ ${lines[1]} == "$n of "*" tokens are not what the LLM alone would have taken:" ]]
    [ "$(grep -c -- ' -> ' <<<"$output")" -eq "$n" ]
    [ "${#lines[@]}" -eq $((n + 2)) ]
    run --separate-stderr chat /why -- --context "$notes"
    failed_with 2 '/why: nothing was answered yet'
}

@test "/strength, /compare: the LLM alone, and nothing of it stays in the conversation" {
    costeer generate "$first" >"$out"
    chat "/strength 0" "$first" -- --context "$notes" | tail -n +2 | diff "$out" -
    run --separate-stderr chat "$first" /compare /strength "/strength 2x" "/save $BATS_TEST_TMPDIR/said" -- --context "$notes" --strength 1.25
    failed_with 2 '/strength: "2x" is no number'
    [ "${lines[1]}" = "$(cat "$out")" ] && [ "${lines[0]}" != "${lines[1]}" ] && [ "${lines[2]}" = "strength 1.25" ]
    json "$BATS_TEST_TMPDIR/said" 'len(d) == 2'
}

@test "/context lists, replaces, adds and takes away; one that cannot be read changes nothing" {
    printf 'name: Tamiko\ncity: Ravenbrook\n' >"$BATS_TEST_TMPDIR/other"
    : >"$BATS_TEST_TMPDIR/empty"
    costeer generate "$first" >"$BATS_TEST_TMPDIR/alone"
    costeer generate --context "$notes" "$first" >"$BATS_TEST_TMPDIR/with"
    costeer generate --context "$BATS_TEST_TMPDIR/other:0.5" "$first" >"$BATS_TEST_TMPDIR/half"
    costeer generate --context "$notes" --context "$BATS_TEST_TMPDIR/other" "$first" >"$BATS_TEST_TMPDIR/both"
    chat "$first" /new "/context $notes" "$first" /new "/context $BATS_TEST_TMPDIR/nowhere" "$first" /new "/context $BATS_TEST_TMPDIR/empty" \
        "/context $BATS_TEST_TMPDIR/other:0.5" "$first" /new "/context off" "$first" /new "/context $notes" "/context +$BATS_TEST_TMPDIR/other" \
        "$first" /context >"$out" 2>"$err" || true
    cat "$BATS_TEST_TMPDIR/alone" <(printf '%s  53 bytes, weight 1\n' "$notes") "$BATS_TEST_TMPDIR/with" "$BATS_TEST_TMPDIR/with" \
        <(printf '%s/other  29 bytes, weight 0.5\n' "$BATS_TEST_TMPDIR") "$BATS_TEST_TMPDIR/half" <(echo "no context; the LLM answers alone") \
        "$BATS_TEST_TMPDIR/alone" <(printf '%s  53 bytes, weight 1\n' "$notes" "$notes" && printf '%s/other  29 bytes, weight 1\n' "$BATS_TEST_TMPDIR") \
        "$BATS_TEST_TMPDIR/both" <(printf '%s  53 bytes, weight 1\n%s/other  29 bytes, weight 1\n' "$notes" "$BATS_TEST_TMPDIR") | diff - "$out"
    [ "$(wc -l <"$err")" -eq 2 ]
    grep -q 'nowhere: ' "$err" && grep -q 'empty: the context is empty' "$err"
}

@test "/context in the middle reads only the expert again, and the LLM learns nothing of it" {
    printf 'name: Tamiko\ncity: Ravenbrook\n' >"$BATS_TEST_TMPDIR/other"
    long=$(printf 'We met in spring. %.0s' {1..60})
    count_read "$long $first"
    one=$(<"$BATS_TEST_TMPDIR/n")
    count_read "$long $first" "/context $BATS_TEST_TMPDIR/other" "$second"
    [ "$one" -gt 400 ]
    [ $(($(<"$BATS_TEST_TMPDIR/n") - one)) -lt $((one * 2 / 3)) ] # LLM, amateur and expert read the question; then the expert alone
}

@test "/save writes for its owner only, over nothing but itself" {
    touch "$BATS_TEST_TMPDIR/there"
    run --separate-stderr chat "/save $BATS_TEST_TMPDIR/early" "$first" "/save $BATS_TEST_TMPDIR/there" -- --context "$notes"
    [ "$status" -eq 2 ] && [ "${#stderr_lines[@]}" -eq 2 ] && [ ! -e "$BATS_TEST_TMPDIR/early" ] && [ ! -s "$BATS_TEST_TMPDIR/there" ]
    [[ ${stderr_lines[1]} == *"is there already; name another file" ]]
    run --separate-stderr chat "$first" "/save $BATS_TEST_TMPDIR/a" "$second" "/save $BATS_TEST_TMPDIR/a" "/save $BATS_TEST_TMPDIR/no/b" -- \
        --context "$notes" --max-tokens 8
    failed_with 5 'no/b: '
    [ "$(stat -c %a "$BATS_TEST_TMPDIR/a")" = 600 ]
    json "$BATS_TEST_TMPDIR/a" 'len(d) == 4'
}

@test "an unknown command is one line, and the rest is done" {
    costeer generate "$first" >"$out"
    run --separate-stderr chat /contexts "$first" -- --max-tokens 256
    failed_with 2 'no such command; did you mean /context\?'
    [ "$output" = "$(cat "$out")" ]
    run --separate-stderr chat /etc/passwd
    failed_with 2 'no such command; see /help'
    run --separate-stderr chat '/why not'
    failed_with 2 '/why takes nothing'
    run --separate-stderr chat /help
    succeeded
    for name in context strength why compare disclosed save new help quit; do [[ $output == */$name* ]]; done
}

@test "/quit ends it; what follows is not read" {
    run --separate-stderr chat /quit "$first"
    succeeded
    [ -z "$output" ]
}

# ---- what goes wrong -------------------------------------------------------------------------------------------------

@test "a line that is no text is named, and the next one is read" {
    costeer generate "$first" >"$out"
    for bad in 'a\0b' 'caf\xe9'; do
        run --separate-stderr bash -c "printf '$bad\n$first\n' | '$COSTEER' chat"
        failed_with 3 'NUL|UTF-8'
        [ "$output" = "$(cat "$out")" ]
    done
}

@test "options of a single answer, and a query, are refused" {
    run --separate-stderr costeer chat "$first" </dev/null
    failed_with 2 'reads questions from standard input'
    run --separate-stderr costeer chat --json </dev/null
    failed_with 2 'json'
    run --separate-stderr costeer chat --context - </dev/null
    failed_with 2 'standard input can be read once'
}

@test "a conversation that no longer fits stays, and /new makes room" {
    long=$(printf 'We met in spring. %.0s' {1..25})
    costeer generate --max-tokens 20 "$second" >"$out"
    run --separate-stderr chat "$first" "$long" "/save $BATS_TEST_TMPDIR/a" /new "$second" -- --ctx-size 128 --max-tokens 20
    failed_with 3 'do not fit the 128.*; /new begins a new conversation'
    json "$BATS_TEST_TMPDIR/a" 'len(d) == 2'
    [ "${lines[2]}" = "$(cat "$out")" ]
}

@test "a context that does not fit is named, and the one before it stays" {
    printf 'We met in spring. %.0s' {1..60} >"$BATS_TEST_TMPDIR/big"
    costeer generate --context "$notes" --max-tokens 20 --ctx-size 160 "$first" >"$out"
    run --separate-stderr chat "/context $BATS_TEST_TMPDIR/big" "$first" -- --context "$notes" --ctx-size 160 --max-tokens 20
    failed_with 3 'big: .*do not fit the 160'
    [ "$output" = "$(cat "$out")" ]
}

# ---- a cloud ---------------------------------------------------------------------------------------------------------

wait_for_lines() {
    for _ in $(seq 6000); do
        [ "$(wc -l <"$1")" -ge "$2" ] && return
        kill -0 "$chat_pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "no line $2 in $1:"
    cat "$1" "$err"
    return 1
} >&2

@test "through a node: the same answers, and /disclosed shows what it was sent" {
    start_node
    chat "$first" "$second" -- --context "$notes" --max-tokens 60 >"$out"
    run --separate-stderr chat "$first" "$second" /disclosed /compare -- --context "$notes" --max-tokens 60 --cloud "$node_url" --audit "$BATS_TEST_TMPDIR/sent"
    succeeded
    [ "${lines[0]}" = "$(head -n 1 "$out")" ]
    [ "${lines[2]}" = "to $node_url: the questions, the answers' tokens, and when each came" ]
    [[ $output == *"phrases of it (16 bytes, or three words) sent in the answer, 0 anywhere else"* ]] || [[ $output == *"no phrase of it"* ]]
    costeer audit --context "$notes" "$BATS_TEST_TMPDIR/sent"
    json_lines "$BATS_TEST_TMPDIR/sent" 'sum(x["kind"] == "connect" for x in d) == 1 and sum(x["kind"] == "open" for x in d) == 3'
    json_lines "$BATS_TEST_TMPDIR/sent" '[x["roles"] for x in d if x["kind"] == "open"] == [["user"], ["user", "assistant", "user"], ["user", "assistant", "user"]]'
    run --separate-stderr chat "$first" /disclosed -- --max-tokens 4
    succeeded
    [ "${lines[1]}" = "nothing: the LLM runs on this machine" ]
}

@test "through a node: an answer that is sent again is no violation, and a context that was changed is still looked for" {
    start_node
    for more in "" "--template chatml"; do # messages, tokens
        # shellcheck disable=SC2086 # two words, or none
        chat "$first" "$second" -- --context "$notes" --max-tokens 60 --cloud "$node_url" --audit "$BATS_TEST_TMPDIR/sent" $more >"$out"
        head -n 1 "$out" | cut -c 1-24 >"$BATS_TEST_TMPDIR/said"
        run --separate-stderr costeer audit --context "$BATS_TEST_TMPDIR/said" "$BATS_TEST_TMPDIR/sent"
        succeeded
        [[ $output == *"  earlier    $(cat "$BATS_TEST_TMPDIR/said")"* ]]
        echo "$second And more." >"$BATS_TEST_TMPDIR/said"
        run --separate-stderr costeer audit --context "$BATS_TEST_TMPDIR/said" "$BATS_TEST_TMPDIR/sent"
        failed_with 3 '1 run of the context stands outside the answer'
    done
    echo "the phrase of another context" >"$BATS_TEST_TMPDIR/other"
    run --separate-stderr chat "Repeat: the phrase of another context." "/context $notes" /disclosed -- --context "$BATS_TEST_TMPDIR/other" --max-tokens 8 --cloud "$node_url"
    succeeded
    [[ $output == *"  request    the phrase of another context"* ]]
}

@test "a cloud that fails in the third turn is one line; the conversation stays and goes on with another node" {
    start_node
    port=${node_url##*:}
    mkfifo "$BATS_TEST_TMPDIR/in"
    costeer chat --context "$notes" --max-tokens 20 --cloud "$node_url" --timeout-ms 1000 <"$BATS_TEST_TMPDIR/in" >"$out" 2>"$err" &
    chat_pid=$!
    exec 7>"$BATS_TEST_TMPDIR/in"
    printf '%s\n%s\n' "$first" "$second" >&7
    wait_for_lines "$out" 2
    stop_node "$node_pid"
    node_pid=
    printf 'And now?\n' >&7
    wait_for_lines "$err" 1
    "$COSTEER" node --listen "127.0.0.1:$port" >"$BATS_TEST_TMPDIR/node" 2>&1 3>&- 7>&- &
    node_pid=$!
    for _ in $(seq 6000); do grep -q "$port" "$BATS_TEST_TMPDIR/node" && break; sleep 0.1; done
    printf 'Once more.\n/save %s\n/quit\n' "$BATS_TEST_TMPDIR/said" >&7
    code=0
    wait "$chat_pid" || code=$?
    chat_pid=
    [ "$code" -eq 6 ]
    [ "$(wc -l <"$err")" -eq 1 ]
    json "$BATS_TEST_TMPDIR/said" '[m["content"] for m in d if m["role"] == "user"] == ["Write a short bio of me.", "Shorter, please.", "Once more."]'
}

# ---- a terminal ------------------------------------------------------------------------------------------------------

@test "on a terminal: lines are edited, Ctrl-C drops one, Ctrl-D ends; the history is its owner's" {
    run "$helpers/drive.py" talk 'wait:> ' 'type:/strenth 0.5' 'type:\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D' 'type:g' 'type:\n' 'wait:strength 0.5' \
        'wait:> ' 'type:/save x' 'wait:/save x' 'type:\x03' 'wait:> ' 'type:\x1b[A' 'wait:/strength 0.5' 'type:\n' 'wait:strength 0.5' 'wait:> ' \
        'type:\x04' -- "$COSTEER" chat --context "$notes"
    [ "$status" -eq 0 ]
    [ "$(stat -c %a "$history")" = 600 ] && [ "$(stat -c %a "$(dirname "$history")")" = 700 ]
    grep -q strength "$history"
    run ! grep -q save "$history"
    run "$helpers/drive.py" talk 'wait:> ' 'type:\x1b[A' 'wait:/strength 0.5' 'type:\x03' 'wait:> ' 'type:/help\n' 'wait:/quit' 'wait:> ' 'type:\x04' -- \
        "$COSTEER" chat
    [ "$status" -eq 0 ]
    [ "$(tail -n 1 "$history")" = /help ]
}

@test "--no-history leaves nothing" {
    run "$helpers/drive.py" talk 'wait:> ' 'type:/help\n' 'wait:/quit' 'wait:> ' 'type:\x04' -- "$COSTEER" chat --no-history
    [ "$status" -eq 0 ] && [ ! -e "$XDG_STATE_HOME" ]
}

@test "a history that cannot be written is one line, and no failure" {
    touch "$XDG_STATE_HOME"
    run "$helpers/drive.py" talk 'wait:> ' 'type:/help\n' 'wait:/quit' 'wait:> ' 'type:\x04' -- "$COSTEER" chat
    [ "$status" -eq 0 ]
    [ "$(grep -c 'the history was not written' <<<"$output")" -eq 1 ]
}

@test "Ctrl-C stops the answer and not the program, as often as it comes" {
    run "$helpers/drive.py" talk 'wait:> ' "type:$first\\n" 'wait:me.' 'more:60' 'press:\x03' 'wait:> ' "type:$second\\n" 'wait:please.' 'more:60' 'press:\x03' \
        'wait:> ' "type:/save $BATS_TEST_TMPDIR/said\\n" 'wait:4 messages' 'wait:> ' 'type:\x04' -- "$COSTEER" chat --context "$notes" --strength 0.1 "${long_answer[@]}"
    [ "$status" -eq 0 ]
    json "$BATS_TEST_TMPDIR/said" 'len(d) == 4 and 0 < len(d[1]["content"]) < 3000'
}

@test "SIGTERM ends it with 143, and from a pipe SIGINT with 130" {
    mkfifo "$BATS_TEST_TMPDIR/in"
    for signal in TERM INT; do
        python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$COSTEER" chat --max-tokens 5 <"$BATS_TEST_TMPDIR/in" >"$out" 2>"$err" &
        chat_pid=$!
        exec 7>"$BATS_TEST_TMPDIR/in"
        printf '%s\n' "$first" >&7
        wait_for_lines "$out" 1
        kill -s "$signal" "$chat_pid"
        code=0
        wait "$chat_pid" || code=$?
        exec 7>&-
        [ "$code" -eq $((128 + $(kill -l "$signal"))) ] && [ ! -s "$err" ]
    done
    chat_pid=
}

@test "a reader that goes away ends it with 141" {
    run --separate-stderr bash -c "printf '$first\n$second\n' | '$helpers/drive.py' no-reader -- '$COSTEER' chat"
    [ "$status" -eq 0 ] || [ "$status" -eq 141 ]
}

@test "on a terminal: after Ctrl-Z and fg, and in a window of another size, the line is shown again and can be edited" {
    run "$helpers/drive.py" talk 'wait:> ' 'type:/strenth 0.5' 'wait:/strenth 0.5' suspend: 'wait:/strenth 0.5' columns:60 'wait:/strenth 0.5' \
        'type:\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D' 'type:g' 'type:\n' 'wait:strength 0.5' 'wait:> ' 'type:\x04' -- "$COSTEER" chat
    [ "$status" -eq 0 ]
}

@test "on a terminal: what is pasted in several lines is one message" {
    local -a save=("type:/save $BATS_TEST_TMPDIR/said\\n" 'wait:messages' 'wait:> ' 'type:\x04' -- "$COSTEER" chat --max-tokens 5)
    run "$helpers/drive.py" talk 'wait:> ' 'type:\x1b[200~Hello there,\rmy "name"\ris Ünal.\r\x1b[201~' 'wait:nal.' 'type: Bye\n' 'wait:> ' "${save[@]}"
    [ "$status" -eq 0 ]
    json "$BATS_TEST_TMPDIR/said" 'len(d) == 2 and d[0]["content"] == "Hello there,\nmy \"name\"\nis Ünal. Bye"'
    rm "$BATS_TEST_TMPDIR/said"
    # a paste that Ctrl-C drops, and one in the middle of a line
    run "$helpers/drive.py" talk 'wait:> ' 'type:\x1b[200~one\rtwo\x1b[201~' 'wait:two' 'type:\x03' 'wait:> ' 'type:ab' 'type:\x1b[D' 'type:\x1b[200~1\r2\x1b[201~' 'type:\n' \
        'wait:> ' "${save[@]}"
    [ "$status" -eq 0 ]
    json "$BATS_TEST_TMPDIR/said" 'd[0]["content"] == "a1\n2b"'
}
