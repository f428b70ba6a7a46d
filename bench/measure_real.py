"""Measure the figures of README and docs with weights that people use, and print them as finished rows. Called by `scripts/bench real`.

The pair is Qwen2.5-Coder 1.5B and 0.5B Instruct, Q4_K_M, the queries and notes are bench/real_prompts.jsonl. What is measured and how is
the same as with the models of our own: the parts fuse, pair and memory are measure.py's, net and sessions measure_net.py's, engine
measure_engines.py's. Only `depths` is new: what each K proves and costs.
"""
import argparse
import json
import os
import statistics
import sys
import types

import measure
from measure import Failed, MB, machine, spread
import measure_engines
import measure_net
from measure_net import ranged, rate

PARTS = ("fuse", "pair", "depths", "net", "engine", "sessions")
DEPTHS = (16, 64, 256, 1024, 4096)
ROUND_TRIPS_MS = (0, 50)
N_PROMPT, N_CONTEXT = 32, 695  # the query, and a personal prompt of 727 tokens in all


class Pair(measure.Bench):
    """Fusing, the SLM's step, the main job, the first token and memory."""

    def fuse_row(self, out):
        self.fuse()
        run = self.figures["fuse"][0]
        choose, loop, read = (statistics.median(r[key] for r in self.figures["fuse"]) for key in ("choose_us", "loop_ratio", "read_ratio"))
        out.readme(f"fuse and choose a token, {run['n_vocab']:,} tokens", f"{choose:.0f} µs",
                   f"{loop:.0f}x faster than the 20-step loop; {read:.2f}x of reading the three arrays")

    def alone(self, model, threads, *arguments):
        """llama-bench's median time in µs."""
        result = measure.run_json([self.llama_bench, "-m", model, "-t", str(threads), "-o", "json", *map(str, arguments)])
        return statistics.median(result[-1]["samples_ns"]) / 1e3

    def both(self, context):
        """One round: our answers, and llama-bench's rates and times of the same work with one thread and with all cores."""
        cores = os.cpu_count()
        n = self.tokens
        decode = ("-p", 0, "-n", n, "-d", N_PROMPT, "-r", 2)
        ours = self.ours("generate", "--llm", self.llm, "--slm", self.slm, "--threads-llm", 1, "--threads-slm", max(1, cores - 1),
                         "--n-prompt", N_PROMPT, "--n-context", context, "--n-tokens", n, "--repeat", 1)
        prompts = [self.alone(m, cores, "-p", p, "-n", 0, "-r", 1) for m, p in ((self.slm, N_PROMPT + context), (self.llm, N_PROMPT))]
        return {"ours": ours, "one": n * 1e6 / self.alone(self.llm, 1, *decode), "all": n * 1e6 / self.alone(self.llm, cores, *decode),
                "prompts_us": sum(prompts)}

    def pair(self, out):
        self.slm_step("llama-bench -p 2", 0, [])
        self.slm_step("llama-bench -p 2 -embd 1 (both tokens' outputs, as ours)", 0, ["-embd", 1])
        one = self.slm_one()
        step = statistics.median(self.figures["slm_llama-bench -p 2"]["ours_us"])
        out.readme("expert and amateur, one batch", f"{step / 1e3:.1f} ms",
                   f"{step / one:.2f}x of a step of one token ({one / 1e3:.1f} ms); {self.table[-2][3].split(' ')[0]}x of llama-bench's "
                   f"two-token batch, which computes one output; {self.table[-1][3].split(' ')[0]}x where it computes both")
        context = 32 if self.quick else N_CONTEXT
        rounds = []
        for i in range(self.rounds):
            self.say(f"pair: round {i + 1} of {self.rounds}")
            rounds.append(self.both(context))
        self.figures["pair"] = rounds
        steered = [r["ours"]["steered"]["tokens_per_s"] for r in rounds]
        ratios = {key: [s / r[key] for s, r in zip(steered, rounds)] for key in ("one", "all")}
        rates = {key: statistics.median(r[key] for r in rounds) for key in ("one", "all")}
        out.readme(f"steered 1.5B + 0.5B, a core each, {N_PROMPT + context} tokens of private prompt", f"{statistics.median(steered):.1f} tokens/s",
                   f"{spread(ratios['one'])} of the 1.5B alone in llama-bench with one core ({rates['one']:.1f}), {spread(ratios['all'])} with "
                   f"all {os.cpu_count()} ({rates['all']:.1f})")
        parts = {key: statistics.median(r["ours"]["steered"][key] for r in rounds) / 1e3
                 for key in ("token_us", "slm_us", "cloud_wait_us", "fuse_us")}
        self.row("… a steered token", f"{parts['token_us']:.1f} ms", "",
                 f"SLM {parts['slm_us']:.1f}, then waiting {parts['cloud_wait_us']:.1f}, fusing {parts['fuse_us']:.3f} ms")
        alone = [r["ours"]["alone"]["tokens_per_s"] / r["one"] for r in rounds]
        self.row("… the LLM alone, through our loop, against llama-bench", "", "", spread(alone))
        first = [r["ours"]["steered"]["prefill_us"] / 1e6 for r in rounds]
        times = [r["ours"]["steered"]["prefill_us"] / r["prompts_us"] for r in rounds]
        out.readme(f"first token after a private prompt of {N_PROMPT + context} tokens", f"{statistics.median(first):.1f} s",
                   f"{spread(times)}x of llama-bench's time for these prompts, one after the other on all cores")
        self.memory([r["ours"] for r in rounds])
        out.readme("memory beyond model files and KV cache", self.table[-1][3].lstrip("+"), "")

    def slm_one(self):
        return self.theirs("-m", self.slm, "-p", 0, "-n", self.steps, "-r", 3) / self.steps


