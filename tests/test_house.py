"""The house is as it says: arrows go one way, and no two modules import each other."""

import ast
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import raysweep

_PACKAGE = Path(raysweep.__file__).parent
_BASE = {"storage", "errors", "model", "yaml_file", "randomness", "progress", "stopping", "lease", "commands", "memory",
         "exclusive", "local_path", "retry", "output", "exit_codes", "commit", "versions", "text_table", "bounds",
         "addresses", "checked_file", "secrets", "hdf5_file", "mat_file", "json_log", "json_file", "stand_in",
         "stage_metrics", "leftovers", "surroundings"}  # fmt: skip
_MAY = {  # room -> the rooms that it may import, beside its own and the base
    "patches": set(),
    "backbones": set(),
    "tasks": {"patches"},
    "transfer": {"tasks", "backbones"},
    "slides": {"patches"},
    "pretrain": {"transfer", "patches", "backbones", "tasks"},
    "sweep": {"transfer", "tasks", "backbones"},
    "report": {"transfer", "tasks", "patches", "backbones"},
    "study": {"slides", "pretrain", "sweep", "report", "transfer", "tasks", "backbones", "patches"},
    "demo": {"study", "tasks", "patches"},
    "places": set(),
    "cli": {
        "study",
        "demo",
        "report",
        "model_commands",
        "card_commands",
        "report_commands",
        "cluster_commands",
        "new_commands",
        "upkeep_commands",
        "study_commands",
    },
    "cluster_commands": {"places", "study"},
    "model_commands": {"study"},
    "card_commands": {"study"},
    "new_commands": {"study"},
    "upkeep_commands": {"study"},
    "report_commands": {"report"},
    "study_commands": {"study"},
}


def _imports() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports anywhere, those for type checkers alone included."""
    names = {}
    for path in _PACKAGE.rglob("*.py"):
        parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found = {}
    for name, path in names.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raysweep"):
                below = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= {b if b in names else str(node.module) for b in below}
            elif isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names if alias.name.startswith("raysweep")}
        found[name] = (targets & set(names)) - {name, "raysweep"}
    return found


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_arrows_go_one_way() -> None:
    wrong = []
    for module, targets in _imports().items():
        room = _room(module)
        for target in targets:
            there = _room(target)
            if there not in _MAY.get(room, set()) | _BASE | {room} and room:
                wrong.append(f"{module} -> {target}")
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = _imports()
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, " -> ".join((*chain[chain.index(module) :], module))
        if module in done:
            return
        for target in sorted(imports[module]):
            visit(target, (*chain, module))
        done.add(module)

    for module in imports:
        visit(module, ())


def test_files_are_neither_fragments_nor_heaps() -> None:
    sizes = {p.relative_to(_PACKAGE).as_posix(): len(p.read_text().splitlines()) for p in _PACKAGE.rglob("*.py")}
    assert not {name: n for name, n in sizes.items() if n > 320}
    assert not {name: n for name, n in sizes.items() if 0 < n < 9 and not name.endswith("__init__.py")}


def test_benchmarks_import_what_there_is() -> None:
    """Nothing runs them but people, so what was renamed would be missed."""
    wrong = []
    for path in (Path(__file__).parent / "benchmarks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("raysweep", "tests"):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    below = importlib.util.find_spec(f"{node.module}.{alias.name}") if _is_room(module) else None
                    if not hasattr(module, alias.name) and below is None:
                        wrong.append(f"{path.name}: {node.module} has no {alias.name}")
    assert not wrong


def _is_room(module: ModuleType) -> bool:
    return hasattr(module, "__path__")
