# costeer compare: the four answers, their layout, and the marks.
load helpers/common

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    query="Write a short introduction for my new team."
}

compare() { costeer compare --context "$notes" --max-tokens 60 "$@" "$query"; }

# No line of standard input is wider than this, as a terminal counts.
narrower_than() {
    python3 -c 'import sys
for line in sys.stdin:
    assert len(line.rstrip("\n")) <= int(sys.argv[1]), line' "$1"
}

@test "--json has the four methods with everything" {
    compare --json --trace "$BATS_TEST_TMPDIR/trace" >"$out"
    [ "$(wc -l <"$out")" -eq 1 ]
    json "$out" '[m["name"] for m in d["methods"]] == ["llm", "slm+context", "costeer", "llm+context"]'
    json "$out" '[m["gives_context_away"] for m in d["methods"]] == [False, False, False, True]'
    json "$out" 'all(k in m for m in d["methods"] for k in ("text", "token_ids", "finish", "times_us", "tokens_per_second"))'
    json "$out" 'd["query"] == "Write a short introduction for my new team." and abs(d["strength"] - 1.78325684) < 1e-8'
    json "$out" 'len(d["methods"][2]["changed"]) == d["methods"][2]["n_steered"]'
    TRACE=$BATS_TEST_TMPDIR/trace json "$out" '[x["position"] for x in map(json.loads, open(__import__("os").environ["TRACE"])) if x["steered"]] == d["methods"][2]["changed"]'
}

@test "its answers are those of generate" {
    compare --json >"$out"
    costeer generate --max-tokens 60 --json "$query" >"$BATS_TEST_TMPDIR/alone"
    costeer generate --max-tokens 60 --context "$notes" --json "$query" >"$BATS_TEST_TMPDIR/steered"
    costeer generate --max-tokens 60 --llm "$slm" --json "$(cat "$notes")"$'\n\n'"$query" >"$BATS_TEST_TMPDIR/slm"
    for pair in 0:alone 2:steered 1:slm; do
        OTHER=$BATS_TEST_TMPDIR/${pair#*:} json "$out" \
            'd["methods"]['"${pair%:*}"']["token_ids"] == json.load(open(__import__("os").environ["OTHER"]))["tokens"]'
    done
}

@test "no terminal: one below the other, in 80 columns, with a legend" {
    compare >"$out"
    narrower_than 80 <"$out"
    for title in 'LLM alone' 'SLM with the context' 'CoSteer' 'LLM with the context'; do
        [ "$(grep -c "^$title\$" "$out")" -eq 1 ]
    done
    grep -q '^would give the context away$' "$out"
    grep -q '⟦like this⟧: not what the LLM alone' "$out"
    run ! grep -q $'\e' "$out"
}

@test "two columns at 80 and 120, four at 160, one at 60" {
    for columns in 60 80 120 160 200; do
        COLUMNS=$columns compare >"$out"
        narrower_than "$columns" <"$out"
        across=$(grep -m 1 '^LLM alone' "$out" | tr -cd '│' | wc -m)
        [ "$across" -eq $((columns >= 160 ? 3 : columns >= 72 ? 1 : 0)) ]
    done
}

@test "the marked tokens are the changed ones, and the text is whole without the marks" {
    compare --json >"$out"
    COLUMNS=60 compare >"$BATS_TEST_TMPDIR/table"
    python3 - "$out" "$BATS_TEST_TMPDIR/table" <<'PY'
import json, re, sys
answer = next(m for m in json.load(open(sys.argv[1]))["methods"] if m["name"] == "costeer")
table = open(sys.argv[2]).read()
block = table.split("\nCoSteer\n")[1].split("\nLLM with the context\n")[0]
text = "".join(  # note and rule before it, an empty line and the figures behind it
    block.split("\n")[2:-3])
squeeze = lambda s: re.sub(r"\s", "", s)
assert squeeze(re.sub("[⟦⟧]", "", text)) == squeeze(answer["text"]), (text, answer["text"])
assert ("⟦" in text) == bool(answer["changed"])
PY
}

@test "in a plain locale only ASCII is drawn" {
    LC_ALL=C COLUMNS=80 compare >"$out"
    grep -q '^LLM alone *| SLM with the context' "$out"
    grep -qF '[like this]' "$out"
    run ! grep -q '[│─⟦]' "$out"
}

@test "colours on a terminal, none with NO_COLOR" {
    run "$helpers/drive.py" terminal --columns 120 -- "$COSTEER" compare -q --context "$notes" --max-tokens 20 "$query"
    [ "$status" -eq 0 ]
    [[ $output == *$'\e[1;36mlike this'* && $output != *⟦* ]]
    NO_COLOR=1 run "$helpers/drive.py" terminal --columns 120 -- "$COSTEER" compare -q --context "$notes" --max-tokens 20 "$query"
    [[ $output == *⟦like\ this⟧* && $output != *$'\e'* ]]
    [[ $output == *│* ]]
}

@test "wide characters and marks keep the columns straight" {
    COLUMNS=80 costeer compare --context "$notes" --temperature 1000 --max-tokens 200 "$query" >"$out"
    python3 - "$out" <<'PY'
import sys, unicodedata
width = lambda s: sum(0 if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in s)
for line in open(sys.argv[1]):
    assert width(line.rstrip("\n")) <= 80, line
    if "│" in line:
        assert width(line.split("│")[0]) == 39, line
PY
}
