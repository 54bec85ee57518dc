"""The networks of `--layers`."""

from bench import images, recurrence
from bench.layers import Block

BLOCKS: tuple[Block, ...] = (*images.BLOCKS, *recurrence.BLOCKS)
