"""The pixels of patches."""

import numpy as np
import pyarrow.compute as pc
import pytest
import tifffile
from PIL import ImageCms
from scipy.ndimage import gaussian_filter

from raysweep.errors import WorkError
from raysweep.patches.codec import decode
from raysweep.randomness import stable_hash
from raysweep.slides.cut import read_cut
from raysweep.slides.grid import lay_grid
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec

from .slidemaker import ramp, slide_with_tissue, tissue, write_slide

WIDTH, HEIGHT = 1024, 768


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = write_slide(tmp_path_factory.mktemp("slides") / "ramp.svs", ramp(WIDTH, HEIGHT), mpp=0.5, downsamples=(4,))
    with Slide(path) as slide:
        yield slide


def rows_of(slide, pairs, *, um, px, seed=0):
    spec = PatchSetSpec(slides="x", um=um, px=px, quality=95, tissue={"reject": []})
    grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    places = grid.places(*np.array(pairs).T)
    places = places.but(tissue=np.linspace(0, 1, len(pairs), dtype=np.float32))
    return grid, read_cut(slide, "ramp", places, grid, spec, seed).rows


@pytest.mark.parametrize(
    ("um", "px", "level"), [(32, 64, 0), (47.3, 64, 0), (66.1, 32, 1), (128, 64, 1), (31.5, 64, 0)]
)
def test_a_patch_shows_its_own_place_on_the_slide(slide, um, px, level):
    """Red and green tell the place; a patch that were off by one level-0 pixel would differ by 0.25 or 0.33."""
    pairs = [(c, r) for c in range(int(WIDTH * 0.5 / um)) for r in range(int(HEIGHT * 0.5 / um))]
    grid, rows = rows_of(slide, pairs, um=um, px=px)
    assert grid.level == level
    assert rows.num_rows == len(pairs)
    errors = []
    for row in rows.to_pylist():
        patch = decode(row["image"]).astype(float)
        assert patch.shape == (px, px, 3)
        edge = um / 0.5
        expected = [255 * (row[axis] + edge / 2 - 0.5) / (size - 1) for axis, size in (("x", WIDTH), ("y", HEIGHT))]
        errors.append(patch.mean(axis=(0, 1))[:2] - expected)
    assert np.abs(errors).max() < 0.8
    assert np.abs(np.mean(errors, axis=0)).max() < 0.25


@pytest.mark.parametrize(
    ("mpp", "downsamples"),
    [((0.2527, 0.2527), (4, 16)), ((0.499, 0.499), ()), ((0.25, 0.26), (2, 8)), ((0.2527, 0.2527), (16,)),
     ((0.39, 0.39), ())],
)  # fmt: skip
@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_the_same_specimen_looks_the_same_from_every_scanner(tmp_path, mpp, downsamples, reader):
    """Red tells x and green tells y, in um; pyramids may leave out levels, pixels may be no squares."""
    size_um = 240, 180
    size = [round(um / m) for um, m in zip(size_um, mpp, strict=True)]
    x, y = ((np.arange(n) + 0.5) * m for n, m in zip(size, mpp, strict=True))
    specimen = np.full((size[1], size[0], 3), 60.0)
    specimen[..., 0], specimen[..., 1] = x[None], y[:, None]
    path = write_jpeg(tmp_path / "a.tif", specimen.round().astype(np.uint8), mpp, downsamples)
    um, px = 47.3, 64
    spec = PatchSetSpec(slides="x", um=um, px=px, quality=95, tissue="all", reader=reader)
    with Slide(path, reader=reader) as slide:
        assert slide.reader.name == ("jpeg-tiff" if reader == "auto" else "openslide")
        assert slide.mpp_xy == pytest.approx(mpp, rel=1e-6)
        grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
        rows = read_cut(slide, "a", grid.all(), grid, spec, 0).rows.to_pylist()
    assert len(rows) == int(size_um[0] / um) * int(size_um[1] / um)
    pixel = (np.arange(px) + 0.5) * um / px
    off = []
    for row in rows:
        patch = decode(row["image"]).astype(float)  # um
        column, line = (round(row[axis] * m / um) for axis, m in zip("xy", mpp, strict=True))
        inside = slice(4, -4)
        off.append((patch[inside, inside, 0].mean(axis=0) - (column * um + pixel)[inside]).mean())
        off.append((patch[inside, inside, 1].mean(axis=1) - (line * um + pixel)[inside]).mean())
    assert np.abs(off).max() < 0.75 * max(mpp) * max(1, *grid.downsample) + 0.3  # half a pixel, and JPEG
    assert abs(np.mean(off)) < 0.2


