# Section 6 of the issue: one clear line and the documented exit code for everything that can be wrong with what goes in.
load helpers/common

setup() {
    write_notes
    bad=$BATS_TEST_TMPDIR/bad
    query="Plan my day."
}

# fails CODE PATTERN ARGUMENTS…: generate says one line.
fails() {
    local code=$1 pattern=$2
    shift 2
    run --separate-stderr costeer generate "$@" </dev/null
    failed_with "$code" "$pattern"
    [ -z "$output" ]
}

# ---- models ----

@test "a missing model is named" {
    fails 4 'none\.gguf' --llm none.gguf "$query"
    fails 4 'none\.gguf' --slm none.gguf --context "$notes" "$query"
    fails 4 . --llm "$BATS_TEST_TMPDIR" "$query"
    run --separate-stderr costeer model none.gguf
    failed_with 4 'none\.gguf'
}

@test "a folder without the built-in pair is named" {
    COSTEER_MODELS_DIR=$BATS_TEST_TMPDIR fails 4 'costeer-llm\.gguf.*COSTEER_MODELS_DIR' "$query"
}

@test "a truncated model is refused, wherever it was cut" {
    size=$(stat -c %s "$llm")
    for bytes in 0 3 20 1000 $((size / 2)) $((size - 1)); do
        head -c "$bytes" "$llm" >"$bad"
        fails 4 "$bad" --llm "$bad" "$query"
    done
}

@test "what is not GGUF is refused" {
    printf 'This is no model.\n%.0s' {1..100} >"$bad"
    fails 4 "$bad" --llm "$bad" "$query"
    fails 4 "$bad" --slm "$bad" --context "$notes" "$query"
    head -c 100000 /dev/urandom >"$bad"
    fails 4 "$bad" --llm "$bad" "$query"
    run --separate-stderr costeer model "$bad"
    failed_with 4 "$bad"
}

@test "a model that cannot generate text is refused" {
    "$helpers/gguf.py" architecture "$slm" "$bad" bert
    fails 4 "$bad" --llm "$bad" "$query"
    "$helpers/gguf.py" architecture "$slm" "$bad" nonsense
    fails 4 "$bad" --llm "$bad" "$query"
}

@test "models of two vocabularies where one is needed: the first token that differs is named" {
    "$helpers/gguf.py" token "$slm" "$bad" 700 zyzzyva
    fails 4 '700' --vocab same --slm "$bad" --context "$notes" "$query"
    run --separate-stderr costeer compare --vocab same --slm "$bad" --context "$notes" "$query"
    failed_with 4 '700'
}

@test "a model without a template says what to pass, and raw works" {
    "$helpers/gguf.py" no-template "$slm" "$bad"
    fails 4 'template' --llm "$bad" "$query"
    run --separate-stderr costeer generate --llm "$bad" --template raw --max-tokens 4 "$query"
    succeeded
}

@test "NaN from a model is a numeric error, not a token" {
    "$helpers/gguf.py" nan "$slm" "$bad" output_norm.weight
    run --separate-stderr costeer generate --llm "$bad" "$query"
    failed_with 7 .
    run --separate-stderr costeer generate --slm "$bad" --context "$notes" "$query"
    failed_with 7 .
    run --separate-stderr costeer score --model "$bad" --text "$notes" "$query"
    failed_with 7 'NaN'
}

# ---- texts ----

@test "a context that does not fit gives both sizes" {
    for i in $(seq 2000); do echo "fact $i: something to remember"; done >"$bad"
    fails 3 '[0-9][0-9,]{3,} .*[0-9]{3,}' --context "$bad" "$query"
    fails 3 '[0-9][0-9,]{2,} .*64' --ctx-size 64 --context "$notes" "$query"
}

@test "a query that does not fit gives both sizes" {
    for i in $(seq 2000); do echo "and another thing, number $i"; done >"$bad"
    fails 3 '[0-9][0-9,]{3,} .*[0-9]{3,}' --query-file "$bad"
}

@test "an empty query is refused" {
    fails 3 'query is empty' ''
    fails 3 'query is empty' '  '
    fails 3 'standard input: the query is empty'
    printf ' \n\t\n' >"$bad"
    fails 3 "$bad: the query is empty" --query-file "$bad"
}

@test "what does not fit leaves nothing on standard output" {
    costeer generate --ctx-size 64 "$query" >"$bad" 2>/dev/null || [ $? -eq 3 ]
    [ ! -s "$bad" ]
}

@test "a missing context is named" {
    fails 3 "$bad: cannot be read: No such file" --context "$bad" "$query"
    fails 3 "$bad: cannot be read: No such file" --context "$bad:2" "$query"
    fails 3 "cannot be read: Is a directory" --context "$BATS_TEST_TMPDIR" "$query"
}

@test "text that is not UTF-8 is refused with the offset" {
    printf 'caf\xe9 au lait' >"$bad"
    fails 3 "$bad: the context is not UTF-8: byte 3 \(0xE9\)" --context "$bad" "$query"
    fails 3 "$bad: the query is not UTF-8: byte 3" --query-file "$bad"
    fails 3 'the query is not UTF-8: byte 0' $'\xff'
    for bytes in '\xc0\xaf' '\xed\xa0\x80' '\xf4\x90\x80\x80' '\xe2\x82'; do
        printf "$bytes" >"$bad"
        fails 3 'not UTF-8: byte 0' --context "$bad" "$query"
    done
}

@test "a NUL in a text is refused with the offset" {
    printf 'one\0two' >"$bad"
    fails 3 "$bad: the context has a NUL at byte 3" --context "$bad" "$query"
}

@test "a text that is too large is refused by its size" {
    truncate -s 17M "$bad"
    fails 3 "$bad: more than 16 MiB" --context "$bad" "$query"
}

@test "standard input that is closed is named" {
    for command in generate policy; do
        run --separate-stderr bash -c '"$1" "$2" <&-' - "$COSTEER" "$command"
        failed_with 3 'standard input: it is closed'
    done
    run --separate-stderr bash -c '"$1" generate --context "$2" --max-tokens 4 "$3" <&-' - "$COSTEER" "$notes" "$query"
    succeeded
}

@test "no message shows anything of a query, a context or a text" {
    canary=xyzzyplugh
    printf '%s\xff' "$canary" >"$bad"
    printf '%s' "$canary" >"$BATS_TEST_TMPDIR/good"
    run --separate-stderr costeer generate --context "$bad" "$canary"
    [[ $status -eq 3 && $stderr != *$canary* ]]
    run --separate-stderr costeer generate "$canary" "$canary"
    [[ $status -eq 2 && $stderr != *$canary* ]]
    run --separate-stderr costeer generate "- $canary"
    [[ $status -eq 2 && $stderr != *$canary* ]]
    run --separate-stderr costeer "$canary"
    [[ $status -eq 2 && $stderr != *$canary* ]]
    run --separate-stderr costeer generate --ctx-size 8 --context "$BATS_TEST_TMPDIR/good" "$canary"
    [[ $status -eq 3 && $stderr != *$canary* ]]
    run --separate-stderr costeer generate --query-file "$bad"
    [[ $status -eq 3 && $stderr != *$canary* ]]
}

@test "a file's name cannot break the line or steer the terminal" {
    run --separate-stderr costeer generate --context $'no\nsuch\e[31mfile' "$query"
    failed_with 3 'no\?such\?\[31mfile'
    run --separate-stderr costeer generate --context $'no\xc2\x9b31msuch' "$query"
    [[ $stderr == *'no??31msuch'* ]]
}
