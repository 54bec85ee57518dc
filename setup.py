"""What package indexes show: the README as far as its first example. All else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup

readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
setup(long_description=readme.split("\n- **Small.**")[0], long_description_content_type="text/markdown")
