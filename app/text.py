"""What people type, as the database can hold it."""


def one_line(text: str, longest: int) -> str:
    """Return a name or a title: one line, no control characters, not too long."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:longest].rstrip()


def many_lines(text: str, longest: int) -> str:
    """Return a text of several lines, without the characters that no database keeps."""
    return text.replace("\x00", "").replace("\r\n", "\n").strip()[:longest]
