"""The decoder of a model, by its outputs or by name."""

from __future__ import annotations

from reprune_onnx.errors import ModelError, UsageError
from reprune_onnx.runtime.decoders.candidates import Decoder, Outputs, Sides
from reprune_onnx.runtime.decoders.forms import FORMS
from reprune_onnx.runtime.decoders.levels import LEVELS

DECODERS = {decoder.name: decoder for decoder in (*FORMS, *LEVELS)}


def decoder_for(outputs: Outputs, sides: Sides, name: str | None, title: str) -> Decoder:
    """Return the decoder ``name``, or the only one that these outputs may be of.

    Raises ModelError where these fit none or several, and UsageError for a name there is not.
    """
    shapes = ", ".join(f"'{output}' {list(array.shape)}" for output, array in outputs.items())
    if name is not None:
        if name not in DECODERS:
            raise UsageError(f"--decode {name} is unknown: give one of {', '.join(DECODERS)}")
        if not DECODERS[name].of(outputs, sides):
            raise ModelError(
                f"--decode {name} does not fit {title}, which gives {shapes} for an input of"
                f" {sides[0]}×{sides[1]}: leave --decode out, or give another"
            )
        return DECODERS[name]
    fitting = [decoder for decoder in DECODERS.values() if decoder.of(outputs, sides)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " or ".join(decoder.name for decoder in fitting)
        raise ModelError(f"{title} gives {shapes}, which may be {names}: say which with --decode")
    raise ModelError(
        f"{title} gives {shapes}: neither boxes (d, 4), labels (d,) and scores (d,), nor raw"
        f" outputs of a family that is known, which --decode would name ({', '.join(DECODERS)});"
        " export it with its post-processing"
    )
