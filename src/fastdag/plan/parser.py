"""The parser of TOML, for documents as for the names in them: the two that there are do not know the same TOML."""

from typing import TYPE_CHECKING

__all__ = ["TOMLDecodeError", "loads"]

if TYPE_CHECKING:
    from tomllib import TOMLDecodeError, loads
else:
    try:
        from tomli import TOMLDecodeError, loads  # compiled: less than half of the time
    except ModuleNotFoundError:
        from tomllib import TOMLDecodeError, loads