def write_jpeg(path, pixels, mpp, downsamples):
    """A generic pyramid of JPEG tiles that tells its resolution in TIFF's own tags."""
    how = {"tile": (64, 64), "compression": "jpeg", "compressionargs": {"level": 97}, "photometric": "rgb",
           "resolution": (1e4 / mpp[0], 1e4 / mpp[1]), "resolutionunit": 3, "metadata": None}  # fmt: skip
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels, **how)
        for down in downsamples:
            tiff.write(np.ascontiguousarray(pixels[down // 2 :: down, down // 2 :: down]), subfiletype=1, **how)
    return path


def test_origins_keys_and_order(slide):
    _, rows = rows_of(slide, [(0, 0), (3, 2), (7, 1), (2, 9)], um=20.1, px=32, seed=5)
    found = {(x, y) for x, y in zip(rows["x"].to_pylist(), rows["y"].to_pylist(), strict=True)}
    assert found == {(0, 0), (121, 80), (281, 40), (80, 362)}  # 40.2 px apart, each rounded once
    for row in rows.to_pylist():
        assert row["key"] == stable_hash("ramp", row["x"], row["y"], 5)
    assert pc.sort_indices(rows["key"]).to_pylist() == [0, 1, 2, 3]
    assert set(rows["mpp"].to_pylist()) == {None}  # it is that of the patch set
    tissue = {(r["x"], r["y"]): r["tissue"] for r in rows.to_pylist()}
    assert tissue[(0, 0)] == 0
    assert tissue[(80, 362)] == 1


@pytest.mark.parametrize(("um", "px"), [(47.3, 64), (66.1, 32)])
def test_rows_hold_the_rectangle_that_was_read(slide, um, px):
    grid, rows = rows_of(slide, [(c, r) for c in range(7) for r in range(5)], um=um, px=px)
    read = {tuple(corner): box for corner, box in zip(grid.all().corner.tolist(), grid.all().box.tolist(), strict=True)}
    for row in rows.to_pylist():
        assert [row["left"], row["top"], row["right"], row["bottom"]] == read[row["x"], row["y"]]


BOXED = {"source": "points", "classes": {"cell": ["cell"]}, "box": True}


def test_patches_with_an_edge_of_their_own_have_their_own_scale_and_key(slide):
    spec = PatchSetSpec(slides="x", um=16, px=32, labels=BOXED, tissue={"reject": []})
    grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    edges = np.array([40.0, 90.0, 41.0])
    places, _ = grid.at(np.full(3, 100.0), np.full(3, 200.0), edges, edges)
    rows = read_cut(slide, "a", places, grid, spec, 7).rows.to_pylist()
    assert {(row["x"], row["y"]) for row in rows} == {(100, 200)}
    assert {row["key"]: row["mpp"] for row in rows} == {
        stable_hash("a", 100, 200, int(edge), 7): edge * 0.5 / 32 for edge in edges
    }


def judged(slide, spec, edge: int, n: int = 200) -> dict[str, int]:
    """What is rejected of squares of `edge` pixels in the middle of a slide."""
    grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0.2 * size, 0.8 * size, n).astype(float) for size in slide.size)
    places, _ = grid.at(x, y, np.full(n, edge), np.full(n, edge))
    return read_cut(slide, "a", places, grid, spec, 0).rejected


@pytest.mark.parametrize(
    ("keys", "edge"),
    [({"um": 112, "labels": BOXED}, 32), ({"um": 112, "labels": BOXED}, 64), ({"um": 16}, 32), ({"um": 32}, 64)],
)
def test_enlarged_patches_are_judged_by_their_own_scale(test_data, tmp_path, keys, edge):
    spec = PatchSetSpec(slides="x", px=224, max_upsample=8, tissue={"reject": ["blurred"]}, **keys)
    with Slide(test_data / "wsi" / "CMU-1-Small-Region.svs") as slide:
        assert judged(slide, spec, edge) == {}
        blurred = gaussian_filter(slide.read(0, 400, 900, 1400, 1400), (4, 4, 0))  # 2 um
    with Slide(write_slide(tmp_path / "a.svs", blurred, mpp=0.499, downsamples=())) as slide:
        found = judged(slide, spec, edge).get("blurred", 0)
    assert found > 150 if edge > 32 else found == 0  # 32 pixels are too few to judge


def test_a_patch_is_the_same_whatever_is_read_with_it(slide):
    _, dense = rows_of(slide, [(c, r) for c in range(4) for r in range(4)], um=32, px=64)
    _, sparse = rows_of(slide, [(3, 3), (0, 0)], um=32, px=64)
    images = {(r["x"], r["y"]): r["image"] for r in dense.to_pylist()}
    for row in sparse.to_pylist():
        assert images[row["x"], row["y"]] == row["image"]


def test_flawed_patches_are_counted_and_left_out(tmp_path):
    pixels = slide_with_tissue(256, 128, (0, 0, 128, 128))
    pixels[:64, :64] = 20
    with Slide(write_slide(tmp_path / "a.svs", pixels, downsamples=())) as slide:
        spec = PatchSetSpec(slides="x", um=32, px=64)
        grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
        cut = read_cut(slide, "a", grid.all(), grid, spec, 0)
    assert cut.rejected == {"blank": 4, "dark": 1}
    assert sorted(zip(cut.rows["x"].to_pylist(), cut.rows["y"].to_pylist(), strict=True)) == [
        (0, 64), (64, 0), (64, 64)]  # fmt: skip


def test_more_patches_than_a_piece_can_hold_are_refused(slide, monkeypatch):
    monkeypatch.setattr("raysweep.slides.cut._MOST_BYTES", 2000)
    assert rows_of(slide, [(0, 0)], um=32, px=64)[1].num_rows == 1
    with pytest.raises(WorkError, match=r"give compute\.cut_mpx a smaller value"):
        rows_of(slide, [(0, 0), (1, 0), (2, 0), (3, 0)], um=32, px=64)


def test_masks_lie_on_their_patches(slide):
    spec = PatchSetSpec(slides="x", um=33, px=32, tissue={"reject": []})
    grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    seen = []
    places = grid.all().pick(np.arange(5)).but(label=np.arange(5, dtype=np.int32) - 1)
    rows = read_cut(
        slide, "a", places, grid, spec, 0, mask=lambda rect: seen.append(rect.tolist()) or b"%d" % rect[0]
    ).rows.to_pylist()
    assert seen == (places.box * np.array(2 * grid.downsample)).tolist()
    assert {(row["x"], row["mask"], row["label"]) for row in rows} == {
        (x, b"%d" % box[0], label if label >= 0 else None)
        for (x, _), box, label in zip(places.corner, places.rects(grid.downsample), range(-1, 4), strict=True)
    }


def test_a_colour_profile_is_applied_on_request_only(tmp_path):
    """The slide's profile says that its red is blue."""
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = swapped.replace(b"rXYZ", b"....", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"....", b"bXYZ", 1)
    pixels = tissue(128, 128)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="jpeg", iccprofile=swapped)
    for reader in ("auto", "openslide"):
        found = {}
        for icc in ("keep", "srgb"):
            spec = PatchSetSpec(slides="x", um=64, px=128, icc=icc, reader=reader, tissue={"reject": []})
            with Slide(path, mpp=0.5, reader=reader) as slide:
                assert slide.reader.icc == swapped
                grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
                rows = read_cut(slide, "a", grid.all(), grid, spec, 0).rows
            found[icc] = decode(rows["image"][0].as_py()).astype(float)
        assert abs(found["keep"] - pixels).mean() < 8
        assert abs(found["srgb"] - pixels[..., ::-1]).mean() < 8
        assert abs(found["srgb"] - pixels).mean() > 20


