#!/usr/bin/env python3
"""Golden values of what a reader sees in an answer, from an implementation of docs/evaluation.md that shares nothing with the C code.

    tests/golden/make_reader.py            write tests/golden/reader.json
    tests/golden/make_reader.py --check    change nothing; exit 1 when the file differs

The file has three lists: "stated" ([text, string, whether]), "answers" ([inputs, values]) and "unknown" ([vocabulary, answer, texts,
words]; words is null where no word counts).
"""
import json
import pathlib
import re
import sys

from make_metrics import ALONE, grams, words
from reader_text import fold, states

READER = pathlib.Path(__file__).resolve().parent / "reader.json"

GREETINGS = """dear;hi;hello;hey;good morning;good afternoon;good evening;to whom it may concern;sehr geehrte;sehr geehrter;liebe;lieber;
liebes;hallo;guten morgen;guten tag;guten abend;moin;servus;尊敬的;敬爱的;亲爱的;你好;您好;各位""".replace("\n", "").split(";")


def greeting(line):
    """The greeting that a folded line begins with, or ''."""
    for word in sorted(GREETINGS, key=len, reverse=True):
        rest = line[len(word):]
        if line.startswith(word) and (not word.isascii() or not words(rest[:1])):
            return word
    return ""


def bare(line):
    return line.strip(" \t\r*_#>\"'-")


def salutation_line(lines):
    """Index of the first line that greets, else of the first with something in it; None: there is none."""
    full = [i for i, line in enumerate(lines) if bare(line)]
    return next((i for i in full if greeting(bare(fold(lines[i])))), full[0] if full else None)


def salutation(answer):
    lines = answer.split("\n")
    at = salutation_line(lines)
    line = bare(fold(lines[at])) if at is not None else ""
    if not line or not greeting(line) and line[-1] not in ",:!":
        return ""
    return re.split("[,:!]", line[len(greeting(line)):].lstrip(" ,:!*_"))[0]


def signature(answer):
    lines = answer.split("\n")
    at = salutation_line(lines)
    if at is None:
        return ""
    below = [line for line in lines[at + 1:] if bare(line)]
    if not below or len(below[-1]) > 40:
        return fold((below[-1] if below else lines[at])[-40:])
    short = []
    for line in reversed(below[-3:]):
        if len(line) > 40:
            break
        short.insert(0, line)
    return fold("\n".join(short))


def any_of(text, strings):
    return any(states(text, s) for s in strings)


def share(facts, label, answer):
    facts = [f for f in facts if f["label"] == label and f["any"]]
    return sum(any_of(answer, f["any"]) for f in facts) / len(facts) if facts else None


def named(text, one, other):
    return float((not one or any_of(text, one)) and not any_of(text, other))


def longest_run(a, b):
    best = 0
    for i in range(len(a)):
        for j in range(len(b)):
            n = 0
            while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
                n += 1
            best = max(best, n)
    return best


def measure(answer, is_cut, context, facts, writer, addressee):
    own = words(answer)
    four = grams(own, 4)
    notes = words(context or "")
    return {"completeness": share(facts, "needed", answer), "violations": share(facts, "inappropriate", answer),
            "salutation": named(salutation(answer), addressee, writer) if addressee or writer else None,
            "signature": named(signature(answer), writer, addressee) if writer and not is_cut else None,
            "seq_rep_4": 1 - len(set(four)) / len(four) if four else None,
            "copied_run": float(longest_run(own, notes)) if notes else None}


def counts(word):
    points = [ord(c) for c in word]
    runs_on = any(p in ALONE or 0xE00 <= p <= 0x109F or 0x1780 <= p <= 0x17FF for p in points)
    return len(word) >= 4 and not runs_on and not any(c in "0123456789" for c in word)


def unknown(vocabulary, answer, texts):
    own = [w for w in words(answer) if counts(w)]
    known = set(vocabulary).union(*[words(t) for t in texts])
    return [w for w in dict.fromkeys(own) if w not in known] if own else None


# ---- texts -------------------------------------------------------------------------------------------------------------

STATED = [
    ["The party is on 14 June.", "14 june"], ["The party is on 14 June.", "4 june"], ["It costs 5,000,000.", "5,000"],
    ["It costs 5,000.", "5,000"], ["It costs 5,000, or so.", "5,000"], ["He has 104 kg.", "10"], ["Two rabbits here", "rabbit"],
    ["Two rabbitss here", "rabbit"], ["Unrabbit", "rabbit"], ["rabbit", "rabbit"], ["", "rabbit"], ["rabbit", ""],
    ["child\u2019s\u00a0room", "child's room"], ["four\u2011bedroom", "four-bedroom"], ["Ｆlat\u3000３", "flat 3"], ["乐乐考了93分", "93"],
    ["我叫陈思远。", "思远"], ["ÄRZTE und Öl", "ärzte"], ["ÄRZTE und Öl", "öl"], ["Ölfarbe", "öl"], ["def nz_slug(x):", "def nz_"],
    ["select sum( km )", "sum("], ["US$5,000", "$5,000"], ["a\n\tb   c", "a b c"], ["3.5 and 7.", "7"], ["3.5", "3"], ["v1.2.3", "1.2"],
    ["the dogs, the cats", "dog"], ["dogs.5", "dog"], ["xdog dog", "dog"], ["dog's bowl", "dog"], ["МОСКВА", "москва"],
    ["e\u0301t\u00e9", "\u00e9t\u00e9"], ["\U0001F600dog\U0001F600", "dog"], ["a\u2212b", "a-b"], ["ab", "b"], ["Straße 8b", "straße 8"],
]

