"""Text and symbols: chess lines, DNA, crystals, tunes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from demo.numbers import ints, one, pick

# Name, ECO code, moves, and the position after them (FEN, pieces only).
LINES = [
    ("Open Game", "C20", "e4 e5", "rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR"),
    ("Sicilian Defence", "B20", "e4 c5", "rnbqkbnr/pp1ppppp/8/2p5/4P3/8/PPPP1PPP/RNBQKBNR"),
    ("French Defence", "C00", "e4 e6", "rnbqkbnr/pppp1ppp/4p3/8/4P3/8/PPPP1PPP/RNBQKBNR"),
    ("Caro-Kann Defence", "B10", "e4 c6", "rnbqkbnr/pp1ppppp/2p5/8/4P3/8/PPPP1PPP/RNBQKBNR"),
    ("Scandinavian Defence", "B01", "e4 d5", "rnbqkbnr/ppp1pppp/8/3p4/4P3/8/PPPP1PPP/RNBQKBNR"),
    ("Alekhine Defence", "B02", "e4 Nf6", "rnbqkb1r/pppppppp/5n2/8/4P3/8/PPPP1PPP/RNBQKBNR"),
    ("Pirc Defence", "B07", "e4 d6", "rnbqkbnr/ppp1pppp/3p4/8/4P3/8/PPPP1PPP/RNBQKBNR"),
    ("King's Gambit", "C30", "e4 e5 f4", "rnbqkbnr/pppp1ppp/8/4p3/4PP2/8/PPPP2PP/RNBQKBNR"),
    ("Vienna Game", "C25", "e4 e5 Nc3", "rnbqkbnr/pppp1ppp/8/4p3/4P3/2N5/PPPP1PPP/R1BQKBNR"),
    (
        "Ruy Lopez",
        "C60",
        "e4 e5 Nf3 Nc6 Bb5",
        "r1bqkbnr/pppp1ppp/2n5/1B2p3/4P3/5N2/PPPP1PPP/RNBQK2R",
    ),
    (
        "Italian Game",
        "C50",
        "e4 e5 Nf3 Nc6 Bc4",
        "r1bqkbnr/pppp1ppp/2n5/4p3/2B1P3/5N2/PPPP1PPP/RNBQK2R",
    ),
    (
        "Scotch Game",
        "C44",
        "e4 e5 Nf3 Nc6 d4",
        "r1bqkbnr/pppp1ppp/2n5/4p3/3PP3/5N2/PPP2PPP/RNBQKB1R",
    ),
    (
        "Petrov Defence",
        "C42",
        "e4 e5 Nf3 Nf6",
        "rnbqkb1r/pppp1ppp/5n2/4p3/4P3/5N2/PPPP1PPP/RNBQKB1R",
    ),
    ("Queen's Gambit", "D06", "d4 d5 c4", "rnbqkbnr/ppp1pppp/8/3p4/2PP4/8/PP2PPPP/RNBQKBNR"),
    ("Slav Defence", "D10", "d4 d5 c4 c6", "rnbqkbnr/pp2pppp/2p5/3p4/2PP4/8/PP2PPPP/RNBQKBNR"),
    (
        "Queen's Gambit Declined",
        "D30",
        "d4 d5 c4 e6",
        "rnbqkbnr/ppp2ppp/4p3/3p4/2PP4/8/PP2PPPP/RNBQKBNR",
    ),
    (
        "Queen's Gambit Accepted",
        "D20",
        "d4 d5 c4 dxc4",
        "rnbqkbnr/ppp1pppp/8/8/2pP4/8/PP2PPPP/RNBQKBNR",
    ),
    ("Dutch Defence", "A80", "d4 f5", "rnbqkbnr/ppppp1pp/8/5p2/3P4/8/PPP1PPPP/RNBQKBNR"),
    ("Indian Game", "A45", "d4 Nf6", "rnbqkb1r/pppppppp/5n2/8/3P4/8/PPP1PPPP/RNBQKBNR"),
    ("Benoni Defence", "A56", "d4 Nf6 c4 c5", "rnbqkb1r/pp1ppppp/5n2/2p5/2PP4/8/PP2PPPP/RNBQKBNR"),
    ("English Opening", "A10", "c4", "rnbqkbnr/pppppppp/8/8/2P5/8/PP1PPPPP/RNBQKBNR"),
    ("Reti Opening", "A04", "Nf3", "rnbqkbnr/pppppppp/8/8/8/5N2/PPPPPPPP/RNBQKB1R"),
    ("Bird's Opening", "A02", "f4", "rnbqkbnr/pppppppp/8/8/5P2/8/PPPPP1PP/RNBQKBNR"),
    ("Grob's Attack", "A00", "g4", "rnbqkbnr/pppppppp/8/8/6P1/8/PPPPPP1P/RNBQKBNR"),
]
PIECES = ".PNBRQK"  # 1 to 6 for White, negative for Black


def chess() -> Iterator[dict[str, Any]]:
    for number, (name, eco, moves, position) in enumerate(LINES):
        rows = [[code for mark in row for code in _squares(mark)] for row in position.split("/")]
        yield {
            "name": name,
            "eco": eco,
            "moves": moves.split(),
            "board": np.array(rows, dtype="|i1"),
            "white_score": one(13_000 + number, 30, 39) / 64,
        }


def _squares(mark: str) -> list[int]:
    if mark.isdigit():
        return [0] * int(mark)
    code = PIECES.index(mark.upper())
    return [code if mark.isupper() else -code]


def promoters() -> Iterator[dict[str, Any]]:
    """Random bases rich in A and T, with a TATA box where a promoter has one."""
    genes = ["GAL1", "ADH1", "TDH3", "CUP1", "PHO5", None]
    box = [3, 0, 3, 0, 0, 0]
    for number in range(200):
        seed = 15_000 + number * 4
        length = one(seed, 96, 192)
        draw = ints(seed + 1, length, 0, 10)
        bases = np.where(draw < 3, 0, np.where(draw < 5, 1, np.where(draw < 7, 2, 3)))
        if number % 3:
            bases[40:46] = box
        if number % 17 == 16:
            bases[length // 2] = 4
        strong = int(((bases == 1) | (bases == 2)).sum())
        yield {
            "bases": bases.astype("|u1"),
            "quality": ints(seed + 2, length, 18, 41).astype("|u1"),
            "text": "".join("ACGTN"[base] for base in bases.tolist()),
            "gc": (strong * 1024 // length) / 1024,
            "organism": "Saccharomyces cerevisiae",
            "gene": pick(seed + 3, genes),
        }


def perovskites() -> Iterator[dict[str, Any]]:
    """Every A, B, X of a grid in its cubic cell; sizes in picometres decide what is stable."""
    large = {"Cs": 188, "Rb": 172, "K": 164, "Ba": 161, "Sr": 144, "Ca": 134}
    small = {"Pb": 119, "Sn": 110, "Ge": 73, "Ti": 61, "Zr": 72}
    anions = {"I": 220, "Br": 196, "Cl": 181, "O": 140}
    cell = np.array([[4, 4, 4], [2, 2, 2], [2, 2, 4], [2, 4, 2], [4, 2, 2]], dtype="<f4")
    for a, a_radius in large.items():
        for b, b_radius in small.items():
            for x, x_radius in anions.items():
                edge = 2 * (b_radius + x_radius)
                # Goldschmidt's factor in 1/1000, with 1414/1000 for the root of two.
                factor = (a_radius + x_radius) * 1_000_000 // (1414 * (b_radius + x_radius))
                yield {
                    "formula": f"{a}{b}{x}3",
                    "lattice": np.diag(np.full(3, edge, dtype="<f8")) / 128,
                    "positions": cell / np.float32(4),
                    "species": [a, b, x, x, x],
                    "band_gap_ev": (factor * 3 + x_radius) % 300 / 64,
                    "stable": 810 <= factor <= 1000,
                }


SCALES = {"Dorian": "DEFGABcd", "Mixolydian": "DE^FGABcd", "major": "GABcde^fg"}
SEMITONES = dict(
    zip("CDEFGABcdefgab", (0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17, 19, 21, 23), strict=True)
)
FIRST = ["The Postman's", "Maggie in the", "The Drunken", "Under the", "The Ferryman's", "Old"]
SECOND = ["Bicycle", "Kitchen", "Beekeeper", "Plum Tree", "Farewell", "Umbrella", "Compiler"]


def tunes() -> Iterator[dict[str, Any]]:
    for number in range(40):
        seed = 17_000 + number * 8
        mode = pick(seed, list(SCALES))
        jig = number % 2 == 1
        notes = _notes(SCALES[mode])
        at = 4
        line: list[str] = []
        for step in ints(seed + 1, 48 if jig else 64, -2, 3).tolist():
            at = min(max(at + step, 0), len(notes) - 1)
            line.append(notes[at])
        line[-1] = notes[0]
        bar = 6 if jig else 8
        bars = ["".join(line[i : i + bar]) for i in range(0, len(line), bar)]
        meter = "6/8" if jig else "4/4"
        title = f"{pick(seed + 2, FIRST)} {pick(seed + 3, SECOND)}"
        header = f"X:{number + 1}\nT:{title}\nM:{meter}\nL:1/8\nK:{mode}\n"
        yield {
            "title": title,
            "abc": header + "|".join(bars) + "|]",
            "meter": meter,
            "mode": mode,
            "pitches": np.array([_semitone(note) for note in line], dtype="|i1"),
            "played_by": None if number % 5 else "anonymous, at three in the morning",
        }


def _notes(scale: str) -> list[str]:
    """The scale's notes; `^` sharpens the one that follows."""
    found: list[str] = []
    for mark in scale:
        if found and found[-1] == "^":
            found[-1] += mark
        else:
            found.append(mark)
    return found


def _semitone(note: str) -> int:
    return SEMITONES[note[-1]] + note.startswith("^")
