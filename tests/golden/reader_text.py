"""How a string is found in a text: docs/evaluation.md, "Stated", written once more in Python, sharing nothing with the C code."""
from make_metrics import ALONE, lower, words

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


def fold(text):
    folded = "".join(fold_character(c) for c in text)
    return " ".join(part for part in folded.replace("\t", " ").replace("\n", " ").replace("\r", " ").split(" ") if part)


def binds(c):
    """A character that makes one word with those beside it."""
    return bool(c) and bool(words(c)) and ord(c) not in ALONE


def ends_there(text, end):
    after = text[end:end + 1]
    if binds(after):
        return False
    return not (after in (",", ".") and after != "" and text[end + 1:end + 2] in tuple("0123456789"))


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
