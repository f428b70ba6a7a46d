# The reference: every form of it comes from the option tables, so all of them must tell the same.
load helpers/common

commands() { costeer help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p'; }
options() { costeer help "$1" | grep -oE '^ +(-[a-z], )?--[A-Za-z-]+' | grep -oE -- '--[A-Za-z-]+$' | sort -u; }

@test "docs/commands.md is what help prints as Markdown" {
    costeer help --format markdown | diff "$repo/docs/commands.md" -
}

@test "every command has --help, and it is what help COMMAND prints" {
    [ "$(commands | wc -l)" -ge 8 ]
    for command in $(commands); do
        costeer "$command" --help >"$BATS_TEST_TMPDIR/a"
        costeer help "$command" | diff "$BATS_TEST_TMPDIR/a" -
        grep -q "^Usage: costeer $command" "$BATS_TEST_TMPDIR/a"
        grep -q '^Exit codes:' "$BATS_TEST_TMPDIR/a"
    done
}

@test "every option is in the man page, the completion and the Markdown" {
    for format in man bash markdown; do
        costeer help --format "$format" | sed 's/\\-/-/g' >"$BATS_TEST_TMPDIR/$format"
    done
    for command in $(commands); do
        for option in $(options "$command"); do
            for format in man bash markdown; do
                grep -qE -- "$option([^A-Za-z-]|\$)" "$BATS_TEST_TMPDIR/$format" || { echo "$command $option is not in $format"; return 1; }
            done
        done
    done
    [ "$(options generate | wc -l)" -ge 30 ]
}

@test "every exit code is in every --help, the man page and the Markdown" {
    for code in 0 1 2 3 4 5 6 7 130 141; do
        costeer generate --help | grep -qE "^  $code +[a-z]"
        costeer help --format man | grep -qF "\\fB$code\\fR"
        costeer help --format markdown | grep -qF "| \`$code\` |"
    done
}

@test "help fits 80 columns" {
    costeer help --format text | awk 'length($0) > 80 && !/^  costeer |^  python3|^      / { print; bad = 1 } END { exit bad }'
}

@test "the man page is accepted by groff without a warning" {
    command -v groff >/dev/null || skip "no groff"
    costeer help --format man >"$BATS_TEST_TMPDIR/costeer.1"
    run groff -man -Tutf8 -ww -z "$BATS_TEST_TMPDIR/costeer.1"
    [ "$status" -eq 0 ] && [ -z "$output" ]
}

complete_words() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    COMPREPLY=()
    _costeer
}

@test "the completion completes commands, options, choices and files" {
    costeer help --format bash >"$BATS_TEST_TMPDIR/costeer.bash"
    # shellcheck disable=SC1091
    source "$BATS_TEST_TMPDIR/costeer.bash"
    cd "$BATS_TEST_TMPDIR"
    touch 'my notes.txt'
    complete_words costeer gen
    [ "${COMPREPLY[*]}" = generate ]
    complete_words costeer help com
    [ "${COMPREPLY[*]}" = compare ]
    complete_words costeer generate --base-
    [ "${COMPREPLY[*]}" = --base-top-k ]
    complete_words costeer generate --log-level de
    [ "${COMPREPLY[*]}" = debug ]
    complete_words costeer generate --log-level = de
    [ "${COMPREPLY[*]}" = debug ]
    complete_words costeer generate --context my
    [ "${COMPREPLY[0]}" = 'my notes.txt' ]
    complete_words costeer compare --method light
    [ "${COMPREPLY[*]}" = lightcosteer ]
    complete_words costeer generate --method ''
    names=${COMPREPLY[*]}
    run --separate-stderr "$COSTEER" generate --method nothing-like-it "a query"
    [[ $stderr == *"there are ${names// /, }" ]]
    complete_words costeer generate --seed ''
    [ "${#COMPREPLY[@]}" -eq 0 ]
    complete_words costeer help --format m
    [ "${COMPREPLY[*]}" = 'man markdown' ]
}

@test "version tells program, llama.cpp and instruction set" {
    run --separate-stderr costeer version
    succeeded
    [[ ${lines[0]} =~ ^costeer\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
    costeer version --json >"$BATS_TEST_TMPDIR/v"
    json "$BATS_TEST_TMPDIR/v" 'sorted(d) == ["isa", "llama.cpp", "version"] and d["isa"] in ("avx512", "avx2", "plain")'
    [ "$(costeer --version)" = "$(costeer version)" ]
}
