"""Measure CoSteer beside llama-bench and print the table of docs/benchmarks.md. Called by scripts/bench.

Machines are noisy, so nothing is compared across time: in every round ours and the baseline run one after the other, their ratio is
taken, and the median of the rounds' ratios is reported with its range. The order changes from round to round.
"""
import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time

PARTS = ("fuse", "slm", "generate", "pinned")
MB = 1 << 20

# Issue 2, section 7: what must be reached.
TARGET_LOOP = 300
TARGET_READ = 1.5
TARGET_STEP = 1.10
TARGET_MAIN = 0.95
TARGET_MEMORY_MB = 64

DEPTH = 512  # positions already in the cache, for the step at a real depth


class Failed(Exception):
    """A program that was measured did not do its work; the message is for a person."""


def run_json(command, watch=None):
    """Run a program and return the JSON it prints. `watch` is called with its process id, in a thread of its own."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if watch:
            threading.Thread(target=watch, args=(process,), daemon=True).start()
        out, err = process.communicate()
    if process.returncode != 0:
        lines = err.strip().splitlines() or ["no message"]
        raise Failed(f"{os.path.basename(command[0])} ended with {process.returncode}: {lines[-1]}")
    return json.loads(out)


def spread(values):
    """Median and range, as written in the table."""
    middle = statistics.median(values)
    return f"{middle:.3f} ({min(values):.3f}–{max(values):.3f})" if len(values) > 1 else f"{middle:.3f}"


class Bench:
    """The two programs, and how many tokens and repetitions each run takes."""

    def __init__(self, options):
        self.costeer = options.costeer
        self.llama_bench = options.llama_bench
        self.llm = options.llm
        self.slm = options.slm
        self.quick = options.quick
        self.rounds = 1 if options.quick else options.rounds
        self.steps = 8 if options.quick else 64
        self.tokens = 8 if options.quick else 48
        self.prompt = 8 if options.quick else 32
        self.context = 8 if options.quick else 64
        self.figures = {}
        self.table = []

    def say(self, text):
        if sys.stderr.isatty():
            print(f"bench: {text}", file=sys.stderr)

    def row(self, what, ours, baseline, ratio, target="", passed=None):
        verdict = "" if passed is None or self.quick else ("pass" if passed else "**miss**")
        self.table.append((what, ours, baseline, ratio, target, verdict))

    def ours(self, what, *arguments, watch=None):
        return run_json([self.costeer, "bench", what, "--json", *map(str, arguments)], watch)

    def theirs(self, *arguments):
        """llama-bench with one thread; returns the median time of its repetitions in microseconds."""
        result = run_json([self.llama_bench, "-t", "1", "-o", "json", *map(str, arguments)])
        return statistics.median(result[-1]["samples_ns"]) / 1e3

    def in_turn(self, name, measure_ours, measure_theirs):
        """Rounds of both, one after the other, in changing order; returns the two lists."""
        a, b = [], []
        for i in range(self.rounds):
            self.say(f"{name}: round {i + 1} of {self.rounds}")
            for is_ours in (True, False) if i % 2 == 0 else (False, True):
                if is_ours:
                    a.append(measure_ours())
                else:
                    b.append(measure_theirs())
        return a, b

    # ---- fuse ----

    def fuse(self):
        runs = [self.ours("fuse", "--repeat", 20 if self.quick else 400) for _ in range(self.rounds)]
        self.figures["fuse"] = runs
        loops = [r["loop_ratio"] for r in runs]
        reads = [r["read_ratio"] for r in runs]
        choose = statistics.median(r["choose_us"] for r in runs)
        loop = statistics.median(r["loop_us"] for r in runs)
        read = statistics.median(r["read_us"] for r in runs)
        name = f"fuse and choose, {runs[0]['n_vocab']:,} tokens"
        self.row(f"{name}, against the T = 20 loop", f"{choose:.1f} µs", f"{loop / 1e3:.2f} ms",
                 f"{statistics.median(loops):.0f}x faster ({min(loops):.0f}–{max(loops):.0f})", f">= {TARGET_LOOP}x",
                 statistics.median(loops) >= TARGET_LOOP)
        self.row(f"{name}, against reading the arrays", f"{choose:.1f} µs", f"{read:.1f} µs", spread(reads), f"<= {TARGET_READ}",
                 statistics.median(reads) <= TARGET_READ)

    # ---- slm ----

    def slm_step(self, label, depth, llama_arguments, target=None):
        """Our step and llama-bench's batch of two tokens, behind the same number of positions."""
        repeat = 2 if self.quick else 20
        ours, theirs = self.in_turn(
            f"slm, {label}",
            lambda: self.ours("slm", "--slm", self.slm, "--threads-slm", 1, "--n-prompt", max(depth, 1), "--n-context", 0,
                              "--n-tokens", self.steps, "--repeat", 1 if self.quick else 3)["step_us"],
            lambda: self.theirs("-m", self.slm, "-p", 2, "-n", 0, "-d", depth, "-r", repeat, *llama_arguments))
        ratios = [a / b for a, b in zip(ours, theirs)]
        self.figures[f"slm_{label}"] = {"ours_us": ours, "llama_bench_us": theirs}
        self.row(f"expert and amateur step, 1 thread, {label}", f"{statistics.median(ours) / 1e3:.2f} ms",
                 f"{statistics.median(theirs) / 1e3:.2f} ms", spread(ratios), f"<= {target:.2f}" if target else "",
                 statistics.median(ratios) <= target if target else None)

    def slm_steps(self):
        self.slm_step("llama-bench -p 2", 0, [], TARGET_STEP)
        self.slm_step("llama-bench -p 2 -embd 1 (both tokens' outputs, as ours)", 0, ["-embd", 1])
        self.slm_step(f"llama-bench -p 2 -d {DEPTH}", DEPTH, [])

    # ---- generate ----

    def answer(self, watch=None):
        return self.ours("generate", "--llm", self.llm, "--slm", self.slm, "--threads-llm", 1, "--threads-slm", 1, "--n-prompt",
                         self.prompt, "--n-context", self.context, "--n-tokens", self.tokens, "--repeat", 1 if self.quick else 2,
                         watch=watch)

    def llm_alone(self):
        us = self.theirs("-m", self.llm, "-p", 0, "-n", self.tokens, "-d", self.prompt, "-r", 2)
        return self.tokens * 1e6 / us

    def main_job(self, name, watch=None):
        """Returns ours and llama-bench's tokens per second."""
        ours, theirs = self.in_turn(name, lambda: self.answer(watch), self.llm_alone)
        steered = [r["steered"]["tokens_per_s"] for r in ours]
        self.figures[name] = {"ours": ours, "llama_bench_tokens_per_s": theirs}
        self.row(f"main job ({name}): steered, against the LLM alone in llama-bench", f"{statistics.median(steered):.3f} tokens/s",
                 f"{statistics.median(theirs):.3f} tokens/s", spread([a / b for a, b in zip(steered, theirs)]), f">= {TARGET_MAIN}",
                 statistics.median(a / b for a, b in zip(steered, theirs)) >= TARGET_MAIN)
        return ours, theirs

    def generate(self):
        ours, theirs = self.main_job("threads where the system puts them")
        alone = [r["alone"]["tokens_per_s"] for r in ours]
        self.row("… the LLM alone, through our loop", f"{statistics.median(alone):.3f} tokens/s",
                 f"{statistics.median(theirs):.3f} tokens/s", spread([a / b for a, b in zip(alone, theirs)]))
        self.row("… steered, against the LLM alone through our loop", "", "", spread([r["ratio"] for r in ours]))
        keys = ("token_us", "slm_us", "cloud_wait_us", "fuse_us")
        parts = {key: statistics.median(r["steered"][key] for r in ours) / 1e3 for key in keys}
        self.row("… a steered token", f"{parts['token_us']:.1f} ms", "",
                 f"SLM {parts['slm_us']:.1f}, then waiting {parts['cloud_wait_us']:.1f}, fusing {parts['fuse_us']:.3f} ms")
        self.memory(ours)

    def memory(self, runs):
        over = [(r["peak_bytes"] - r["file_bytes"] - r["kv_bytes"]) / MB for r in runs]
        peak = statistics.median(r["peak_bytes"] for r in runs) / MB
        needed = (runs[0]["file_bytes"] + runs[0]["kv_bytes"]) / MB
        self.row("peak memory, beyond model files and KV cache", f"{peak:.0f} MB", f"{needed:.0f} MB", f"{max(over):+.0f} MB",
                 f"<= {TARGET_MEMORY_MB} MB", max(over) <= TARGET_MEMORY_MB)

    def pinned(self):
        """The same with the SLM (the main thread) held on the last core and everything else on the others."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            self.row("main job (pinned)", "", "", "one core only")
            return

        def watch(process):
            while process.poll() is None:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended, or a thread of it did
                    for task in map(int, os.listdir(f"/proc/{process.pid}/task")):
                        os.sched_setaffinity(task, cores[-1:] if task == process.pid else cores[:-1])
                time.sleep(0.2)

        self.main_job("SLM pinned to a core of its own", watch)


def busy_before():
    """Share of one core that others use, over two seconds; the load average still remembers that the models were made."""
    def busy_ticks():
        with open("/proc/stat", encoding="utf-8") as f:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, f.readline().split()[1:9])
        return user + nice + system + irq + softirq + steal

    before = busy_ticks()
    time.sleep(2)
    return round((busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / 2, 2)


def machine(bench):
    """What the figures belong to."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    with open("/proc/meminfo", encoding="utf-8") as f:
        kib = int(f.readline().split()[1])
    version = run_json([bench.costeer, "version", "--json"])
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False).stdout.split("\n", 1)[0]
    return {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(), "ram_gb": round(kib / (1 << 20)),
            "system": f"{platform.system()} {platform.release()}", "compiler": compiler, "llama.cpp": version["llama.cpp"],
            "costeer": version["version"], "isa": version["isa"], "busy_before": busy_before(),
            "llm": os.path.basename(bench.llm), "slm": os.path.basename(bench.slm)}


