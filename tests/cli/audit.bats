# costeer audit on files made by hand: counting, damage, and the search for a context.
load helpers/common

setup() {
    file=$BATS_TEST_TMPDIR/sent.jsonl
    context=$BATS_TEST_TMPDIR/context.txt
    out=$BATS_TEST_TMPDIR/out
    printf 'My dog Rufus likes\n  the park in Gothenburg. Call 0701-234567-890-ABC.\n' >"$context"
}

connect='{"bytes":0,"host":"127.0.0.1","kind":"connect","path":"/","port":8790,"position":null,"subprotocol":"costeer.v1","text":"","tls":false,"token_shown":true,"tokens":[]}'

# open TEXT [ACCEPTED]: an open line with chat messages.
open() { printf '{"accepted":[%s],"bytes":60,"half":false,"kind":"open","max_tokens":64,"message_bytes":66,"mode":"drafted","position":0,"roles":["user"],"text":"%s","tokens":[],"top_k":64,"window":0}\n' "${2:-}" "$1"; }
# tokens KIND POSITION TEXT IDS…
correct() { printf '{"bytes":9,"epoch":1,"kind":"correct","message_bytes":15,"position":%s,"text":"%s","tokens":[%s]}\n' "$1" "$2" "$3"; }
draft() { printf '{"bytes":12,"kind":"draft","position":%s,"text":"%s","tokens":[%s]}\n' "$1" "$2" "$3"; }
commit() { printf '{"bytes":5,"kind":"commit","message_bytes":11,"position":%s,"text":"","tokens":[]}\n' "$1"; }
deepen() { printf '{"bytes":13,"epoch":1,"kind":"deepen","message_bytes":19,"position":%s,"text":"","tokens":[],"top_k":512}\n' "$1"; }
close() { printf '{"bytes":13,"kind":"close","message_bytes":19,"position":null,"text":"","tokens":[]}\n'; }

# audited CODE: the report of the file, with the context, is in $out.
audited() {
    run --separate-stderr costeer audit "$file" --context "$context" --json
    [ "$status" -eq "$1" ] || { echo "exit code $status: $stderr" >&2; return 1; }
    printf '%s\n' "$output" >"$out"
}

@test "messages, bytes, tokens, drafts, corrections and deepenings are added up" {
    { echo "$connect"; open "Hello"; correct 0 Hi 7; draft 1 ", there" 8,9; commit 2; draft 3 " you two" 4,5; correct 4 " three" 6; deepen 5; close; } >"$file"
    costeer audit "$file" --json >"$out"
    json "$out" 'd["messages"] == 6 and d["bytes"] == 66 + 15 + 11 + 15 + 19 + 19 and d["answers"] == 1 and d["reopened"] == 0'
    json "$out" 'd["tokens_sent"] == 6 and d["drafts_sent"] == 4 and d["withdrawn"] == 1 and d["unsettled"] == 0'
    json "$out" 'd["corrections"] == 2 and d["deepenings"] == 1 and d["kinds"]["draft"] == {"n": 2, "bytes": 24} and d["kinds"]["ping"]["n"] == 0'
    json "$out" '"violations" not in d'
    run --separate-stderr costeer audit "$file"
    succeeded
    [[ $output == *"6 told, of them 4 as drafts, 1 withdrawn"* && $output == *"all known"* ]]
}

@test "what is in the answer is listed, and no violation" {
    { open "Hello"; correct 0 "My dog" 7; correct 1 " Rufus" 8; draft 2 " is old" 9,10; commit 3; correct 9 "likes the park" 11; close; } >"$file"
    audited 0
    json "$out" '[(x["place"], x["text"]) for x in d["context_runs"]] == [("emitted", "My dog Rufus"), ("emitted", "likes the park")]'
    json "$out" 'd["violations"] == 0'
}

