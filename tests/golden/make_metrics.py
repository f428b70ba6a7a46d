#!/usr/bin/env python3
"""Golden values of the metrics, from an implementation of docs/evaluation.md that shares nothing with the C code.

    tests/golden/make_metrics.py            write tests/golden/metrics.json and tests/golden/stems.txt (needs NLTK)
    tests/golden/make_metrics.py --check    change nothing; exit 1 when a file differs. Without NLTK the stems of stems.txt are used
                                            and not checked themselves.

Stems are those of NLTK 3.8's PorterStemmer, METEOR's alignment is done as its meteor_score does it, step by step. A pair of texts is
[answer, reference, context, query, facts]; null: there is none. The texts are made up here.
"""
import json
import math
import pathlib
import re
import sys
from collections import Counter

HERE = pathlib.Path(__file__).resolve().parent
METRICS = HERE / "metrics.json"
STEMS = HERE / "stems.txt"

try:
    from nltk.stem.porter import PorterStemmer
    NLTK = PorterStemmer()
except ImportError:
    NLTK = None

known_stems = {}


def stem(word):
    if word not in known_stems:
        known_stems[word] = NLTK.stem(word)
    return known_stems[word]


# ---- tokens ------------------------------------------------------------------------------------------------------------


def rouge_tokens(text):
    words = re.findall("[a-z0-9]+", text.lower())
    return [stem(w) if len(w) > 3 else w for w in words]


def tokens_13a(text):
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, sign in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(entity, sign)
    signs = "".join(re.escape(chr(c)) for c in range(32, 127) if not chr(c).isalnum() and chr(c) not in "',-.")
    text = re.sub(f"([{signs}])", r" \1 ", f" {text} ")
    text = re.sub(r"([^0-9])([.,])", r"\1 \2 ", text)
    text = re.sub(r"([.,])([^0-9])", r" \1 \2", text)
    text = re.sub(r"([0-9])-", r"\1 - ", text)
    return text.split()


def blocks(text):
    """A set of code points from "first-last first-last …" in hexadecimal."""
    points = set()
    for part in text.split():
        first, _, last = part.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return points


NO_WORD = blocks("80-A9 AB-B4 B6-B9 BB-BF D7 F7 1680 2000-206F 20A0-20CF 2190-2BFF 2E00-2E7F 3000-3004 3008-3020 3030 30FB "
                 "E000-F8FF FE30-FE6F FF01-FF0F FF1A-FF20 FF3B-FF40 FF5B-FF65 FFE0-FFFF 1F000-1FAFF")
ALONE = blocks("2E80-2FFF 3005-3007 3021-302F 3031-30FA 30FC-30FF 31F0-31FF 3400-9FFF F900-FAFF 20000-3FFFF")
CASED = blocks("41-5A C0-DE 100-17F 386-3AB 400-42F 1E00-1EFF 2126 212A 212B")


def lower(character):
    """Python's, one character at a time, for the blocks that the definition names."""
    return character.lower()[0] if ord(character) in CASED else character


def words(text):
    out, run = [], ""
    for c in text:
        point = ord(c)
        is_word = c.isalnum() if point < 128 else point not in NO_WORD
        if run and (not is_word or point in ALONE):
            out.append(run)
            run = ""
        if is_word and point in ALONE:
            out.append(lower(c))
        elif is_word:
            run += lower(c)
    return out + [run] if run else out


# ---- metrics -----------------------------------------------------------------------------------------------------------


def grams(tokens, n):
    return [tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1)]


def f1(shared, n_answer, n_reference):
    precision, recall = shared / max(n_answer, 1), shared / max(n_reference, 1)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def rouge_n(answer, reference, n):
    a, r = Counter(grams(answer, n)), Counter(grams(reference, n))
    return f1(sum((a & r).values()), sum(a.values()), sum(r.values()))


