#!/usr/bin/env python3
"""Write the folder of an evaluation that never was: the same numbers each time, and answers that try to be markup.

    eval_dir.py DIR KIND [ROWS]     KIND: "methods" (11 methods with a judge), "sweep" (strength and T), "small" (two methods)
"""
import json
import math
import os
import sys

METHODS = [("costeer", 1.78325684, False, .62), ("lightcosteer", .47619048, False, .4), ("llm", 0, False, .05),
           ("llm+context", 0, True, .81), ("slm", 0, False, .02), ("slm+context", 0, False, .7),
           ("context-steering", 1, True, .84), ("linear-alignment", 2, True, .83), ("amulet", 4.64869901, True, .79),
           ("proxy-tuning", 1, False, .12), ("adacosteer", 1.78325684, False, .55)]
NASTY = "<script>alert(1)</script> & \"quoted\" 'single' </p><!-- | `code` **bold**\nsecond line\u202e"


def noise(*seeds):
    """A number of [0, 1) from some numbers: the fraction of a large sine, rounded so that every machine has the same."""
    x = math.sin(sum((i + 1) * 12.9898 * s for i, s in enumerate(seeds)) + 78.233) * 43758.5453
    return round(x - math.floor(x), 6)


def clamp(x):
    return round(min(1, max(0, x)), 6)


def item(label, method, strength, shows, parameter=None, value=None):
    return {"label": label, "method": method, "parameter": parameter, "value": value, "strength": strength,
            "top_p": .95 if method == "linear-alignment" else 1, "shows_context": shows}


def items(kind):
    if kind == "small":
        return [item("llm", "llm", 0, False), item("costeer", "costeer", 1.78325684, False)]
    if kind == "methods":
        return [item(m, m, s, c) for m, s, c, _ in METHODS]
    by_strength = [item(f"costeer strength={i / 4:g}", "costeer", i / 4, False, "strength", i / 4) for i in range(13)]
    by_steps = [item(f"costeer T={t}", "costeer", s, False, "T", t) for t, s in ((1, .47619), (5, 1.26), (20, 1.78326), (50, 2.23402))]
    return [item("llm", "llm", 0, False), *by_strength, *by_steps]


def level(one):
    """How much of the facts an item finds, on average."""
    if one["parameter"] is None:
        return next(q for m, _, _, q in METHODS if m == one["method"])
    return .05 + .75 * math.tanh(one["strength"]) - .04 * one["strength"] ** 2


def result(row, one, number):
    q = level(one)
    n = 40 + int(30 * noise(row, number, 1))
    steered = one["strength"] != 0
    facts = sum(noise(row, k, 3) * .6 + noise(row, k, number, 4) * .4 < q for k in range(4)) / 4
    like = .18 + .25 * q + .2 * (noise(row, 5) - .5) + .05 * noise(row, number, 6)
    answer = NASTY if row == 0 else f"Answer {row} of {one['label']}: " + "some words of an answer. " * (n // 12)
    return {"row": f"row-{row}", "line": row + 1, **{k: one[k] for k in ("label", "method", "parameter", "value", "strength", "shows_context")},
            "answer": answer, "finish": "end", "n_tokens": n, "n_steered": n - 3 if steered else 0,
            "n_gated": n // 2 if one["method"] == "adacosteer" else 0, "n_slm_steps": n - 1 if steered else 0,
            "n_slm_tokens": n - 1 if steered else 0, "n_uncertified": 0, "truncated": row == 2,
            "exposure": round(q * n * .4, 4) if steered and not one["shows_context"] else None,
            "judge": {"logprob": -round(n * (1.1 + .8 * (1 - q) + .12 * one["strength"] ** 2 * noise(row, number, 8)), 4), "n_tokens": n},
            "metrics": {"rouge1": clamp(like), "rouge2": clamp(like * .5), "rougeL": clamp(like * .8), "bleu": clamp(like * .4) * 100,
                        "meteor": clamp(like * .9), "length_ratio": round(.6 + .8 * noise(row, number, 9), 6),
                        "distinct1": clamp(.7 + .2 * noise(row, number, 10)), "distinct2": clamp(.9 + .09 * noise(row, number, 11)),
                        "context_recall": clamp(q * .7 + .2 * noise(row, number, 12)), "fact_recall": facts if row % 10 else None}}


def main():
    folder, kind = sys.argv[1:3]
    n_rows = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    os.makedirs(folder, exist_ok=True)
    all_items = items(kind)
    run = {"costeer": "0.0.0", "task": "generic <set>", "preference": None, "data": {"name": "rows & more.jsonl", "sha256": "ab" * 32},
           "models": {"llm": {"name": "costeer-llm", "vocab_sha256": "00"}, "slm": {"name": "costeer-slm", "vocab_sha256": "00"},
                      "tuned": None, "judge": {"name": "judge_model", "vocab_sha256": "11"}},
           "cloud": "local", "items": all_items, "seed": 0, "max_tokens": 128, "ctx_size": 2048, "jobs": 1, "gate": {"kind": "none"},
           "vocab": "same", "limit": None}
    with open(os.path.join(folder, "run.json"), "w", encoding="utf-8") as f:
        json.dump(run, f)
    with open(os.path.join(folder, "results.jsonl"), "w", encoding="utf-8") as f:
        for row in range(n_rows):
            for number, one in enumerate(all_items):
                f.write(json.dumps(result(row, one, number)) + "\n")
    with open(os.path.join(folder, "bad_rows.jsonl"), "w", encoding="utf-8") as f:
        if kind != "small":
            f.write(json.dumps({"line": 7, "row": None, "reason": "not JSON"}) + "\n")
            f.write(json.dumps({"line": 9, "row": "<b>nine</b>", "reason": "no \"input\" in it & <i>more</i>"}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
