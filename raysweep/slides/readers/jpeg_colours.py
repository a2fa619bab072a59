"""What a JPEG itself says of its colours."""

_SOS, _ADOBE, _JFIF, _FRAMES = 0xDA, 0xEE, 0xE0, (0xC0, 0xC1, 0xC2)


def jpeg_is_ycbcr(jpeg: bytes) -> bool | None:
    """Whether a JPEG of three components says that they are Y, Cb and Cr, not R, G and B; None where it does not say.

    By chroma of fewer pixels, which RGB never has; then, as libjpeg has it, by Adobe's mark, JFIF's or the names of
    components. Of JPEGs without any of these libjpeg guesses.
    """
    at, adobe, jfif = 2, None, False
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        mark, size = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if mark == 0xFF:  # a fill byte
            at += 1
            continue
        body = jpeg[at + 4 : at + 2 + size]
        if mark == _ADOBE and body[:5] == b"Adobe" and len(body) > 11:
            adobe = body[11] == 1
        jfif = jfif or (mark == _JFIF and body[:4] == b"JFIF")
        if mark in _FRAMES:  # the start of a frame: T.81, B.2.2; the marks come before it
            names, sampling = body[6::3][:3], body[7::3][:3]
            if len(set(sampling)) > 1:
                return True
            if adobe is None and not jfif and names == b"RGB":
                return False
            break
        if mark == _SOS:
            break
        at += 2 + size
    return adobe if adobe is not None else (True if jfif else None)
