#!/usr/bin/python3
"""Learn tokenizer.json, the one vocabulary of both models, and write the held-out prompts.

Deterministic: the same sources give the same files (test_data.py compares a short run).
"""

import json
import os

import data
import tokenizer as tok

HERE = os.path.dirname(os.path.abspath(__file__))
SEED, TEXTS, PIECES, PROMPTS = 7, 5000, 1024, 200


def main():
    pieces = tok.train(data.corpus(SEED, TEXTS), PIECES)
    with open(os.path.join(HERE, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump({"pieces": pieces}, file, ensure_ascii=False, indent=0)
        file.write("\n")
    data.write_held_out(os.path.join(HERE, "..", "eval", "prompts.jsonl"), SEED, PROMPTS)


if __name__ == "__main__":
    main()
