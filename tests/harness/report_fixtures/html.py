"""What a page holds, as the standard library reads it: its tags, its scripts, and the words a reader sees."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.words: list[str] = []
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = dict(attrs).get("id") or f"{tag}-{len(self.scripts)}"

    def handle_endtag(self, tag: str) -> None:
        """Notice where a script ends."""
        if tag in ("script", "style"):
            self._inside = None

    def handle_data(self, data: str) -> None:
        """Keep words and scripts apart."""
        if self._inside is None:
            self.words.append(data)
        else:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data

    @property
    def text(self) -> str:
        """Return the words with single spaces between them."""
        return " ".join(" ".join(self.words).split())
