"""Draws a captcha: `python -m lockgate.accounts.captcha_drawing png|wav`, digits on stdin, the file on stdout.

A process of its own: reading six digits aloud is half a second of plain Python, which would hold up every request of a
worker if it ran in one of its threads. The digits come by a pipe, because arguments can be read by others.
"""

from __future__ import annotations

import sys


def draw(kind: str, digits: str) -> bytes:
    """The picture or the sound of some digits; imports what it needs, so that the other costs nothing."""
    if kind == "png":
        from captcha.image import ImageCaptcha  # noqa: PLC0415 - see above

        return ImageCaptcha(width=240, height=80).generate(digits).getvalue()
    from captcha.audio import AudioCaptcha  # noqa: PLC0415 - see above

    return bytes(AudioCaptcha().generate(digits))


if __name__ == "__main__":
    sys.stdout.buffer.write(draw(sys.argv[1], sys.stdin.read()))
