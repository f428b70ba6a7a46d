"""Answer the rows of an oracle's run with costeer, and compare token by token and value by value.

    compare.py --costeer BIN --llm L.gguf --slm S.gguf --rows rows.jsonl --system TEXT --oracle values.jsonl --base-nats X --policy-nats X

Where another token was taken, both sides must call the position a near tie: there the row's comparison ends. Everywhere before, values
may differ by --base-nats and --policy-nats at most. Prints one JSON object; exit code 1 when a row is wrong.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile


def run_costeer(options, row, folder):
    context = os.path.join(folder, "context")
    trace = os.path.join(folder, "trace")
    with open(context, "w", encoding="utf-8") as file:
        file.write(row["context"])
    command = [options.costeer, "generate", "-q", "--llm", options.llm, "--slm", options.slm, "--system", options.system, "--context",
               context, "--max-tokens", str(row["max_tokens"]), "--json", "--trace", trace, *options.arguments, row["query"]]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    with open(trace, encoding="utf-8") as file:
        return result, [json.loads(line) for line in file]


def compare_row(oracle, trace, options, differences):
    """The number of equal tokens, and what is wrong with the row ("": nothing)."""
    for i, (token, theirs) in enumerate(zip(oracle["tokens"], oracle["values"])):
        if i >= len(trace):
            return i, f"ends after {i} tokens"
        ours = trace[i]
        if ours["token"] != token:
            near = ours["near_tie"] and theirs["margin"] < options.near_nats
            return i, "" if near else f"position {i}: token {ours['token']}, not {token}, margins {ours['margin']} and {theirs['margin']}"
        for name, limit in (("base_logprob", options.base_nats), ("policy_logprob", options.policy_nats), ("delta", options.policy_nats)):
            differences[name].append(abs(ours[name] - theirs[name]))
            if differences[name][-1] > limit:
                return i, f"position {i}: {name} is {ours[name]}, not {theirs[name]}"
    return len(oracle["tokens"]), "" if len(trace) == len(oracle["tokens"]) else "goes on after its end"


def main():
    parser = argparse.ArgumentParser()
    for name in ("--costeer", "--llm", "--slm", "--rows", "--system", "--oracle"):
        parser.add_argument(name, required=True)
    for name in ("--base-nats", "--policy-nats", "--near-nats"):
        parser.add_argument(name, type=float, required=True)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("arguments", nargs="*", help="further arguments of costeer generate, after --")
    options = parser.parse_args()
    with open(options.rows, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with open(options.oracle, encoding="utf-8") as file:
        head, *oracle = [json.loads(line) for line in file]
    rows = rows[: options.limit or len(rows)][: len(oracle)]
    differences = {"base_logprob": [], "policy_logprob": [], "delta": []}
    n_equal = n_all = n_near = n_ours = n_ended = 0
    seconds = 0.0
    wrong, parted = [], []
    with tempfile.TemporaryDirectory() as folder:
        for row, theirs in zip(rows, oracle):
            result, trace = run_costeer(options, row, folder)
            n, problem = compare_row(theirs, trace, options, differences)
            n_equal += n
            n_all += len(theirs["tokens"])
            n_near += sum(x["near_tie"] for x in trace)
            n_ended += result["finish"] == "end"
            seconds += (result["times_us"]["total"] - result["times_us"]["prefill"]) / 1e6
            n_ours += len(trace) - 1
            if problem:
                wrong.append(f"{row['id']}: {problem}")
            elif n < len(theirs["tokens"]):
                parted.append({"row": row["id"], "position": n, "margin": theirs["values"][n]["margin"]})
    n_theirs = sum(len(x["tokens"]) - 1 for x in oracle)
    report = {"oracle": head, "rows": len(rows), "ended_by_themselves": n_ended, "tokens_equal": n_equal, "tokens": n_all,
              "parted_at_near_ties": parted, "near_ties": n_near, "wrong": wrong,
              "tokens_per_second": {"costeer": n_ours / seconds if seconds else None,
                                    "oracle": n_theirs / sum(x["rest_s"] for x in oracle) if n_theirs else None}}
    for name, values in differences.items():
        values.sort()
        report[name] = {"max": values[-1], "p90": values[len(values) * 9 // 10], "median": statistics.median(values)} if values else None
    print(json.dumps(report, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
