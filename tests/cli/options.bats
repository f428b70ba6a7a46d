# Reading the command line: spellings, strict numbers with their range, conflicts. All of it before any file is opened.
load helpers/common

# refuses PATTERN ARGUMENTS…: generate says one line and exits with 2.
refuses() {
    local pattern=$1
    shift
    run --separate-stderr costeer generate "$@" "hello"
    failed_with 2 "$pattern"
}

@test "numbers out of range name the option, the value and the range" {
    refuses '^costeer: --top-p: 1\.7 is not in \(0, 1\]$' --top-p 1.7
    refuses '--top-p: 0 is not in \(0, 1\]' --top-p 0
    refuses '--min-p: -0\.1 is not in \[0, 1\]' --min-p -0.1
    refuses '--temperature: -1 is not in' --temperature=-1
    refuses '--max-tokens: 0 is not in \[1, 1000000\]' --max-tokens 0
    refuses '--T: 0 is not in \[1, 1000000\]' --T 0
    refuses '--T: 1000001 is not in' --T 1000001
    refuses '--lambda: 0 is not in \(0, inf\)' --lambda 0
    refuses '--eta: -1 is not in \(0, inf\)' --eta -1
    refuses '--repetition-penalty: 0\.5 is not in' --repetition-penalty 0.5
    refuses '--repetition-window: 0 is not in' --repetition-window 0
    refuses '--seed: -1 is not in \[0, 9223372036854775807\]' --seed -1
    refuses '--seed: 99999999999999999999 is not in' --seed 99999999999999999999
    refuses '--threads-llm: 0 is not in' --threads-llm 0
    refuses '--max-tokens: 99999999999999999999 is not in' --max-tokens 99999999999999999999
    refuses '--base-top-k: -1 is not in' --base-top-k -1
    refuses '--strength: "1e999"|--strength: 1e999' --strength 1e999
}

@test "what is not a number is refused whole" {
    for value in x '' ' 1' '1 ' 1x 0x10 nan inf 1,5 1e 1.5.2 + .; do
        refuses "--strength: \".*\" is not a finite number" --strength "$value"
    done
    for value in 1.5 1e3 x '' 0x10; do
        refuses '--max-tokens: ".*" is not a whole number in \[1, 1000000\]' --max-tokens "$value"
    done
}

@test "unknown options and commands name the nearest" {
    refuses 'unknown option --tok-k; did you mean --top-k\?' --tok-k 3
    refuses 'unknown option --max; did you mean --max-tokens\?' --max 3
    refuses 'unknown option --frobnicate; see costeer generate --help' --frobnicate
    refuses 'unknown option -z' -z
    run --separate-stderr costeer genrate
    failed_with 2 'did you mean generate\?'
    run --separate-stderr costeer
    failed_with 2 'costeer help'
}

@test "values: missing, where none belongs, of a choice" {
    refuses '--strength: needs a value' --strength --json
    refuses '--json: takes no value' --json=yes
    refuses '--log-level: "loud" is not one of' --log-level loud
    run --separate-stderr costeer generate --top-k
    failed_with 2 '--top-k: needs a value: --top-k K'
}

@test "options that exclude each other or need another" {
    for option in --T --alpha --beta --lambda --eta; do
        refuses 'exclude each other' --strength 1 "$option" 2
    done
    refuses '--constant-k: needs --base-top-k' --constant-k
    refuses '--stop: an empty text' --stop ''
    refuses 'name the same file' --trace "$BATS_TEST_TMPDIR/x" --output "$BATS_TEST_TMPDIR/x"
    refuses 'a query and --query-file exclude each other' --query-file /dev/null
    refuses '2 arguments where one query is expected' "another query"
    run --separate-stderr costeer generate --context - </dev/null
    failed_with 2 'standard input can be read once'
    run --separate-stderr costeer compare hello
    failed_with 2 'needs a --context'
    run --separate-stderr costeer score --text /dev/null
    failed_with 2 'needs the query'
}

@test "strength that overflows is refused by name" {
    refuses '.' --lambda 1e-300 --alpha 1e300 --T 1000
}

@test "a list that is too long says how long it may be" {
    many=()
    for i in $(seq 17); do many+=(--stop "s$i"); done
    refuses '--stop: given more than 16 times' "${many[@]}"
}
