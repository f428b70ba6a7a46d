# Where answers go: files that are replaced whole or not at all, devices, full disks, closed streams.
load helpers/common

setup() {
    write_notes
    file=$BATS_TEST_TMPDIR/answer.txt
    query="Plan my day."
}

generate() { costeer generate --context "$notes" --max-tokens 40 "$@" "$query"; }

# Nothing but these names is left in the test's folder (and what `run` leaves there).
only() { [ "$(cd "$BATS_TEST_TMPDIR" && find . -mindepth 1 ! -name 'separate-stderr-*' -printf '%P\n' | sort | tr '\n' ' ')" = "$* " ]; }

@test "--output gets what standard output would have got" {
    generate >"$BATS_TEST_TMPDIR/expected"
    run --separate-stderr generate --output "$file"
    succeeded
    [ -z "$output" ]
    diff "$BATS_TEST_TMPDIR/expected" "$file"
    generate --json --output "$file"
    json "$file" 'd["n_tokens"] > 0'
    only answer.txt expected notes.txt
}

@test "a new output has the umask's mode, an old one keeps its own, a trace is private" {
    umask 027
    generate --output "$file"
    [ "$(stat -c %a "$file")" = 640 ]
    chmod 604 "$file"
    generate --output "$file" --trace "$BATS_TEST_TMPDIR/trace"
    [ "$(stat -c %a "$file")" = 604 ]
    [ "$(stat -c %a "$BATS_TEST_TMPDIR/trace")" = 600 ]
    chmod 644 "$BATS_TEST_TMPDIR/trace"
    generate --trace "$BATS_TEST_TMPDIR/trace" >/dev/null
    [ "$(stat -c %a "$BATS_TEST_TMPDIR/trace")" = 600 ]
}

@test "a failure leaves the old file as it was and nothing beside it" {
    echo old >"$file"
    echo old >"$BATS_TEST_TMPDIR/trace"
    run --separate-stderr generate --output "$file" --trace "$BATS_TEST_TMPDIR/trace" --llm "$notes"
    failed_with 4 .
    [ "$(cat "$file" "$BATS_TEST_TMPDIR/trace" | uniq)" = old ]
    only answer.txt notes.txt trace
}

@test "a symbolic link stays, its target is replaced" {
    echo old >"$BATS_TEST_TMPDIR/target"
    ln -s target "$file"
    generate --output "$file"
    [ -L "$file" ]
    [ "$(cat "$BATS_TEST_TMPDIR/target")" != old ]
}

@test "an output that cannot be written is refused before a model is loaded" {
    for option in --output --trace; do
        run --separate-stderr generate "$option" "$BATS_TEST_TMPDIR/none/x" --llm none.gguf
        failed_with 5 'none/x: cannot be written: No such file or directory'
        run --separate-stderr generate "$option" "$BATS_TEST_TMPDIR" --llm none.gguf
        failed_with 5 'Is a directory'
        run --separate-stderr generate "$option" "$notes/x" --llm none.gguf
        failed_with 5 'Not a directory'
    done
}

@test "a file without write permission is refused" {
    local plain=()
    [ "$(id -u)" -ne 0 ] || plain=(setpriv --bounding-set=-dac_override) # root may write everywhere
    echo old >"$file"
    chmod 400 "$file"
    run --separate-stderr "${plain[@]}" "$COSTEER" generate --output "$file" "$query"
    failed_with 5 'Permission denied'
}

@test "a full disk is told: standard output, --output, --trace, --json, and the commands that print" {
    for arguments in '' --json; do
        run --separate-stderr bash -c '"$1" generate $2 "$3" >/dev/full' - "$COSTEER" "$arguments" "$query"
        failed_with 5 'standard output: cannot be written: No space left on device'
    done
    for option in --output --trace; do
        run --separate-stderr generate "$option" /dev/full
        failed_with 5 '/dev/full: cannot be written: No space left on device'
    done
    run --separate-stderr bash -c '"$1" compare --context "$2" "$3" >/dev/full' - "$COSTEER" "$notes" "$query"
    failed_with 5 'No space left on device'
    for command in help version "policy $golden/ftrl.json" "model $slm"; do
        run --separate-stderr bash -c '"$1" $2 >/dev/full' - "$COSTEER" "$command"
        failed_with 5 'No space left on device'
    done
}

@test "standard output that is closed is told before a model is loaded" {
    run --separate-stderr bash -c '"$1" generate --llm none.gguf hello >&-' - "$COSTEER"
    failed_with 5 'standard output: it is closed'
    run --separate-stderr bash -c '"$1" help >&-' - "$COSTEER"
    failed_with 5 'standard output: it is closed'
}

@test "standard error that is closed keeps nothing from working" {
    generate >"$file"
    bash -c '"$1" generate --context "$2" --max-tokens 40 --verbose "$3" 2>&-' - "$COSTEER" "$notes" "$query" | diff "$file" -
}

@test "a pipe as trace is written directly" {
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    cat "$BATS_TEST_TMPDIR/pipe" >"$BATS_TEST_TMPDIR/trace" &
    generate --trace "$BATS_TEST_TMPDIR/pipe" >/dev/null
    wait $!
    [ -p "$BATS_TEST_TMPDIR/pipe" ]
    json_lines "$BATS_TEST_TMPDIR/trace" 'len(d) > 0'
}

@test "a file that is read is never overwritten, whatever its name" {
    write_notes
    local dir=$BATS_TEST_TMPDIR/files
    mkdir "$dir"
    cp "$notes" "$dir/notes"
    cp "$slm" "$dir/small.gguf"
    ln "$dir/notes" "$dir/link"
    for option in "--trace $dir/notes" "--output $dir/notes" "--audit $dir/link --cloud ws://127.0.0.1:1" \
        "--output $dir/small.gguf --slm $dir/small.gguf"; do
        # shellcheck disable=SC2086  # several options
        run --separate-stderr costeer generate --context "$dir/notes:0.5" --max-tokens 2 $option "Hello"
        failed_with 2 'is also read, and would be overwritten'
    done
    cmp "$dir/notes" "$notes"
    cmp "$dir/small.gguf" "$slm"
    [ "$(cd "$dir" && ls -A | tr '\n' ' ')" = "link notes small.gguf " ]
}
