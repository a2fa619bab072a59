"""What tools leave between the files of a set."""

# Folders of file servers, archives and viewers; what is hidden needs no entry here.
_OF_TOOLS = frozenset({
    "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "__pycache__", "thumbs",
    "lost+found", "system volume information",
})  # fmt: skip


def left_by_tools(name: str) -> bool:
    """Whether a file or folder of this name is no part of a set: hidden, or left there by a tool."""
    return name.startswith(".") or name.casefold() in _OF_TOOLS
