# costeer select: which parts of the notes a request needs. What the built-in model judges means nothing; that every part is shown does.
load helpers/common

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    query="Write an invitation."
    printf '# Me\nI am Mia. I like tea.\n\nBuy:\n- milk\n- \xe6\xb0\xb4\n' >"$notes"
}

@test "every part is shown with its score, and the text is that of the used ones" {
    costeer select --json --context "$notes" "$query" >"$out"
    json "$out" '[p["text"] for p in d["parts"]] == ["# Me", "I am Mia.", "I like tea.", "Buy:", "- milk", "- 水"]'
    json "$out" '[p["kind"] for p in d["parts"]] == ["heading", "sentence", "sentence", "heading", "item", "item"]'
    json "$out" 'all(p["used"] == (p["score"] > d["threshold"]) for p in d["parts"] if p["reason"] == "score")'
    json "$out" '[p["score"] is None for p in d["parts"]] == [True, False, False, True, False, False]'
    json "$out" 'd["n_used"] + d["n_left"] == 4 and d["n_tokens"] > 0'
    NOTES=$notes json "$out" 'all(open(__import__("os").environ["NOTES"], "rb").read()[p["begin"]:p["end"]].decode() == p["text"] for p in d["parts"])'
    costeer select --context "$notes" "$query" >"$out"
    [ "$(wc -l <"$out")" -eq 7 ]
    grep -qE '^[+ ] +-?[0-9.]+  I am Mia\.$' "$out"
}

@test "the same input gives the same bytes, on one thread too" {
    costeer select --json --context "$notes" "$query" | sed 's/"ms": *[0-9.]*//' >"$out"
    costeer select --json --threads 1 --context "$notes" "$query" | sed 's/"ms": *[0-9.]*//' >"$out.1"
    cmp "$out" "$out.1"
}

@test "thresholds, pins and drops" {
    [ -z "$(costeer select --text --threshold 999 --context "$notes" "$query")" ]
    [ "$(costeer select --text --threshold 999 --pin MILK --context "$notes" "$query")" = $'# Me\nBuy:\n- milk' ]
    [ "$(costeer select --text --threshold -999 --drop tea --pin tea --drop milk --context "$notes" "$query")" = $'# Me\nI am Mia.\n\nBuy:\n- 水' ]
}

@test "another selector, another question, several contexts" {
    printf 'Is {part} for {request}?{answer}It is' >"$BATS_TEST_TMPDIR/question"
    printf 'tall: yes\n' >"$BATS_TEST_TMPDIR/more"
    costeer select --json --selector "$llm" --question "$BATS_TEST_TMPDIR/question" --context "$notes" --context "$BATS_TEST_TMPDIR/more" "$query" >"$out"
    json "$out" 'd["selector"].endswith("costeer-llm.gguf") and d["parts"][-1]["text"] == "tall: yes"'
}

@test "bad input is refused in one line" {
    run --separate-stderr costeer select "$query"
    failed_with 2 '\-\-context'
    run --separate-stderr costeer select --context "$notes" --text --json "$query"
    failed_with 2 'exclude each other'
    run --separate-stderr costeer select --context "$notes:-1" "$query"
    failed_with 2 'weight'
    run --separate-stderr costeer select --context "$notes" ''
    failed_with 3 'the query is empty'
    printf 'a\xff' >"$BATS_TEST_TMPDIR/bad"
    run --separate-stderr costeer select --context "$BATS_TEST_TMPDIR/bad" "$query"
    failed_with 3 'not UTF-8: byte 1'
    run --separate-stderr costeer select --context "$BATS_TEST_TMPDIR/none" "$query"
    failed_with 3 'none'
    printf 'Is {part} good?' >"$BATS_TEST_TMPDIR/question"
    run --separate-stderr costeer select --question "$BATS_TEST_TMPDIR/question" --context "$notes" "$query"
    failed_with 2 '\{request\}'
    run --separate-stderr costeer select --selector "$notes" --context "$notes" "$query"
    failed_with 4 'notes.txt'
    run --separate-stderr costeer select --threshold much --context "$notes" "$query"
    failed_with 2 'threshold'
    run --separate-stderr costeer select --context "$notes" "$(printf 'word %.0s' {1..5000})"
    failed_with 3 'tokens'
}

