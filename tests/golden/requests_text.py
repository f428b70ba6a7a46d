"""How a string is found in a text: docs/evaluation.md, "Stated", written once more in Python, sharing nothing with the C code."""

HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2212"
APOSTROPHES = "\u2018\u2019\u02bc"
SPACES = "\u00a0\u2007\u2008\u2009\u200a\u202f\u3000"


def fold_character(c):
    if c in HYPHENS:
        return "-"
    if c in APOSTROPHES:
        return "'"
    if c in SPACES:
        return " "
    if "\uff01" <= c <= "\uff5e":
        return lower(chr(ord(c) - 0xFEE0))
    return lower(c)


def lower(c):
    code = ord(c)
    is_known = code <= 0x17F or 0x1E00 <= code <= 0x1EFF or 0x386 <= code <= 0x3AB or 0x400 <= code <= 0x42F
    return c.lower() if is_known and len(c.lower()) == 1 else c


def fold(text):
    folded = "".join(fold_character(c) for c in text)
    return " ".join(part for part in folded.replace("\t", " ").replace("\n", " ").replace("\r", " ").split(" ") if part)


def is_wide(c):
    """A character that is a word by itself: an ideograph or kana."""
    return any(a <= ord(c) <= b for a, b in ((0x2E80, 0x2FFF), (0x3005, 0x3007), (0x3021, 0x302F), (0x3031, 0x30FA), (0x30FC, 0x30FF),
                                             (0x31F0, 0x31FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)))


def binds(c):
    """A letter or digit that makes one word with a letter or digit beside it."""
    return c != "" and c.isalnum() and not is_wide(c)


def ends_there(text, end):
    after = text[end:end + 1]
    if binds(after):
        return False
    return not (after in (",", ".") and after != "" and text[end + 1:end + 2].isdecimal())


def states(text, string):
    text, string = fold(text), fold(string)
    start = text.find(string) if string else -1
    while start >= 0:
        end = start + len(string)
        before_is_free = not (binds(string[0]) and binds(text[start - 1:start] if start > 0 else ""))
        after_is_free = not binds(string[-1]) or ends_there(text, end) or (text[end:end + 1] == "s" and ends_there(text, end + 1))
        if before_is_free and after_is_free:
            return True
        start = text.find(string, start + 1)
    return False