@test "every word of the context that the answer says is listed once, in its sentence, but for those of the query" {
    { open "Where is my dog?"; correct 0 "A dog. In Gothenburg there is" 7; correct 1 " a park, and RUFUS likes Gothenburg. He" 8; close; } >"$file"
    audited 0
    json "$out" '[(w["word"], w["text"]) for w in d["context_words"]] == [("In", "In Gothenburg there is a park, and RUFUS likes Gothenburg."), ("Gothenburg", "In Gothenburg there is a park, and RUFUS likes Gothenburg."), ("park", "In Gothenburg there is a park, and RUFUS likes Gothenburg."), ("RUFUS", "In Gothenburg there is a park, and RUFUS likes Gothenburg."), ("likes", "In Gothenburg there is a park, and RUFUS likes Gothenburg.")]'
    json "$out" 'd["violations"] == 0'
    run --separate-stderr costeer audit "$file" --context "$context"
    succeeded
    [[ $output == *"words        5 of it in the answer, and in no request before:"*"  park: In Gothenburg there is a park, and RUFUS likes Gothenburg."* ]]
    # what a later query has was said before it
    { open "Hello"; correct 0 "Rufus" 7; close; open "Is Rufus at the park?"; correct 0 "At the park." 8; close; } >"$file"
    audited 0
    json "$out" '[w["word"] for w in d["context_words"]] == ["Rufus"]'
    { open "Hello"; close; } >"$file"
    audited 0
    json "$out" 'd["context_words"] == []'
}

@test "parts of the answer that do not follow each other make no run" {
    { open "Hello"; correct 0 "My dog" 7; correct 5 " Rufus" 8; close; } >"$file"
    audited 0
    json "$out" 'd["context_runs"] == []'
}

@test "a run in the query is a violation: three words whatever stands between, or 16 bytes; case and shorter runs do not count" {
    for text in "I asked: My dog, Rufus!" "xx0701-234567-890-yy" 'likes\n\tthe park' "the park in"; do
        { open "$text"; close; } >"$file"
        audited 3
        json "$out" 'd["violations"] == 1 and d["context_runs"][0]["place"] == "request"'
    done
    for text in "my dog Rufus" "My dog" "0701-234567-89" "Rufus dog My" ""; do
        { open "$text"; close; } >"$file"
        audited 0
        json "$out" 'd["context_runs"] == []'
    done
    { open "My dog Rufus"; close; } >"$file"
    run --separate-stderr costeer audit "$file" --context "$context"
    failed_with 3 '1 run of the context stands outside the answer'
    [[ $stderr != *Rufus* && $output == *"request    My dog Rufus"* ]]
}

# conversation ROLE TEXT…: an open line with several messages, and their sizes.
conversation() {
    python3 - "$@" <<'END'
import json, sys
roles, texts = sys.argv[1::2], sys.argv[2::2]
print(json.dumps({"accepted": [], "bytes": 60, "half": False, "kind": "open", "max_tokens": 64, "message_bytes": 66, "mode": "drafted", "position": 0,
                  "roles": roles, "sizes": [len(t.encode()) for t in texts], "text": "\n".join(texts), "tokens": [], "top_k": 64, "window": 0}))
END
}

# answer TEXT: an answer that has ended.
answer() { printf '{"bytes":0,"kind":"answer","position":null,"text":"%s","tokens":[1]}\n' "$1"; }

# completion SESSION TEXT: a request to an engine.
completion() { printf '{"accepted":[],"bytes":9,"kind":"request","max_tokens":9,"message_bytes":9,"path":"/v1/completions","position":0,"session":"%s","stream":true,"text":"%s","tokens":[],"top_k":64}\n' "$1" "$2"; }

places='[(x["place"], x["text"]) for x in d["context_runs"]]'

@test "an answer that a later request repeats is no violation; the person's own messages are, wherever they stand" {
    { conversation user "Hello"; close; answer "My dog Rufus"; conversation user "Hello" assistant "My dog Rufus" user "And?"; close; answer "Of the park in Gothenburg"
        conversation user "Hello" assistant "My dog Rufus" user "And?" assistant "Of the park in Gothenburg" user "More"; close; } >"$file"
    audited 0
    json "$out" "$places == [('earlier', 'My dog Rufus'), ('earlier', ' the park in Gothenburg'), ('emitted', 'My dog Rufus'), ('emitted', ' the park in Gothenburg')]"
    { conversation user "Hello" assistant "My dog Rufus" user "And?"; close; } >"$file" # --messages: nobody answered that
    audited 3
    json "$out" '[x["place"] for x in d["context_runs"]] == ["request"]'
    { conversation user "Hello"; close; answer "Yes?"; conversation user "Hello" assistant "Yes?" user "My dog Rufus"; close; } >"$file"
    audited 3
    { conversation user "Hello"; close; answer "Yes?"; conversation user "My dog Rufus" assistant "Yes?" user "And?"; close; } >"$file"
    audited 3
    { conversation user "My dog Rufus"; close; answer "My dog Rufus"; } >"$file" # it was asked before it was said
    audited 3
    # two messages make no phrase; where their sizes are not known they are one text
    { conversation user "My dog" assistant "Rufus" user "And?"; close; } >"$file"
    audited 0
    { conversation user "My dog" assistant "Rufus" user "And?" | sed 's/"sizes": \[6,/"sizes": [5,/'; close; } >"$file"
    audited 3
}

