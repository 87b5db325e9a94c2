"""Draws a captcha: `python -m lockgate.accounts.captcha_drawing png|wav`, digits on stdin, the file on stdout.

A process of its own, one at a time in each worker. Drawn in a thread, a picture takes 8 ms and a sound 320 to 570 ms
of plain Python, and the event loop was late by 19 ms (p99) and 41 ms at worst meanwhile. The process also keeps Pillow
out of the workers' memory. The digits come by a pipe, because other accounts can read arguments.
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
