"""`python -m reprune_onnx`: the command line."""

from reprune_onnx.cli import main

if __name__ == "__main__":
    main()
