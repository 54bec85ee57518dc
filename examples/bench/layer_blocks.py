"""The networks of `--layers`."""

from bench import attention, images
from bench.layers import Block

BLOCKS: tuple[Block, ...] = (*images.BLOCKS, *attention.BLOCKS)
