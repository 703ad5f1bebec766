"""Running models: ONNX Runtime behind a small interface, input shapes, evaluation."""
