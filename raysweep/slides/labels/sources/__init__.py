"""Where labels come from: one module here is one source, under the name that `labels.source` has.

Each has one function `label(spec, slide, grid, places, classes, seed, dropped) -> Places`: the places with the ids of
their classes, -1 where no class claims one. It counts in `dropped`, reason -> number, the places it leaves out.
"""
