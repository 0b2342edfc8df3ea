"""Reading a page as a browser would, as far as tests need it."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "wbr", "img", "hr", "input"}


class Page(HTMLParser):
    """Elements, text and ids of a page; ``problems`` lists what is not well-formed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.problems, self._open = [], [], [], []
        self._words = []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self._open]
        self.text = re.sub(r"\s+", " ", "".join(self._words))

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def _note(self, tag, attrs):
        self.tags.append(tag)
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.problems.append(f"<{tag}> has an attribute twice")
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data):
        if not {"style", "title"} & set(self._open):
            self._words.append(data if "svg" in self._open else data.replace("\n", " "))

    def values(self, name):
        return [value for _, attribute, value in self.attributes if attribute == name]


def check(text):
    """Parse a page and hold it to what every page must be; returns it."""
    page = Page(text)
    assert not page.problems, page.problems[:5]
    assert page.tags.count("h1") == 1
    assert "viewport" in page.values("name")
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert not {"script", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    references = [*page.values("href"), *page.values("src"), *page.values("xlink:href")]
    inside = ("#", "data:image/png;base64,")
    assert [x for x in references if x != "data:," and not x.startswith(inside)] == []
    assert {x[1:] for x in references if x.startswith("#")} <= set(ids)
    assert re.findall(r"url\((?!#)|@import|@font-face", text) == []
    assert [name for _, name, _ in page.attributes if name.startswith("on")] == []
    figures = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")]
    labels = [x for tag, name, x in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(figures) == len(labels)
    assert all(labels)
    assert len(text) < 5e6
    return page