@test "a pin or drop that names no part is told, without its text" {
    for command in "select" "generate --use needed --max-tokens 2"; do
        # shellcheck disable=SC2086  # a command and its options
        run --separate-stderr costeer $command --pin MILK --pin buy --drop coffee --drop me --drop '' --context "$notes" "$query"
        [ "$status" -eq 0 ]
        [ "$(grep -c 'no part has the text' <<<"$stderr")" -eq 3 ]
        [[ $stderr == *'--pin: no part has the text of number 2,'* && $stderr == *'--drop: no part has the text of number 1,'* ]]
        [[ $stderr == *'--drop: no part has the text of number 3,'* && $stderr != *coffee* ]]
        # shellcheck disable=SC2086
        run --separate-stderr costeer $command --quiet --drop coffee --context "$notes" "$query"
        [ -z "$stderr" ]
    done
}

@test "an empty context is left out, and nothing is asked" {
    : >"$notes"
    run --separate-stderr costeer select --json --context "$notes" "$query"
    [ "$status" -eq 0 ]
    [[ $output == *'"n_tokens": 0'* || $output == *'"n_tokens":0'* ]]
}

# ---- generate, compare and chat with --use needed ----

@test "what is not used has no influence on the answer" {
    printf 'I am Mia.\nSECRET: fifty-four thousand\nMy city is Gothenburg.\nSECRET: a long illness, of which nobody knows\n' >"$notes"
    printf 'SECRET: nothing\nI am Mia.\nMy city is Gothenburg.\n' >"$BATS_TEST_TMPDIR/other"
    for file in "$notes" "$BATS_TEST_TMPDIR/other"; do
        costeer generate --json --use needed --pin Mia --pin city --drop secret --context "$file" "Write a short bio of me." >"$out"
        json "$out" '[p["text"] for p in d["selection"][0]["parts"] if p["used"]] == ["I am Mia.", "My city is Gothenburg."]'
        json "$out" 'd["selection"][0]["n_used"] == 2 and all(p["reason"] == "dropped" for p in d["selection"][0]["parts"] if "SECRET" in p["text"])'
        python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["tokens"])' "$out" >>"$BATS_TEST_TMPDIR/tokens"
    done
    printf 'I am Mia.\nMy city is Gothenburg.\n' >"$notes"
    costeer generate --json --context "$notes" "Write a short bio of me." >"$out"
    json "$out" 'd["selection"] is None'
    [ "$(sort -u "$BATS_TEST_TMPDIR/tokens" | wc -l)" -eq 1 ]
}

@test "where nothing is used, the answer is that without notes" {
    costeer generate "$query" >"$out"
    costeer generate --use needed --drop Mia --drop tea --drop milk --drop 水 --context "$notes" "$query" | cmp - "$out"
    costeer compare --json --use needed --drop Mia --drop tea --drop milk --drop 水 --max-tokens 8 --context "$notes" "$query" >"$out"
    json "$out" 'd["selection"][0]["n_used"] == 0'
}

@test "a context with a negative weight is used whole" {
    costeer generate --json --use needed --pin Mia --max-tokens 4 --context "$notes" --context "$notes:-0.5" "$query" >"$out"
    json "$out" 'len(d["selection"]) == 1 and d["n_contexts"] == 2'
}

@test "chat chooses at every question, and has the notes whole again" {
    printf 'Write an invitation.\nPlan my day.\n/context\n' |
        costeer chat --verbose --use needed --pin Mia --drop tea --max-tokens 4 --context "$notes" >"$out" 2>"$out.err"
    [ "$(grep -c 'of 4 parts used' "$out.err")" -eq 2 ]
    grep -q "$(wc -c <"$notes" | awk '{print $1 - 1}') bytes, weight 1" "$out"
}