class Net(measure_net.Bench):
    """measure_net.py's parts on the pair."""

    def costeer(self, what, *arguments):
        models = ("--llm", self.options.llm, *(("--slm", self.options.slm) if what == "net" else ()))
        return super().costeer(what, *models, *arguments)

    def grid_of_pair(self, out):
        quick = self.options.quick
        grid = self.costeer("net", "--prompts-file", self.options.prompts, "--prompts", 1 if quick else 3, "--n-tokens",
                            8 if quick else 44, "--repeat", 1, "--step-ms", 0, "--round-trip-ms", ",".join(map(str, ROUND_TRIPS_MS)))
        self.figures["grid"] = grid
        cells = {c["round_trip_ms"]: {m["mode"]: m for m in c["modes"]} for c in grid["cells"]}
        far, near = cells[50], cells[0]
        streamed = far["streamed"]
        step = far["plain"]["token_us"] / 1e3
        out.readme(f"over a network, 50 ms round trip, LLM steps of {step:.0f} ms: steered, streamed", f"{rate(streamed):.1f} tokens/s",
                   f"{streamed['ratio']['median']:.2f} of the LLM's own text through the same node; "
                   f"{rate(streamed) / rate(far['lockstep']):.2f}x of waiting for every token; {abs(streamed['difference']) * 100:.0f}% off what "
                   f"theory allows; {streamed['disagreements']:.2f} corrections a token")
        for name, cell in (("R = 50", far), ("R = 0", near)):
            for mode in list(cell)[1:]:
                self.row(f"{name}: {mode} of plain", ranged(cell[mode]["ratio"]))
        for mode in ("streamed", "drafted"):
            self.row(f"R = 50: {mode}: corrections, deepened positions and run starts a token",
                     f"{far[mode]['disagreements']:.2f}, {per_token(far[mode], 'deepened_positions'):.2f}, {far[mode]['run_starts']:.2f}")
        modes = [m for cell in cells.values() for m in cell.values() if m["mode"] != "plain"]
        up, down = ([m[f"bytes_{way}_per_token"] for m in modes] for way in ("up", "down"))
        out.readme("bytes a token, up and down", f"{far['streamed']['bytes_up_per_token']:.0f} and {far['streamed']['bytes_down_per_token']:,.0f}",
                   f"streamed, 50 ms round trip; over all modes up to {max(up):.0f} and {min(down):,.0f} to {max(down):,.0f}")
        different = sum(m["answers_different"] for m in modes)
        self.row("steered answers that are not the same in all modes", f"{different} of {sum(m['answers'] for m in modes)}")


