"""Measure the cloud across a network and print the table of docs/network.md. Called by `scripts/bench net`.

Three parts. The grid: `costeer bench net`, every mode against plain streaming through the same node and proxy. Steps: what several
positions cost in one LLM step. Sessions: many answers at once through a node, beside llama-server with the same model, threads and
parallel slots; the same prompts, and since both choose greedily the same text, in turn, in changing order.
"""
import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import types
import urllib.request

from measure import Failed, machine, run_json, spread
import plot

PARTS = ("grid", "steps", "sessions")

# Issue 3, "What to measure".
TARGET_STREAMED = 0.60  # of plain, S = 30, R = 50
TARGET_LOCKSTEP = 1.6  # streamed over lockstep, S = 30, R = 50
TARGET_PREDICTED = 0.10  # off what the disagreements allow
TARGET_NEAR = 0.90  # streamed of plain, S = 30, R = 0
TARGET_DRAFTED = 1.0  # of plain, S = 30, R = 0
TARGET_SERVER = 0.90
BOLD = 0.9  # a lower confidence of private drafts than the default, to show what it gives and costs
TARGET_UP = 16
TARGET_DOWN = 600

START_TIMEOUT_S = 120


# ---- the parts ----

class Bench:
    """What is measured with, and what came out."""

    def __init__(self, options):
        self.options = options
        self.figures = {}
        self.table = []

    def say(self, text):
        if sys.stderr.isatty():
            print(f"bench: {text}", file=sys.stderr)

    def row(self, what, figure, target="", passed=None):
        verdict = "" if passed is None or self.options.quick else ("pass" if passed else "**miss**")
        self.table.append((what, figure, target, verdict))

    def costeer(self, *arguments):
        """Run the program, with its progress on our terminal, and return the JSON it writes."""
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "out.json")
            command = [self.options.costeer, "bench", *map(str, arguments), "--json", "--output", name]
            done = subprocess.run(command, check=False, stderr=None if sys.stderr.isatty() else subprocess.PIPE, text=True)
            if done.returncode != 0:
                lines = (done.stderr or "").strip().splitlines() or ["see above"]
                raise Failed(f"costeer bench {arguments[0]} ended with {done.returncode}: {lines[-1]}")
            with open(name, encoding="utf-8") as f:
                return json.load(f)

    # ---- grid ----

    def grid(self):
        quick = self.options.quick
        common = ("net", "--prompts-file", self.options.prompts, "--prompts", 1 if quick else self.options.grid_prompts,
                  "--n-tokens", 12 if quick else 44)
        grid = self.costeer(*common, "--repeat", 1 if quick else self.options.rounds, "--step-ms", "0,5" if quick else "0,30",
                            "--round-trip-ms", "0,10" if quick else "0,20,50,100")
        self.figures["grid"] = grid
        if quick:
            return
        bold = self.costeer(*common, "--repeat", 1, "--step-ms", 30, "--round-trip-ms", 50, "--modes",
                            "plain,streamed+private,drafted+private", "--draft-confidence", BOLD)
        self.figures["bold"] = bold
        cells = {(c["step_ms"], c["round_trip_ms"]): {m["mode"]: m for m in c["modes"]} for c in grid["cells"]}
        self.judge_streamed(cells)
        self.judge_drafted(cells)
        for mode in bold["cells"][0]["modes"][1:]:
            sums = mode["sums"]
            self.row(f"S = 30, R = 50: {mode['mode']} of plain, with drafts from a confidence of {BOLD} on",
                     f"{ranged(mode['ratio'])}; {sums['drafts_withdrawn']} of {sums['drafts_sent']} drafts withdrawn")
        modes = [m for cell in cells.values() for m in cell.values()]
        self.judge_bytes("S = 30, R = 50", cells[30, 50].values())
        self.judge_bytes("all cells", modes)
        different = sum(m["answers_different"] for m in modes)
        self.row("steered answers that are not the same in all modes", f"{different} of "
                 f"{sum(m['answers'] for m in modes if m['mode'] != 'plain')}")

    def judge_bytes(self, where, modes):
        """The worst mode each way. Where a round trip is many steps, what a correction makes useless was sent already."""
        for way, limit in (("up", TARGET_UP), ("down", TARGET_DOWN)):
            worst = max(modes, key=lambda m, way=way: m[f"bytes_{way}_per_token"])
            figure = worst[f"bytes_{way}_per_token"]
            self.row(f"{where}: bytes {way} per token, at most ({worst['mode']})", f"{figure:.1f}", f"<= {limit}", figure <= limit)

    def judge_streamed(self, cells):
        far, near = cells[30, 50], cells[30, 0]
        streamed = far["streamed"]
        self.row("S = 30, R = 50: streamed of plain", ranged(streamed["ratio"]), f">= {TARGET_STREAMED:.2f}",
                 streamed["ratio"]["median"] >= TARGET_STREAMED)
        over = rate(streamed) / rate(far["lockstep"])
        self.row("S = 30, R = 50: streamed over lockstep", f"{over:.2f}", f">= {TARGET_LOCKSTEP}", over >= TARGET_LOCKSTEP)
        self.row("S = 30, R = 50: streamed, ms per token",
                 f"{streamed['token_us'] / 1e3:.1f}, predicted {streamed['predicted_us'] / 1e3:.1f} "
                 f"({streamed['difference'] * 100:+.1f} %)", "within 10 %", abs(streamed["difference"]) <= TARGET_PREDICTED)
        self.row("S = 30, R = 0: streamed of plain", ranged(near["streamed"]["ratio"]), f">= {TARGET_NEAR:.2f}",
                 near["streamed"]["ratio"]["median"] >= TARGET_NEAR)

    def judge_drafted(self, cells):
        near, far = cells[30, 0], cells[30, 100]
        self.row("S = 30, R = 0: drafted of plain", ranged(near["drafted"]["ratio"]), f">= {TARGET_DRAFTED:.1f}",
                 near["drafted"]["ratio"]["median"] >= TARGET_DRAFTED)
        over = rate(far["drafted"]) / rate(far["streamed"])
        self.row("S = 30, R = 100: drafted over streamed", f"{over:.2f}", "> 1", over > 1)
        for name in ("streamed+private", "drafted+private"):
            self.row(f"S = 30, R = 100: {name} of plain", ranged(far[name]["ratio"]))

    # ---- steps ----

    def steps(self):
        models = [("the built-in LLM", [])]
        if self.options.llm and not self.options.quick:
            models.append((os.path.basename(self.options.llm), ["--llm", self.options.llm]))
        for name, arguments in models:
            result = self.costeer("batch", *arguments, "--threads-llm", self.options.threads, "--repeat",
                                  1 if self.options.quick else self.options.rounds)
            self.figures[f"steps, {name}"] = result
            costs = ", ".join(f"{s['positions']}: {s['ratio']:.2f}" for s in result["steps"])
            self.row(f"a step of several positions, in steps of one ({name}, {result['steps'][0]['step_us'] / 1e3:.2f} ms)", costs)
            self.project_drafted(name, result["steps"])

    def project_drafted(self, name, steps):
        """The grid's floor makes a step of any size cost S. With what a draft's step really costs, at R = 0, drafted would be:"""
        grid = self.figures.get("grid")
        cells = [c for c in grid["cells"] if c["step_ms"] > 0 and c["round_trip_ms"] == 0] if grid else []
        if not cells:
            return
        drafted = next(m for m in cells[-1]["modes"] if m["mode"] == "drafted")
        rounds = 1 - drafted["predicted_from"]["drafts_kept"]
        positions = 1 + drafted["sums"]["drafts_sent"] / drafted["sums"]["gaps"] / rounds
        self.row(f"… drafted of plain at R = 0 with that cost ({rounds:.2f} steps of {positions:.1f} positions a token)",
                 f"{1 / (rounds * cost_of(positions, steps)):.2f}")

    # ---- sessions ----

    def sessions(self):
        n = 4 if self.options.quick else 16
        each = 2 if self.options.quick else 8
        ours, theirs, prompts = [], {}, None
        for i in range(1 if self.options.quick else self.options.rounds):
            self.say(f"{n} sessions: round {i + 1}")
            turns = (True, False) if i % 2 == 0 or prompts is None else (False, True)
            for is_ours in turns:
                if is_ours:
                    ours.append(self.costeer("net", "--sessions", n, "--prompts-file", self.options.prompts, "--prompts", each,
                                             "--n-tokens", 64, "--threads-llm", self.options.threads))
                    prompts = ours[-1]["prompts"]
                else:
                    for name, result in self.server_round(n, prompts).items():
                        theirs.setdefault(name, []).append(result)
        self.figures["sessions"] = {"ours": ours, "llama_server": theirs}
        self.judge_sessions(n, ours, theirs)

    def judge_sessions(self, n, ours, theirs):
        mine = {m["mode"]: [next(k["tokens_per_s"] for k in r["modes"] if k["mode"] == m["mode"]) for r in ours]
                for m in ours[0]["modes"]}
        peers = {name: [r["tokens"] * 1e6 / r["wall_us"] for r in results] for name, results in theirs.items()}
        for name, rates in peers.items():
            self.row(f"{n} sessions, llama-server {name}", f"{spread(rates)} tokens/s")
        for mode, rates in mine.items():
            self.row(f"{n} sessions, node, {mode}", f"{spread(rates)} tokens/s")
        best = max(peers, key=lambda name: statistics.median(peers[name]) if "logprobs" not in name else 0)
        for mode, rates in mine.items():
            for name, theirs_rates in peers.items():
                ratios = [a / b for a, b in zip(rates, theirs_rates)]
                judged = mode == "plain" and name == best
                self.row(f"… {mode} of llama-server {name}", spread(ratios), f">= {TARGET_SERVER:.2f}" if judged else "",
                         statistics.median(ratios) >= TARGET_SERVER if judged else None)
        tokens = {m["mode"]: m["tokens"] for m in ours[0]["modes"]}
        theirs_tokens = {name: results[0]["tokens"] for name, results in theirs.items()}
        self.row("… tokens of a round: ours, theirs", f"{tokens.get('plain')}, {', '.join(map(str, theirs_tokens.values()))}")

    def server_round(self, n, prompts):
        """One round of llama-server: each kind of request after a warm-up."""
        kinds = {"whole answers": {}, "streamed": {"stream": True}, "streamed, 64 logprobs": {"stream": True, "n_probs": 64}}
        out = {}
        with self.server(n) as port, tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "requests")
            for kind, more in [("", {}), *kinds.items()]:
                with open(name, "w", encoding="utf-8") as f:
                    for i in range(n):
                        first = i * len(prompts) // n  # as the sessions of `costeer bench net`
                        for j in range(len(prompts) if kind else 1):
                            body = {"prompt": prompts[(first + j) % len(prompts)], "n_predict": 64, "temperature": 0,
                                    "samplers": ["temperature"], "n_probs": 0, **more}
                            f.write(json.dumps(body) + "\n")
                result = run_json([self.options.http_load, str(port), str(n), name])
                if kind:
                    out[kind] = result
        return out

    @contextlib.contextmanager
    def server(self, n, n_ctx=1024, more=()):
        """llama-server with n slots of n_ctx positions; ended whatever happens."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [self.options.llama_server, "-m", self.options.builtin_llm, "-t", str(self.options.threads), "--parallel", str(n),
                   "-c", str(n_ctx * n), "--host", "127.0.0.1", "--port", str(port), "--no-ui", "--log-disable", *more]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until_healthy(process, port)
                yield port
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def wait_until_healthy(process, port):
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"llama-server ended with {process.returncode} before it listened")
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
                if reply.status == 200:
                    return
        time.sleep(0.1)
    raise Failed("llama-server did not start within two minutes")


# ---- what is printed ----

def cost_of(positions, steps):
    """What a step of so many positions costs, in steps of one, between those that were measured."""
    for low, high in zip(steps, steps[1:]):
        if positions <= high["positions"]:
            share = (positions - low["positions"]) / (high["positions"] - low["positions"])
            return low["ratio"] + share * (high["ratio"] - low["ratio"])
    return steps[-1]["ratio"]


def rate(mode):
    return mode["tokens_per_s"]["median"]


def ranged(value):
    return f"{value['median']:.2f} ({value['min']:.2f}–{value['max']:.2f})"


def print_grid(grid):
    print("\n| S ms | R ms | mode | tokens/s | of plain | corrections | run starts | deepened | up B | down B | wasted steps | "
          "withdrawn drafts | ms/token | predicted | |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for cell in grid["cells"]:
        for m in cell["modes"]:
            sums = m["sums"]
            wasted = sums["wasted_steps"] / max(sums["llm_steps"], 1)
            withdrawn = f"{sums['drafts_withdrawn']} of {sums['drafts_sent']}" if sums["drafts_sent"] else ""
            ratio = ranged(m["ratio"]) if isinstance(m["ratio"]["median"], float) else ""
            print(f"| {cell['step_ms']} | {cell['round_trip_ms']} | {m['mode']} | {rate(m):.1f} | {ratio} | "
                  f"{m['disagreements'] * 100:.1f} % | {m['run_starts'] * 100:.1f} % | {sums['deepenings']} | "
                  f"{m['bytes_up_per_token']:.1f} | {m['bytes_down_per_token']:.0f} | {wasted * 100:.1f} % | {withdrawn} | "
                  f"{m['token_us'] / 1e3:.2f} | {m['predicted_us'] / 1e3:.2f} | {m['difference'] * 100:+.1f} % |")


def print_table(bench, about):
    print(f"{about['cpu']}, {about['cores']} cores, {about['ram_gb']} GB; {about['system']}; {about['compiler']}; "
          f"llama.cpp {about['llama.cpp']}; CoSteer {about['costeer']} ({about['isa']}); busy before: {about['busy_before']} of a core; "
          f"{bench.options.rounds} run(s), medians (range)")
    if bench.options.quick:
        print("Quick: short answers, nothing is judged.")
    elif about["busy_before"] > 0.2:
        print("Something else was running on this machine; do not quote these figures.")
    print("\n| measured | | target | |\n|---|---|---|---|")
    for cells in bench.table:
        print("| " + " | ".join(cells) + " |")
    if "grid" in bench.figures:
        print_grid(bench.figures["grid"])


def parse(arguments):
    parser = argparse.ArgumentParser(description="Measure the cloud across a network; see scripts/bench.")
    for name in ("costeer", "llama-server", "http-load", "builtin-llm", "prompts"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--llm", help="a large model, for the cost of a step")
    parser.add_argument("--plots", help="folder for the pictures")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grid-prompts", type=int, default=2)
    parser.add_argument("--only", action="append", choices=PARTS)
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.grid_prompts < 1:
        parser.error("--rounds and --grid-prompts must be at least 1")
    return options


def main(arguments):
    options = parse(arguments)
    bench = Bench(options)
    steps = {"grid": bench.grid, "steps": bench.steps, "sessions": bench.sessions}
    try:
        about = machine(types.SimpleNamespace(costeer=options.costeer, llm=options.builtin_llm, slm=options.builtin_llm))
        for part in options.only or PARTS:
            steps[part]()
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print_table(bench, about)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"machine": about, "rounds": options.rounds, **bench.figures, "table": bench.table}, f, indent=1)
    if options.plots and "grid" in bench.figures and not options.quick:
        for name in plot.write_all(bench.figures, options.plots):
            print(name, file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