@test "chat takes notes longer than the window, of which only what is chosen has to fit" {
    for i in {1..500}; do echo "- note $i about milk"; done >"$BATS_TEST_TMPDIR/long"
    printf 'Write an invitation.\n/context %s\nPlan my day.\n' "$BATS_TEST_TMPDIR/long" |
        costeer chat --verbose --use needed --pin 'note 12 ' --max-tokens 4 --context "$BATS_TEST_TMPDIR/long" >"$out" 2>"$out.err"
    [ "$(grep -c ' 1 of 500 parts used' "$out.err")" -eq 2 ]
}

@test "the options of the choice do not go with --use all, and --confirm needs a terminal" {
    for option in "--pin x" "--drop x" "--selector $slm" --confirm; do
        # shellcheck disable=SC2086  # an option and its value
        run --separate-stderr costeer generate --use all $option --context "$notes" "$query"
        failed_with 2 'not with --use all'
    done
    run --separate-stderr setsid --wait "$COSTEER" generate --use needed --confirm --context "$notes" "$query"
    failed_with 2 'no terminal'
}

@test "chat: what an answer was given stays for the next one, /parts shows it, and /new forgets it" {
    for i in {1..20}; do echo "- friend number $i likes $((i * 7919 % 9973)) things"; done >"$BATS_TEST_TMPDIR/many"
    printf '%s\n' '/pin friend' 'Plan my day.' /parts '/pin off' 'Shorter, please.' /parts '/drop number 7 ' 'Shorter, please.' /parts \
        '/drop off' /new 'Shorter, please.' /parts |
        costeer chat --use needed --max-tokens 1 --context "$BATS_TEST_TMPDIR/many" >"$out"
    python3 - "$out" <<'PY'
import re, sys
found = [re.search(r"^([+ ]) +(-?[0-9.]+)  - friend number .*? things(  \((\w+)\))?$", line.rstrip("\n")) for line in open(sys.argv[1], encoding="utf-8")]
found = [(f[1] == "+", f[4]) for f in found if f]
assert len(found) == 80, len(found)
first, second, third, anew = (found[i:i + 20] for i in (0, 20, 40, 60))
assert all(part == (True, "pinned") for part in first)
assert all(is_used for is_used, _ in second) and any(reason == "kept" for _, reason in second)  # though no longer pinned
assert [is_used for is_used, _ in third] == [i != 6 for i in range(20)] and third[6][1] == "dropped"
assert all(reason is None for _, reason in anew) and not all(is_used for is_used, _ in anew)    # a new conversation keeps nothing
PY
}

@test "chat: /pin and /drop hold from the next question on, and /compare chooses nothing" {
    printf '/parts\nWrite an invitation.\n/pin milk\n/drop\n/drop TEA\nPlan my day.\n/compare\n/parts\n/pin off\n/drop off\n' |
        costeer chat --use needed --verbose --max-tokens 1 --context "$notes" >"$out" 2>"$out.err"
    grep -qx 'nothing was chosen yet' "$out"
    grep -qx '"milk"' "$out" && grep -qx '"TEA"' "$out" && [ "$(grep -cx none "$out")" -eq 3 ]
    grep -qE '^\+ .* milk  \(pinned\)$' "$out" && grep -qE '^  .* I like tea\.  \(dropped\)$' "$out"
    [ "$(grep -c 'of 4 parts used' "$out.err")" -eq 3 ] # two questions and the comparison, which shows the last choice
    run --separate-stderr costeer chat --use all --context "$notes" <<<'/pin milk'
    failed_with 2 '/pin: not with --use all'
    # with the built-in models, a text that is pinned asks for a choice
    printf '/parts\n/drop tea\nPlan my day.\n/parts\n' | costeer chat --max-tokens 1 --context "$notes" >"$out"
    grep -qx 'all parts of the contexts are used' "$out" && grep -qF 'I like tea.  (dropped)' "$out"
}

