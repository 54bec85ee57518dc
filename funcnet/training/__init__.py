"""Gradients, training steps, the loop, its data and its metrics. Imports networks and optimizers."""
