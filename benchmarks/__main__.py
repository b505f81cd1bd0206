"""Run benchmarks: `python -m benchmarks [--quick] [NAME ...]`. Without names, all of them.

A benchmark is a module of this package with `run(quick: bool) -> Iterable[tuple]`: its rows, the first one the
headings; its docstring says what is measured. Each runs in a process of its own, on data it makes itself.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import subprocess
import sys

import benchmarks


def table(rows: list[tuple]) -> str:
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells
    )


def main() -> int:
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure; prints one table each.")
    parser.add_argument("names", nargs="*", choices=[*names, []], metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds: whether it runs at all")
    options = parser.parse_args()
    chosen = options.names or names
    if len(chosen) > 1:
        quick = ["--quick"] if options.quick else []
        codes = [subprocess.run([sys.executable, "-m", "benchmarks", name, *quick]).returncode for name in chosen]
        return max(codes)
    for name in chosen:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}\n")
        print(table(list(module.run(options.quick))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
