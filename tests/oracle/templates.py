"""The chat templates of llama.cpp's tree, rendered by Jinja2 as transformers calls it, and by `costeer prompt`.

    templates.py TEMPLATES --costeer PROGRAM --model GGUF     compare; the reasons of known differences are in KNOWN
    templates.py TEMPLATES --write-golden FILE                what Jinja2 makes of a part of them, for the test without Python

Exit code 1 where a text differs and KNOWN does not say why, or where KNOWN names a difference that is none.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jinja2
import jinja2.ext
import jinja2.sandbox

# Spellings of the model that `costeer prompt` is given: the built-in ones.
TOKENS = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}

# Templates whose text is another on purpose or for a reason of the engine's; docs/templates.md has them in words.
KNOWN = {"fireworks-ai-llama-3-firefunction-v2": "it joins a variable `functions` that nobody gave: Jinja2 stops there, the engine takes it as empty"}

# Small, and between them: a default system message, none, no system role, a thinking switch, reasoning that the prompt opens, a date.
GOLDEN = ["Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "google-gemma-2-2b-it", "meta-llama-Llama-3.1-8B-Instruct", "microsoft-Phi-3.5-mini-instruct",
          "deepseek-ai-DeepSeek-V3.1", "mistralai-Mistral-Nemo-Instruct-2407", "HuggingFaceTB-SmolLM3-3B"]


class Generation(jinja2.ext.Extension):
    """{% generation %}: marks the assistant's text for training; here it is its content."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


class Refusal(Exception):
    pass


def refuse(message):
    raise Refusal(message)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return env


def conversations():
    """One to five turns with and without a system message; texts with blanks at the ends, quotes, braces and letters of several scripts."""
    asked = ["Hello there!", "  Write *two*\nlines.  ", "What's \"{{ this }}\" {% and %} <that>?", "Ünïcode: 你好, мир, 🙂", "Bye\n\n"]
    said = ["Hi.", "One\nTwo\n", "A <b>tag</b>.", "谢谢", "never"]
    for system in (None, "You are terse.", "Two\n\nlines é "):
        for n in range(1, 6):
            messages = [] if system is None else [{"role": "system", "content": system}]
            for i in range(n):
                messages.append({"role": "user", "content": asked[i]})
                if i + 1 < n:
                    messages.append({"role": "assistant", "content": said[i]})
            yield system, messages


def without_system_role(messages):
    """As CoSteer gives a system message to a template that has no such role."""
    first = {"role": "user", "content": messages[0]["content"] + "\n\n" + messages[1]["content"]}
    return [first] + messages[2:]


