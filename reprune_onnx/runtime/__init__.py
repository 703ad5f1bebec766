"""Running models: ONNX Runtime and TensorRT engines behind one class each, evaluation."""
