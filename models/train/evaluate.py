#!/usr/bin/python3
"""Score a pair of checkpoints on the held-out prompts: fact recall, and perplexity under the LLM with notes.

A development tool, batched in torch. The shipped figures come from scripts/eval-demo and the real program.
"""

import argparse
import json
import math
import os
import random

import torch

import data
import model
import tokenizer as tok
from train import SHAPES

HERE = os.path.dirname(os.path.abspath(__file__))
PUBLISHED = 1.78325684


def load(role, checkpoint):
    parameters = model.Parameters(SHAPES[role], 0)
    parameters.flat.copy_(torch.load(checkpoint)["flat"])
    return model.Llama(parameters)


def prompt_ids(tokenizer, query, context):
    text = context + "\n\n" + query if context else query
    return [tok.IM_START] + tokenizer.encode("user\n" + text) + [tok.IM_END] + tokenizer.encode("\n") + \
        [tok.IM_START] + tokenizer.encode("assistant\n")


class Stream:
    """One model following one batch of prompts token by token."""

    def __init__(self, network, prompts):
        length = max(map(len, prompts))
        self.network, self.cache = network, [None] * network.shape.layers
        self.padding = torch.tensor([length - len(prompt) for prompt in prompts])
        rows = torch.tensor([[0] * (length - len(prompt)) + prompt for prompt in prompts])
        self.logits = self.advance(rows)

    def advance(self, ids):
        states = self.network.hidden(ids, self.cache, self.padding)[:, -1]
        self.logits = torch.log_softmax(self.network.logits(states), -1)
        return self.logits


def decode(streams, mix, limit):
    """Greedy answers under mix(list of log-distributions); ids up to and without the end token."""
    rows = len(streams[0].padding)
    answers, done = [[] for _ in range(rows)], [False] * rows
    for _ in range(limit):
        token = mix([stream.logits for stream in streams]).argmax(-1)
        for row, choice in enumerate(token.tolist()):
            done[row] = done[row] or choice in (tok.IM_END, tok.END_OF_TEXT)
            if not done[row]:
                answers[row].append(choice)
        if all(done):
            break
        for stream in streams:
            stream.advance(token[:, None])
    return answers


def answer_losses(network, prompts, answers):
    """(sum of -log p, count) over each answer's tokens and its end, after its prompt."""
    results = []
    for prompt, answer in zip(prompts, answers):
        ids = torch.tensor([prompt + answer + [tok.IM_END]])
        logp = torch.log_softmax(network.logits(network.hidden(ids[:, :-1])[0, len(prompt) - 1:]), -1)
        target = ids[0, len(prompt):]
        results.append((-float(logp.gather(1, target[:, None]).sum()), len(target)))
    return results


def recall(prompts, texts):
    return [sum(fact in text for fact in prompt["facts"]) / len(prompt["facts"]) for prompt, text in zip(prompts, texts)]


def interval(values, statistic, seed=1, rounds=1000):
    """95% bootstrap interval of a statistic of per-prompt values."""
    rng = random.Random(seed)
    draws = sorted(statistic(rng.choices(values, k=len(values))) for _ in range(rounds))
    return draws[int(0.025 * rounds)], draws[int(0.975 * rounds)]


def mean(values):
    return sum(values) / len(values)


def perplexity(losses):
    return math.exp(sum(loss for loss, _ in losses) / sum(count for _, count in losses))


def methods(strengths):
    """name -> (streams it needs, mix); streams: 0 LLM, 1 SLM with notes, 2 SLM without, 3 LLM with notes."""
    table = {"llm": ([0], lambda x: x[0]), "slm+notes": ([1], lambda x: x[0]), "llm+notes": ([3], lambda x: x[0])}
    for strength in strengths:
        table[f"costeer {strength:g}"] = ([0, 1, 2], lambda x, c=strength: x[0] + c * (x[1] - x[2]))
    return table


def evaluate(llm, slm, tokenizer, prompts, strengths, limit=110):
    """Rows of (name, recall, its interval, perplexity, its interval, texts)."""
    bare = [prompt_ids(tokenizer, prompt["query"], "") for prompt in prompts]
    noted = [prompt_ids(tokenizer, prompt["query"], prompt["context"]) for prompt in prompts]
    sources = [(llm, bare), (slm, noted), (slm, bare), (llm, noted)]
    for name, (needed, mix) in methods(strengths).items():
        answers = decode([Stream(*sources[i]) for i in needed], mix, limit)
        texts = [tokenizer.decode(answer) for answer in answers]
        recalls, losses = recall(prompts, texts), answer_losses(llm, noted, answers)
        yield name, mean(recalls), interval(recalls, mean), perplexity(losses), interval(losses, perplexity), texts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llm", required=True)
    parser.add_argument("--slm", required=True)
    parser.add_argument("--prompts", default=os.path.join(HERE, "..", "eval", "prompts.jsonl"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--strengths", default=f"1,{PUBLISHED}")
    parser.add_argument("--show", type=int, default=0, help="print this many answers of every method")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    with open(args.prompts, encoding="utf-8") as file:
        prompts = [json.loads(line) for line in file][:args.count]
    tokenizer = tok.Tokenizer.load(os.path.join(HERE, "tokenizer.json"))
    strengths = [float(value) for value in args.strengths.split(",")] if args.strengths else []
    shown = [[] for _ in range(args.show)]
    for name, share, (low, high), ppl, (ppl_low, ppl_high), texts in evaluate(
            load("llm", args.llm), load("slm", args.slm), tokenizer, prompts, strengths):
        ordinary = mean([r for r, p in zip(recall(prompts, texts), prompts) if p["values"] == "ordinary"])
        print(f"{name:14} recall {share:.3f} [{low:.3f}, {high:.3f}] (ordinary {ordinary:.3f})"
              f"  perplexity {ppl:.3f} [{ppl_low:.3f}, {ppl_high:.3f}]", flush=True)
        for i in range(args.show):
            shown[i].append(f"  {name}: {texts[i]}")
    for i, lines in enumerate(shown):
        print("\n" + prompts[i]["context"] + "\n>> " + prompts[i]["query"] + "\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
