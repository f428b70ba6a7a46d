#!/usr/bin/python3
"""Learn other/tokenizer.json, the vocabulary of the second SLM, which is not the LLM's.

Another seed, fewer pieces and no damping: the words of the phrasings get pieces of their own, and the many different
fact values are split into shorter ones than by the LLM's vocabulary. Deterministic.
"""

import json
import os

import data
import tokenizer as tok

HERE = os.path.dirname(os.path.abspath(__file__))
SEED, TEXTS, PIECES, DAMPING = 23, 5000, 768, 1.0


def main():
    tok.DAMPING = DAMPING
    pieces = tok.train(data.corpus(SEED, TEXTS), PIECES)
    with open(os.path.join(HERE, "other", "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump({"pieces": pieces}, file, ensure_ascii=False, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
