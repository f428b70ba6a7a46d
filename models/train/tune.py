#!/usr/bin/python3
"""Tune the built-in SLM a little further: the tuned model that proxy-tuning needs, for its row in the tables.

Continues from the weights in models/costeer-slm.gguf on the LLM's documents without notes (its phrasings, invented
facts), so that tuned minus untuned is a direction of style. Not shipped: it is made where it is wanted.

    models/train/tune.py --steps 200 --output tuned.gguf
"""

import argparse
import os
import random
import sys

import torch

import data
import export
import model
import tokenizer as tok
from train import AdamW, SHAPES, tensors

HERE = os.path.dirname(os.path.abspath(__file__))


def load_weights(gguf, path, parameters):
    """Fill the parameters from a file that export.py wrote."""
    read = {tensor.name: torch.from_numpy(tensor.data.astype("float32")) for tensor in gguf.GGUFReader(path).tensors}
    for name, place in export.tensors(parameters, list(range(parameters.shape.vocab))):
        if name == "token_embd.weight":  # what export.tensors() gives of it is a copy
            place = parameters["embedding"]
        place.data.copy_(read[name].reshape(place.shape))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--output", required=True)
    parser.add_argument("--llama-source", default=os.environ.get("LLAMA_SOURCE_DIR"))
    args = parser.parse_args()
    if not args.llama_source:
        parser.error("name llama.cpp's source tree with --llama-source or LLAMA_SOURCE_DIR")
    sys.path.insert(0, os.path.join(args.llama_source, "gguf-py"))
    import gguf
    torch.set_num_threads(1)
    parameters = model.Parameters(SHAPES["slm"], 0)
    with torch.no_grad():
        load_weights(gguf, os.path.join(HERE, "..", "costeer-slm.gguf"), parameters)
    network, optimizer = model.Llama(parameters), AdamW(parameters, 0.0)
    generator = data.Generator(tok.Tokenizer.load(os.path.join(HERE, "tokenizer.json")), "llm", 5)
    rng = random.Random("tune/5")
    for step in range(args.steps):
        ids, targets, weights = tensors(data.stack([generator.document(rng, False) for _ in range(args.rows)]))
        loss = network.loss(ids, targets, weights, 0.02) / weights.sum()
        loss.backward()
        optimizer.step(step + 1, args.rate)
        if step % 20 == 0:
            print(step, round(float(loss), 4), file=sys.stderr, flush=True)
    torch.save({"flat": parameters.flat}, args.output + ".pt")
    export.export(gguf, args.output + ".pt", "slm", args.output)
    os.remove(args.output + ".pt")


if __name__ == "__main__":
    main()
