#!/usr/bin/env python3
"""Draws the pictures of ARCHITECTURE.md and README.md: `python3 docs/pictures/draw.py`.

Plain SVG, one function for each picture, no libraries. Colours: one for each rank.
"""

from pathlib import Path

RANKS = ["#4472c4", "#d9822b", "#3f9b5c", "#a6479e"]
INK, SOFT, PAPER, FROZEN = "#222222", "#777777", "#ffffff", "#eef1f5"
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"


class Picture:
    def __init__(self, width, height, title):
        self.size, self.title, self.parts = (width, height), title, []

    def add(self, text):
        self.parts.append(text)

    def box(self, x, y, w, h, fill=PAPER, stroke=INK, dash="", corner=4, opacity=1.0):
        dash = f" stroke-dasharray='{dash}'" if dash else ""
        self.add(f"<rect x='{x}' y='{y}' width='{w}' height='{h}' rx='{corner}' fill='{fill}' "
                 f"fill-opacity='{opacity}' stroke='{stroke}'{dash}/>")

    def text(self, x, y, text, size=13, fill=INK, anchor="middle", weight="normal"):
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        self.add(f"<text x='{x}' y='{y}' font-size='{size}' fill='{fill}' text-anchor='{anchor}' "
                 f"font-weight='{weight}' {FONT}>{text}</text>")

    def line(self, points, stroke=INK, width=1.5, arrow=False, dash=""):
        path = " ".join(f"{x},{y}" for x, y in points)
        end = " marker-end='url(#arrow)'" if arrow else ""
        dash = f" stroke-dasharray='{dash}'" if dash else ""
        self.add(f"<polyline points='{path}' fill='none' stroke='{stroke}' "
                 f"stroke-width='{width}'{end}{dash}/>")

    def write(self, name):
        width, height = self.size
        arrow = ("<marker id='arrow' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' "
                 "markerHeight='7' orient='auto-start-reverse'>"
                 f"<path d='M0 0 L8 4 L0 8 z' fill='{INK}'/></marker>")
        lines = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
                 f"width='{width}' height='{height}' role='img'>",
                 f"<title>{self.title}</title>", f"<defs>{arrow}</defs>",
                 f"<rect width='{width}' height='{height}' fill='{PAPER}'/>",
                 *self.parts, "</svg>", ""]
        (Path(__file__).parent / name).write_text("\n".join(lines))


def flows():
    """What travels and what stays, in stage 1 and in stage 2."""
    p = Picture(920, 430, "The two flows: rows travel past class blocks, class blocks past rows")
    for stage, x0 in enumerate([10, 470]):
        heading = ["Stage 1: what is learned is the mixtures", "Stage 2: what is learned is the shared layers"]
        p.text(x0 + 215, 28, heading[stage], 15, weight="bold")
        travels = ["rows travel: a window of activations passes every rank",
                   "class blocks travel: one after the other passes every rank"]
        p.text(x0 + 215, 48, travels[stage], 12, SOFT)
        for rank, colour in enumerate(RANKS):
            x = x0 + 8 + rank * 106
            p.text(x + 48, 84, f"rank {rank}", 13, colour, weight="bold")
            p.box(x, 92, 96, 262, PAPER, colour, corner=8)
            # What rests or learns at home.
            p.text(x + 48, 112, "rows", 11, SOFT)
            for row in range(2):
                p.box(x + 12, 118 + row * 14, 72, 10, PAPER, colour)
            learns = [0.12, 0.85][stage]
            p.text(x + 48, 164, "shared layers", 11, SOFT)
            p.box(x + 12, 170, 72, 15, colour, colour, opacity=learns)
            p.text(x + 48, 284, "class blocks", 11, SOFT)
            for block in range(3):
                p.box(x + 12, 292 + block * 20, 72, 15, colour, colour, opacity=[0.85, 0.12][stage])
        y = 225
        p.box(x0 + 2, y - 16, 426, 34, FROZEN, INK, corner=6)
        for rank, colour in enumerate(RANKS):
            p.box(x0 + 20 + rank * 106, y - 8, 72, 18, colour, colour, opacity=0.5)
        p.line([(x0 + 428, y + 1), (x0 + 442, y + 1)], arrow=True)
        for rank in range(4):
            x = x0 + 8 + rank * 106 + 48
            if stage == 0:
                p.line([(x - 20, 187), (x - 20, 207)], arrow=True)
                p.line([(x + 20, 245), (x + 20, 270)], arrow=True)
            else:
                p.line([(x - 20, 272), (x - 20, 246)], arrow=True)
                p.line([(x + 20, 207), (x + 20, 189)], arrow=True)
    p.text(225, 380, "each class block learns from all rows;", 12)
    p.text(225, 397, "no gradient crosses ranks", 12)
    p.text(685, 380, "each row gathers dL/dv over all class blocks; one ordered sum of the", 12)
    p.text(685, 397, "shared layers' gradient over ranks, then the same step everywhere", 12)
    p.text(460, 420, "strong colour: learns · pale: frozen · grey band: on its way, while the one before it is worked on",
           11, SOFT)
    p.write("flows.svg")


