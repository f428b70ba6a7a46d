#!/usr/bin/python3
"""Train one model of the pair.

The rate warms up, stays flat, and decays linearly over --decay-steps from --decay-start on. A run can
be continued from any checkpoint with --resume, so the decay can begin when time runs out; data,
initial weights and order depend on --seed and the step alone, so the commands reproduce the run.
"""

import argparse
import csv
import json
import os
import random
import time

import torch

import data
import model
import tokenizer as tok

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = {
    "slm": model.Shape(vocab=1024, width=160, layers=4, head_dim=32, ffn=384),
    "llm": model.Shape(vocab=1024, width=256, layers=5, head_dim=32, ffn=704),
}
STEPS_PER_GROUP = 4
COLUMNS = ["step", "seconds", "tokens", "rate", "loss", "probe_loss", "probe_fact_accuracy"]


class AdamW:
    """AdamW over the flat parameter array; weight decay on the matrices only."""

    def __init__(self, parameters, decay):
        self.p, self.decay = parameters, decay
        self.first = torch.zeros_like(parameters.flat)
        self.second = torch.zeros_like(parameters.flat)

    def step(self, number, rate, clip=1.0, beta1=0.9, beta2=0.98):
        """One update; `number` counts from 1."""
        gradient = self.p.gradient
        norm = gradient.norm()
        if norm > clip:
            gradient.mul_(clip / norm)
        self.first.lerp_(gradient, 1 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = (self.second / (1 - beta2 ** number)).sqrt_().add_(1e-8)
        with torch.no_grad():
            self.p.flat[:self.p.n_matrices].mul_(1 - rate * self.decay)
            self.p.flat.addcdiv_(self.first, denominator, value=-rate / (1 - beta1 ** number))
        gradient.zero_()


def rate_at(step, args):
    """Warm-up, flat, and from --decay-start on linear decay to a fiftieth."""
    rate = args.rate * min(1.0, (step + 1) / args.warmup)
    if args.decay_start is not None and step >= args.decay_start:
        rate *= max(0.02, 1 - (step - args.decay_start) / args.decay_steps)
    return rate


def exercise_share(step, args):
    """Many copying exercises until copying has appeared, few later."""
    return args.exercises_early if step < args.exercises_until else args.exercises_late


def tensors(batch):
    return [torch.from_numpy(array.copy()) for array in batch]


class Probe:
    """Fixed documents with notes: the loss, and how often a fact's token is the first choice."""

    def __init__(self, generator, count=24):
        rng = random.Random(f"probe/{generator.role}")
        self.ids, self.targets, weights = tensors(data.stack([generator.document(rng, True) for _ in range(count)]))
        self.weights = weights

    def measure(self, network):
        with torch.no_grad():
            loss = network.loss(self.ids, self.targets, self.weights, 0.0) / self.weights.sum()
            chosen = (self.weights == 2.0).reshape(-1).nonzero().squeeze(1)
            states = network.hidden(self.ids).reshape(-1, network.shape.width)[chosen]
            right = network.logits(states).argmax(-1) == self.targets.reshape(-1)[chosen]
        return float(loss), float(right.float().mean())


def save(path, parameters, optimizer, step):
    torch.save({"flat": parameters.flat, "first": optimizer.first, "second": optimizer.second, "step": step},
               path + ".new")
    os.replace(path + ".new", path)


def train_step(network, parameters, optimizer, batches, step, args):
    """Forward and backward over the parts of one step, then the update; returns (loss, tokens)."""
    parts = [tensors(batch) for batch in batches]
    total = sum(float(weights.sum()) for _, _, weights in parts)
    loss_sum = 0.0
    for ids, targets, weights in parts:
        loss = network.loss(ids, targets, weights, args.smoothing) / total
        loss.backward()
        loss_sum += float(loss)
    optimizer.step(step + 1, rate_at(step, args))
    return loss_sum, sum(ids.numel() for ids, _, _ in parts)


def run(args):
    """The training loop; writes checkpoints and a CSV log to --out."""
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    generator = data.Generator(tok.Tokenizer.load(os.path.join(HERE, "tokenizer.json")), args.role, args.seed,
                               args.ordinary_invented)
    parameters = model.Parameters(SHAPES[args.role], args.seed)
    optimizer, network, probe = AdamW(parameters, args.weight_decay), model.Llama(parameters), Probe(generator)
    step = 0
    if args.resume:
        state = torch.load(args.resume)
        parameters.flat.copy_(state["flat"])
        optimizer.first.copy_(state["first"])
        optimizer.second.copy_(state["second"])
        step = state["step"]
    end = args.decay_start + args.decay_steps if args.decay_start is not None else args.steps
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, f"{args.role}.csv"), "a", newline="", encoding="utf-8") as file:
        loop(args, step, end, generator, (network, parameters, optimizer, probe), csv.writer(file), file)
    save(os.path.join(args.out, f"{args.role}-final.pt"), parameters, optimizer, end)


def loop(args, step, end, generator, parts, log, file):
    """Steps from `step` to `end`, a log row every --log-every, a checkpoint every --save-every."""
    network, parameters, optimizer, probe = parts
    if step == 0:
        log.writerow(COLUMNS)
    begin, tokens, losses, group, index = time.time(), 0, [], None, -1
    while step < end:
        if step // STEPS_PER_GROUP != index:
            index = step // STEPS_PER_GROUP
            group = generator.group(index, args.tokens, exercise_share(index * STEPS_PER_GROUP, args), STEPS_PER_GROUP)
        loss, count = train_step(network, parameters, optimizer, group[step % STEPS_PER_GROUP], step, args)
        tokens, step = tokens + count, step + 1
        losses.append(loss)
        if step % args.log_every == 0:
            probe_loss, accuracy = probe.measure(network)
            log.writerow([step, round(time.time() - begin), tokens, f"{rate_at(step, args):.2e}",
                          f"{sum(losses) / len(losses):.4f}", f"{probe_loss:.4f}", f"{accuracy:.4f}"])
            file.flush()
            losses = []
        if step % args.save_every == 0:
            save(os.path.join(args.out, f"{args.role}-last.pt"), parameters, optimizer, step)
            if step % (5 * args.save_every) == 0:
                save(os.path.join(args.out, f"{args.role}-{step}.pt"), parameters, optimizer, step)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=sorted(SHAPES), required=True)
    parser.add_argument("--out", required=True, help="folder for checkpoints and the log")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens a step, about")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--smoothing", type=float, default=0.01)
    parser.add_argument("--exercises-early", type=float, default=0.5)
    parser.add_argument("--exercises-late", type=float, default=0.2)
    parser.add_argument("--exercises-until", type=int, default=2000)
    parser.add_argument("--ordinary-invented", type=float, default=0.0,
                        help="share of ordinary words among the facts that documents without notes invent")
    parser.add_argument("--steps", type=int, default=1000000)
    parser.add_argument("--decay-start", type=int)
    parser.add_argument("--decay-steps", type=int, default=1000)
    parser.add_argument("--resume", help="checkpoint to continue from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--save-every", type=int, default=200)
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = arguments()
    print(json.dumps(vars(ARGS)), flush=True)
    run(ARGS)
