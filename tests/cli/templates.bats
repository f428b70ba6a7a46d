# Chat templates on the command line: conversations, system messages, a template for each model, and costeer prompt.
load helpers/common

setup() {
    write_notes
    out=$BATS_TEST_TMPDIR/out
    conversation=$BATS_TEST_TMPDIR/conversation.json
    printf '%s' '[{"role":"system","content":"Be brief."},{"role":"user","content":"Who am I?"},
        {"role":"assistant","content":"You did not say."},{"role":"user","content":"Plan my day."}]' >"$conversation"
    own=$BATS_TEST_TMPDIR/own.jinja
    printf '%s\n' "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}<|im_start|>assistant
" >"$own"
}

teardown() { stop_node; }

# A template that reasons when it is told to.
write_thinking_template() {
    printf '{{ "<|im_start|>user\n" + messages[-1].content + "<|im_end|>\n<|im_start|>assistant\n" }}{%% if enable_thinking %%}{{ "<think>\n" }}{%% else %%}{{ "<think></think>" }}{%% endif %%}' >"$own"
}

refused() { # TEXT CODE PATTERN
    printf '%s' "$1" >"$BATS_TEST_TMPDIR/bad.json"
    run --separate-stderr costeer generate --messages "$BATS_TEST_TMPDIR/bad.json"
    failed_with "$2" "bad.json: .*$3"
}

@test "prompt shows every sequence, and the context in the user's first message of the expert alone" {
    costeer prompt --json --context "$notes" --messages "$conversation" >"$out"
    json "$out" '[p["sequence"] for p in d["prompts"]] == ["llm", "amateur", "expert"]'
    json "$out" '["Soraya" in p["text"] for p in d["prompts"]] == [False, False, True]'
    json "$out" 'd["prompts"][2]["text"].index("Soraya") < d["prompts"][2]["text"].index("Who am I?")'
    json "$out" 'all(p["system"] == "given" and p["system_text"] == "Be brief." and len(p["tokens"]) > 20 for p in d["prompts"])'
    json "$out" 'd["prompts"][0]["text"] == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho am I?<|im_end|>\n<|im_start|>assistant\nYou did not say.<|im_end|>\n<|im_start|>user\nPlan my day.<|im_end|>\n<|im_start|>assistant\n"'
    costeer prompt --context "$notes" "Plan my day." >"$out"
    [ "$(grep -c '^== tokens: [0-9 ]*$' "$out")" -eq 3 ]
    [ "$(grep -c 'Soraya' "$out")" -eq 1 ]
}

@test "a conversation of one message is the query" {
    costeer generate --context "$notes" --json "Plan my day." >"$out"
    printf '[{"role":"user","content":"Plan my day."}]' | costeer generate --context "$notes" --json --messages - >"$BATS_TEST_TMPDIR/other"
    OTHER=$BATS_TEST_TMPDIR/other json "$out" 'd["tokens"] == json.load(open(__import__("os").environ["OTHER"]))["tokens"]'
}

@test "a conversation is answered by generate, compare and score" {
    costeer generate --context "$notes" --messages "$conversation" --json >"$out"
    json "$out" 'd["n_tokens"] > 0 and d["system"]["llm"] == {"source": "given", "text": "Be brief."} == d["system"]["slm"]'
    costeer compare --context "$notes" --messages "$conversation" --method llm --method costeer --json >"$out"
    json "$out" 'd["query"] == "Plan my day." and len(d["methods"]) == 2'
    printf 'Rest.' >"$BATS_TEST_TMPDIR/answer"
    costeer score --messages "$conversation" --text "$BATS_TEST_TMPDIR/answer" | grep -q '^perplexity'
}

@test "a bad conversation is told with its file and message" {
    refused '{' 3 'line 1, column 1: no JSON'
    refused '{"role":"user"}' 3 'must be a JSON array of messages'
    refused '[]' 3 'must be a JSON array of messages'
    refused '[{"role":"user"}]' 3 'message 1 is no object with the texts role and content'
    refused '["hi"]' 3 'message 1 is no object'
    refused '[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]' 3 'message 2 is the last and must be the user'
    refused '[{"role":"system","content":"a"}]' 3 'message 1 is the last and must be the user'
    refused '[{"role":"tool","content":"a"},{"role":"user","content":"b"}]' 3 'message 1 has another role'
    refused '[{"role":"user","content":"a"},{"role":"system","content":"s"},{"role":"user","content":"b"}]' 3 'message 2 has the role system'
    refused '[{"role":"user","content":"a","name":"x"}]' 3 'message 1 has "name"; only role and content'
    refused '[{"role":"user","content":" "}]' 3 'message 1 is empty'
    refused '[{"role":"user","content":"a\u0000b"}]' 3 'message 1 has a NUL'
    refused '[{"role":"user\u0000x","content":"a"}]' 3 'message 1 has a NUL'
    refused '' 3 'the conversation is empty'
    run --separate-stderr costeer generate --messages "$conversation" "a query"
    failed_with 2 'a query and --messages exclude each other'
    run --separate-stderr costeer generate --messages "$conversation" --query-file "$notes"
    failed_with 2 '--query-file and --messages exclude each other'
    run --separate-stderr costeer generate --messages "$conversation" --system "Be kind."
    failed_with 2 'has a system message: give one'
    run --separate-stderr costeer generate --messages "$BATS_TEST_TMPDIR/none.json"
    failed_with 3 'none.json: cannot be read'
}