def ownership():
    """Who holds what on four ranks, and the tree that sums follow."""
    p = Picture(900, 470, "Who holds what on 4 ranks")
    p.text(20, 32, "Two cuts, made once from the data and the model, never from the number of ranks", 15,
           anchor="start", weight="bold")
    left, width, blocks = 150, 720, 16
    step = width / blocks
    for name, y in [("row blocks", 250), ("class blocks", 330)]:
        p.text(140, y + 20, name, 13, anchor="end")
        for block in range(blocks):
            colour = RANKS[block * 4 // blocks]
            p.box(left + block * step + 1, y, step - 2, 30, colour, colour, corner=2, opacity=0.75)
    for rank, colour in enumerate(RANKS):
        x = left + rank * width / 4
        p.text(x + width / 8, 392, f"rank {rank}", 13, colour, weight="bold")
        p.box(x + 4, 402, width / 4 - 8, 26, FROZEN, colour)
        p.text(x + width / 8, 420, "shared layers, all of them", 11)
    p.text(140, 420, "a copy each", 13, anchor="end")
    p.text(140, 300, "256 by default", 10, SOFT, anchor="end")
    p.text(140, 380, "from the model", 10, SOFT, anchor="end")
    # The binary tree over row blocks.
    centres, y = [left + (block + 0.5) * step for block in range(blocks)], 250
    level = 0
    while len(centres) > 1:
        y_up = y - 38
        parents = []
        for i in range(0, len(centres), 2):
            middle = (centres[i] + centres[i + 1]) / 2
            crosses = len(centres) <= 4
            colour = INK if crosses else RANKS[int((middle - left) * 4 // width)]
            for child in (centres[i], centres[i + 1]):
                p.line([(child, y), (child, y_up + 12), (middle, y_up + 12), (middle, y_up)], colour,
                       2.2 if crosses else 1.2, dash="5 3" if crosses else "")
            parents.append(middle)
        centres, y, level = parents, y_up, level + 1
    p.text(centres[0], y - 8, "the sum over all rows", 12, weight="bold")
    p.text(20, 120, "one fixed tree:", 12, anchor="start")
    p.text(20, 138, "solid at home,", 12, anchor="start")
    p.text(20, 156, "dashed over ranks", 12, anchor="start")
    p.text(450, 456, "More ranks: shorter runs, the same blocks, the same tree, so the same bits.", 12, SOFT)
    p.write("ownership.svg")


def checkpoint():
    """What a checkpoint is made of, and how it comes to its name."""
    p = Picture(900, 400, "A checkpoint: written by all ranks, read on any number of them")
    p.text(20, 32, "checkpoints/00000012/", 16, anchor="start", weight="bold")
    files = [
        ("state.json", "job, data and their digests, standing, sessions", "#666666", "rank 0"),
        ("common.bin", "shared layers, where the step stands, the shared solver's state", "#666666", "rank 0"),
        ("metrics.jsonl", "the events so far", "#666666", "rank 0"),
        ("model-00000.bin, model-00019.bin, ...", "class blocks' weights", None, "each rank its run"),
        ("learning-00000.bin, learning-00019.bin, ...", "class blocks' solver state", None, "each rank its run"),
        ("best-00000.bin, ..., epoch-00000.bin, ...", "the best models so far, where they are others", None,
         "each rank its run"),
        ("SHA256SUMS", "every file with its digest: void where one is missing, cut or changed", "#666666", "last"),
    ]
    for index, (name, holds, colour, who) in enumerate(files):
        y = 52 + index * 40
        if colour:
            p.box(20, y, 8, 30, colour, colour, corner=2)
        else:
            for rank, shade in enumerate(RANKS):
                p.box(20 + rank * 2, y + rank * 7.5, 8, 7.5, shade, shade, corner=1)
        p.text(44, y + 13, name, 13, anchor="start", weight="bold")
        p.text(44, y + 28, holds, 11, SOFT, anchor="start")
        p.text(560, y + 19, who, 12, anchor="end")
    p.line([(580, 48), (580, 330)], SOFT, 1)
    steps = ["written as next.tmp", "every file synced", "digests gathered, SHA256SUMS", "renamed to its number",
             "folder synced", "older ones go, the one before stays"]
    for index, text in enumerate(steps):
        y = 60 + index * 46
        p.box(600, y, 280, 28, FROZEN, INK, corner=14)
        p.text(740, y + 19, f"{index + 1}. {text}", 12)
        if index:
            p.line([(740, y - 18), (740, y - 2)], arrow=True)
    p.text(450, 365, "Class blocks lie in it in their order, whoever wrote them, so any number of ranks can read it.", 12)
    p.text(450, 384, "A run goes on from the newest one that is whole, to the same bits.", 12)
    p.write("checkpoint.svg")


if __name__ == "__main__":
    flows()
    ownership()
    checkpoint()
