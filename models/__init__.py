"""Recipes that make the networks used in the documentation and the tests as ONNX files."""