@pytest.mark.parametrize("kind", ["jpeg", "deflate", "picture"])
def test_a_broken_colour_profile_matters_only_where_it_is_applied(tmp_path, kind):
    pixels, path = tissue(128, 128), tmp_path / "a.tif"
    how = {"tile": (64, 64), "compression": kind} if kind != "picture" else {}
    tifffile.imwrite(path, pixels, photometric="rgb", iccprofile=b"this is no profile" * 20, **how)
    with Slide(path, mpp=0.5) as slide:
        assert slide.reader.name == {"jpeg": "jpeg-tiff", "deflate": "openslide", "picture": "picture"}[kind]
        for icc in ("keep", "srgb"):
            spec = PatchSetSpec(slides="x", um=64, px=128, icc=icc, tissue={"reject": []})
            grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
            if icc == "keep":
                rows = read_cut(slide, "a", grid.all(), grid, spec, 0).rows
                assert abs(decode(rows["image"][0].as_py()).astype(float) - pixels).mean() < 8
            else:
                with pytest.raises(WorkError, match=r"^the slide's colour profile is broken or not one for RGB; write"):
                    read_cut(slide, "a", grid.all(), grid, spec, 0)


@pytest.mark.parametrize("reader", ["auto", "openslide"])
@pytest.mark.parametrize(("size", "down"), [((4800, 1007), 4), ((4800, 1007), 16)])
def test_a_patch_at_the_far_end_of_a_long_slide_shows_its_own_place(tmp_path, size, down, reader):
    """The level leaves out the last rows, so its size is another fraction of level 0 along y than along x."""
    width, _ = size
    stripes = tissue(*size)
    lines = range(96, width, 192)  # a dark line in every patch
    for x in lines:
        stripes[:, x - 8 : x + 8] = 0
    path = write_slide(tmp_path / "long.svs", stripes, mpp=0.25, downsamples=(down,), compression="jpeg")
    spec = PatchSetSpec(slides="x", um=48, px=192 // down, quality=95, tissue={"reject": []})
    with Slide(path, reader=reader) as slide:
        assert slide.downsamples[1] == (down, down)
        grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
        assert grid.level == 1
        places = grid.all()
        assert places.rects(grid.downsample)[:, 0].tolist() == places.corner[:, 0].tolist()
        rows = read_cut(slide, "long", places, grid, spec, 0).rows.to_pylist()
    for row in rows:
        darkness = 255 - decode(row["image"]).astype(float).mean(axis=(0, 2))
        darkness = np.where(darkness > 150, darkness, 0)
        seen = row["x"] + down * (np.average(np.arange(len(darkness)), weights=darkness) + 0.5)
        assert abs(seen - (row["x"] // 192 * 192 + 96)) < 0.4 * down
    assert max(row["x"] for row in rows) > width - 2 * 192
