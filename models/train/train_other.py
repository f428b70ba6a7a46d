#!/usr/bin/python3
"""Train the second SLM: train.py's recipe for the SLM, with the vocabulary of other/tokenizer.json.

Takes train.py's options. Nothing but the tokenizer and the number of its pieces differs.
"""

import dataclasses
import json
import os

import train
from build_other_tokenizer import PIECES

FOLDER = os.path.join(train.HERE, "other")


def other_shape():
    return dataclasses.replace(train.SHAPES["slm"], vocab=PIECES)


if __name__ == "__main__":
    ARGS = train.arguments()
    print(json.dumps(vars(ARGS)), flush=True)
    train.SHAPES["slm"] = other_shape()
    train.HERE = FOLDER  # where it reads tokenizer.json
    train.run(ARGS)
