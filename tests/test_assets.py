"""The check of the built site finds what a page loads from elsewhere, and links that lead nowhere."""

from pathlib import Path

from tests import assets


def test_a_page_that_loads_from_another_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text('<a href="https://elsewhere.org">x</a><img src="a.css">', encoding="utf-8")
    (tmp_path / "a.css").write_text("a { background: url(b.png) }", encoding="utf-8")
    assert assets.problems(tmp_path) == []
    (tmp_path / "bad.html").write_text('<script src="//cdn.org/m.js"></script><a href="no.html">', encoding="utf-8")
    (tmp_path / "b.css").write_text("@font-face { src: url('https://fonts.org/f.woff') }", encoding="utf-8")
    assert assets.problems(tmp_path) == [
        "bad.html loads //cdn.org/m.js",
        "bad.html: no.html is not there",
        "b.css loads https://fonts.org/f.woff",
    ]
