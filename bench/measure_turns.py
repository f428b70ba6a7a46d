"""Measure what a later turn of `costeer chat` costs, beside the same question as a conversation's first. Called by `scripts/bench turns`.

A conversation begins with a text of about 2,000 tokens; then it is asked a short question, whose time to the first token is compared with
that of the same question asked of a fresh conversation. The LLM is in the device's process, behind a node, and behind an unmodified
llama-server, each a process of its own on this machine. All of the notes are used. The last table has, in one process, what it costs to choose
from MANY_NOTES before the first turn, and the time to the first token that is left.
"""
import argparse
import contextlib
import json
import re
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from measure import Failed, machine, spread

SENTENCE = "In the morning we walked along the river, then the path led through a wood, and at noon we ate bread at an old mill. "
QUESTION = "And what would you tell a child about that day? Answer in one sentence."
NOTES = "I am Soraya Behrouz and I live in Turin.\nI keep bees.\n"
MANY_NOTES = "".join(f"Shelf {i} of my cellar holds {7 * i % 50} jars of honey.\n" for i in range(1, 31)) + NOTES
FIRST = re.compile(r"(\d+) tokens, the first after ([0-9.]+) s")
CHOSEN = re.compile(r"(\d+) of (\d+) parts used \(chosen in ([0-9.]+) s\)")
READ = re.compile(r"prompts: read (\d+) tokens")
PATIENCE_S = 1800


def ask(options, lines, *more, notes_text=NOTES, use="all"):
    """The time to the first token, in s, the tokens read, and the choice (parts used, parts, s), of each turn."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as notes:
        notes.write(notes_text)
        notes.flush()
        command = [options.costeer, "chat", "-v", "--slm", options.slm, "--context", notes.name, "--use", use,
                   "--max-tokens", str(options.tokens), *more]
        done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
    times = [float(m.group(2)) for m in FIRST.finditer(done.stderr)]
    if len(times) != len(lines):
        raise Failed(f"{len(lines)} turns gave {len(times)} times: {done.stderr.strip()[-300:]}")
    chosen = [(int(m.group(1)), int(m.group(2)), float(m.group(3))) for m in CHOSEN.finditer(done.stderr)]
    return times, [int(m.group(1)) for m in READ.finditer(done.stderr)], chosen


@contextlib.contextmanager
def running(command, stdout=subprocess.DEVNULL):
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def local(options):
    yield ["--llm", options.llm]


@contextlib.contextmanager
def node(options):
    command = [options.costeer, "node", "--json", "--model", options.llm, "--listen", "127.0.0.1:0"]
    with running(command, subprocess.PIPE) as process:
        yield ["--cloud", json.loads(process.stdout.readline())["url"]]


@contextlib.contextmanager
def llama_server(options):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [options.llama_server, "-m", options.llm, "--host", "127.0.0.1", "--port", port, "--parallel", 1, "-c", 4096]
    with running(command) as process:
        for _ in range(PATIENCE_S * 10):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None:
                    raise Failed("llama-server ended") from None
                time.sleep(0.1)
        yield ["--cloud", f"llama-server+http://127.0.0.1:{port}"]


def measure_one(options, name, where):
    later, fresh, read = [], [], []
    for i in range(options.rounds):
        with where(options) as more:
            print(f"{name}: round {i + 1} of {options.rounds}", flush=True)
            times, tokens, _ = ask(options, [SENTENCE * options.sentences + QUESTION, QUESTION, QUESTION], *more)
            later += times[1:]
            read.append(tokens)
        with where(options) as more:  # nothing of it is kept
            fresh += ask(options, [QUESTION], *more)[0]
    return {"name": name, "later_s": later, "fresh_s": fresh, "tokens_read": read}


def measure_choice(options):
    """A first turn in one process with all of many notes, and with those that are chosen, in turns."""
    run = {"name": "choice", "all_s": [], "chosen_s": [], "choice_s": [], "parts": []}
    for i in range(options.rounds):
        print(f"choice: round {i + 1} of {options.rounds}", flush=True)
        run["all_s"] += ask(options, [QUESTION], "--llm", options.llm, notes_text=MANY_NOTES)[0]
        times, _, chosen = ask(options, [QUESTION], "--llm", options.llm, notes_text=MANY_NOTES, use="needed")
        if len(chosen) != 1:
            raise Failed("costeer chat did not say what it has chosen")
        run["chosen_s"] += times
        run["choice_s"].append(chosen[0][2])
        run["parts"].append(chosen[0][:2])
    return run


def print_choice(run):
    n_used, n = run["parts"][0]
    print("\n| parts used | choice | then the first token | the first token with all parts |\n|---|---|---|---|")
    print(f"| {n_used} of {n} | {spread(run['choice_s'])} s | {spread(run['chosen_s'])} s | {spread(run['all_s'])} s |")


def main():
    parser = argparse.ArgumentParser(description="Measure later turns of a conversation; see scripts/bench.")
    for name in ("costeer", "llama-server", "llm", "slm"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=75, help="of the first message")
    parser.add_argument("--tokens", type=int, default=16, help="of an answer")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", dest="out")
    parser.add_argument("--only", action="append", choices=("local", "node", "llama-server", "choice"))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.sentences = 1, 3
    places = {"local": local, "node": node, "llama-server": llama_server}
    only = options.only or [*places, "choice"]
    runs = [measure_one(options, name, places[name]) for name in only if name != "choice"]
    choice = measure_choice(options) if "choice" in only else None
    about = machine(options)
    print(f"\n{about['cpu']}, {about['cores']} cores\n\n| LLM | tokens read in turns 1, 2, 3 | later turn, first token | the same as a first turn | ratio of medians |\n|---|---|---|---|---|")
    for run in runs:
        ratio = statistics.median(run["later_s"]) / statistics.median(run["fresh_s"])
        read = ", ".join(f"{n:,}" for n in run["tokens_read"][0])
        print(f"| {run['name']} | {read} | {spread(run['later_s'])} s | {spread(run['fresh_s'])} s | {ratio:.2f} |")
    if choice:
        print_choice(choice)
        runs.append(choice)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(runs, file, indent=1)


if __name__ == "__main__":
    main()
