"""What a benchmark found: printed as lines, and written as JSON with `--json FILE`."""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """A figure beside its baseline of the same run, and what their ratio should be."""

    measure: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass
class Report:
    name: str
    lines: list[Line] = field(default_factory=list)

    def share(self, measure: str, value: float, least: float) -> None:
        """Add a share of 1, such as a recall, that has a least value itself."""
        self._add(Line(measure, value, "", None, None, f"at least {least}", value >= least))

    def ratio(
        self,
        measure: str,
        value: float,
        baseline: float,
        unit: str,
        *,
        most: float | None = None,
        least: float | None = None,
    ) -> None:
        """Add a figure and its baseline; `value / baseline` is held to a bound."""
        ratio = value / baseline
        target, met = "", None
        if most is not None:
            target, met = f"at most {most} times", ratio <= most
        if least is not None:
            target, met = f"at least {least} times", ratio >= least
        self._add(Line(measure, value, unit, baseline, ratio, target, met))

    def note(self, measure: str, value: float, unit: str) -> None:
        self._add(Line(measure, value, unit))

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        baseline = "" if line.baseline is None else f" against {line.baseline:.4g} {line.unit}"
        ratio = "" if line.ratio is None else f": {line.ratio:.2f}"
        verdict = "" if line.met is None else f" ({'met' if line.met else 'MISSED'}: {line.target})"
        print(f"{line.measure}: {line.value:.4g} {line.unit}{baseline}{ratio}{verdict}", flush=True)

    def write(self, path: Path | None) -> None:
        if path is None:
            return
        document = {
            "benchmark": self.name,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "lines": [asdict(line) for line in self.lines],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n")


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, default=None, help="write the figures there")
    return parser
