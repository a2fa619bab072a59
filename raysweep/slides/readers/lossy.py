"""Whether a compressed picture gives back the numbers that went into it."""

_SIZ, _COD = b"\xff\x4f\xff\x51", b"\xff\x52"  # ISO 15444-1, A.5.1 and A.6.1
_TRANSFORM = 13  # bytes from COD to its wavelet: 1 is the reversible one
_WEBP_CHUNKS = 12  # bytes before the first: RFC 9649, 2.4
_JXL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_JXR = b"II\xbc"


def lossy_kind(data: bytes) -> str | None:
    """What a picture, or a tile of one, is compressed with, if that may change its values; None: they are kept.

    JPEG XL and JPEG XR do not tell in a way that is easily read, and count as if they did not keep values.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "lossy WebP" if _holds(data, b"VP8 ") else None
    if data.startswith(_JXL):
        return "JPEG XL"
    if data.startswith(_JXR):
        return "JPEG XR"
    start = data.find(_SIZ) if data[:4] == _SIZ or data[4:8] == b"jP  " else -1
    if start >= 0:
        at = data.find(_COD, start)
        return None if at >= 0 and data[at + _TRANSFORM : at + _TRANSFORM + 1] == b"\1" else "lossy JPEG 2000"
    return None


def _holds(webp: bytes, chunk: bytes) -> bool:
    at = _WEBP_CHUNKS
    while at + 8 <= len(webp):
        if webp[at : at + 4] == chunk:
            return True
        size = int.from_bytes(webp[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return False