@test "a prompt of tokens that repeats an earlier answer is no violation, to a node and to an engine; what nobody said is" {
    # the text around the answer makes the phrase longer by chance: "a\nMy dog", "in Gothenburg. Call"
    printf 'Data\nMy dog Rufus likes\n  the park in Gothenburg. Call 0701-234567-890-ABC.\n' >"$context"
    said="My dog Rufus likes the park in Gothenburg."
    for ask in open "completion a"; do
        { $ask "user\\nHello\\ndata\\n"; answer "$said"; ${ask/a/c} "user\\nHello\\ndata\\n$said\\nCall user\\nAnd?"; answer Yes; } >"$file"
        audited 0
        json "$out" '{x["place"] for x in d["context_runs"]} == {"earlier", "emitted"}'
        for leak in "Call 0701-234567-890-ABC." "park in Gothenburg. Call 0701-234567-890" "0701-234567-890-"; do
            { $ask "Hello\\n"; answer "$said"; ${ask/a/c} "Hello\\n$said $leak And?"; answer Yes; } >"$file"
            audited 3
            json "$out" 'd["violations"] == 1'
        done
        { $ask "Hello\\n"; answer "My dog"; ${ask/a/c} "Hello\\nMy dog Rufus"; } >"$file" # too short to be known again
        audited 3
        { $ask "Hello $said"; answer "$said"; } >"$file"
        audited 3
    done
}

@test "a phrase that the requests of a conversation repeat counts once" {
    { open "My dog Rufus"; answer "Yes?"; open "My dog Rufus Yes? And?"; answer "No."; } >"$file"
    audited 3
    json "$out" 'd["violations"] == 1 and len(d["context_runs"]) == 1'
}

@test "an answer that has ended is shown whole, its tokens are not counted twice" {
    { open "Hello"; correct 0 "My dog" 7; correct 5 " Rufus" 8; close; answer "My dog Rufus likes the park"; open "Hello"; correct 0 "the park in" 9; } >"$file"
    audited 0
    json "$out" "$places == [('emitted', 'My dog Rufus likes the park'), ('emitted', 'the park in')]"
    json "$out" 'd["tokens_sent"] == 3 and d["answers"] == 2 and d["messages"] == 6'
}

@test "a role or a path can hide nothing" {
    { echo "${connect/'"path":"/"'/'"path":"/My dog Rufus"'}"; open "Hello"; close; } >"$file"
    audited 3
    open Hello | sed 's/"roles":\["user"\]/"roles":["My dog Rufus"]/' >"$file"
    audited 3
}

@test "a withdrawn draft is a violation, unless the answer says the same" {
    { open "Hello"; draft 0 "My dog Rufus" 7,8,9; correct 0 "The cat" 3; close; } >"$file"
    audited 3
    json "$out" 'd["withdrawn"] == 3 and d["context_runs"] == [{"place": "withdrawn", "text": "My dog Rufus", "violation": True}]'
    { open "Hello"; draft 0 "My dog Rufus" 7,8,9; correct 0 "So: My dog Rufus" 3; close; } >"$file"
    audited 0
    { open "Hello"; draft 0 "My dog Rufus" 7,8,9; close; } >"$file"
    audited 3
    json "$out" 'd["unsettled"] == 3'
}

@test "an answer that is taken up again brings its accepted text back, not a violation" {
    { open "Hello"; correct 0 "My dog Rufus" 7; echo "$connect"; open "HelloMy dog Rufus likes" 7,8; close; } >"$file"
    audited 0
    json "$out" 'd["reopened"] == 1 and d["answers"] == 1 and {x["place"] for x in d["context_runs"]} == {"emitted"}'
}