def rouge_l(answer, reference):
    table = [[0] * (len(reference) + 1) for _ in range(len(answer) + 1)]
    for i, x in enumerate(answer):
        for j, y in enumerate(reference):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return f1(table[-1][-1], len(answer), len(reference))


def bleu(answer, reference):
    answer, reference = tokens_13a(answer), tokens_13a(reference)
    precisions, halvings = [], 0
    for n in range(1, 5):
        a, r = Counter(grams(answer, n)), Counter(grams(reference, n))
        total, shared = sum(a.values()), sum((a & r).values())
        if n == 1 and shared == 0:
            return 0.0
        if total == 0:
            break
        halvings += shared == 0
        precisions.append(shared / total if shared else 1 / (2 ** halvings * total))
    brevity = min(1.0, math.exp(1 - len(reference) / len(answer)))
    return 100 * brevity * math.exp(math.fsum(math.log(p) for p in precisions) / len(precisions))


def match(answer, reference):
    """One stage over the lists of (position, word) that are left; both are shortened."""
    pairs = []
    for i in reversed(range(len(answer))):
        for j in reversed(range(len(reference))):
            if answer[i][1] == reference[j][1]:
                pairs.append((answer.pop(i)[0], reference.pop(j)[0]))
                break
    return pairs


def meteor(answer, reference):
    a, r = list(enumerate(words(answer))), list(enumerate(words(reference)))
    n_answer, n_reference = len(a), len(r)
    pairs = match(a, r)
    stemmed = [[(i, stem(w) if w.isascii() else w) for i, w in left] for left in (a, r)]
    pairs = sorted(pairs + match(*stemmed))
    if not pairs:
        return 0.0
    precision, recall = len(pairs) / n_answer, len(pairs) / n_reference
    chunks = 1 + sum((i + 1, j + 1) != after for (i, j), after in zip(pairs, pairs[1:]))
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return mean * (1 - 0.5 * (chunks / len(pairs)) ** 3)


STOP_WORDS = set("""a about after all also am an and any are as at be because been before being but by can could d did do does for from
had has have he her here hers him his how i if in into is it its just ll m may me might mine more most must my no not of off on or
other our out over re s shall she should so some such t than that the their them then there these they this those to too under until
up us ve very was we were what when where which while who whom why will with would you your yours""".split())


def context_recall(answer, context, query):
    rare, found = set(), set()
    for n in (1, 2):
        asked, given = set(grams(words(query), n)), set(grams(words(answer), n))
        here = {g for g in grams(words(context), n) if g not in asked and not STOP_WORDS.intersection(g)}
        rare |= here
        found |= here & given
    return len(found) / len(rare) if rare else None


def measure(answer, reference, context, query, facts):
    own = words(answer)
    pairs = grams(own, 2)
    result = dict.fromkeys(["rouge1", "rouge2", "rougeL", "bleu", "meteor", "length_ratio"])
    if reference is not None and reference.strip():
        a, r = rouge_tokens(answer), rouge_tokens(reference)
        result.update(rouge1=rouge_n(a, r, 1), rouge2=rouge_n(a, r, 2), rougeL=rouge_l(a, r), bleu=bleu(answer, reference),
                      meteor=meteor(answer, reference))
        if words(reference):
            result["length_ratio"] = len(own) / len(words(reference))
    facts = [f for f in facts if f]
    return {**result, "distinct1": len(set(own)) / len(own) if own else None,
            "distinct2": len(set(pairs)) / len(pairs) if pairs else None,
            "context_recall": context_recall(answer, context or "", query or ""),
            "fact_recall": sum(f in answer for f in facts) / len(facts) if facts else None}


# ---- texts -------------------------------------------------------------------------------------------------------------