@test "a template's own system message stands, is named, and can be left out" {
    costeer prompt --json --template "$own" "Hi" >"$out"
    json "$out" 'd["prompts"][0]["system"] == "template" and "Be kind." in d["prompts"][0]["text"]'
    costeer prompt --json --template "$own" --no-default-system "Hi" >"$out"
    json "$out" 'd["prompts"][0]["system"] == "none" and "Be kind." not in d["prompts"][0]["text"]'
    costeer prompt --json --template "$own" --system "Be rude." "Hi" >"$out"
    json "$out" 'd["prompts"][0]["system_text"] == "Be rude." and "Be kind." not in d["prompts"][0]["text"]'
    run --separate-stderr costeer generate -v --template "$own" "Hi"
    grep -q 'system message of the template: ".*Be kind' <<<"$stderr"
    costeer generate --json --template-file "$own" "Hi" >"$out"
    json "$out" 'd["system"]["llm"]["source"] == "template" and d["system"]["slm"] is None'
}

@test "each model can have a template of its own" {
    costeer prompt --json --context "$notes" --template raw --llm-template chatml "Hi" >"$out"
    json "$out" '[p["text"][:3] for p in d["prompts"]] == ["<|i", "Hi", "nam"]'
    costeer prompt --json --context "$notes" --slm-template raw "Hi" >"$out"
    json "$out" '[p["text"][:3] for p in d["prompts"]] == ["<|i", "Hi", "nam"]'
    costeer generate --json --context "$notes" --slm-template raw --max-tokens 4 "Hi" >"$out"
    json "$out" 'd["n_steered"] > 0'
}

@test "bad templates are told by option or file" {
    run --separate-stderr costeer generate --template nonsense "Hi"
    failed_with 2 '--template: "nonsense" is no chat template and no file: give raw'
    run --separate-stderr costeer generate --slm-template ./none.jinja "Hi"
    failed_with 3 './none.jinja: cannot be read'
    printf 'no template' >"$own"
    run --separate-stderr costeer generate --llm-template "$own" "Hi"
    failed_with 3 'own.jinja: is no Jinja template'
    printf '{{ unfinished' >"$own"
    run --separate-stderr costeer generate --template-file "$own" "Hi"
    failed_with 4 'chat template that cannot be read'
    printf '{{ raise_exception("only French") }}' >"$own"
    run --separate-stderr costeer generate --template-file "$own" "Hi"
    failed_with 2 'refuses the messages: only French'
    run --separate-stderr costeer generate --template chatml --template-file "$own" "Hi"
    failed_with 2 '--template and --template-file exclude each other'
    run --separate-stderr costeer generate --thinking maybe "Hi"
    failed_with 2 'thinking'
}

@test "an answer begins with --answer-prefix, which both models read" {
    costeer prompt --json --context "$notes" --answer-prefix "Dear " "Hi" >"$out"
    json "$out" 'all(p["text"].endswith("assistant\nDear ") for p in d["prompts"])'
    costeer generate --context "$notes" --answer-prefix "Dear " --max-tokens 4 "Hi" >"$out"
    ! grep -q '^Dear ' "$out"
}

@test "an answer that is empty is not passed over in silence" {
    whole=$(costeer generate "Plan my day.")
    run --separate-stderr costeer generate --answer-prefix "$whole" "Plan my day."
    [ -z "$output" ]
    failed_with 0 'the answer is empty: the LLM ended it at once'
    run --separate-stderr costeer generate -q --answer-prefix "$whole" "Plan my day."
    succeeded
}