@test "a damaged line is named, and nothing of it is shown" {
    { open "Hello"; correct 0 canary 7; } >"$file"
    head -c -20 "$file" >"$file.cut"
    run --separate-stderr costeer audit "$file.cut"
    failed_with 3 'sent\.jsonl\.cut:2: is cut off'
    check() {
        { open "Hello"; correct 0 canary 7 | sed "$1"; close; } >"$file"
        run --separate-stderr costeer audit "$file"
        failed_with 3 "sent\.jsonl:2: $2"
        [[ $stderr != *canary* ]]
    }
    check 's/}$//' 'is no JSON object'
    check 's/.*/canary/' 'is no JSON object'
    check 's/.*/[]/' 'is no JSON object'
    check 's/"kind":"correct"/"kind":"upload"/' 'no message that a device sends is of the kind upload'
    check 's/"kind":"correct"/"kind":"canary words"/' 'no message'
    check 's/"epoch":1/"epoch":1,"context":"canary"/' 'holds a field that the protocol does not have: context'
    check 's/"epoch":1/"epoch":1,"canary words":1/' 'holds a field that the protocol does not have'
    check 's/"epoch":1/"epoch":"canary"/' 'holds a value of a wrong type: epoch'
    check 's/"tokens":\[7\]/"tokens":["canary"]/' 'holds a value of a wrong type: tokens'
    check 's/"tokens":\[7\]/"tokens":[-7]/' 'holds a value of a wrong type: tokens'
    check 's/"epoch":1,//' 'lacks the field epoch'
    check 's/"epoch":1/"epoch":1,"epoch":2/' 'is no JSON object'
    check 's/"kind":"correct"/"kind":"deepen","top_k":3/' 'holds tokens or text, which this kind has not: deepen'
}

@test "files: missing, empty, none, two" {
    run --separate-stderr costeer audit "$file"
    failed_with 3 'cannot be read'
    : >"$file"
    costeer audit "$file" --json >"$out"
    json "$out" 'd["messages"] == 0 and d["answers"] == 0'
    run --separate-stderr costeer audit
    failed_with 2 'takes one file'
    run --separate-stderr costeer audit "$file" "$file"
    failed_with 2 'takes one file'
    run --separate-stderr costeer audit "$file" --context "$file"
    failed_with 3 'the context is empty'
}

@test "a long context of one repeated line, and a long query of it, are searched at once" {
    python3 -c 'print("a b c d e f g h, the same again and again. " * 20000)' >"$context"
    { open "$(head -c 100000 "$context")"; close; } >"$file"
    audited 3
    json "$out" 'd["violations"] == 1'
}

# selection CONTEXT PARTS USED: a line on what was chosen from a text.
selection() {
    python3 - "$@" <<'END'
import json, sys
text, total = open(sys.argv[1], "rb").read().rstrip(b"\n"), 0xcbf29ce484222325
for byte in text:
    total = (total ^ byte) * 0x100000001b3 % 2**64
places = [[int(x) for x in part.split(",") if x] for part in sys.argv[2:4]]
print(json.dumps({"bytes": 0, "context": f"{len(text)}-{total:016x}", "kind": "selection", "parts": places[0], "position": None,
                  "text": "", "tokens": [], "used": places[1]}))
END
}

@test "words of parts that were not used are named as such; one that a used part has too is not" {
    printf 'I like tea.\nMy dog Rufus likes tea.\nMy boss is ill.\n' >"$context"
    { selection "$context" 0,11,12,35,36,51 0,11; open "Hello"; correct 0 "I like my tea. Rufus is ill." 7; close; } >"$file"
    audited 0
    json "$out" 'd["context_parts"] == {"used": 1, "stayed": 2} and d["messages"] == 3'
    json "$out" '{w["word"]: w["stayed"] for w in d["context_words"]} == {"I": False, "like": False, "my": True, "tea": False, "Rufus": True, "is": True, "ill": True}'
    run --separate-stderr costeer audit "$file" --context "$context"
    succeeded
    [[ $output == *"parts        1 used, 2 not; 4 words of the latter in the answer"*"  Rufus (of a part that was not used): Rufus is ill."* ]]
    # used by a later answer, it has not stayed
    { selection "$context" 0,11,12,35,36,51 0,11; open "Hello"; close; selection "$context" 0,11,12,35,36,51 36,51; open "Hello"; correct 0 "ill" 7; close; } >"$file"
    audited 0
    json "$out" 'd["context_parts"] == {"used": 2, "stayed": 1} and not d["context_words"][0]["stayed"]'
    for places in "0,11,12 0" "0,11 11,5" "0,11 0,99999999999"; do
        # shellcheck disable=SC2086  # two arguments
        selection "$context" $places >"$file"
        run --separate-stderr costeer audit "$file" --context "$context"
        failed_with 3 'sent.jsonl:1: (names places that are none|holds a value of a wrong type)'
    done
    selection "$context" 0,11,12,9000 0,9000 >"$file" # beyond the end: taken as far as it goes
    audited 0
}
