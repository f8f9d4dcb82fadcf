"""A drawn picture for a video that has none: its initials on a gradient of its own, as SVG.

The same video always gets the same picture. Knows nothing of catalogues and HTTP.
"""

import hashlib
import re
from html import escape

WIDTH, HEIGHT = 480, 270
_ARTICLES = {"the", "a", "an", "der", "die", "das", "le", "la", "les", "el", "il", "of", "and"}


def initials(title: str) -> str:
    """One or two letters that stand for a title; years in brackets and articles do not count."""
    words = re.findall(r"[^\W_]+", re.sub(r"\(.*?\)", " ", title))
    telling = [word for word in words if word.lower() not in _ARTICLES] or words
    return "".join(word[0] for word in telling[:2]).upper() or "?"


def placeholder(video_id: str, title: str) -> str:
    """The picture of a video as an SVG document."""
    digest = hashlib.sha256(video_id.encode()).digest()
    hue = digest[0] * 360 // 256
    other = (hue + 40 + digest[1] % 60) % 360
    motif = _MOTIFS[digest[2] % len(_MOTIFS)]
    at = 300 + digest[3] % 120
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title, quote=True)}">'
        '<defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1">'
        f'<stop offset="0" stop-color="hsl({hue},58%,40%)"/><stop offset="1" stop-color="hsl({other},62%,16%)"/>'
        '</linearGradient><linearGradient id="s" x1="0" y1="0" x2="0" y2="1">'
        '<stop offset=".45" stop-color="#000" stop-opacity="0"/><stop offset="1" stop-color="#000" stop-opacity=".5"/>'
        "</linearGradient></defs>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="url(#g)"/>'
        f'<g fill="none" stroke="hsl({other},80%,78%)" stroke-opacity=".22">{motif(at)}</g>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="url(#s)"/>'
        f'<text x="30" y="{HEIGHT - 34}" fill="#fff" fill-opacity=".94" font-size="116" font-weight="750" '
        'letter-spacing="-5" font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">'
        f"{escape(initials(title or video_id))}</text></svg>"
    )


def _rings(at: int) -> str:
    return "".join(f'<circle cx="{at}" cy="96" r="{24 + 30 * ring}" stroke-width="10"/>' for ring in range(7))


def _sun(at: int) -> str:
    lines = "".join(f'<path d="M0 {184 + 16 * line}H{WIDTH}" stroke-width="{2 + line}"/>' for line in range(6))
    return f'<circle cx="{at}" cy="110" r="66" fill="#fff" fill-opacity=".13" stroke="none"/>{lines}'


def _beams(at: int) -> str:
    return "".join(
        f'<path d="M{at + 46 * beam - 220} {HEIGHT + 20}L{at + 46 * beam} -20" stroke-width="16"/>' for beam in range(6)
    )


def _waves(at: int) -> str:
    return "".join(
        f'<path d="M-20 {60 + 34 * wave}q{at // 4} -70 {at // 2} 0t{at // 2} 0t{at // 2} 0t{at // 2} 0" '
        'stroke-width="7"/>'
        for wave in range(7)
    )


_MOTIFS = (_rings, _sun, _beams, _waves)
