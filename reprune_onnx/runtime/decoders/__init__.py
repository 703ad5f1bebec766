"""Raw outputs of detectors as boxes and scores: `forms` by what they are, `levels` head by head.

`decoder_for` chooses by the outputs' shapes, `suppression` leaves the best of many boxes.
"""
