"""Networks as ONNX models. Imports arrays, errors, tree, tracing, layers and networks."""