def per_token(mode, key):
    return mode["sums"][key] / mode["sums"]["tokens"]


class Depths(Net):
    """What each K proves, what it costs in bytes, and how fast it is."""

    def depths(self):
        quick = self.options.quick
        lines = self.figures["depths"] = []
        for k in DEPTHS[:2] if quick else DEPTHS:
            self.say(f"K = {k}")
            run = self.costeer("net", "--prompts-file", self.options.prompts, "--prompts", 1 if quick else 3, "--n-tokens", 8 if quick else 44,
                               "--repeat", 1, "--step-ms", 0, "--round-trip-ms", 0, "--base-top-k", k, "--modes", "plain,lockstep,streamed")
            modes = {m["mode"]: m for m in run["cells"][0]["modes"]}
            lines.append({"k": k, "proved": 1 - per_token(modes["lockstep"], "deepened_positions"), **{name: {
                "tokens_per_s": rate(modes[name]), "ratio": modes[name]["ratio"]["median"], "down": modes[name]["bytes_down_per_token"]}
                for name in ("plain", "lockstep", "streamed")}})

    def print_depths(self):
        print("\n| K | proved with K entries | bytes down a token: plain, lockstep, streamed | tokens/s: lockstep, streamed | streamed of plain |\n"
              "|---|---|---|---|---|")
        for m in self.figures["depths"]:
            down = ", ".join(f"{m[name]['down']:,.0f}" for name in ("plain", "lockstep", "streamed"))
            print(f"| {m['k']:,} | {m['proved'] * 100:.0f} % | {down} | {m['lockstep']['tokens_per_s']:.1f}, "
                  f"{m['streamed']['tokens_per_s']:.1f} | {m['streamed']['ratio']:.2f} |")


class Engine(measure_engines.Bench):
    """Through an unmodified llama-server with the 1.5B."""

    def __init__(self, options):
        super().__init__(options)
        self.cells = {(0, 0, False): (64,)} if options.quick else {(0, 50, False): (64, 1024)}
        self.device = measure_engines.Device(options.costeer, options.llm, options.slm)
        self.n_tokens = 8 if options.quick else 44

    def grid_of_engine(self, out):
        self.grid()
        lines = [m for m in self.figures["cells"] if m["mode"] == "streamed"]
        best = max(lines, key=lambda m: m["ratio"]["median"])
        others = "".join(f"; {m['ratio']['median']:.2f} with {m['depth']:,}" for m in lines if m is not best)
        plain = next(m for m in self.figures["cells"] if m["mode"] == "plain" and m["depth"] == best["depth"])
        out.readme(f"over an unmodified llama-server, the same network and LLM steps of {plain['token_us'] / 1e3:.0f} ms: steered, streamed",
                   f"{best['tokens_per_s']['median']:.1f} tokens/s",
                   f"{best['ratio']['median']:.2f} of llama-server's own text with as many log-probabilities (K = {best['depth']:,}){others}")

    def judge(self, lines):
        steered = [m for m in lines if m["mode"] != "plain"]
        different = sum(m["answers_different"] for m in steered)
        self.row("steered answers that are not those of both models in one process", f"{different} of {sum(m['answers'] for m in steered)}")


