# costeer report on folders made by hand; the numbers themselves are checked in tests/unit/test_report.c.
load helpers/common

setup() {
    dir=$BATS_TEST_TMPDIR/run
    out=$BATS_TEST_TMPDIR/out
}

# made KIND [ROWS]: the folder of an evaluation that never was.
made() { python3 "$helpers/eval_dir.py" "$dir" "$@"; }

reported() {
    run --separate-stderr costeer report "$dir" --rounds 200 "$@"
    succeeded
    printf '%s\n' "$output" >"$out"
}

check_page() { python3 "$helpers/check_page.py" "$@"; }

@test "eleven methods become a page with pictures, Markdown, and the same Markdown on standard output" {
    made methods 12
    reported
    check_page "$dir/report.html" 9
    diff "$out" "$dir/report.md"
    grep -qF 'linear-alignment **(context shown to the LLM)**' "$out"
    grep -qF '<span class="tag">context shown to the LLM</span>' "$dir/report.html"
    grep -qF '## Differences from costeer' "$out"
    [ "$(stat -c %a "$dir/report.html" "$dir/report.md")" = "$(printf '600\n600')" ]
    [ "$(ls -A "$dir")" = "$(printf 'bad_rows.jsonl\nreport.html\nreport.md\nresults.jsonl\nrun.json')" ]
}

@test "answers, row ids, reasons and names stay text" {
    made methods 3
    reported
    grep -qF '&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quoted&quot; &#39;single&#39; &lt;/p&gt;&lt;!-- |' "$dir/report.html"
    grep -qF '&lt;b&gt;nine&lt;/b&gt;' "$dir/report.html"
    grep -qF 'generic &lt;set&gt;' "$dir/report.html"
    ! grep -q '<script\|<b>\|<i>\|<set>' "$dir/report.html"
    ! grep -qE '(^|[^\\])<(b|i|set)>' "$out"
}

@test "a sweep has a table with the strength beside the parameter, and curves over strength" {
    made sweep 8
    reported --baseline llm
    check_page "$dir/report.html"
    grep -qE '^\| T \| strength \| context recall' "$out"
    grep -qE '^\| 20 \| 1\.7833 \|' "$out"
    grep -qF '>costeer by T</text>' "$dir/report.html"
    grep -qF 'class="l joint"' "$dir/report.html" # one line through the points of both sweeps
    grep -qF '>strength</text>' "$dir/report.html"
}

@test "--json gives the numbers of the table; the same seed gives the same, another one other intervals" {
    made methods 20
    reported --json --seed 5
    json "$out" 'd["baseline"] == "costeer" and d["seed"] == 5 and d["n_rounds"] == 200 and d["n_rows"] == 20 and d["n_bad_rows"] == 2'
    json "$out" 'len(d["labels"]) == 11 and [x["label"] for x in d["labels"] if x["shows_context"]] == ["llm+context", "context-steering", "linear-alignment", "amulet"]'
    json "$out" 'all(x["measures"]["rouge1"]["low"] <= x["measures"]["rouge1"]["value"] <= x["measures"]["rouge1"]["high"] for x in d["labels"])'
    json "$out" 'all(0 < x["against_baseline"]["rouge1"]["p"] <= 1 and x["against_baseline"]["n_paired"] == 20 for x in d["labels"][1:])'
    python3 - "$out" "$dir/results.jsonl" <<'END'
import json, math, sys
report = json.load(open(sys.argv[1]))
lines = [json.loads(x) for x in open(sys.argv[2])]
for label in report["labels"]:
    own = [x for x in lines if x["label"] == label["label"]]
    for key in ("rouge1", "fact_recall", "distinct2"):
        values = [x["metrics"][key] for x in own if x["metrics"][key] is not None]
        got = label["measures"][key]
        assert got["n"] == len(values) and abs(got["value"] - sum(values) / len(values)) < 1e-12, (label["label"], key, got)
    loss = -sum(x["judge"]["logprob"] for x in own) / sum(x["judge"]["n_tokens"] for x in own)
    assert abs(label["measures"]["perplexity"]["value"] - math.exp(loss)) < 1e-9
END
    cp "$out" "$out.first"
    reported --json --seed 5
    diff "$out" "$out.first"
    reported --json --seed 6
    ! diff -q "$out" "$out.first"
}

