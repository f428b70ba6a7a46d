# costeer generate on the built-in pair: text, JSON, trace, steering, sampling.
load helpers/common

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    query="Write a short introduction for my new team."
}

generate() { costeer generate --context "$notes" "$@" "$query"; }

@test "an answer is text that ends in a line end, and nothing else is said" {
    run --separate-stderr generate
    succeeded
    [ -n "$output" ]
    generate >"$out"
    [ "$(tail -c 1 "$out" | od -An -c | tr -d ' ')" = '\n' ]
    [ "$(tail -c 2 "$out" | tr -d '\n' | wc -c)" -eq 1 ]
}

@test "the query comes from the argument, a file or standard input" {
    generate >"$out"
    printf '%s\n' "$query" >"$BATS_TEST_TMPDIR/query.txt"
    costeer generate --context "$notes" --query-file "$BATS_TEST_TMPDIR/query.txt" | diff "$out" -
    costeer generate --context "$notes" <"$BATS_TEST_TMPDIR/query.txt" | diff "$out" -
    printf '\xef\xbb\xbf%s\r\n' "$query" | costeer generate --context "$notes" - | diff "$out" -
    costeer generate --context - "$query" <"$notes" | diff "$out" -
    costeer generate "--context=$notes" -- "$query" | diff "$out" -
}

@test "--json is one object with everything the issue asks for" {
    generate --json --seed 7 >"$out"
    [ "$(wc -l <"$out")" -eq 1 ]
    json "$out" 'all(k in d for k in "text tokens finish strength n_steered certified deepened uncertified times_us tokens_per_second models seed".split())'
    json "$out" 'set(d["times_us"]) == {"prefill", "slm", "llm_wait", "fuse", "total"} and d["times_us"]["total"] > 0'
    json "$out" 'len(d["tokens"]) == d["n_tokens"] == d["certified"] and d["finish"] in ("end", "length") and d["seed"] == 7'
    json "$out" 'abs(d["strength"] - 1.78325684) < 1e-8 and d["tokens_per_second"] > 0'
    json "$out" 'all(len(d["models"][m]["vocab_sha256"]) == 64 and d["models"][m]["name"] for m in ("llm", "slm"))'
    generate --seed 7 | diff <(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["text"])' "$out") -
}

@test "--max-tokens and --stop end the answer, and finish says so" {
    generate --json --max-tokens 5 >"$out"
    json "$out" 'd["n_tokens"] == 5 and d["finish"] == "length"'
    text=$(generate)
    stop=${text:6:3}
    generate --json --stop "$stop" >"$out"
    STOP=$stop json "$out" 'd["finish"] == "stop" and __import__("os").environ["STOP"] not in d["text"] and len(d["text"]) <= 6'
}

@test "without --context the LLM answers alone, as at strength 0" {
    costeer generate --json "$query" >"$out"
    json "$out" 'd["models"]["slm"] is None and d["strength"] == 0 and d["n_steered"] == 0'
    costeer generate --slm /nowhere.gguf "$query" >"$out"
    generate --strength 0 | diff "$out" -
}

@test "strength is given directly or by the published parameters" {
    generate --json --T 1 >"$out"
    json "$out" 'abs(d["strength"] - 0.476190476190476) < 1e-12'
    generate --T 1 >"$out"
    generate --strength 0.47619047619047616 | diff "$out" -
    generate --json --alpha 0 --beta 1 --lambda 2 --eta 10 --T 20 >"$out"
    json "$out" 'abs(d["strength"] - 0.5) < 1e-12'
}

@test "weights: a context of weight 0 changes nothing, 0.5 is half the strength, a file that exists wins over the split" {
    costeer generate "$query" >"$out"
    costeer generate --context "$notes:0" "$query" | diff "$out" -
    costeer generate --context "$notes" --strength 0.6 "$query" >"$out"
    costeer generate --context "$notes:0.5" --strength 1.2 "$query" | diff "$out" -
    cp "$notes" "$notes:0"
    generate >"$out"
    costeer generate --context "$notes:0" "$query" | diff "$out" -
}

@test "several contexts are used, also the same one twice at half weight" {
    generate --strength 1 >"$out"
    costeer generate --context "$notes:0.5" --context "$notes:0.5" --strength 1 "$query" | diff "$out" -
}

@test "sampling: the seed decides, greedy needs none" {
    generate --temperature 1 --seed 1 >"$out"
    generate --temperature 1 --seed 1 | diff "$out" -
    run ! diff -q "$out" <(generate --temperature 1 --seed 2)
    generate --seed 1 >"$out"
    generate --seed 2 | diff "$out" -
    generate --temperature 1 --top-k 1 | diff "$out" -
}

@test "a top-K base gives the same greedy tokens; --constant-k counts what is unproved" {
    generate >"$out"
    generate --base-top-k 16 | diff "$out" -
    generate --base-top-k 2 --json >"$out"
    json "$out" 'd["certified"] == d["n_tokens"] and d["deepened"] > 0 and d["uncertified"] == 0'
    generate --base-top-k 2 --constant-k --json >"$out"
    json "$out" 'd["deepened"] == 0 and d["uncertified"] > 0 and d["certified"] + d["uncertified"] == d["n_tokens"]'
}

