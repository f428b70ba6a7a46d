#!/usr/bin/env python3
"""Check that the committed GGUF files are what the recipe and models/pair.json say. Standard library only.

    models/train/check.py            exit 0 and one line a check, or 1 with what differs
    models/train/check.py --record   write hashes, shapes and sizes into models/pair.json (after an export)
"""

import csv
import hashlib
import json
import math
import os
import re
import sys

from gguf_header import read_header
from recipe import HERE, other_recipe_hash, recipe_hash, vocabulary_hash

MODELS = os.path.dirname(HERE)
RECORD = os.path.join(MODELS, "pair.json")
PAGE = os.path.join(os.path.dirname(MODELS), "docs", "built-in-pair.md")
ROLES = ("llm", "slm", "slm-other")  # the pair, and the second SLM with a vocabulary of its own
MAX_BYTES = 16 * 1000 * 1000  # the pair together
MAX_BYTES_OTHER = 4 * 1000 * 1000
BOUNDS = {"llm": (0.0, 0.10), "costeer": (0.80, 1.0), "llm+context": (0.90, 1.0)}  # fact recall, from the requirement


def expected_tensors(shape):
    """Name -> (type, sizes) of a Llama of this shape with tied embeddings."""
    width, ffn = shape["width"], shape["ffn"]
    table = {"token_embd.weight": ("F16", (shape["vocab"], width)), "output_norm.weight": ("F32", (width,))}
    for i in range(shape["layers"]):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            table[f"blk.{i}.{name}.weight"] = ("F16", (width, width))
        for name in ("ffn_gate", "ffn_up"):
            table[f"blk.{i}.{name}.weight"] = ("F16", (ffn, width))
        table[f"blk.{i}.ffn_down.weight"] = ("F16", (width, ffn))
        for name in ("attn_norm", "ffn_norm"):
            table[f"blk.{i}.{name}.weight"] = ("F32", (width,))
    return table


def shape_of(metadata):
    return {"vocab": metadata["llama.vocab_size"], "width": metadata["llama.embedding_length"],
            "layers": metadata["llama.block_count"], "heads": metadata["llama.attention.head_count"],
            "ffn": metadata["llama.feed_forward_length"]}


def describe(role):
    """What models/pair.json keeps about one file."""
    name = f"costeer-{role}.gguf"
    path = os.path.join(MODELS, name)
    metadata, tensors = read_header(path)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    facts = {"file": name, "bytes": os.path.getsize(path), "sha256": digest, "shape": shape_of(metadata),
             "parameters": sum(math.prod(sizes) for _, sizes in tensors.values())}
    return facts, metadata, tensors


def last_log_row(role):
    """Steps, tokens and seconds of the training run, from its log."""
    with open(os.path.join(HERE, "log", f"{role}.csv"), newline="", encoding="utf-8") as file:
        row = list(csv.DictReader(file))[-1]
    return {"steps": int(row["step"]), "tokens": int(row["tokens"]), "seconds": int(row["seconds"]),
            "probe_fact_accuracy": float(row["probe_fact_accuracy"])}


def load_record():
    with open(RECORD, encoding="utf-8") as file:
        return json.load(file)


def record():
    """Bring models/pair.json up to date with the files; evaluation and training notes stay."""
    kept = load_record() if os.path.exists(RECORD) else {}
    _, metadata, _ = describe("llm")
    kept["recipe"] = metadata["costeer.recipe"]
    kept["other_recipe"] = describe("slm-other")[1]["costeer.recipe"]
    kept["vocabulary_sha256"] = vocabulary_hash(metadata["tokenizer.ggml.tokens"])
    for role in ROLES:
        kept.setdefault("models", {}).setdefault(role, {}).update(describe(role)[0], training=last_log_row(role))
    with open(RECORD, "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1, ensure_ascii=False)
        file.write("\n")


def load_pieces(folder):
    with open(os.path.join(HERE, folder, "tokenizer.json"), encoding="utf-8") as file:
        return json.load(file)["pieces"]


def check_file(kept, role, pieces, recipe):
    """(statement, holds) for one GGUF file."""
    facts, metadata, tensors = describe(role)
    for key in ("sha256", "bytes", "shape", "parameters"):
        yield f"{role}: {key} is as recorded", facts[key] == kept["models"][role][key]
    yield f"{role}: tensors are those of a Llama of this shape", tensors == expected_tensors(facts["shape"])
    yield f"{role}: has the vocabulary of its tokenizer.json", metadata["tokenizer.ggml.tokens"] == pieces
    yield f"{role}: was made with this recipe", metadata["costeer.recipe"] == recipe
    yield f"{role}: the training log ends as recorded", last_log_row(role) == kept["models"][role]["training"]
    yield f"{role}: carries a ChatML template", "<|im_start|>" in metadata["tokenizer.chat_template"]


def check_files(kept):
    """(statement, holds) for the GGUF files."""
    pieces, other = load_pieces(""), load_pieces("other")
    yield "the recipe's files are those recorded", recipe_hash() == kept["recipe"]
    yield "the second SLM's recipe is the one recorded", other_recipe_hash() == kept["other_recipe"]
    yield "the vocabulary is the one recorded", vocabulary_hash(pieces) == kept["vocabulary_sha256"]
    for role in ("llm", "slm"):
        yield from check_file(kept, role, pieces, kept["recipe"])
    # In the file special tokens and bytes stand last (export.py).
    yield from check_file(kept, "slm-other", other[260:] + other[4:260] + other[:4], kept["other_recipe"])
    sizes = {role: describe(role)[0]["bytes"] for role in ROLES}
    yield "the pair together is at most 16 MB", sizes["llm"] + sizes["slm"] <= MAX_BYTES
    yield "the second SLM is at most 4 MB", sizes["slm-other"] <= MAX_BYTES_OTHER


def check_evaluation(kept):
    """(statement, holds) for the figures: within the bounds, and the same on the page."""
    if "evaluation" not in kept:
        yield "scripts/eval-demo --write has been run", False
        return
    methods = kept["evaluation"]["methods"]
    for name, (low, high) in BOUNDS.items():
        yield f"fact recall of {name} is within {low:g} and {high:g}", low <= methods[name]["recall"][0] <= high
    yield ("CoSteer's text is better than the SLM's, intervals apart",
           methods["costeer"]["perplexity"][2] < methods["slm+context"]["perplexity"][1])
    with open(PAGE, encoding="utf-8") as file:
        page = re.sub(r"[*]", "", file.read())
    for name, row in methods.items():
        text = "{:.3f} [{:.3f}, {:.3f}]".format(*row["recall"])
        yield f"docs/built-in-pair.md shows the recall of {name}", text in page


def main():
    if sys.argv[1:] == ["--record"]:
        record()
        return 0
    if sys.argv[1:]:
        sys.exit(__doc__)
    kept, failed = load_record(), 0
    for statements in (check_files(kept), check_evaluation(kept)):
        for statement, holds in statements:
            print(("ok      " if holds else "FAILED  ") + statement)
            failed += not holds
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
