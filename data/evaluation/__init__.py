"""How good boxes and image labels are: AP, CorLoc, kinds of errors, image metrics."""
