#!/usr/bin/env python3
"""What docs/engines.md says of a real vLLM: which K proves how much at what cost, and how far its own numbers move. JSON lines.

    measure.py [k] [noise]        both without a name; `scripts/test-vllm --measure` sets the environment
    K=64,256 PROMPTS=2 TOKENS=32  (environment) less of it

k: Qwen2.5-Coder 1.5B in bfloat16 behind vLLM, 0.5B Q4_K_M as the SLM, strength 1.78, streamed.
noise: one position's log-probabilities asked for in several ways: twice, behind a cached prefix, as one of a batch, beside other work, inside
a stream.
"""
import concurrent.futures
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

from server import Vllm, stop_all

REAL = pathlib.Path(os.environ["REAL_MODELS"])
SLM = REAL / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
DEPTHS = [int(k) for k in os.environ.get("K", "64,256,1024,4096").split(",")]
N_PROMPTS = int(os.environ.get("PROMPTS", "3"))
N_TOKENS = int(os.environ.get("TOKENS", "32"))

PROMPTS = [
    ("Write a short bio of me.",
     "My name is Soraya Lindqvist. I live in Gothenburg and work as a bridge engineer. My dog is called Rufus, and I bake on Sundays."),
    ("Write an e-mail that moves my appointment to another day.",
     "Appointment: dentist Dr. Amara Okafor, Tuesday 14:30. I can only come on Fridays. I sign as T. Brandvold."),
    ("Suggest a dinner for tonight.",
     "I am allergic to peanuts and shellfish. There are lentils, spinach and feta in the fridge. My daughter Mirela comes along."),
]  # fmt: skip


def say(**what):
    print(json.dumps(what), flush=True)


def answer(url, folder, prompt, *options):
    query, context = prompt
    notes = pathlib.Path(folder) / "notes"
    notes.write_text(context + "\n", encoding="utf-8")
    command = [os.environ["COSTEER"], "generate", "--cloud", f"vllm+{url}", "--slm", SLM, "--context", notes, "--json", "--max-tokens",
               N_TOKENS, "--timeout-ms", 120000, *options, query]  # fmt: skip
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.decode()}")
    return json.loads(done.stdout)


def measure_k(server):
    with tempfile.TemporaryDirectory() as folder:
        for k in DEPTHS:
            for mode, options in (("constant", ["--constant-k"]), ("deepened", [])):
                runs = [answer(server.url, folder, prompt, "--base-top-k", k, *options) for prompt in PROMPTS[:N_PROMPTS]]
                n = sum(run["n_tokens"] for run in runs)
                say(what="k", k=k, how=mode, tokens=n, proved=sum(r["certified"] for r in runs) / n,
                    deepened=sum(r["deepened"] for r in runs) / n, deepenings=sum(r["cloud"]["deepenings"] for r in runs) / n,
                    corrections=sum(r["cloud"]["corrections"] for r in runs) / n,
                    bytes_down=sum(r["cloud"]["bytes_down"] for r in runs) / n,
                    tokens_per_second=n / sum(r["n_tokens"] / r["tokens_per_second"] for r in runs))  # fmt: skip
        runs = [answer(server.url, folder, prompt, "--method", "llm", "--base-top-k", 64) for prompt in PROMPTS[:N_PROMPTS]]
        n = sum(run["n_tokens"] for run in runs)
        say(what="llm", tokens=n, tokens_per_second=n / sum(r["n_tokens"] / r["tokens_per_second"] for r in runs))


def entries(choice, at=0):
    return choice["logprobs"]["top_logprobs"][at]


def distance(a, b):
    """Largest difference among the 20 best of the first, and how much their two best move against each other."""
    best = sorted(a, key=a.get, reverse=True)[:20]
    both = [key for key in best if key in b]
    moved = abs((a[best[0]] - a[best[1]]) - (b[best[0]] - b[best[1]])) if best[1] in b and best[0] in b else None
    return max(abs(a[key] - b[key]) for key in both), moved


def measure_noise(server, dtype):
    """Positions of one greedy answer to a prompt of token ids that spell nothing in particular."""
    ask = dict(logprobs=64)
    prompt = json.loads(server.ask("POST", "/tokenize", {"model": server.model, "prompt": PROMPTS[0][1] * 2})[1])["tokens"]
    _, events = server.complete(prompt, max_tokens=24, stream=True, **ask)
    streamed, tokens = [], []
    for event in filter(None, events):
        for choice in event.get("choices", []):
            if choice.get("logprobs"):
                streamed += choice["logprobs"]["top_logprobs"]
                tokens += [int(name.split(":")[1]) for name in choice["logprobs"]["tokens"]]
    prefixes = [prompt + tokens[:n] for n in range(len(tokens))]

    def one(ids):
        return entries(server.complete(ids, **ask)[1]["choices"][0])

    alone = [one(ids) for ids in prefixes]
    again = [one(ids) for ids in prefixes]
    batched = []
    for at in range(0, len(prefixes), 8):
        choices = server.complete(prefixes[at : at + 8], **ask)[1]["choices"]
        batched += [entries(choice) for choice in sorted(choices, key=lambda c: c["index"])]
    server.ask("POST", "/reset_prefix_cache")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(one, prefixes))
    for name, other in (("again", again), ("in a stream", streamed), ("in a batch of 8 prefixes", batched), ("beside 3 others", beside)):
        pairs = [distance(a, b) for a, b in zip(alone, other)]
        moved = [m for _, m in pairs if m is not None]
        say(what="noise", dtype=dtype, way=name, positions=len(pairs), largest=max(d for d, _ in pairs),
            median=statistics.median(d for d, _ in pairs), two_best_largest=max(moved))  # fmt: skip


def main():
    signal.signal(signal.SIGTERM, stop_all)
    which = sys.argv[1:] or ["k", "noise"]
    with Vllm("qwen-1.5b", "--max-logprobs", -1, "--block-size", 32, dtype="bfloat16") as server:
        say(what="server", model="qwen-1.5b", dtype="bfloat16", start_s=round(server.start_s))
        if "noise" in which:
            measure_noise(server, "bfloat16")
        if "k" in which:
            measure_k(server)


if __name__ == "__main__":
    main()