@test "reasoning is apart from the answer, within a budget of its own" {
    write_thinking_template
    costeer generate --json --context "$notes" --llm-template "$own" --thinking on --thinking-budget 6 --max-tokens 5 "Plan my day." >"$out"
    json "$out" 'd["n_reasoning"] > 6 and d["reasoning"] and "think>" not in d["reasoning"] + d["text"]'
    json "$out" '0 < d["n_tokens"] - d["n_reasoning"] <= 5 and len(d["tokens"]) == d["n_tokens"] and d["n_gated"] == 0'
    run --separate-stderr costeer generate --context "$notes" --llm-template "$own" --thinking on --thinking-budget 6 --max-tokens 5 "Plan my day."
    TEXT=$output json "$out" 'd["text"] == __import__("os").environ["TEXT"]'
    SAID=$stderr json "$out" 'd["reasoning"].strip() in __import__("os").environ["SAID"]'
    run --separate-stderr costeer generate -q --context "$notes" --llm-template "$own" --thinking on --thinking-budget 6 --max-tokens 5 "Plan my day."
    succeeded
    costeer generate --json --llm-template "$own" "Plan my day." >"$out"
    json "$out" 'd["n_reasoning"] == 0 and d["reasoning"] is None'
    costeer prompt --json --llm-template "$own" --thinking on "Hi" >"$out"
    json "$out" 'd["prompts"][0]["text"].endswith("assistant\n<think>\n")'
}

@test "a template without a reasoning is told of" {
    run --separate-stderr costeer generate --thinking on --max-tokens 4 "Hi"
    failed_with 0 'has no reasoning that is known; --thinking on changes nothing but what it is told'
}

# One row of eval with some options must be answered as generate answers it with the same options; left in $out and $row.
assert_eval_is_generate() {
    rm -rf "$BATS_TEST_TMPDIR/run"
    printf '{"query": "Plan my day.", "context": "name: Soraya\\ncity: Gothenburg\\nMy dog is called Rufus."}\n' >"$BATS_TEST_TMPDIR/rows.jsonl"
    costeer eval -q --task generic --data "$BATS_TEST_TMPDIR/rows.jsonl" --method costeer --out "$BATS_TEST_TMPDIR/run" "$@" >"$BATS_TEST_TMPDIR/table"
    row=$BATS_TEST_TMPDIR/run/results.jsonl
    costeer generate --json --context "$notes" "$@" "Plan my day." >"$out"
    ROW=$row json "$out" '(lambda r: r["answer"] == d["text"] and r.get("reasoning") == d["reasoning"] and all(r[k] == d[k] for k in
        ("n_tokens", "n_reasoning", "n_steered", "n_gated", "finish")))(json.loads(open(__import__("os").environ["ROW"]).read()))'
}

@test "eval takes the options of templates as generate does, and notes them" {
    local run=$BATS_TEST_TMPDIR/run/run.json answers=$BATS_TEST_TMPDIR/answers
    note_answer() { python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).read())["answer"].encode().hex())' "$row" >>"$answers"; }
    assert_eval_is_generate --max-tokens 12
    note_answer
    json "$run" 'd["thinking"] == "off" and d["llm_template"] is None and d["chat_template"] is None and not d["no_default_system"]'
    assert_eval_is_generate --max-tokens 12 --template-file "$own"
    note_answer
    OWN=$own json "$run" 'd["chat_template"] == open(__import__("os").environ["OWN"]).read().rstrip("\n")'
    assert_eval_is_generate --max-tokens 12 --template-file "$own" --no-default-system
    note_answer
    json "$run" 'd["no_default_system"]'
    assert_eval_is_generate --max-tokens 12 --llm-template raw
    note_answer
    json "$run" 'd["llm_template"] == "raw" and d["slm_template"] is None'
    assert_eval_is_generate --max-tokens 12 --template raw --llm-template chatml
    note_answer
    assert_eval_is_generate --max-tokens 12 --answer-prefix "Dear "
    note_answer
    json "$run" 'd["answer_prefix"] == "Dear "'
    [ "$(sort -u "$answers" | wc -l)" -eq 6 ] # every option counts
}

