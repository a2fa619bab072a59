import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysweep.slides.readers.pastes import pastes


@st.composite
def _images(draw: st.DrawFn):
    size = draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    tile = draw(st.tuples(st.integers(1, 25), st.integers(1, 25)))
    corner, edge = st.integers(-30, 90), st.integers(1, 50)
    boxes = draw(st.lists(st.tuples(corner, corner, edge, edge), min_size=1, max_size=8))
    return size, tile, np.array([(x, y, x + w, y + h) for x, y, w, h in boxes])


@given(_images())
def test_crops_show_the_image_and_nothing_else(case) -> None:
    (width, height), (tile_width, tile_height), boxes = case
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    padded = np.full((rows * tile_height, columns * tile_width), -1)  # of tiles that are larger than the image
    padded[:height, :width] = np.arange(width * height).reshape(height, width)
    tiles = padded.reshape(rows, tile_height, columns, tile_width).swapaxes(1, 2).reshape(-1, tile_height, tile_width)
    outside = -2
    around = np.pad(padded[:height, :width], 200, constant_values=outside)
    seen: list[int] = []
    gone: set[int] = set()
    found = pastes(boxes, (tile_width, tile_height), columns, (width, height))
    for (x0, y0, x1, y1), parts in zip(boxes.tolist(), found, strict=True):
        crop = np.full((y1 - y0, x1 - x0), outside)
        for tile, last, top, bottom, left, right, tile_top, tile_bottom, tile_left, tile_right in parts:
            assert tile not in gone
            crop[top:bottom, left:right] = tiles[tile, tile_top:tile_bottom, tile_left:tile_right]
            seen.append(tile)
            gone |= {tile} if last else set()
        assert np.array_equal(crop, around[y0 + 200 : y1 + 200, x0 + 200 : x1 + 200])
    assert gone == set(seen), "every tile is let go"