@test "the page can go elsewhere; what was there stays when nothing can be written" {
    made small 4
    reported -o "$BATS_TEST_TMPDIR/page.html"
    check_page "$BATS_TEST_TMPDIR/page.html"
    [ ! -e "$dir/report.html" ]
    echo kept >"$dir/report.md"
    run --separate-stderr costeer report "$dir" -o "$BATS_TEST_TMPDIR/none/page.html"
    failed_with 5 'none/page.html: cannot be written'
    [ "$(cat "$dir/report.md")" = kept ]
}

@test "one method alone, and a run that was stopped in the middle of a line" {
    made small 4
    head -c -40 "$dir/results.jsonl" >"$dir/cut" && mv "$dir/cut" "$dir/results.jsonl"
    rm "$dir/bad_rows.jsonl"
    reported
    grep -qF 'rows answered: 4, and the beginning of one more' "$out"
    check_page "$dir/report.html"
}

@test "a run of the built-in pair" {
    costeer eval --task generic --data "$COSTEER_MODELS_DIR/eval/prompts.jsonl" --limit 3 --max-tokens 24 --method costeer \
        --method context-steering --sweep strength=0:2:1 --judge "$llm" --out "$dir" >/dev/null
    reported --json --baseline 'costeer strength=0'
    check_page "$dir/report.html"
    json "$out" '[x["label"] for x in d["labels"]] == [m + " strength=" + str(s) for m in ("costeer", "context-steering") for s in (0, 1, 2)]'
    json "$out" 'all(x["n_rows"] == 3 and x["measures"]["perplexity"]["value"] >= 1 for x in d["labels"])'
    grep -qF '>context-steering by strength</text>' "$dir/report.html"
}

@test "damaged lines are named" {
    made small 4
    sed -i '3s/.*/{"row": /' "$dir/results.jsonl"
    run --separate-stderr costeer report "$dir"
    failed_with 3 "$dir/results.jsonl, line 3: not a JSON object; the file is damaged"
    made small 4
    sed -i '5s/"label": "llm"/"label": "slm"/' "$dir/results.jsonl"
    run --separate-stderr costeer report "$dir"
    failed_with 3 'results.jsonl, line 5: its label is not one of'
    made small 4
    echo '[]' >"$dir/run.json"
    run --separate-stderr costeer report "$dir"
    failed_with 3 "$dir/run.json: not a JSON object; was it written by costeer eval\?"
    [ ! -e "$dir/report.html" ] && [ ! -e "$dir/report.md" ]
}

@test "wrong use is told in one line" {
    made small 4
    run --separate-stderr costeer report
    failed_with 2 'takes one folder'
    run --separate-stderr costeer report "$dir" more
    failed_with 2 'takes one folder'
    run --separate-stderr costeer report "$dir/nowhere"
    failed_with 3 'there is no run.json in it; name the folder that costeer eval --out wrote'
    run --separate-stderr costeer report "$dir/run.json"
    failed_with 3 'there is no run.json in it'
    run --separate-stderr costeer report "$dir" --baseline costeeer
    failed_with 2 "no 'costeeer'; did you mean 'costeer'\?"
    run --separate-stderr costeer report "$dir" --baseline something-else
    failed_with 2 "no 'something-else'; its first label is 'llm'"
    run --separate-stderr costeer report "$dir" --rounds 5
    failed_with 2 'rounds'
    run --separate-stderr costeer report "$dir" -o -
    failed_with 2 'name a file for the page'
    : >"$dir/results.jsonl"
    run --separate-stderr costeer report "$dir"
    failed_with 3 'results.jsonl: no results in it yet'
    rm "$dir/results.jsonl"
    run --separate-stderr costeer report "$dir"
    failed_with 3 'there is no results.jsonl in it'
}