EDGES = [
    ["", "", "", "", []],
    ["", "A reference alone.", "", "", []],
    ["An answer alone.", None, None, None, []],
    ["An answer alone.", " \n\t ", " ", None, [""]],
    ["?!", "...", "--", "", ["!"]],
    ["...", "A word", "", "", ["..", "a"]],
    ["one", "one", "one", "", ["one"]],
    ["one", "two", "one", "one", ["two"]],
    ["one two", "one two", "two one", "one", ["one two", "two one"]],
    ["the cat", "the cat sat on the mat", "the cat", "", []],
    ["the the the the", "the cat the dog", None, None, []],
    ["a b c d e", "e d c b a", "c d", "a b", ["c d", "b a"]],
    ["a b a b a b a", "a b a b", "b a b", "", []],
    ["The cats were running, jumping and flying.", "A cat runs, jumps and flies!", "The cat flies.", "A cat?", ["cat", "cats"]],
    ["He dies; she lied, they tied skies.", "dying, lying, tying the sky", None, None, []],
    ["Generalizations are oscillators' relational hopefulness", "generalized oscillating relations hope", None, None, []],
    ["Pay $3.50, or 1,000.00 - no: 10-20%.", "Pay $3.50 or 1,000 (10-20 %).", "3.50 and 1,000", "", ["3.50", "1,000.00", "20 %"]],
    ["3.14.15,92 .5 5. a.b,c ..a,,b", "3.14 15,92 .5 5 . a . b , c", None, None, []],
    ["x-\ny z-1 2-z 3-4-5 -6", "xy z - 1 2 - z 3 - 4 - 5 - 6", None, None, []],
    ["say &quot;hi&quot; &amp;amp; &lt;b&gt; <skipped>end", 'say "hi" & <b> end', None, None, []],
    ["don't stop; it's John's", "dont stop it is John s", "John's dog, don't", "it's", ["John's"]],
    ["Trailing space \u00a0\u3000\n", "Trailing space", None, None, []],
    ["\u00a0no\u2003break\u2028here\x1cand\x85there", "no break here and there", None, None, []],
    ["Ærø, ÅSE and ÉCOLE straße ŸVES ŁÓDŹ Žižek", "ærø, åse AND école STRASSE ÿves łódź žIŽEK", "École Łódź", "", ["ÉCOLE", "École"]],
    ["İstanbul is 300 \u212a warm", "istanbul is 300 K warm", "İSTANBUL \u212a", "", []],
    ["ΑΘΗΝΑ Ώρα Ϊ ΠΌΛΙΣ", "αθηνα ώρα ϊ πόλισ", "Πόλις Αθηνα", "", []],
    ["МОСКВА Ёлка Київ Ђ", "москва ёлка київ ђ", "Ёлка зимой", "", ["Ёлка"]],
    ["TIẾNG VIỆT Ẁ ẞ", "tiếng việt ẁ ß", "Việt Nam", "", []],
    ["東京は大きいです。", "東京は、大きい。", "東京 大きい", "", ["東京"]],
    ["안녕 세계, 안녕!", "안녕 세계", "세계 평화", "", []],
    ["مرحبا بالعالم שלום", "مرحبا شלום بالعالم", "بالعالم", "", []],
    ["नमस्ते दुनिया — हैलो", "नमस्ते, दुनिया", "दुनिया", "", []],
    ["😀 fun 😀 fun ☃ × ÷ ½ ª µ º", "fun 😀", "fun ª", "", ["😀 fun"]],
    ["ﬁne “quotes” ‘single’ … — – • €5 £6", "ﬁne quotes single 5 6", None, None, []],
    ["ＦＵＬＬ width １２", "full width 12", None, None, []],
    ["𝔘nicode 𠀀𠀁 x", "𠀀 𠀁 x", "𠀁 𠀀", "", []],
    ["re\u0301sume\u0301 and résumé", "résumé and re\u0301sume\u0301", None, None, []],
    ["tab\tseparated\r\nlines\vand\fpages", "tab separated lines and pages", None, None, []],
    ["under_score [brackets] {braces} ~tilde ^caret `tick` |pipe|", "under score brackets braces tilde caret tick pipe", None, None, []],
    ["UPPER Case Words STAY", "upper case words stay", "UPPER case", "", ["UPPER", "upper"]],
    ["is it as it was so", "is as was so it", "it is as it was", "", []],
    ["Rufus the dog of Gothenburg barks", None, "My dog is called Rufus. I live in Gothenburg, in Sweden.", "Write about my dog.",
     ["Rufus", "Gothenburg", "Sweden"]],
    ["dog called Rufus live in", "dog", "dog called Rufus; dog called Rufus; live", "called dog", ["called Rufus", "dog called", "live in x"]],
    ["sses ies ss s eed ed ing y", "sses ies ss s eed ed ing y", None, None, []],
    ["yyyy yay yes syzygy dyed dyeing", "syzygy yayyay dye", None, None, []],
    ["4ing 12ed 7s 99ies 1990s 2nd", "4 12 7 99 1990 2", None, None, []],
]

