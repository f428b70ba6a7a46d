#!/usr/bin/env python3
"""Check the request set models/eval/requests.jsonl against its own rules (docs/evaluation.md, "The request set").

    tests/golden/check_requests.py [FILE]    say what is wrong, one line each; exit 1 when anything is

`states(text, string)` is the second implementation of how a fact is found in a text; make_metrics.py has its golden values from it.
"""
import collections
import json
import pathlib
import sys

from reader_text import states

REQUESTS = pathlib.Path(__file__).resolve().parents[2] / "models" / "eval" / "requests.jsonl"
KEYS = ["id", "split", "kind", "language", "format", "query", "context", "writer", "addressee", "parts"]
KINDS = ["letter", "plan", "advice", "story", "code", "question"]
LANGUAGES = ["en", "de", "zh"]
FORMATS = ["list", "prose", "keyvalue", "json", "mail", "hundred"]
LABELS = ["needed", "fine", "inappropriate"]
ROWS_MIN = 60


def any_stated(text, strings):
    return any(states(text, s) for s in strings)


def is_list_of_texts(value):
    return isinstance(value, list) and all(isinstance(s, str) and s.strip() == s and s for s in value)


def check_form(row):
    if list(row) != KEYS:
        yield f"its fields are {', '.join(row)}; expected {', '.join(KEYS)}"
        return
    for key, allowed in (("split", ["dev", "test"]), ("kind", KINDS), ("language", LANGUAGES), ("format", FORMATS)):
        if row[key] not in allowed:
            yield f"{key} is {row[key]!r}"
    for key in ("writer", "addressee"):
        if not is_list_of_texts(row[key]):
            yield f"{key} is not a list of texts"
    for i, part in enumerate(row["parts"]):
        if list(part) != ["note", "label", "any"] or part["label"] not in LABELS or not is_list_of_texts(part["any"]):
            yield f"part {i + 1} is not a note, a label and a list of texts"


def check_part(row, part):
    name = part["note"][:40]
    if not part["note"] or row["context"].count(part["note"]) != 1:
        yield f"{name!r} is not exactly once in the context"
    if part["label"] == "inappropriate" and not part["any"]:
        yield f"{name!r} is inappropriate and has no string"
    if part["any"] and row["kind"] != "code" and not any_stated(part["note"], part["any"]):
        yield f"{name!r} does not state itself"
    for string in part["any"]:
        if states(row["query"], string):
            yield f"{string!r} is in the query"
    if part["label"] == "inappropriate":
        for other in row["parts"]:
            if other["label"] != part["label"] and any_stated(other["note"], part["any"]):
                yield f"{name!r} is stated by {other['note'][:40]!r}, which is {other['label']}"


def check_names(row):
    if row["kind"] == "letter" and not row["writer"]:
        yield "a letter without a writer"
    for name in row["writer"]:
        if not states(row["context"], name):
            yield f"the writer {name!r} is not in the context"
        if states(row["query"], name):
            yield f"the writer {name!r} is in the query"
    if row["addressee"] and not any_stated(row["context"] + "\n" + row["query"], row["addressee"]):
        yield "the addressee is nowhere"
    for a, b in ((row["writer"], row["addressee"]), (row["addressee"], row["writer"])):
        for name in a:
            if any_stated(name, b):
                yield f"{name!r} is writer and addressee"


def check_row(row):
    problems = list(check_form(row))
    if problems:
        return problems
    for part in row["parts"]:
        problems += check_part(row, part)
    counts = collections.Counter(p["label"] for p in row["parts"] if p["any"])
    if counts["needed"] < 3 or counts["inappropriate"] < 1:
        problems.append(f"{counts['needed']} needed and {counts['inappropriate']} inappropriate facts with strings; at least 3 and 1")
    if row["format"] == "hundred" and len(row["parts"]) < 90:
        problems.append(f"{len(row['parts'])} parts are not about a hundred")
    return problems + list(check_names(row))


def check_set(rows):
    if len(rows) < ROWS_MIN:
        yield f"{len(rows)} rows; at least {ROWS_MIN}"
    for row_id, n in collections.Counter(r["id"] for r in rows).items():
        if n > 1:
            yield f"id {row_id} is there {n} times"
    splits = {split: [r for r in rows if r["split"] == split] for split in ("dev", "test")}
    for key in ("kind", "language"):
        n = {split: collections.Counter(r[key] for r in splits[split]) for split in splits}
        if n["dev"] != n["test"]:
            yield f"the splits are not balanced over {key}: {dict(n['dev'])} and {dict(n['test'])}"
    shared = {r["context"] for r in splits["dev"]} & {r["context"] for r in splits["test"]}
    if shared:
        yield f"{len(shared)} contexts are in both splits"


def main():
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    problems = [f"{row.get('id')}: {p}" for row in rows for p in check_row(row)]
    problems += check_set(rows)
    for problem in problems:
        print(problem)
    if not problems:
        labels = collections.Counter(p["label"] for r in rows for p in r["parts"])
        print(f"{path.name}: {len(rows)} requests, " + ", ".join(f"{labels[k]} {k}" for k in LABELS))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