class Sessions(Net):
    """Several answers at once through a node, beside llama-server."""

    N_SESSIONS, EACH, N_TOKENS = 8, 1, 32

    def sessions_of_pair(self, out):
        n = 2 if self.options.quick else self.N_SESSIONS
        ours = self.costeer("net", "--sessions", n, "--prompts-file", self.options.prompts, "--prompts", self.EACH, "--n-tokens",
                            self.N_TOKENS, "--threads-llm", self.options.threads, "--modes", "plain")
        theirs = self.server_round(n, ours["prompts"])
        self.figures["sessions"] = {"ours": ours, "llama_server": theirs}
        mine = ours["modes"][0]["tokens_per_s"]
        peers = {name: r["tokens"] * 1e6 / r["wall_us"] for name, r in theirs.items()}
        whole, probs = peers["whole answers"], peers["streamed, 64 logprobs"]
        out.readme(f"{n} answers at once through a node, 64 log-probabilities with each token", f"{mine:.0f} tokens/s",
                   f"{mine / whole:.2f} of llama-server without any ({whole:.0f}), {mine / probs:.2f}x of it with 64")


class Out:
    """The README's rows, in the order in which they were measured."""

    def __init__(self):
        self.rows = []

    def readme(self, what, ours, against):
        self.rows.append((what, ours, against))


def parse(arguments):
    parser = argparse.ArgumentParser(description="Measure with weights that people use; see scripts/bench.")
    for name in ("costeer", "llama-bench", "llama-server", "http-load", "net-proxy", "llm", "slm", "prompts"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=3, help="of the part pair")
    parser.add_argument("--only", action="append", choices=PARTS)
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main(arguments):
    options = parse(arguments)
    shared = {**vars(options), "builtin_llm": options.llm, "threads": 1, "parallel": 1, "grid_prompts": 3, "tokens": 44}
    out = Out()
    pair = Pair(options)
    net, depths, sessions = (kind(types.SimpleNamespace(**shared)) for kind in (Net, Depths, Sessions))
    engine = Engine(types.SimpleNamespace(**{**shared, "rounds": 1}))
    steps = {"fuse": lambda: pair.fuse_row(out), "pair": lambda: pair.pair(out), "depths": depths.depths,
             "net": lambda: net.grid_of_pair(out), "engine": lambda: engine.grid_of_engine(out),
             "sessions": lambda: sessions.sessions_of_pair(out)}
    try:
        about = machine(options)
        for part in options.only or PARTS:
            steps[part]()
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print_all(out, about, options, pair, net, depths, engine)
    if options.json:
        figures = {**pair.figures, **net.figures, **depths.figures, "engine": engine.figures, **sessions.figures}
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"machine": about, "rounds": options.rounds, "figures": figures, "readme": out.rows}, f, indent=1)
    return 0


def print_all(out, about, options, pair, net, depths, engine):
    print(f"{about['cpu']}, {about['cores']} cores, {about['ram_gb']} GB; {about['system']}; {about['compiler']}; llama.cpp "
          f"{about['llama.cpp']}; CoSteer {about['costeer']} ({about['isa']}); {about['llm']}, {about['slm']}; busy before: "
          f"{about['busy_before']} of a core; {options.rounds} round(s) of the pair, medians (range)")
    if options.quick:
        print("Quick: one short answer each, nothing is to be quoted.")
    elif about["busy_before"] > 0.2:
        print("Something else was running on this machine; do not quote these figures.")
    print("\nThe README's rows:\n\n| | ours | against |\n|---|---|---|")
    for cells in out.rows:
        print("| " + " | ".join(cells) + " |")
    if pair.table:
        print("\n| measured | ours | baseline | ratio | target | |\n|---|---|---|---|---|---|")
        for cells in pair.table:
            print("| " + " | ".join(cells[:4]) + " | | |")
    rows = net.table + engine.table
    if rows:
        print("\n| measured | |\n|---|---|")
        for what, figure, _, _ in rows:
            print(f"| {what} | {figure} |")
    if "depths" in depths.figures:
        depths.print_depths()
    if "grid" in net.figures:
        measure_net.print_grid(net.figures["grid"])
    if "cells" in engine.figures:
        measure_engines.print_cells(engine.figures["cells"])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
