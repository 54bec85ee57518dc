"""Gradients, training steps, the loop, its data and its metrics. Imports optimizers and all below it."""
