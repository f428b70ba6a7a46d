"""Fact values: ordinary words, words with made-up spelling, dates and numbers.

A model that sees a few dozen values a kind learns the list. It learns to *copy* only when
spelling is nearly unlimited, so most values are made up: letter by letter from the statistics
of the ordinary words, from syllables, or from random tokenizer pieces.
Held-out words, and one in ten of the made-up ones, are refused for training.
"""

import zlib

import words

# Which list of ordinary words each kind of fact draws from, and whether it is capitalised.
KINDS = {
    "name": ("person", True), "partner": ("person", True), "child": ("person", True),
    "sister": ("person", True), "friend": ("person", True), "neighbour": ("person", True),
    "city": ("place", True), "trip": ("place", True), "street": ("place", True),
    "pet": ("animal", True), "dish": ("dish", False), "allergy": ("food", False),
    "hobby": ("hobby", False), "job": ("job", False), "employer": ("company", True),
    "instrument": ("instrument", False), "book": ("book", True), "drink": ("drink", False),
    "flower": ("flower", False), "shop": ("company", True),
    "birthday": (None, False), "phone": (None, False),
}

ONSETS = ("b c d f g h j k l m n p r s t v w y z br ch cl cr dr fl fr gl gr kl kr ph pl pr qu sc sch sh sk sl sm "
          "sn sp st str sv sw th tr tw vl wh wr zh").split() + [""] * 6
VOWELS = "a e i o u a e i o u a e i o ai au ea ee ei ia ie io oa oo ou ue y é ö ü".split()
CODAS = ("b d ck f g k l m n p r s t x z ch ck ft ld ll lm ln lt mb mp nd ng nk nn ns nt ph rd rg rk rl rm rn "
         "rs rt rth sh sk ss st tch th ts tt tz").split() + [""] * 30

HELD_OUT_WORDS = {word.lower() for group in words.HELD_OUT.values() for word in group}
ALL_TRAIN = [word for group in words.TRAIN.values() for word in group]
HELD_OUT_SHARE = 10


def is_held_out(value):
    """True for a value no model may see: an ordinary held-out word, or one in ten of all made-up spellings."""
    lowered = value.lower()
    if any(part in HELD_OUT_WORDS for part in lowered.split()):
        return True
    return zlib.crc32(lowered.encode()) % HELD_OUT_SHARE == 0


def _letter_statistics():
    """Next-letter lists after every two letters of the ordinary training words; '^' begins and '$' ends a word."""
    table = {}
    for entry in ALL_TRAIN:
        for word in entry.lower().split():
            padded = "^^" + word + "$"
            for i in range(2, len(padded)):
                table.setdefault(padded[i - 2:i], []).append(padded[i])
    return table


LETTERS = _letter_statistics()


def markov_word(rng):
    """A word spelled by the letter statistics, with an arbitrary letter now and then."""
    for _ in range(50):
        state, out = "^^", []
        while len(out) < 12:
            if rng.random() < 0.06:
                letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
            else:
                letter = rng.choice(LETTERS.get(state, ["$"]))
            if letter == "$":
                break
            out.append(letter)
            state = state[1] + letter
        if 3 <= len(out) <= 11:
            return "".join(out)
    return "bantel"


def syllable_word(rng):
    """Two or three syllables, consonant clusters included."""
    count = rng.choice((1, 2, 2, 2, 3, 3))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(count))


def piece_word(rng, pieces):
    """Random tokenizer pieces put together: every piece gets copied in training, common or not."""
    return "".join(rng.choice(pieces) for _ in range(rng.choice((1, 2, 2, 3, 3, 4))))


def date_value(rng):
    day, month = rng.randint(1, 28), rng.choice(words.MONTHS)
    return rng.choice((f"{day} {month}", f"{month} {day}", f"{day} {month}", f"{day} {month[:3]}"))


def phone_value(rng):
    groups = rng.choice(((3, 4), (4, 3, 3), (3, 3, 4), (5,), (4, 4)))
    sep = rng.choice((" ", " ", "-"))
    return sep.join("".join(rng.choice("0123456789") for _ in range(n)) for n in groups)


def _dress(rng, word, capital):
    """Capitalise as the kind asks, with exceptions, so that case never tells the kind for certain."""
    if rng.random() < 0.06:
        capital = not capital
    return " ".join(part[:1].upper() + part[1:] if capital else part for part in word.split(" "))


def made_up(rng, pieces):
    """One word of made-up spelling."""
    draw = rng.random()
    if draw < 0.5:
        return markov_word(rng)
    if draw < 0.8 or not pieces:
        return syllable_word(rng)
    return piece_word(rng, pieces)


def _draw(rng, kind, pieces):
    group, capital = KINDS[kind]
    if kind == "birthday" and rng.random() < 0.85:
        return date_value(rng)
    if kind == "phone" and rng.random() < 0.85:
        return phone_value(rng)
    draw = rng.random()
    if draw < 0.25 and group:
        return rng.choice(words.TRAIN[group])
    if draw < 0.37:
        return _dress(rng, rng.choice(ALL_TRAIN), capital)
    word = made_up(rng, pieces)
    if rng.random() < 0.12:
        word += " " + made_up(rng, pieces)
    return _dress(rng, word, capital)


def training_value(rng, kind, pieces=()):
    """A value of this kind that is not held out."""
    while True:
        value = _draw(rng, kind, pieces)
        if value in ALL_TRAIN or not is_held_out(value):
            return value


def ordinary_value(rng, kind):
    """An ordinary training word of this kind; a date or a number where the kind has no words."""
    group, _ = KINDS[kind]
    return rng.choice(words.TRAIN[group]) if group else training_value(rng, kind)


def held_out_value(rng, kind, ordinary):
    """A value of this kind that no model has seen: an ordinary word or a made-up spelling."""
    group, capital = KINDS[kind]
    if ordinary and group:
        return rng.choice(words.HELD_OUT[group])
    while True:
        if kind == "birthday":
            value = date_value(rng)
        elif kind == "phone":
            value = phone_value(rng)
        else:
            word = syllable_word(rng) if rng.random() < 0.5 else markov_word(rng)
            value = word[:1].upper() + word[1:] if capital else word
        if is_held_out(value) and len(value) >= 4 and value not in ALL_TRAIN:
            return value
