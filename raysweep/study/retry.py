"""Slides that failed are tried again by every run: what of a patch set that touches."""

from raysweep.storage import MANIFEST, Artefact, Storage, fingerprint


def to_tile(artefact: Artefact) -> bool:
    """Whether a patch set is not complete, or has slides that failed and that could be read this time.

    A slide whose file was missing is no such slide: with its file the set has another fingerprint.
    """
    if not artefact.done():
        return True
    there = {slide["name"] for slide in artefact.inputs["slides"] if "identity" in slide}
    return not there.isdisjoint(failed_slides(artefact.folder))


def failed_slides(folder: Storage) -> dict[str, str]:
    """The slides of a patch set that failed, with their reasons; none while it is not complete."""
    if not folder.exists(MANIFEST) or not folder.read_json(MANIFEST)["counts"]["failed"]:
        return {}
    table = folder.read_table("slides.parquet", columns=["slide", "status", "reason"])
    return {row["slide"]: row["reason"] for row in table.to_pylist() if row["status"] == "failed"}


def contents(folder: Storage) -> str:
    """What a complete patch set holds, for the fingerprints of what is made from it.

    That is its own fingerprint, unless slides failed: what is made without them is another thing than what is made
    once they can be read. All or none of a set are stored as the slides' own tiles, which such a slide may decide too.
    """
    manifest = folder.read_json(MANIFEST)
    failed = sorted(failed_slides(folder))
    if not failed:
        return str(manifest["fingerprint"])
    return fingerprint([manifest["fingerprint"], failed, manifest["config"]["mpp"], manifest["config"]["kernel"]])
