"""Finding and reading files, with errors that name what is there."""

from pathlib import Path

from asymjax.errors import InputError


def data_folder(name: str, data_dir: str | Path | None, *below: str) -> Path:
    """Return the folder that holds the files of dataset ``name``.

    Parameters
    ----------
    name : dataset, for the message.
    data_dir : that folder, or one that holds it under one of the names ``below``.
    below : usual names of the folder.

    Raises
    ------
    InputError
        If no folder was given.
    FileNotFoundError
        If there is no such folder.
    """
    if data_dir is None:
        raise InputError(f"dataset {name!r} is read from files: pass --data-dir with the folder that holds them")
    folder = existing_folder(Path(data_dir))
    return next((folder / usual for usual in below if (folder / usual).is_dir()), folder)


def existing_folder(folder: Path) -> Path:
    """Return ``folder``.

    Raises
    ------
    FileNotFoundError
        If it does not exist; names what its parent holds.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; {listing(folder.parent)}")
    return folder


def existing_file(folder: Path, *names: str) -> Path:
    """Return the first of the files ``names`` that ``folder`` holds.

    Raises
    ------
    FileNotFoundError
        If it holds none; names what it does hold.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"there is no file {' or '.join(names)} in {folder}; {listing(folder)}")


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 text file, with or without a byte-order mark.

    Raises
    ------
    InputError
        If the bytes are not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error})") from error


def listing(folder: Path) -> str:
    """Return a phrase that says what a folder holds: its first 12 names."""
    if not folder.is_dir():
        return f"neither is there a folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"{folder} holds: {', '.join(names[:12]) or 'nothing'}{more}"
