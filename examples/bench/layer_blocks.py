"""The networks of `--layers`."""

from bench import images
from bench.layers import Block

BLOCKS: tuple[Block, ...] = (*images.BLOCKS,)
