"""Values that record NumPy calls, and the primitives that they record. Imports arrays, errors, random and tree."""
