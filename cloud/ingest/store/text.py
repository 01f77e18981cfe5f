"""Text as PostgreSQL can hold it."""


def clean(text: str) -> str:
    """Return `text` without NUL and half surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