@test "eval keeps the reasoning apart from the answer, and the report counts the answer alone" {
    write_thinking_template
    thinking=(--llm-template "$own" --thinking on --thinking-budget 6 --max-tokens 5)
    assert_eval_is_generate "${thinking[@]}"
    json_lines "$row" 'd[0]["n_reasoning"] > 6 and d[0]["reasoning"] and "think>" not in d[0]["reasoning"] + d[0]["answer"]'
    costeer report "$BATS_TEST_TMPDIR/run" >/dev/null
    cp -r "$BATS_TEST_TMPDIR/run" "$BATS_TEST_TMPDIR/old"
    python3 - "$BATS_TEST_TMPDIR/old/results.jsonl" <<'PY'
import json, sys
line = json.loads(open(sys.argv[1]).read())
assert line.pop("reasoning")
open(sys.argv[1], "w").write(json.dumps(line) + "\n")
PY
    rm "$BATS_TEST_TMPDIR"/old/report.*
    costeer report "$BATS_TEST_TMPDIR/old" >/dev/null # a file of a version that did not keep it
    cmp "$BATS_TEST_TMPDIR/run/report.html" "$BATS_TEST_TMPDIR/old/report.html"
    cmp "$BATS_TEST_TMPDIR/run/report.md" "$BATS_TEST_TMPDIR/old/report.md"
    assert_eval_is_generate --llm-template "$own" --max-tokens 5
    json_lines "$row" '"reasoning" not in d[0] and d[0]["n_reasoning"] == 0'
}

@test "a run with reasoning that is taken up again ends with the same bytes, behind lines without it too" {
    write_thinking_template
    printf '{"query": "Plan my day.", "context": "name: Soraya"}\n{"query": "Plan my day.", "context": "name: Rufus"}\n' >"$BATS_TEST_TMPDIR/rows.jsonl"
    local -a eval=(eval -q --task generic --data "$BATS_TEST_TMPDIR/rows.jsonl" --method costeer --method llm --llm-template "$own" --thinking on
        --thinking-budget 6 --max-tokens 5 --out)
    costeer "${eval[@]}" "$BATS_TEST_TMPDIR/whole" >/dev/null
    json_lines "$BATS_TEST_TMPDIR/whole/results.jsonl" 'len(d) == 4 and all(x["reasoning"] for x in d)'
    cp -r "$BATS_TEST_TMPDIR/whole" "$BATS_TEST_TMPDIR/cut"
    sed -i '3,$d; 1s/"reasoning": "[^"]*", //' "$BATS_TEST_TMPDIR/cut/results.jsonl"
    costeer "${eval[@]}" "$BATS_TEST_TMPDIR/cut" >/dev/null
    json_lines "$BATS_TEST_TMPDIR/cut/results.jsonl" '"reasoning" not in d[0] and len(d) == 4'
    cmp <(tail -n 3 "$BATS_TEST_TMPDIR/whole/results.jsonl") <(tail -n 3 "$BATS_TEST_TMPDIR/cut/results.jsonl")
}

@test "a token that only the template knows as the end of a turn ends answers, here and through a node" {
    local edited=$BATS_TEST_TMPDIR/edited
    mkdir "$edited"
    for file in costeer-llm costeer-slm; do
        python3 "$helpers/gguf.py" end-of-turn "$COSTEER_MODELS_DIR/$file.gguf" "$edited/$file.gguf" '<fin>'
        python3 "$helpers/gguf.py" no-template "$edited/$file.gguf" "$edited/$file-bare.gguf"
    done
    printf 'name: Desmond\nMy pet is Juniper.\n' >"$notes"
    costeer generate --json --context "$notes" "Write a toast." >"$BATS_TEST_TMPDIR/wanted"
    is_wanted() {
        costeer generate --json --context "$notes" "$@" "Write a toast." >"$out"
        WANTED=$BATS_TEST_TMPDIR/wanted json "$out" '(lambda w: d["finish"] == "end" == w["finish"] and d["tokens"] == w["tokens"])(json.load(open(__import__("os").environ["WANTED"])))'
    }
    is_wanted --llm "$edited/costeer-llm.gguf" --slm "$edited/costeer-slm.gguf"
    printf '%s' "{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<fin>
{% endfor %}<|im_start|>assistant
{{ '' }}" >"$own"
    is_wanted --llm "$edited/costeer-llm-bare.gguf" --slm "$edited/costeer-slm-bare.gguf" --template "$own"
    start_node --model "$edited/costeer-llm.gguf"
    for mode in lockstep streamed drafted; do
        is_wanted --cloud "$node_url" --cloud-mode "$mode" --slm "$edited/costeer-slm.gguf"
        is_wanted --cloud "$node_url" --cloud-mode "$mode" --slm "$edited/costeer-slm-bare.gguf" --llm-template "$own" --slm-template "$own"
        [ "$mode" != drafted ] || continue # only an SLM with a context drafts
        # A device that does not know the end writes on behind it, as it would without a node.
        costeer generate --json --cloud "$node_url" --cloud-mode "$mode" --slm "$edited/costeer-slm-bare.gguf" --method llm --max-tokens 200 "Plan my day." >"$out"
        json "$out" 'd["finish"] == "length" and d["n_tokens"] == 200 and 3 in d["tokens"]'
    done
    stop_node
}
