#!/usr/bin/env python3
"""Check a page that costeer report wrote: elements are closed in order, nothing is loaded or run, pictures are XML.

    check_page.py FILE [N_PICTURES]
"""
import html.parser
import re
import sys
import xml.etree.ElementTree

VOID = {"meta", "br", "hr", "img", "link", "input"}
KNOWN = set("""html head meta title style body header main footer h1 h2 h3 p dl div dt dd span strong small table caption thead tbody tr th td
figure figcaption svg text line path circle""".split())
ATTRIBUTES = set("""lang charset name content class role tabindex aria-label scope xmlns viewbox width height font-family font-size x y x1 y1 x2
y2 cx cy r d fill stroke text-anchor""".split())


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attributes):
        assert tag in KNOWN, f"unknown element {tag} at {self.getpos()}"
        unknown = {name for name, _ in attributes} - ATTRIBUTES
        assert not unknown, f"unknown attributes {unknown} at {self.getpos()}"
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]} at {self.getpos()}"
        self.open.pop()

    def handle_comment(self, data):
        raise AssertionError(f"a comment at {self.getpos()}")


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        text = f.read()
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open, f"never closed: {page.open}"
    assert text.startswith("<!DOCTYPE html>\n<html lang=\"en\">") and {"title", "h1", "table", "caption", "th"} <= page.seen
    assert not re.search(r"<script|javascript:|\bon\w+=\"|\bsrc=|\bhref=|url\(|@import", text), "something is loaded or run"
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<style>.*?</style>", "", text, flags=re.S)), "a number that is none"
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    for picture in pictures:
        xml.etree.ElementTree.fromstring(picture)
        outside = [x for x in re.findall(r'\b(?:x|x1|x2|cx)="([-0-9.]+)"', picture) if not -0.5 <= float(x) <= 700.5]
        assert not outside, f"drawn outside of the picture: {outside}"
    if len(sys.argv) > 2:
        assert len(pictures) == int(sys.argv[2]), f"{len(pictures)} pictures"


if __name__ == "__main__":
    sys.exit(main())
