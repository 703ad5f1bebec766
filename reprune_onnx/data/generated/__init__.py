"""Images, signals and volumes that a formula makes, where nobody has any at hand."""

from reprune_onnx.data.generated.families import FAMILIES, families
from reprune_onnx.data.generated.generate import Recipe, generate

__all__ = ["FAMILIES", "Recipe", "families", "generate"]