SENTENCES = """Our neighbour keeps three noisy geese behind the wooden shed.
The committee postponed its decision about the new railway station.
Heavy rain flooded the cellar, so we carried the boxes upstairs.
She studies medieval maps and teaches pottery on Saturdays.
Please remember that Amir is allergic to walnuts and sesame.
The recipe calls for 250 grams of flour, two eggs and a pinch of salt.
Running marathons requires patience, training and comfortable shoes.
A small lighthouse stood at the end of the stony pier.
They argued politely about the meaning of an old proverb.
My grandmother's letters describe the winter of 1947 in detail.
Scientists measured the glacier's movement with lasers and patience.
Turn left at the bakery, cross the bridge, then follow the river.
The orchestra rehearsed the second movement again and again.
Cheap umbrellas break; expensive umbrellas get forgotten on trains.
Is it possible to grow tomatoes on a balcony that faces north?
He repaired bicycles, radios and, once, a church organ.
The museum opens at 10:30 and closes at 17:00 (except on Mondays).
Nobody expected the quiet accountant to win the chess tournament.
We saved 15% by ordering early - a welcome surprise!
The youngest dog learned to open doors, drawers and hearts.""".split("\n")


class Chance:
    """A generator of its own, so that no version of Python changes the texts (Knuth's MMIX constants)."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        return (self.state >> 33) % n

    def pick(self, items):
        return items[self.below(len(items))]


ENDINGS = ["s", "ed", "ing", "ly", "ness", "er"]


def change(text, chance, share):
    """Drop, double, swap and inflect some words."""
    out = []
    for word in text.split(" "):
        kind = chance.below(100)
        if kind < share:
            continue
        if kind < 2 * share:
            out.append(word)
        elif kind < 3 * share:
            word = word + chance.pick(ENDINGS) if word.isalpha() else word.upper()
        elif kind < 4 * share and out:
            out.insert(len(out) - 1, word)
            continue
        out.append(word)
    return " ".join(out)


def generated():
    chance = Chance(20260)
    for i in range(56):
        n = 60 if i % 28 == 27 else 1 + chance.below(6)
        sentences = [chance.pick(SENTENCES) for _ in range(n)]
        reference = " ".join(sentences)
        answer = change(reference, chance, chance.below(25))
        context = " ".join(chance.pick(SENTENCES) for _ in range(2)) + " " + sentences[0]
        facts = [chance.pick(context.split(" ")) for _ in range(3)]
        yield [answer, reference, context, chance.pick(SENTENCES), facts]


# ---- stems -------------------------------------------------------------------------------------------------------------

BASES = """abandon able accept account achieve act activate add adopt agree allow analog angular apply argue arrange ask attach bake
balance beauty begin bend big bless blow boat bounce brave break bury busy buzz call calm care carry cease cement certain change cheer
city class clear close collect colony comb commit communal compute condition conform connect control cooperate create cry curious cycle
dance danger decide defend delay deny depend describe die differ digit direct double dry duty dye ease edit effect elect employ empty
enjoy enter equal exceed expect explore express fail fair family fill final fix fizz fly folly force formal free full game geology
general give glad globe good gray grow guess happy hate heal hesitate hiss hop hope identify ideology image induce infer irritate jelly
joy judge jury justify key kill kiss know label lazy lie listen logic long lovely love make manage marry medicine merry mix model move
music naive nation native news note obey observe occupy offer open operate oscillate own pad party pay permit philosophy plan play
please point pony popular possible pray predict print probate proceed profit public quiz radical rational real refer region relate
remedy replace revive revolve roll rub rule safe say scan see seize sense separate settle ship show sky slip slow sole spy star start
state stay steer stop study succeed suffix sun supply sway sympathy tan tax theology think tie token toy travel triplicate trouble true
try type unify union use valid value vary venue verify vile visit vote wait wander weary weigh wrap write yellow yes yield zone
innings outing canning howe skies dying lying tying inning outings cannings ties dies lies flies ponies caresses died tied spied cried
feed agreed bleed plastered bled motoring sing controlling hopping tanned falling hissing fizzed failing filing conflated troubled sized
relational conditional rationally valenci digitizer conformably radically differently vilely analogously vietnamization predication
operator feudalism decisiveness hopefulness callousness formality sensitivity sensibility triplicate formative formalize electricity
electrical goodness revival allowance inference airliner gyroscopic adjustable defensible irritant replacement adjustment dependent
adoption homologous communism activate angularity effective bowdlerize geologically fullyfully theologi archaeology usefully""".split()

SUFFIXES = ["", "s", "es", "ed", "ing", "er", "ly", "ness", "ful", "fully", "able", "ably", "ation", "ational", "ations", "ement", "ity", "ize"]


def inflect(base, suffix):
    if suffix[:1] in ("e", "a", "i") and base.endswith("e"):
        return base[:-1] + suffix
    if suffix in ("es", "ed", "ly", "ness") and base.endswith("y") and len(base) > 2 and base[-2] not in "aeiou":
        return base[:-1] + "i" + suffix
    return base + suffix


def stem_words():
    chance = Chance(7)
    own = ["a", "is", "as", "by", "y", "yy", "oe", "be", "ion", "sion", "tion", "al", "ll", "all", "e", "ee", "ies", "ied", "ss", "s", "2024",
           "4ing", "x1s", "1e", "ated", "bled", "ized", "bling", "oing", "aing", "ying", "eying", "eed", "ing", "ed", "ational", "alli",
           "logi", "eli", "bli", "ousli", "ationalli", "entalli", "yyyyed", "ayayed"]
    return own + [w for b in BASES for w in [b] + [inflect(b, s) for s in SUFFIXES[1:] if chance.below(5) < 2]]


# ---- files -------------------------------------------------------------------------------------------------------------


def is_same(a, b):
    """Equal, but for the last digits of numbers, in which mathematical libraries differ."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    return a == b


def check(pairs, stems):
    wrong = [METRICS] if not is_same(json.loads(METRICS.read_text(encoding="utf-8")), pairs) else []
    wrong += [STEMS] if STEMS.read_text(encoding="utf-8") != stems else []
    for path in wrong:
        print(f"{path.name} is not what make_metrics.py makes", file=sys.stderr)
    return 1 if wrong else 0


def main():
    checking = sys.argv[1:] == ["--check"]
    if NLTK is None:
        if not checking:
            print("make_metrics: NLTK is needed to make stems; install python3-nltk", file=sys.stderr)
            return 1
        known_stems.update(line.split(" ") for line in STEMS.read_text(encoding="utf-8").splitlines())
    pairs = [[*texts, measure(*texts)] for texts in [*EDGES, *generated()]]
    if NLTK is not None:
        for word in stem_words():
            stem(word)
    stems = "".join(f"{word} {known_stems[word]}\n" for word in sorted(known_stems))
    if checking:
        return check(pairs, stems)
    lines = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs)
    METRICS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    STEMS.write_text(stems, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
