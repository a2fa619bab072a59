"""How crops are put together from tiles."""

import numpy as np


def pastes(boxes: np.ndarray, tile: tuple[int, int], columns: int, size: tuple[int, int]) -> list[list[list[int]]]:
    """For each box, in order, the parts of tiles that it shows.

    Args:
        boxes: left, top, right and bottom (the last two exclusive) of crops of an image, integer (n, 4).
        tile: (width, height) of the image's tiles.
        columns: tiles in a row.
        size: (width, height) of the image; what boxes or tiles have beyond it is shown nowhere.

    A part is [tile, whether no later part is of that tile, first and last row and first and last column in the crop,
    the same in the tile]; tiles count row by row, last rows and columns are exclusive. Parts of a box come row by row.
    """
    left, top, right, bottom = np.asarray(boxes, np.int64).reshape(-1, 4).T
    a, c = np.maximum(left, 0), np.maximum(top, 0)
    b, d = np.minimum(right, size[0]), np.minimum(bottom, size[1])
    first_column, first_row = a // tile[0], c // tile[1]
    n_columns = np.where(b > a, -(-b // tile[0]) - first_column, 0)
    n_rows = np.where(d > c, -(-d // tile[1]) - first_row, 0)
    counts = n_columns * n_rows
    ends = np.cumsum(counts)
    box = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(box)) - np.repeat(ends - counts, counts)
    row = first_row[box] + number // n_columns[box]
    column = first_column[box] + number % n_columns[box]
    tiles = row * columns + column
    last = np.zeros(len(tiles), bool)
    last[len(tiles) - 1 - np.unique(tiles[::-1], return_index=True)[1]] = True
    x0, x1 = np.maximum(a[box], column * tile[0]), np.minimum(b[box], (column + 1) * tile[0])
    y0, y1 = np.maximum(c[box], row * tile[1]), np.minimum(d[box], (row + 1) * tile[1])
    in_crop = (y0 - top[box], y1 - top[box], x0 - left[box], x1 - left[box])
    in_tile = (y0 - row * tile[1], y1 - row * tile[1], x0 - column * tile[0], x1 - column * tile[0])
    parts = np.stack([tiles, last, *in_crop, *in_tile], axis=1).tolist()
    return [parts[end - count : end] for end, count in zip(ends.tolist(), counts.tolist(), strict=True)]
