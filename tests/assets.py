"""The built site: `python -P tests/assets.py build/docs` fails where a page loads something from another host.

Links that a reader follows may lead anywhere; scripts, styles, pictures and fonts must be part of the site.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
STYLE = re.compile(r"url\(\s*['\"]?((?:https?:)?//[^)'\"]+)|@import\s+['\"]((?:https?:)?//[^'\"]+)")


class Loads(HTMLParser):
    """What a page loads, and the links to other pages that it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads.append(given.get(LOADS.get(tag, "")) or "")
        if tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "canonical"):
            self.loads.append(given.get("href") or "")
        if tag == "a":
            self.links.append(given.get("href") or "")


def problems(site: Path) -> list[str]:
    """What the pages and styles of a site load from other hosts, and links and files that are not there."""
    found: list[str] = []
    for page in sorted(site.rglob("*.html")):
        parser = Loads()
        parser.feed(page.read_text(encoding="utf-8"))
        name = page.relative_to(site)
        found += [f"{name} loads {url}" for url in parser.loads if re.match(r"(https?:)?//", url)]
        inside = [
            url.split("#")[0].split("?")[0] for url in parser.loads + parser.links if not re.match(r"\w+:|//", url)
        ]
        found += [
            f"{name}: {url} is not there" for url in sorted({*inside}) if url and not (page.parent / url).exists()
        ]
    for sheet in sorted(site.rglob("*.css")):
        urls = STYLE.findall(sheet.read_text(encoding="utf-8"))
        found += [f"{sheet.relative_to(site)} loads {''.join(url)}" for url in urls]
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(sys.argv[1]))) or 0)
