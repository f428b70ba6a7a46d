# costeer policy: our numbers against the golden vectors, and what it says about cases that are none.
load helpers/common

setup() { case_file=$BATS_TEST_TMPDIR/case.json; }

# A good case with a change: write_case 'c["T"] = 0'
write_case() {
    python3 -c 'import json, sys
c = dict(T=20, alpha=2, beta=1, lambda_=2, eta=10, llm=[1, 2, 3], slm_without=[1, 1, 1], slm_with=[3, 1, 1])
exec(sys.argv[1])
print(json.dumps(c))' "$1" >"$case_file"
}

@test "policy agrees with the published loop on all golden cases" {
    costeer policy "$golden/ftrl.json" >"$BATS_TEST_TMPDIR/out.json"
    python3 - "$golden/ftrl.json" "$BATS_TEST_TMPDIR/out.json" <<'PY'
import json, sys
golden, ours = (json.load(open(path))["cases"] for path in sys.argv[1:])
assert len(golden) == len(ours) == 12
for g, o in zip(golden, ours):
    assert g["argmax"] == o["argmax"]
    assert max(abs(a - b) for a, b in zip(g["log_policy"], o["log_policy"])) < 1e-5
    assert sorted(o) == ["argmax", "log_policy", "strength"]
assert abs(ours[0]["strength"] - 1.78325684) < 1e-8
PY
}

@test "policy is checked from Python in one line" {
    export COSTEER
    python3 -c 'import json,os,subprocess as s; g=json.load(open("'"$golden"'/ftrl.json"))["cases"][0]; o=json.loads(s.run([os.environ["COSTEER"],"policy"],input=json.dumps(g),text=True,stdout=s.PIPE,check=True).stdout); assert max(abs(a-b) for a,b in zip(o["log_policy"],g["log_policy"]))<1e-5'
}

@test "numbers are written so that they read back to the same value" {
    write_case 'c["llm"] = [0.1, 0.2, 0.3]'
    costeer policy "$case_file" >"$BATS_TEST_TMPDIR/out.json"
    json "$BATS_TEST_TMPDIR/out.json" 'abs(math.log(sum(math.exp(x) for x in d["log_policy"]))) < 1e-15'
}

@test "minus infinity is the string -inf in both directions" {
    write_case 'c["llm"][2] = "-inf"'
    costeer policy <"$case_file" >"$BATS_TEST_TMPDIR/out.json"
    json "$BATS_TEST_TMPDIR/out.json" 'd["log_policy"][2] == "-inf" and d["argmax"] == 0'
}

@test "limits: plausibility and divergence, against a computation in Python" {
    write_case 'c.update(llm=[0, 0, 0, 0], slm_with=[2, 1.5, -3, -4], slm_without=[2, 0, -6, 2], plausibility=0.1, divergence=0.9)'
    costeer policy "$case_file" >"$BATS_TEST_TMPDIR/out.json"
    python3 - "$case_file" "$BATS_TEST_TMPDIR/out.json" <<'PY'
import json, math, sys
c, o = (json.load(open(path)) for path in sys.argv[1:])
normal = lambda x: [v - math.log(sum(map(math.exp, x))) for v in x]
p, q, base = normal(c["slm_with"]), normal(c["slm_without"]), c["llm"]
kl = sum(math.exp(a) * (a - b) for a, b in zip(p, q))
weight = o["strength"] * min(1, kl / c["divergence"])
assert 0 < kl < c["divergence"]
delta = [a - b if a >= max(p) + math.log(c["plausibility"]) else min(a - b, 0) for a, b in zip(p, q)]
assert delta[2] == 0 < p[2] - q[2] and delta[1] > 0 > delta[3]
want = normal([x + weight * d for x, d in zip(base, delta)])
assert abs(o["weight"] - weight) < 1e-8, (o["weight"], weight)
assert max(abs(a - b) for a, b in zip(want, o["log_policy"])) < 1e-8
assert o["argmax"] == max(range(4), key=want.__getitem__)
PY
    for change in 'plausibility:2' 'plausibility:-1' 'divergence:-1'; do
        write_case "c[\"${change%%:*}\"] = ${change#*:}"
        run --separate-stderr costeer policy "$case_file"
        failed_with 2 "${change%%:*} is ${change#*:}"
    done
    write_case 'c["plausibility"] = "much"'
    run --separate-stderr costeer policy "$case_file"
    failed_with 3 'field plausibility is not a number'
}

@test "a missing field is named" {
    for field in T alpha beta lambda_ eta llm slm_without slm_with; do
        write_case "del c[\"$field\"]"
        run --separate-stderr costeer policy "$case_file"
        failed_with 3 "field $field is missing"
    done
}

@test "a field of the wrong type is named" {
    for change in 'T:"20"' 'T:1.5' 'alpha:"x"' 'beta:None' 'lambda_:[]' 'eta:True' 'llm:3' 'slm_with:{}' 'slm_without:[1,"a",2]' 'llm:[]'; do
        write_case "c[\"${change%%:*}\"] = ${change#*:}"
        run --separate-stderr costeer policy "$case_file"
        failed_with 3 "field ${change%%:*}"
    done
}

@test "parameters out of range are named" {
    for change in T:0 T:-3 T:1000001 lambda_:0 lambda_:-1 eta:0; do
        write_case "c[\"${change%%:*}\"] = ${change#*:}"
        run --separate-stderr costeer policy "$case_file"
        name=${change%%:*}
        failed_with 2 "${name%_}"
    done
}

@test "lists of different lengths give both lengths" {
    write_case 'c["slm_with"] = [1, 2]'
    run --separate-stderr costeer policy "$case_file"
    failed_with 3 'slm_with has 2 elements, but llm has 3'
}

@test "a case of a file is named by its index" {
    write_case 'c = {"cases": [dict(c), dict(c, eta="x")]}'
    run --separate-stderr costeer policy "$case_file"
    failed_with 3 'cases\[1\]: field eta'
}

@test "no finite score is a numeric error" {
    write_case 'c["llm"] = ["-inf"] * 3'
    run --separate-stderr costeer policy "$case_file"
    failed_with 7 .
}

@test "what is not JSON, not an object or not there is one line" {
    for text in 'NaN' '{"T": NaN}' '' '[1' '3' '{"cases": 4}' $'\xff'; do
        printf '%s' "$text" >"$case_file"
        run --separate-stderr costeer policy "$case_file"
        failed_with 3 "$case_file"
    done
    run --separate-stderr costeer policy "$BATS_TEST_TMPDIR/none.json"
    failed_with 3 'none.json'
    write_case 'c["llm"][0] = 1e300'
    run --separate-stderr costeer policy "$case_file"
    failed_with 3 'element 0'
}
