"""What package indexes show: the README's introduction and first program. All else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup

readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
introduction, rest = readme.split("<!-- first -->")
program = rest[rest.index("```python") : rest.index("Install it")]
setup(long_description=introduction + program, long_description_content_type="text/markdown")
