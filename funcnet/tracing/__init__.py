"""Values that record NumPy calls, and the primitives that they record. Imports the ground floor alone."""
