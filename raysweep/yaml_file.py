"""The one way in which YAML files of ours are read: studies, cards and search spaces.

Plain words mean what they do in YAML 1.2: `true` and `null` are values of their own, `no`, `on` and `2020-01-01` are
words, and `1e-4` is a number. Numbers remember how they were written, so that a model that wants a name can have `0` or
`010` as it stands in the file (see `raysweep.model`). Keys are always names. A key given twice is refused.
"""

import codecs
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import Any

import yaml

from raysweep.errors import RequestError

_MOST = 2**24  # characters of a file, and of what it means with its aliases written out
_NODE = 100  # characters that each value counts for, beside its own
_MERGE = "tag:yaml.org,2002:merge"


_SAID = {  # words of PyYAML's -> ours
    "found another document": "a second document begins (---), and a file holds one",
    "expected '<document start>'": "something follows after the end of the document",
    "'\\t' that cannot start": "a tab stands where only spaces may",
    "could not determine a constructor": "a tag (!) of another program, which means nothing here",
}


class WrittenInt(int):
    """A whole number, and the text it was in a file."""

    text: str


class WrittenFloat(float):
    """A number, and the text it was in a file."""

    text: str


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema in place of PyYAML's 1.1; nothing is ever constructed but plain values."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._flat: set[int] = set()  # ids of nodes, which live as long as this

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _written_out(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in place of `<<` what it brings in. Keys of the mapping itself win, then those of an earlier source.

        PyYAML 6.0.4 gets this wrong: of a source that has a `<<` of its own, it takes the value that was replaced.
        """
        if id(node) in self._flat:
            return
        self._flat.add(id(node))
        _check_keys(node)
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for source in (s for key, value in node.value if key.tag == _MERGE for s in _sources(value)):
            self.flatten_mapping(source)
            for key, value in source.value:
                if key.tag != _MERGE:  # left only in a mapping that merges itself
                    pairs.setdefault(key.value, (key, value))
        pairs |= {key.value: (key, value) for key, value in node.value if key.tag != _MERGE}
        node.value = list(pairs.values())


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How long a node is with its aliases written out, in characters: a few lines of them can mean billions."""
    if id(node) in known:
        if known[id(node)] < 0:
            raise _error("the keys hold an alias inside of what it stands for", node)
        return known[id(node)]
    known[id(node)] = -1
    inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    own = len(inner) if isinstance(inner, str) else sum(_written_out(part, known) for part in inner)
    if own > _MOST:
        raise _error(f"the keys are more than {_MOST:,} characters with their aliases written out", node)
    known[id(node)] = own + _NODE
    return own + _NODE


def _sources(value: yaml.Node) -> list[yaml.MappingNode]:
    found = value.value if isinstance(value, yaml.SequenceNode) else [value]
    sources = [source for source in found if isinstance(source, yaml.MappingNode)]
    if len(sources) < len(found):
        raise _error("the key << takes a mapping, or a list of mappings", value)
    return sources


def _check_keys(node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error("the key is a list or a mapping, where only a name can stand", key)
        name = unicodedata.normalize("NFC", key.value)
        if name in seen:
            instead = "write << once, with a list: [*a, *b]" if key.tag == _MERGE else "keep one"
            raise _error(f"the key {name} is given twice, also in line {seen[name]}; {instead}", key)
        seen[name] = key.start_mark.line + 1


def _error(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> WrittenInt:
    digits = node.value.lower()
    base = 16 if "0x" in digits else 8 if "0o" in digits else 10
    number = WrittenInt(digits, base)
    number.text = node.value
    return number


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> WrittenFloat:
    number = WrittenFloat(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
    number.text = node.value
    return number


_CORE = {  # YAML 1.2.2, section 10.3.2
    "null": (r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
for _name, (_pattern, _first) in _CORE.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.yaml_constructors = {  # of lists, texts and so on; no dates, sets or bytes, which no key of ours takes
    tag: how
    for tag, how in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in {"null", "bool", "int", "float", "str", "seq", "map"}
}
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def load_yaml(path: Path) -> Any:
    """What a file holds. Raises RequestError naming the file, and the line of what is wrong with it."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            raise RequestError(f"{path}: cannot be read (it is no file); name a YAML file")
        with open(path, "rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise RequestError(f"{path}: has more than {_MOST:,} bytes, which no file of ours needs")
        text = _text(data)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{path}: not a YAML file in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    return parse_yaml(text, str(path))


def _text(data: bytes) -> str:
    """UTF-8, or what begins with a mark of UTF-16, as some editors and shells on Windows write it."""
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def parse_yaml(text: str, where: str) -> Any:
    """What a text means; `where` is what the sentence of a RequestError begins with."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        said = next((words for part, words in _SAID.items() if part in str(error.problem)), error.problem or "")
        raise RequestError(f"{where}{line}: {said if said.startswith('the key') else f'not YAML: {said}'}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RequestError(f"{where}: not a YAML file ({' '.join(str(error).split())[:150]})") from error


def key_lines(path: Path) -> dict[str, int]:
    """Lines of the keys of a file that `load_yaml` has read, by key: where it stands, from 1. Empty for no mapping."""
    node = yaml.compose(_text(path.read_bytes()), _Loader)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value: key.start_mark.line + 1 for key, _ in pairs if key.tag != _MERGE}


def written_line(key: str, value: Any) -> str:
    """`key: value` as it may stand in a file for people: lists and mappings in brackets, over several lines if long."""
    plain = not isinstance(value, dict | list)
    text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=10_000 if plain else 110,
                          default_flow_style=not plain).rstrip()  # fmt: skip
    return text if plain else text[1:-1]