def print_table(bench, about):
    print(f"{about['cpu']}, {about['cores']} cores, {about['ram_gb']} GB; {about['system']}; {about['compiler']}; "
          f"llama.cpp {about['llama.cpp']}; CoSteer {about['costeer']} ({about['isa']}); busy before: {about['busy_before']} of a core; "
          f"{bench.rounds} round(s), medians (range)")
    if bench.quick:
        print("Quick: tiny models, nothing is judged.")
    elif about["busy_before"] > 0.2:
        print("Something else was running on this machine; do not quote these figures.")
    print("\n| measured | ours | baseline | ratio | target | |\n|---|---|---|---|---|---|")
    for cells in bench.table:
        print("| " + " | ".join(cells) + " |")


def parse(arguments):
    parser = argparse.ArgumentParser(description="Measure CoSteer beside llama-bench; see scripts/bench.")
    for name in ("costeer", "llama-bench", "llm", "slm"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=PARTS)
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main(arguments):
    options = parse(arguments)
    bench = Bench(options)
    steps = {"fuse": bench.fuse, "slm": bench.slm_steps, "generate": bench.generate, "pinned": bench.pinned}
    about = machine(bench)
    try:
        for part in options.only or PARTS:
            steps[part]()
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    print_table(bench, about)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"machine": about, "rounds": bench.rounds, "figures": bench.figures, "table": bench.table}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