@test "--trace has a line per position with what the issue asks for" {
    generate --trace "$BATS_TEST_TMPDIR/trace" --json >"$out"
    trace=$BATS_TEST_TMPDIR/trace
    [ "$(wc -l <"$trace")" -eq "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["n_tokens"])' "$out")" ]
    json_lines "$trace" '[x["position"] for x in d] == list(range(len(d)))'
    json_lines "$trace" 'all(k in x for x in d for k in "token text is_end steered base_token base_logprob policy_logprob delta certified slm_us llm_wait_us fuse_us".split())'
    json_lines "$trace" 'all(len(x[k]) == 5 and set(y) - {"bytes"} == {"token", "text", "logprob"} for x in d for k in ("best_before", "best_after") for y in x[k])'
    json_lines "$trace" 'all(x["best_after"][0]["token"] == x["token"] and x["best_before"][0]["token"] == x["base_token"] for x in d)'
    json_lines "$trace" 'all(x["steered"] == (x["token"] != x["base_token"]) for x in d) and all(x["policy_logprob"] <= 0 for x in d)'
    json_lines "$trace" 'all(abs(x["margin"] - x["best_after"][0]["logprob"] + x["best_after"][1]["logprob"]) < 1e-5 for x in d)'
    json_lines "$trace" 'all(x["near_tie"] == (x["margin"] < 0.12 + 1.78325684 * 0.05) for x in d)'
    TOKENS=$out json_lines "$trace" 'sum(x["near_tie"] for x in d) == json.load(open(__import__("os").environ["TOKENS"]))["near_ties"]'
    [ "$(stat -c %a "$trace")" = 600 ]
    TOKENS=$out json_lines "$trace" '[x["token"] for x in d] == json.load(open(__import__("os").environ["TOKENS"]))["tokens"]'
    TEXT=$out json_lines "$trace" '"".join(x["text"] for x in d if "bytes" not in x) == json.load(open(__import__("os").environ["TEXT"]))["text"] or any("bytes" in x for x in d)'
}

@test "token texts that are not UTF-8 come with their bytes, and the text is UTF-8 all the same" {
    any=(--temperature 1000 --seed 3 --max-tokens 200) # every token is as likely as any other, single bytes too
    costeer generate "${any[@]}" --json --trace "$BATS_TEST_TMPDIR/trace" "$query" >"$out"
    json "$out" 'isinstance(d["text"], str)'
    json_lines "$BATS_TEST_TMPDIR/trace" \
        'all(x["text"].encode() != bytes(x["bytes"]) for x in d if "bytes" in x) and any("bytes" in y for x in d for y in [x] + x["best_before"])'
    costeer generate "${any[@]}" "$query" | python3 -c 'import sys; sys.stdin.buffer.read().decode("utf-8")'
}

@test "--system, --context-template and --template change the prompt" {
    generate --json --max-tokens 8 >"$out"
    printf 'Notes: {context} Request: {query}\n' >"$BATS_TEST_TMPDIR/template"
    generate --max-tokens 8 --context-template "$BATS_TEST_TMPDIR/template" --json >"$BATS_TEST_TMPDIR/other"
    json "$BATS_TEST_TMPDIR/other" 'd["n_tokens"] > 0'
    generate --max-tokens 8 --template chatml --json >"$BATS_TEST_TMPDIR/other"
    TEXT=$out json "$BATS_TEST_TMPDIR/other" 'd["tokens"] == json.load(open(__import__("os").environ["TEXT"]))["tokens"]'
    generate --max-tokens 8 --template raw >/dev/null
    generate --max-tokens 8 --system "Be brief." >/dev/null
    run --separate-stderr generate --template nonsense
    failed_with 2 nonsense
    printf 'no places\n' >"$BATS_TEST_TMPDIR/template"
    run --separate-stderr generate --context-template "$BATS_TEST_TMPDIR/template"
    failed_with 3 'has no \{context\}'
}

@test "the summary is for terminals, or --verbose; -q silences it" {
    run --separate-stderr generate --verbose
    [[ ${stderr_lines[-1]} =~ ^costeer:\ [0-9]+\ tokens,\ .*\ tok/s ]]
    run --separate-stderr generate --verbose -q
    succeeded
    run "$helpers/drive.py" terminal -- "$COSTEER" generate --context "$notes" --max-tokens 5 "$query"
    [ "$status" -eq 0 ]
    [[ ${lines[-1]} =~ tok/s,\ [0-9]+\ steered\ \(strength\ 1.783\),\ all\ certified,\ length ]]
}

@test "progress stays as lines with --verbose off a terminal; -q and JSON have none of it" {
    run --separate-stderr generate --verbose --json
    answer=$output
    [[ $stderr == *"costeer: loaded costeer-llm.gguf"* && $stderr == *"costeer: loaded costeer-slm.gguf"* ]]
    [[ $stderr =~ costeer:\ prompts:\ read\ [0-9]+\ tokens && $stderr != *$'\r'* ]]
    printf '%s\n' "$answer" >"$out"
    json "$out" 'd["n_tokens"] > 0'
    run --separate-stderr generate
    [ "$status" -eq 0 ] && [[ $stderr != *loaded* && $stderr != *read* ]]
    run --separate-stderr generate --verbose -q
    succeeded
}

@test "the library's messages are shown on request and hold nothing private" {
    run --separate-stderr costeer generate --log-level debug --context "$notes" "$query"
    [ "$status" -eq 0 ]
    [[ $stderr != *Soraya* && $stderr != *introduction* ]]
}