@test "without --use a foreign model chooses where it can; where it cannot, everything is used and a line says so" {
    "$helpers/gguf.py" no-role "$slm" "$BATS_TEST_TMPDIR/own.gguf"
    run --separate-stderr costeer generate --json --slm "$BATS_TEST_TMPDIR/own.gguf" --max-tokens 4 --context "$notes" "$query"
    [ "$status" -eq 0 ]
    printf '%s' "$output" >"$out"
    if [ -z "$stderr" ]; then
        json "$out" 'len(d["selection"]) == 1 and d["select_ms"] > 0'
    else
        [[ $stderr == "costeer: all parts of the contexts are used: the SLM does not tell"* && ${#stderr_lines[@]} -eq 1 ]]
        json "$out" 'd["selection"] is None and d["select_ms"] is None'
    fi
    "$helpers/gguf.py" tokens "$BATS_TEST_TMPDIR/own.gguf" "$BATS_TEST_TMPDIR/mute.gguf" q
    run --separate-stderr costeer generate --slm "$BATS_TEST_TMPDIR/mute.gguf" --max-tokens 4 --context "$notes" "$query"
    failed_with 0 'all parts of the contexts are used: the SLM cannot judge'
    run --separate-stderr costeer generate --slm "$BATS_TEST_TMPDIR/mute.gguf" --quiet --max-tokens 4 --context "$notes" "$query"
    succeeded
    for command in "generate --use needed" "generate --confirm" "compare --use needed" "chat --use needed"; do
        # shellcheck disable=SC2086  # a command and its option
        run --separate-stderr costeer $command --slm "$BATS_TEST_TMPDIR/mute.gguf" --context "$notes" ${query:+$([[ $command == chat* ]] || printf %s Write)} <<<"$query"
        failed_with 4 'has no token for "yes"'
    done
    "$helpers/gguf.py" no-template "$slm" "$BATS_TEST_TMPDIR/bare.gguf"
    run --separate-stderr costeer generate --selector "$BATS_TEST_TMPDIR/bare.gguf" --context "$notes" "$query"
    failed_with 4 'has no chat template'
    # a template that is given for the SLM is also that of its choice
    costeer generate --json --slm "$BATS_TEST_TMPDIR/bare.gguf" --slm-template chatml --use needed --max-tokens 4 --context "$notes" "$query" >"$out"
    json "$out" 'd["selection"][0]["n_used"] + d["selection"][0]["n_left"] == 4'
}

@test "compare uses all unless told otherwise, and says how many parts it used" {
    costeer compare --max-tokens 2 --context "$notes" "$query" >"$out"
    ! grep -q 'parts used' "$out"
    costeer compare --max-tokens 2 --use needed --pin Mia --trace "$out.trace" --context "$notes" "$query" >"$out"
    grep -qE '^[1-4] of 4 parts used \(chosen in [0-9.]+ s\)$' "$out"
    json_lines "$out.trace" 'sum("selection" in x for x in d) == 1 and d[0]["select_ms"] > 0 and "position" in d[1]'
}

@test "the audit knows how many parts were used, and names words of the others that were said all the same" {
    start_node
    printf '\nI am Mia.\nI like tea.\nMy city is Gothenburg.\n\n' >"$notes"
    costeer generate --cloud "$node_url" --audit "$out.sent" --max-tokens 40 --pin Mia --pin tea --drop city --context "$notes" "$query" >"$out.text"
    costeer audit --json --context "$notes" "$out.sent" >"$out"
    json "$out" 'd["context_parts"] == {"used": 2, "stayed": 1} and d["kinds"]["selection"]["n"] == 1'
    json "$out" 'all(w["stayed"] == (w["word"].lower() in ("my", "city", "is", "gothenburg")) for w in d["context_words"])'
    costeer audit --context "$notes" "$out.sent" | grep -qE '^parts        2 used, 1 not; [0-4] words of the latter in the answer$'
    ! grep -qE 'Gothenburg|"text":"[^"]*Mia' <(grep '"kind":"selection"' "$out.sent") # places, no words
    # a later turn that uses another part
    printf '%s\n/drop off\n/pin city\nPlan my day.\n' "$query" |
        costeer chat --cloud "$node_url" --audit "$out.sent" --max-tokens 4 --pin Mia --pin tea --drop city --context "$notes" >"$out.text"
    costeer audit --json --context "$notes" "$out.sent" >"$out"
    json "$out" 'd["context_parts"] == {"used": 3, "stayed": 0} and d["kinds"]["selection"]["n"] == 2'
    json "$out" 'not any(w["stayed"] for w in d["context_words"])'
    # a text that nothing was chosen from
    echo 'Another text.' >"$notes"
    costeer audit --json --context "$notes" "$out.sent" >"$out"
    json "$out" 'd["context_parts"] is None'
    stop_node
}

# confirm KEYS: what generate says to a person who types them.
confirm() {
    python3 - "$1" "$COSTEER" generate --json --use needed --drop tea --pin Mia --confirm --max-tokens 4 --context "$notes" "$query" <<'PY'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
os.write(fd, sys.argv[1].encode())
said = b""
while True:
    try:
        piece = os.read(fd, 4096)
    except OSError:
        break
    if not piece:
        break
    said += piece
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
}

@test "the person has the last word" {
    confirm $'2 3\n3 1\n3 x\n2-3 99\n\n' >"$out" # what is wrong changes nothing
    [ "$(grep -c 'no headings' "$out")" -eq 3 ]
    grep -o '{"method".*' "$out" | tr -d '\r' >"$out.json"
    json "$out.json" '[p["used"] for p in d["selection"][0]["parts"]][1:3] == [False, True]'
    confirm $'1-6\n\n' >"$out" # all that are no headings
    grep -o '{"method".*' "$out" | tr -d '\r' >"$out.json"
    json "$out.json" '[p["used"] for p in d["selection"][0]["parts"]][1:3] == [False, True]'
    confirm $'2 3\n1\n\n' >"$out"
    grep -q '   2 + I am Mia\.' "$out"
    grep -q '   3 + I like tea\.' "$out"
    grep -q 'no headings' "$out"
    grep -o '{"method".*' "$out" | tr -d '\r' >"$out.json"
    json "$out.json" '[p["used"] for p in d["selection"][0]["parts"]][1:3] == [False, True]'
    run confirm $'q\n'
    [ "$status" -eq 2 ]
    [[ $output == *'nothing was sent'* ]]
    printf 'I am Mia.\nA\xc2\x9b2J\x1b[31mB\x7f tea\n' >"$notes" # what a terminal would obey
    confirm $'\n' >"$out"
    grep -q 'A 2J \[31mB  tea' "$out"
    ! LC_ALL=C grep -q $'\xc2\x9b' <(sed -n '/^{/!p' "$out")
    costeer select --context "$notes" "$query" >"$out"
    ! LC_ALL=C grep -qE $'\xc2\x9b|\x1b|\x7f' "$out"
}

@test "without --use: the built-in models use everything and say so; an option of the choice asks for one" {
    run --separate-stderr costeer generate --verbose --json --max-tokens 4 --context "$notes" "$query"
    [ "$status" -eq 0 ]
    [[ $stderr == *"all parts of the contexts are used: the built-in models do not tell which parts a request needs"* ]]
    printf '%s' "$output" >"$out"
    json "$out" 'd["selection"] is None'
    run --separate-stderr costeer generate --json --max-tokens 4 --context "$notes" "$query"
    [ "$status" -eq 0 ] && [ -z "$stderr" ]
    printf '%s' "$output" >"$out"
    costeer generate --json --max-tokens 4 --use all --context "$notes" "$query" >"$out.all"
    json "$out" 'd["tokens"] == __import__("json").load(open("'"$out.all"'"))["tokens"]'
    costeer generate --json --max-tokens 4 --pin milk --context "$notes" "$query" >"$out"
    json "$out" 'any(p["reason"] == "pinned" and p["used"] for p in d["selection"][0]["parts"])'
}
