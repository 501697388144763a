"""The drawings of the pages: `python docs/_site/drawings.py` writes them, and a test compares them.

Each is a small SVG for light and dark: on a Git host it follows the reader's system, in the site the page's theme. It
has its own background, so that it can be read on any other. All are narrow, so that a phone shows them large enough.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parents[1] / "drawings"

WIDTH = 520  # with text of 15 a phone's 330 pixels show it at 9.5
LEFT = 100  # where the time begins, right of the lanes' names

STYLE = """
  svg { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --pale: #667079; --line: #b6bec6;
        --open: #e4f2ec; --sent: #0b6e4f; --on-sent: #ffffff; --wait: #eef1f4; --bad: #b3261e; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #16191d; --ink: #e6e9ec; --pale: #9aa5af; --line: #4a525b;
          --open: #17352b; --sent: #4fc39a; --on-sent: #0c1512; --wait: #252a30; --bad: #ff8a80; }
  }
  text { font: 15px system-ui, sans-serif; fill: var(--ink); }
  .small { font-size: 13px; }
  .pale { fill: var(--pale); }
  .on-sent { fill: var(--on-sent); }
  .bad { fill: var(--bad); }
  .middle { text-anchor: middle; }
  .end { text-anchor: end; }
  .open { fill: var(--open); stroke: var(--sent); }
  .sent { fill: var(--sent); }
  .wait { fill: var(--wait); stroke: var(--line); stroke-dasharray: 4 3; }
  .failed { fill: none; stroke: var(--bad); }
  .line { stroke: var(--line); fill: none; }
  .strong { stroke: var(--ink); fill: none; }
  .dot { fill: var(--ink); }
""".strip("\n")


class Drawing:
    """A picture that is put together from top to bottom.

    Args:
        name: the file's, without its ending.
        height: in pixels.
        title: what a screen reader reads if a page has no words for the picture.
        width: likewise.
    """

    def __init__(self, name: str, height: int, title: str, width: int = WIDTH) -> None:
        self.name = name
        self._height = height
        self._width = width
        self._title = title
        self._parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Write words on a line."""
        self._parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, kind: str, words: str = "", height: float = 30) -> None:
        """Draw a box with words in its middle."""
        self._parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" class="{kind}"/>')
        ink = {"sent": "on-sent", "failed": "bad"}.get(kind, "")
        if words:
            self.text(x + width / 2, y + height / 2 + 5, words, f"small middle {ink}".strip())

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "line") -> None:
        """Draw a line."""
        self._parts.append(f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" class="{kind}"/>')

    def arrow(self, x1: float, x2: float, y: float, words: str = "", *, lost: bool = False) -> None:
        """Draw a message from one side to the other; a lost one ends half way, with a cross."""
        end = x1 + (x2 - x1) * (0.55 if lost else 1)
        step = 7 if x2 > x1 else -7
        self.line(x1, y, end, y, "strong")
        if lost:
            self.text(end + step / 2, y + 6, "✕", "bad middle")
        else:
            self._parts.append(
                f'<path d="M{end - step:g} {y - 4:g}L{end:g} {y:g}L{end - step:g} {y + 4:g}" class="strong"/>'
            )
        self.text((x1 + x2) / 2, y - 7, words, "small middle")

    def dot(self, x: float, y: float, kind: str = "dot") -> None:
        """Draw a dot."""
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="4" class="{kind}"/>')

    def svg(self) -> str:
        """The whole file."""
        parts = "\n".join(self._parts)
        paper = f'rx="{min(8, self._height // 6)}" style="fill: var(--paper)"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self._width}" height="{self._height}" '
            f'viewBox="0 0 {self._width} {self._height}" role="img">\n<title>{escape(self._title)}</title>\n'
            f"<style>\n{STYLE}\n</style>\n"
            f'<rect width="{self._width}" height="{self._height}" {paper}/>\n{parts}\n</svg>\n'
        )


def merging() -> Drawing:
    """Three calls become two requests."""
    drawing = Drawing("merging", 244, "Three calls of one player become two requests")
    first, second, again, due, width = LEFT + 10, LEFT + 70, LEFT + 130, LEFT + 330, 60
    drawing.text(12, 33, "track()")
    for x, y, name, kind, batch in (
        (first, 52, "place_order", "small pale", 88),
        (second, 70, "review", "small middle pale", 88),
        (again, 52, "place_order", "small middle pale", 138),
    ):
        drawing.dot(x, 28)
        drawing.text(x, y, name, kind)
        drawing.line(x, y + 6, x, batch)
    drawing.text(12, 109, "batch 1")
    drawing.box(first, 88, again - first, "open", "open, merges")
    drawing.box(again, 88, width, "sent", "sent")
    drawing.text(12, 159, "batch 2")
    drawing.box(again, 138, due - again, "open", "open, lingers")
    drawing.box(due, 138, width, "sent", "sent")
    drawing.line(LEFT, 190, LEFT + 408, 190, "strong")
    for x, time, words in ((first, "0 s", ""), (again, "0.3 s", "the name repeats"), (due, "0.8 s", "linger is over")):
        drawing.line(x, 186, x, 194, "strong")
        drawing.text(x, 212, time, "small middle pale")
        drawing.text(x, 230, words, "small middle pale")
    return drawing


