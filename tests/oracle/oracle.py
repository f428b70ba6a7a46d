"""The published loop, run literally in PyTorch: no closed form, no top-K, one forward pass a model and token.

    oracle.py --llm L.gguf --slm S.gguf --rows rows.jsonl --system TEXT [--dtype float32|bfloat16] [--threads N] [--limit N] >values.jsonl

One line a row: the ids of both prompts, the tokens, and for each token the log-probability of the LLM ("base_logprob"), of the policy,
the SLM's log ratio ("delta"), and how far the policy's best token is ahead of the second ("margin"); nats. Greedy.
Source: Lv et al., CoSteer, arXiv 2507.04756: T = 20, alpha = 2, beta = 1, lambda = 2, eta = 10.
"""
import argparse
import json
import os
import sys
import time

import torch
import transformers

T, ALPHA, BETA, LAMBDA, ETA = 20, 2.0, 1.0, 2.0, 10.0


def published_update(base, delta):
    """p_T of base and delta, both [n_vocab] log-probabilities and log ratios."""
    policy = base.clone()
    sum_u = torch.zeros_like(base)
    for t in range(1, T + 1):
        sum_u += ALPHA * (policy - base) + BETA * delta
        policy = torch.log_softmax((t * LAMBDA * base + sum_u + policy / ETA) / (t * LAMBDA + 1 / ETA), dim=-1)
    return policy


class Sequence:
    """A model on its way along one prompt and answer."""

    def __init__(self, model, n_vocab, prompt):
        self.model = model
        self.n_vocab = n_vocab
        self.cache = transformers.DynamicCache(config=model.config)
        self.logprobs = None
        self.feed(prompt)

    def feed(self, tokens):
        out = self.model(input_ids=torch.tensor([tokens]), past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.logprobs = torch.log_softmax(out.logits[0, -1, : self.n_vocab].float(), dim=-1)


def build_prompt(tokenizer, system, context, query):
    user = f"{context}\n\n{query}" if context else query
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def answer(row, models, tokenizer, system, ends):
    public = build_prompt(tokenizer, system, "", row["query"])
    private = build_prompt(tokenizer, system, row["context"], row["query"])
    n_vocab = len(tokenizer)
    start = time.monotonic()
    llm, amateur = (Sequence(models[name], n_vocab, public) for name in ("llm", "slm"))
    expert = Sequence(models["slm"], n_vocab, private)
    tokens, values = [], []
    first = None
    while True:
        delta = expert.logprobs - amateur.logprobs
        policy = published_update(llm.logprobs, delta)
        best = torch.topk(policy, 2)
        token = int(best.indices[0])
        tokens.append(token)
        values.append({"base_logprob": float(llm.logprobs[token]), "policy_logprob": float(policy[token]),
                       "delta": float(delta[token]), "margin": float(best.values[0] - best.values[1])})
        now = time.monotonic()
        first = first if first is not None else now
        if token in ends or len(tokens) == row["max_tokens"]:
            return {"id": row["id"], "prompt": public, "private_prompt": private, "tokens": tokens, "values": values,
                    "first_s": first - start, "rest_s": now - first}
        for sequence in (llm, amateur, expert):
            sequence.feed([token])


def load(path, dtype):
    folder, name = os.path.split(os.path.abspath(path))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=dtype)
    return model.eval()


def main():
    parser = argparse.ArgumentParser()
    for name in ("--llm", "--slm", "--rows", "--system"):
        parser.add_argument(name, required=True)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--ends", default="<|im_end|>,<|endoftext|>")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    folder, name = os.path.split(os.path.abspath(options.slm))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    dtype = getattr(torch, options.dtype)
    models = {"llm": load(options.llm, dtype), "slm": load(options.slm, dtype)}
    ends = {tokenizer.convert_tokens_to_ids(text) for text in options.ends.split(",")} - {None, tokenizer.unk_token_id}
    with open(options.rows, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = rows[: options.limit or len(rows)]
    print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "dtype": options.dtype,
                      "threads": options.threads, "n_vocab": len(tokenizer)}))
    for row in rows:
        print(json.dumps(answer(row, models, tokenizer, options.system, ends)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
