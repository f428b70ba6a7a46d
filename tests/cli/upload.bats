# Methods that show the context to a node: only with --allow-context-upload, and then they say so everywhere.
load helpers/common

query="Write a short introduction for my new team."

setup_file() {
    start_node
    export node_pid node_url
}

teardown_file() { stop_node; }

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    audit=$BATS_TEST_TMPDIR/audit
    cloud=(--cloud "$node_url" --context "$notes" --max-tokens 60)
}

showing=(llm+context context-steering linear-alignment amulet)

@test "without --allow-context-upload they are refused before anything is sent" {
    for method in "${showing[@]}"; do
        run --separate-stderr costeer generate "${cloud[@]}" --method "$method" --audit "$audit" "$query"
        failed_with 2 "--method ${method/+/\\+}: would show the context to the cloud; --allow-context-upload allows it"
        [ ! -e "$audit" ]
        run --separate-stderr costeer compare "${cloud[@]}" --method llm --method "$method" "$query"
        failed_with 2 "--method ${method/+/\\+}: would show the context"
    done
    run --separate-stderr costeer generate --allow-context-upload --context "$notes" "$query"
    failed_with 2 '--allow-context-upload: needs --cloud'
}

@test "with it they give what an LLM in this process gives, and tell of it" {
    for method in "${showing[@]}"; do
        costeer generate --context "$notes" --max-tokens 60 --method "$method" "$query" >"$out"
        run --separate-stderr costeer generate "${cloud[@]}" --allow-context-upload --method "$method" -v "$query"
        [ "$status" -eq 0 ]
        diff "$out" <(printf '%s\n' "$output") || { echo "$method"; return 1; }
        [[ $stderr == *"; context shown to the LLM's cloud; cloud: "* ]]
    done
    costeer generate "${cloud[@]}" --allow-context-upload --method llm+context --json --audit "$audit" "$query" >"$out"
    json "$out" 'd["shows_context"] is True and d["cloud"]["bytes_up"] > 0'
    grep -q Soraya "$audit"
}

@test "the permission alone shows nothing: costeer sends no context" {
    costeer generate "${cloud[@]}" --allow-context-upload --json --audit "$audit" "$query" >"$out"
    json "$out" 'd["shows_context"] is False'
    costeer audit "$audit" --context "$notes" --json >"$BATS_TEST_TMPDIR/report"
    json "$BATS_TEST_TMPDIR/report" 'd["violations"] == 0'
}

@test "compare: with the permission none of the four is left out" {
    costeer compare --context "$notes" --max-tokens 60 --json "$query" >"$out"
    costeer compare "${cloud[@]}" --allow-context-upload --json "$query" >"$BATS_TEST_TMPDIR/there"
    HERE=$out json "$BATS_TEST_TMPDIR/there" \
        '[(m["name"], m["token_ids"]) for m in d["methods"]] == [(m["name"], m["token_ids"]) for m in json.load(open(__import__("os").environ["HERE"]))["methods"]]'
    json "$BATS_TEST_TMPDIR/there" 'd["skipped"] == [] and d["methods"][3]["gives_context_away"] is True and d["methods"][3]["cloud"]["bytes_up"] > 0'
    COLUMNS=80 costeer compare "${cloud[@]}" --allow-context-upload "$query" >"$out"
    grep -q 'the cloud was shown the context' "$out"
}

@test "the SLM alone asks nobody: no connection, no audit" {
    for method in slm slm+context; do
        costeer generate -q --context "$notes" --max-tokens 60 --method "$method" "$query" >"$out"
        run --separate-stderr costeer generate -q --cloud ws://127.0.0.1:1 --context "$notes" --max-tokens 60 --method "$method" --audit "$audit" "$query"
        succeeded
        diff "$out" <(printf '%s\n' "$output")
        [ ! -e "$audit" ]
    done
    run --separate-stderr costeer generate -v --cloud ws://127.0.0.1:1 --context "$notes" --method slm+context "$query"
    [[ ${stderr_lines[-1]} == *" tok/s"* && ${stderr_lines[-1]} != *cloud* ]]
}

@test "gates, limits and lightcosteer give the same through a node" {
    for options in '--method lightcosteer' '--method adacosteer' '--gate token --gate-threshold 0.3' \
        '--gate token --cloud-mode drafted' '--method costeer-whole' '--method costeer-whole --cloud-mode lockstep' \
        '--method costeer-whole --half-precision --base-top-k 4' '--method costeer-whole --cloud-mode drafted' \
        '--method costeer-divergence --cloud-mode drafted --draft private' '--method costeer-plausible --gate token'; do
        # shellcheck disable=SC2086
        costeer generate --context "$notes" --max-tokens 60 $(sed -E 's/--(cloud-mode|draft|base-top-k) [a-z0-9]+//g; s/--half-precision//' <<<"$options") "$query" >"$out"
        # shellcheck disable=SC2086
        costeer generate "${cloud[@]}" $options "$query" | diff "$out" - || { echo "$options"; return 1; }
    done
}

@test "drafts and going on alone need an SLM that steers" {
    for options in '--cloud-mode drafted' '--draft private'; do
        # shellcheck disable=SC2086
        run --separate-stderr costeer generate "${cloud[@]}" --method llm $options "$query"
        failed_with 2 'need a --context and a method that steers with the SLM'
    done
    run --separate-stderr costeer generate "${cloud[@]}" --method llm --on-cloud-failure local "$query"
    failed_with 2 '--on-cloud-failure local: needs a --context and a method that steers with the SLM'
}