def order() -> Drawing:
    """A failing request holds back its own player alone."""
    drawing = Drawing("order", 208, "A request that fails holds back its own player, and nobody else")
    drawing.text(12, 40, "player123")
    drawing.box(LEFT, 20, 60, "failed", "503")
    drawing.box(LEFT + 60, 20, 70, "wait", "backoff")
    drawing.box(LEFT + 130, 20, 60, "failed", "503")
    drawing.box(LEFT + 190, 20, 100, "wait", "backoff")
    drawing.box(LEFT + 290, 20, 60, "sent", "200")
    drawing.box(LEFT + 60, 62, 290, "open", "later events wait behind it, and merge")
    drawing.box(LEFT + 350, 62, 60, "sent", "200")
    drawing.line(LEFT + 350, 50, LEFT + 350, 62)
    drawing.text(12, 132, "player456")
    for x in (40, 170, 310):
        drawing.box(LEFT + x, 112, 50, "sent", "200")
    drawing.line(LEFT, 164, LEFT + 408, 164, "strong")
    drawing.text(LEFT + 408, 184, "time", "small end pale")
    drawing.text(LEFT, 184, "a retry repeats the same bytes", "small pale")
    return drawing


def windows() -> Drawing:
    """Why a slot is free a second after the answer, and not after the start."""
    drawing = Drawing(
        "windows", 232, "A slot of the window is taken from the request's start until a second after its answer"
    )
    second = 200
    for row, (start, took, counted) in enumerate(((0, 90, 70), (20, 40, 30), (40, 60, 20))):
        y = 20 + row * 38
        drawing.text(12, y + 20, f"request {row + 1}")
        drawing.box(LEFT + start, y, took, "sent")
        drawing.box(LEFT + start + took, y, second, "wait", "1 s")
        drawing.dot(LEFT + start + counted, y + 15, "on-sent")
    drawing.text(12, 154, "request 4")
    free = LEFT + 20 + 40 + second
    drawing.box(free, 134, 70, "sent", "sent")
    drawing.line(free, 96, free, 134)
    drawing.text(free - 8, 154, "waits for a slot", "small end pale")
    drawing.line(LEFT, 182, LEFT + 400, 182, "strong")
    drawing.text(LEFT, 202, "Three slots. Solid: on its way. Dashed: answered, and the", "small pale")
    drawing.text(LEFT, 220, "slot still taken. Dot: when the server may have counted.", "small pale")
    return drawing


def lost_answer() -> Drawing:
    """What is done when an answer got lost."""
    drawing = Drawing("lost-answer", 300, "An answer is lost, and the request is sent again, or not")
    for left, mode, words in ((0, "resend", "counted twice"), (WIDTH / 2, "report", "outcome unknown")):
        client, server = left + 40, left + 222
        drawing.text(left + 130, 26, f'ambiguous="{mode}"', "middle")
        drawing.text(client, 54, "client", "small middle pale")
        drawing.text(server, 54, "Gameball", "small middle pale")
        drawing.line(client, 62, client, 260)
        drawing.line(server, 62, server, 260)
        drawing.arrow(client, server, 92, "review")
        drawing.dot(server, 106)
        drawing.text(server - 10, 122, "counted", "small end pale")
        drawing.arrow(server, client, 142, "200", lost=True)
        if mode == "resend":
            drawing.arrow(client, server, 186, "review, the same bytes")
            drawing.dot(server, 200)
            drawing.text(server - 10, 214, "counted again", "small end pale")
            drawing.arrow(server, client, 246, "200")
        drawing.text(left + 130, 286, words, "middle bad" if mode == "resend" else "middle")
    drawing.line(WIDTH / 2, 14, WIDTH / 2, 286)
    return drawing


def before_after() -> Drawing:
    """Fifty calls are fifty requests, or three."""
    drawing = Drawing(
        "before-after", 262, "Fifty calls for three players are fifty requests, or three with this client"
    )
    players, requests = (17, 17, 16), 200
    for top, title, words in (
        (0, "One request for each call", "each takes a slot of the rate limit"),
        (131, "With gameball_async", "merged, in order, inside the limits"),
    ):
        drawing.text(12, top + 28, title)
        drawing.text(12, top + 48, words, "small pale")
        for row, calls in enumerate(players):
            y = top + 62 + row * 15
            for number in range(calls):
                drawing.dot(16 + number * 10, y)
                if not top:
                    drawing.box(requests + number * 18, y - 4, 13, "failed", height=8)
            if top:
                drawing.box(requests, y - 6, 301, "sent", height=12)
        drawing.text(12, top + 116, f"{sum(players)} calls, {len(players)} players", "small pale")
        drawing.text(requests, top + 116, f"{len(players) if top else sum(players)} requests", "small pale")
    drawing.line(12, 131, WIDTH - 12, 131)
    return drawing


def badge(name: str, subject: str, value: str) -> Drawing:
    """What a project says of itself on its front page."""
    left, right = (round(7.3 * len(words)) + 14 for words in (subject, value))
    drawing = Drawing(f"badge-{name}", 22, f"{subject}: {value}", left + right)
    drawing.text(7, 15.5, subject, "small pale")
    drawing.box(left, 0, right, "sent", value, height=22)
    return drawing


BADGES = (
    badge("python", "python", "3.11+"),
    badge("types", "types", "strict mypy and pyright"),
    badge("licence", "licence", "MIT"),
)

DRAWINGS = (*BADGES, before_after(), merging(), order(), windows(), lost_answer())

if __name__ == "__main__":
    for drawing in DRAWINGS:
        (FOLDER / f"{drawing.name}.svg").write_text(drawing.svg(), encoding="utf-8")