FACTS = [{"label": "needed", "any": ["14 June", "June 14"]}, {"label": "needed", "any": ["Quarry Lane"]}, {"label": "needed", "any": []},
         {"label": "fine", "any": ["beans"]}, {"label": "inappropriate", "any": ["overdrawn", "overdraft"]},
         {"label": "inappropriate", "any": ["divorce"]}, {"label": "inappropriate", "any": ["Sven"]}]
NOTES = "I am Mira. The party is on 14 June at Quarry Lane. I am overdrawn. Sven is not invited because of the divorce."

ANSWERS = [
    ["", False, NOTES, FACTS, ["Mira"], ["Lena"]],
    ["Dear Lena,\n\ncome on June 14th to Quarry Lane!\n\nLove,\nMira", False, NOTES, FACTS, ["Mira"], ["Lena"]],
    ["Dear Mira,\n\ncome on June 14 to Quarry Lane!\n\nLove,\nLena", False, NOTES, FACTS, ["Mira"], ["Lena"]],
    ["Subject: Party\n\n**Hi Lena!** I am Mira.\n\nThe party is on 14 June at Quarry Lane. I am overdrawn.\n\nMira", True, NOTES, FACTS,
     ["Mira"], ["Lena"]],
    ["Hi Lena, this is Mira, come to my party on 14 June, Sven stays at home because of the divorce, love, Mira", False, NOTES, FACTS,
     ["Mira"], ["Lena"]],
    ["Lena,\nI would like to see you on the fourteenth, and I mean it.\nYours\nMira Hansen\nAllotment 7\n", False, NOTES, FACTS,
     ["Mira"], ["Lena"]],
    ["Sure! Here is a letter for you to send to her:\n\nHello Lena\n\nSee you.\n\nBest,\n[Your Name]", False, NOTES, [], ["Mira"], ["Lena"]],
    ["See you at Quarry Lane on June 14.", False, NOTES, FACTS, ["Mira"], []],
    ["See you at Quarry Lane on June 14.\r\n\r\nMira\r\n", False, None, FACTS[:1], ["Mira"], ["Lena", "Ms Park"]],
    ["Hidden treasures await, Lena,\nMira", False, NOTES, FACTS, ["Mira"], ["Lena"]],
    ["Sehr geehrte Frau Kaminski,\n\nich bitte um Urlaub.\n\nMit freundlichen Grüßen\nJürgen Maurer", False, "Jürgen Maurer bittet um Urlaub",
     [], ["Jürgen"], ["Kaminski"]],
    ["Lieber Jürgen, du darfst.\n\nLiebe Grüße\nFrau Kaminski", False, "", [], ["Jürgen"], ["Kaminski"]],
    ["王主任，您好！\n\n我想请假三天。\n\n此致\n敬礼\n陈思远", False, "我叫陈思远，想请假三天", [{"label": "needed", "any": ["三天"]}], ["思远"],
     ["王主任"]],
    ["尊敬的王主任：\n\n我是陈思远，我想请假三天，请批准，谢谢您的理解和支持，祝您工作顺利身体健康万事如意。", False, "陈思远", [], ["思远"], ["王主任"]],
    ["您好，王主任：\n请假。\n陈思远", False, "陈思远", [], ["思远"], ["王主任"]],
    ["Dear Mira,\nsee you.\nMira", False, NOTES, FACTS, ["Mira"], []],
    ["Dear friends,\nsee you.\nMira", False, NOTES, FACTS, ["Mira"], []],
    ["Dear Lena,\nsee you.", False, NOTES, FACTS, [], ["Lena"]],
    ["one two three four one two three four one two three four", False, "two three four one two nine", [], [], []],
    ["one two three", False, "four five", [], [], []],
    ["?!", False, "?!", FACTS, ["Mira"], ["Lena"]],
    ["\n\n> \"Dear Lena\"\n\n---\n***\n", False, NOTES, FACTS, ["Mira"], ["Lena"]],
    ["- Mira's party\n- Lena's cake: 14 June\n- Overdraft!", False, NOTES, FACTS, ["Mira"], ["Lena"]],
    ["The party is on 14 June at Quarry Lane. I am overdrawn. The party is on 14 June at Quarry Lane. I am overdrawn.", False, NOTES, FACTS,
     [], []],
]

UNKNOWN = [
    [["bread", "with"], "Mariat bakes sourough bread with Mariat", ["Maria bakes"]],
    [[], "to be or not", ["x"]],
    [[], "abcd1 éàüö 12345 ABCD", [""]],
    [["abcd"], "Abcd EFGH efgh", []],
    [[], "我爱上海 mixed texts", ["TEXTS"]],
    [[], "我爱上海", []],
    [[], "สวัสดีครับ ភាសាខ្មែរ", []],
    [[], "", ["a"]],
    [[], "don't haven't won't naïve", ["naïve"]],
]


def is_same(a, b):
    return json.dumps(a, ensure_ascii=False) == json.dumps(b, ensure_ascii=False)


def main():
    keys = ["answer", "is_cut", "context", "facts", "writer", "addressee"]
    made = {"stated": [[text, string, states(text, string)] for text, string in STATED],
            "answers": [[dict(zip(keys, row)), measure(*row)] for row in ANSWERS],
            "unknown": [[vocabulary, answer, texts, unknown(vocabulary, answer, texts)] for vocabulary, answer, texts in UNKNOWN]}
    if sys.argv[1:] == ["--check"]:
        if not is_same(json.loads(READER.read_text(encoding="utf-8")), json.loads(json.dumps(made))):
            print(f"{READER.name} is not what make_reader.py makes", file=sys.stderr)
            return 1
        return 0
    lists = ",\n".join(json.dumps(name) + ": [\n" + ",\n".join(json.dumps(x, ensure_ascii=False) for x in rows) + "\n]"
                       for name, rows in made.items())
    READER.write_text("{" + lists + "}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
