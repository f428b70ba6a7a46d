# costeer models, and models by name in every command: from a cache as huggingface_hub lays it out.
load helpers/common

setup() {
    unset "${!HF_@}" "${!HUGGING@}"
    export HF_HUB_CACHE=$BATS_TEST_TMPDIR/hub
    cache=$HF_HUB_CACHE
    out=$BATS_TEST_TMPDIR/out
    commit=0123456789abcdef0123456789abcdef01234567
    put tiny/pair-GGUF "$commit" pair-llm-Q4_K_M.gguf "$llm"
    put tiny/pair-GGUF "$commit" pair-slm-Q8_0.gguf "$slm"
    ref tiny/pair-GGUF main "$commit"
}

folder_of() { echo "$cache/models--${1/\//--}"; }

# REPO COMMIT FILE SOURCE
put() {
    local folder oid link up
    folder=$(folder_of "$1")
    oid=$(sha256sum "$4" | cut -d ' ' -f 1)
    link=$folder/snapshots/$2/$3
    up=../../
    [[ $3 != */* ]] || up=../../../
    mkdir -p "$folder/blobs" "$(dirname "$link")"
    cp "$4" "$folder/blobs/$oid"
    ln -s "${up}blobs/$oid" "$link"
}

# REPO REVISION COMMIT
ref() {
    mkdir -p "$(dirname "$(folder_of "$1")/refs/$2")"
    printf %s "$3" >"$(folder_of "$1")/refs/$2"
}

models() { run --separate-stderr costeer models "$@"; }

@test "the list: names that find the models again, sizes, vocabularies" {
    models
    succeeded
    [ "${#lines[@]}" = 3 ]
    hash=$(costeer model --json "$llm" | python3 -c 'import json, sys; print(json.load(sys.stdin)["vocab_sha256"])')
    grep -qE "^tiny/pair-GGUF:Q4_K_M +[0-9.]+ MB +1024 SPM +${hash:0:8}$" <<<"${lines[1]}"
    grep -qE "^tiny/pair-GGUF:Q8_0 +[0-9.]+ MB +1024 SPM +${hash:0:8}$" <<<"${lines[2]}"
    costeer models --json >"$out"
    SIZE=$(stat -c %s "$llm") json "$out" 'd["models"][0]["bytes"] == int(__import__("os").environ["SIZE"])'
    json "$out" "d['cache'] == '$cache' and [m['vocabulary']['sha256'] for m in d['models']] == 2 * ['$hash']"
    for name in $(python3 -c 'import json, sys; print(*[m["name"] for m in json.load(open(sys.argv[1]))["models"]])' "$out"); do
        costeer model "$name" >/dev/null
    done
}

@test "an empty cache, one that is missing, and one with other things in it" {
    HF_HUB_CACHE=$BATS_TEST_TMPDIR/none models
    succeeded
    [[ $output == "No models in $BATS_TEST_TMPDIR/none; costeer pull --list"* ]]
    mkdir -p "$cache/models--a--b--c/snapshots/$commit" "$cache/datasets--x--y" "$cache/models--only" "$cache/models--x--y/snapshots/main" "$cache/.locks"
    touch "$cache/version.txt" "$cache/models--x--y/snapshots/main/a-Q4_0.gguf"
    ln -s ../../blobs/gone "$(folder_of tiny/pair-GGUF)/snapshots/$commit/gone-Q2_K.gguf"
    touch "$(folder_of tiny/pair-GGUF)/snapshots/$commit/mmproj-Q2_K.gguf"
    models
    succeeded
    [ "${#lines[@]}" = 3 ]
}

@test "other revisions, files without a quantisation, several parts, and what is no model" {
    other=ffffffffffffffffffffffffffffffffffffffff
    put tiny/pair-GGUF "$other" pair-slm-Q8_0.gguf "$slm"
    put tiny/pair-GGUF "$commit" Q5_K_M/big-Q5_K_M-00001-of-00002.gguf "$llm"
    put tiny/pair-GGUF "$commit" Q5_K_M/big-Q5_K_M-00002-of-00002.gguf "$slm"
    put tiny/pair-GGUF "$commit" half-Q6_K-00001-of-00002.gguf "$slm"
    put tiny/pair-GGUF "$commit" sub/plain.gguf "$slm"
    echo no >"$BATS_TEST_TMPDIR/text"
    put tiny/text "$commit" text-F16.gguf "$BATS_TEST_TMPDIR/text"
    costeer models --json >"$out"
    json "$out" '[m["name"] for m in d["models"]] == ["hf:tiny/pair-GGUF/sub/plain.gguf", "tiny/pair-GGUF:Q4_K_M", "tiny/pair-GGUF:Q5_K_M",
        "tiny/pair-GGUF:Q8_0", "tiny/pair-GGUF@'$other':Q8_0", "tiny/text:F16"]'
    json "$out" 'd["models"][2]["bytes"] == d["models"][1]["bytes"] + d["models"][3]["bytes"] and d["models"][5]["vocabulary"] is None'
    models
    succeeded
    [[ ${lines[-1]} == "tiny/text:F16 "*"no model that can be used here"* ]]
}

@test "every command takes a name where it takes a model" {
    write_notes
    costeer generate --llm "$llm" --slm "$slm" --context "$notes" "Write a short bio of me." >"$BATS_TEST_TMPDIR/expected"
    costeer generate --llm tiny/pair-GGUF --slm hf:tiny/pair-GGUF/pair-slm-Q8_0.gguf --context "$notes" "Write a short bio of me." \
        >"$BATS_TEST_TMPDIR/got"
    cmp "$BATS_TEST_TMPDIR/expected" "$BATS_TEST_TMPDIR/got"
    costeer model "tiny/pair-GGUF@$commit:Q4_K_M" tiny/pair-GGUF:q8_0 | grep -q 'can be paired'
    costeer vocab --llm tiny/pair-GGUF:Q4_K_M --slm hf:tiny/pair-GGUF:Q8_0 >/dev/null
    echo 'Hello' | costeer score --model tiny/pair-GGUF:Q8_0 Hi >/dev/null
    costeer bench slm --slm tiny/pair-GGUF:Q8_0 --repeat 1 --n-prompt 4 --n-context 4 --n-tokens 2 >/dev/null
    run --separate-stderr costeer node --model tiny/pair-GGUF:Q2_K
    failed_with 4 'tiny/pair-GGUF:Q2_K: neither a file nor a model in the cache'
}

@test "a recommended pair's name: the LLM for --llm, the SLM for --slm" {
    put Qwen/Qwen2.5-1.5B-Instruct-GGUF 91cad51170dc346986eccefdc2dd33a9da36ead9 qwen2.5-1.5b-instruct-q4_k_m.gguf "$llm"
    put Qwen/Qwen2.5-0.5B-Instruct-GGUF 9217f5db79a29953eb74d5343926648285ec7e67 qwen2.5-0.5b-instruct-q4_k_m.gguf "$slm"
    [ "$(HF_HUB_OFFLINE=1 costeer pull qwen2.5-4gib | sed 's/.*models--Qwen--//; s/-Instruct.*//' | tr '\n' ' ')" = "Qwen2.5-1.5B Qwen2.5-0.5B " ]
    costeer generate --json --llm qwen2.5-4gib --slm qwen2.5-4gib --max-tokens 4 --context <(echo "name: Soraya") Hello >"$out"
    json "$out" 'd["models"]["llm"]["vocab_sha256"] == d["models"]["slm"]["vocab_sha256"]'
    costeer model --json qwen2.5-4gib qwen2.5-4gib >"$out"
    json "$out" 'd["models"][0]["n_params"] > d["models"][1]["n_params"]'
    costeer model --json qwen2.5-0.5b qwen2.5-1.5b >"$out"
    json "$out" 'd["models"][0]["n_params"] < d["models"][1]["n_params"]'
    run --separate-stderr costeer generate --llm qwen2.5-7b Hello
    failed_with 4 'qwen2.5-7b: neither a file nor a model in the cache .*; costeer pull qwen2.5-7b gets it'
}

@test "a file comes before a name; a path that is neither is reported as before" {
    cd "$BATS_TEST_TMPDIR"
    mkdir -p tiny
    cp "$slm" tiny/pair-GGUF
    [ "$(costeer model --json tiny/pair-GGUF | python3 -c 'import json, sys; print(json.load(sys.stdin)["path"])')" = tiny/pair-GGUF ]
    for path in tiny/none.gguf ./tiny/none none /tiny/none; do
        run --separate-stderr costeer model "$path"
        failed_with 4 "^costeer: $path: "
        [[ $stderr != *cache* ]]
    done
}

@test "which revision: main, else another reference, else the only snapshot" {
    folder=$(folder_of tiny/pair-GGUF)
    path_of() { costeer model --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["path"])'; }
    mv "$folder/refs/main" "$folder/refs/other"
    [[ $(path_of tiny/pair-GGUF) == *"$commit"* ]]
    [[ $(path_of tiny/pair-GGUF@other) == *"$commit"* ]]
    rm -r "$folder/refs"
    [[ $(path_of tiny/pair-GGUF) == *"$commit"* ]]
    put tiny/pair-GGUF ffffffffffffffffffffffffffffffffffffffff pair-slm-Q8_0.gguf "$slm"
    run --separate-stderr costeer model tiny/pair-GGUF
    failed_with 4 'neither a file nor a model in the cache'
    [[ $(path_of "tiny/pair-GGUF@$commit") == *"$commit"* ]]
    mkdir "$folder/refs"
    echo "../../../../etc" >"$folder/refs/main"
    run --separate-stderr costeer model tiny/pair-GGUF
    failed_with 4 'neither a file nor a model in the cache'
}

@test "removing a model: its link and its blob; another revision's link keeps the blob" {
    folder=$(folder_of tiny/pair-GGUF)
    other=ffffffffffffffffffffffffffffffffffffffff
    put tiny/pair-GGUF "$other" pair-slm-Q8_0.gguf "$slm"
    models --remove tiny/pair-GGUF:Q8_0
    succeeded
    [ "$output" = "removed tiny/pair-GGUF:Q8_0: 0.0 MB freed" ]
    [ "$(find "$folder/blobs" -type f | wc -l)" = 2 ]
    models --remove "tiny/pair-GGUF@$other:Q8_0"
    succeeded
    [[ $output != *" 0.0 MB freed" ]]
    [ "$(find "$folder/blobs" -type f | wc -l)" = 1 ] && [ ! -e "$folder/snapshots/$other" ]
    [ -z "$(find "$cache" -xtype l)" ]
    models --remove tiny/pair-GGUF:Q8_0
    failed_with 4 'not in the cache'
    models --remove tiny/pair-GGUF:Q4_K_M
    succeeded
    [ ! -e "$folder" ]
}

@test "removing a repository: its models and what was downloaded of others; files of other kinds stay" {
    folder=$(folder_of tiny/pair-GGUF)
    put tiny/pair-GGUF "$commit" Q5_K_M/big-Q5_K_M-00001-of-00002.gguf "$llm"
    put tiny/pair-GGUF "$commit" Q5_K_M/big-Q5_K_M-00002-of-00002.gguf "$slm"
    echo '{}' >"$BATS_TEST_TMPDIR/config.json"
    put tiny/pair-GGUF "$commit" config.json "$BATS_TEST_TMPDIR/config.json"
    head -c 1000000 /dev/zero >"$folder/blobs/abc.incomplete"
    models --remove tiny/pair-GGUF --json
    succeeded
    printf %s "$output" >"$out"
    SIZE=$(cat "$llm" "$slm" | wc -c) json "$out" 'd["bytes_freed"] == int(__import__("os").environ["SIZE"]) + 1000000'
    [ "$(find "$folder/snapshots" -type l -printf '%f\n')" = config.json ]
    [ "$(find "$folder/blobs" -type f | wc -l)" = 1 ] && [ -e "$folder/refs/main" ]
    models --remove tiny/pair-GGUF
    failed_with 4 'tiny/pair-GGUF: no model of it in the cache'
}

@test "removing a download that broke: the folder goes" {
    mkdir -p "$cache/models--tiny--begun/blobs"
    head -c 1000000 /dev/zero >"$cache/models--tiny--begun/blobs/abc.incomplete"
    models --remove tiny/begun
    succeeded
    [ "$output" = "removed tiny/begun: 1.0 MB freed" ] && [ ! -e "$cache/models--tiny--begun" ]
}

@test "bad names and arguments" {
    models x
    failed_with 2 'takes no argument'
    models --remove ../x
    failed_with 2 "no model's name"
    models --remove tiny/none
    failed_with 4 'tiny/none: no model of it in the cache'
}

@test "an SLM whose name is wrong is refused also where none is needed" {
    run --separate-stderr costeer generate --slm nowhere "Hi"
    failed_with 4 'nowhere: No such file or directory; check the path'
    run --separate-stderr costeer generate --slm tiny/nowhere "Hi"
    failed_with 4 'tiny/nowhere: neither a file nor a model in the cache'
    for option in --llm --slm; do
        run --separate-stderr costeer generate "$option" qwen2.5-4gb "Hi"
        failed_with 4 "qwen2.5-4gb: no such file, and no model's name; did you mean qwen2.5-4gib"
    done
}