def typed(messages):
    return [{"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in messages]


class Theirs:
    def __init__(self, source):
        self.template = environment().from_string(source)
        mark = [{"role": "user", "content": "MARK-U"}]
        self.is_typed = "MARK-U" not in self.attempt(mark) and "MARK-U" in self.attempt(typed(mark))
        self.has_system = "MARK-S" in self.attempt(self.shape([{"role": "system", "content": "MARK-S"}] + mark))

    def shape(self, messages):
        return typed(messages) if self.is_typed else messages

    def render(self, messages, thinking):
        return self.template.render(messages=messages, tools=None, documents=None, add_generation_prompt=True, enable_thinking=thinking, thinking=thinking,
                                    thinking_mode="enabled" if thinking else "disabled", **TOKENS)

    def attempt(self, messages):
        try:
            return self.render(messages, False)
        except Exception:  # noqa: BLE001  whatever a template raises
            return ""

    def __call__(self, system, messages, thinking):
        if system is not None and not self.has_system:
            messages = without_system_role(messages)
        try:
            return self.render(self.shape(messages), thinking)
        except Refusal as e:
            return Refusal(str(e))
        except Exception as e:  # noqa: BLE001
            return e


def closed(text):
    """What CoSteer adds when a prompt begins to reason that should not."""
    for begin, end in (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<|START_THINKING|>", "<|END_THINKING|>"), ("<seed:think>", "</seed:think>"),
                       ("<mm:think>", "</mm:think>")):
        if text.rstrip().endswith(begin):
            return text + ("" if text.endswith("\n") else "\n") + "\n" + end + "\n\n"
    return text + "<|channel|>final<|message|>" if text.endswith("<|start|>assistant") else text


def ours(costeer, model, template, messages, thinking, folder):
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", encoding="utf-8") as f:
        json.dump(messages, f)
        f.flush()
        run = subprocess.run([costeer, "prompt", "--llm", model, "--template-file", template, "--messages", f.name, "--thinking", "on" if thinking else "off",
                              "--json"], capture_output=True, text=True, check=False)
    return json.loads(run.stdout)["prompts"][0]["text"] if run.returncode == 0 else ValueError(run.stderr.strip())


def compare(costeer, model, path, folder):
    """[(label, theirs, ours)] of the cases that differ, how many were compared, how many of them both refuse."""
    source = path.read_text(encoding="utf-8").rstrip("\r\n")  # as costeer reads a text file
    try:
        theirs = Theirs(source)
    except jinja2.TemplateError as e:
        return [("reading", e, None)], 1, 0
    bad, n, n_refused = [], 0, 0
    for system, messages in conversations():
        for thinking in (False, True):
            n += 1
            wanted = theirs(system, messages, thinking)
            got = ours(costeer, model, str(path), messages, thinking, folder)
            if isinstance(wanted, str) and not thinking:
                wanted = closed(wanted) if got != wanted else wanted
            same = wanted == got if isinstance(wanted, str) else not isinstance(got, str)
            n_refused += same and not isinstance(wanted, str)
            if not same:
                bad.append((f"{len(messages)} messages, {'a' if system else 'no'} system message, thinking {thinking}", wanted, got))
    return bad, n, n_refused


def first_difference(a, b):
    if not isinstance(a, str) or not isinstance(b, str):
        return f"{a!r:.300}\n      {b!r:.300}"
    i = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return f"{a[max(0, i - 40):i + 60]!r}\n      {b[max(0, i - 40):i + 60]!r}"


def run_comparison(arguments, paths):
    code = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda p: compare(arguments.costeer, arguments.model, p, folder), paths)
        n_equal = n_cases = n_both_refuse = 0
        for path, (bad, n, n_refused) in zip(paths, results):
            n_cases += n
            n_both_refuse += n_refused
            n_equal += n - len(bad)
            reason = KNOWN.get(path.stem)
            if bool(bad) != bool(reason):
                code = 1
            if bad:
                print(f"{path.stem}: {len(bad)} of {n} differ" + (f" ({reason})" if reason else ""))
            elif reason:
                print(f"{path.stem}: all are equal, and KNOWN names a difference")
            for label, a, b in bad[: 0 if reason and not arguments.verbose else 2]:
                print(f"  {label}:\n      {first_difference(a, b)}")
    print(f"{len(paths)} templates, {n_equal} of {n_cases} prompts equal, {n_both_refuse} of them refused by both")
    return code


def write_golden(arguments, paths):
    rows = []
    for path in paths:
        if path.stem not in GOLDEN:
            continue
        theirs = Theirs(path.read_text(encoding="utf-8").rstrip("\r\n"))
        for i, (system, messages) in enumerate(conversations()):
            for thinking in (False, True):
                text = theirs(system, messages, thinking)
                if i % 5 in (0, 2) and i < 10 and isinstance(text, str) and "strftime" not in path.read_text(encoding="utf-8"):
                    rows.append({"template": path.name, "messages": messages, "thinking": thinking, "text": text if thinking else closed(text)})
    with open(arguments.write_golden, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(rows)} prompts written")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("templates", type=pathlib.Path)
    parser.add_argument("--costeer")
    parser.add_argument("--model")
    parser.add_argument("--write-golden")
    parser.add_argument("--only")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    paths = sorted(p for p in arguments.templates.glob("*.jinja") if arguments.only is None or arguments.only in p.stem)
    if arguments.write_golden:
        write_golden(arguments, paths)
        return 0
    return run_comparison(arguments, paths)


if __name__ == "__main__":
    sys.exit(main())
